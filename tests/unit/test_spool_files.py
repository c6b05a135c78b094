"""The spool's files on a real disk: crashes at every step, damage, a full disk, and a second process."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from connectors.gateway import errors
from connectors.gateway.errors import GatewayError
from connectors.gateway.log import spool_files
from connectors.gateway.log.spool_files import START, SpoolFiles
from connectors.gateway.log.spool_layout import BEGINNING, encode
from connectors.gateway.log.spool_position import Position
from connectors.gateway.records import Outgoing
from tests.spool_on_disk import failing, numbers, opened, record, rest
from weir.errors import ConfigError


class Crash(BaseException):
    """The process ends here."""


def write(files: SpoolFiles, *wanted: int) -> None:
    files.write(b"".join(encode(record(number)) for number in wanted))


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


def crash(*_: Any, **__: Any) -> None:
    raise Crash


def test_what_was_written_outlives_the_process_in_order_over_many_segments(tmp_path: Path) -> None:
    files = opened(tmp_path, segment_bytes=150)
    for number in range(20):
        write(files, number)
    files.close()
    assert len(segments(tmp_path)) > 5
    assert rest(tmp_path) == list(range(20))
    assert segments(tmp_path) == []


def test_opening_counts_what_waits_and_of_which_keys(tmp_path: Path) -> None:
    files = opened(tmp_path)
    wanted = [record(1, b"a"), record(2, b"b"), record(3, b"a"), record(4, None)]
    files.write(b"".join(map(encode, wanted)))
    chunk = files.read(1)
    files.advance(chunk.end)
    files.close()
    again = SpoolFiles(tmp_path)
    found = again.open()
    again.close()
    assert found.records == 3
    assert found.bytes == sum(len(encode(each)) for each in wanted[1:])
    assert found.keys.waiting == 2
    assert found.keys.holds("weir.readings", b"a") and found.keys.holds("weir.readings", b"b")
    found.keys.remove_all(wanted[1:])
    assert found.keys.waiting == 0


def test_a_crash_between_write_and_sync_leaves_a_spool_that_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = opened(tmp_path)
    write(files, 1, 2)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(os, "fdatasync", crash)
        write(files, 3)
    files.close()
    assert rest(tmp_path) in ([1, 2], [1, 2, 3])  # 3 was never acknowledged


@pytest.mark.parametrize("keep", range(1, len(encode(record(3)))))
def test_a_torn_tail_is_cut_off_and_kept_aside(tmp_path: Path, keep: int) -> None:
    files = opened(tmp_path)
    write(files, 1, 2)
    files.close()
    (segment,) = segments(tmp_path)
    with segment.open("ab") as file:
        file.write(encode(record(3))[:keep])
    files = opened(tmp_path)
    assert files.damaged_bytes == keep
    files.close()
    assert segment.with_name(f"{segment.name}.corrupt").read_bytes() == encode(record(3))[:keep]
    assert rest(tmp_path) == [1, 2]


@pytest.mark.parametrize("length", range(START))
def test_a_segment_that_was_only_just_begun_is_no_obstacle(tmp_path: Path, length: int) -> None:
    files = opened(tmp_path)
    write(files, 1)
    files.close()
    (tmp_path / "00000000000000000009.spool").write_bytes(BEGINNING[:length])
    files = opened(tmp_path)
    write(files, 2)
    files.close()
    assert rest(tmp_path) == [1, 2]


def test_damage_in_the_middle_costs_no_readable_record_of_other_segments(tmp_path: Path) -> None:
    files = opened(tmp_path, segment_bytes=150)
    for number in range(9):
        write(files, number)
    files.close()
    damaged = segments(tmp_path)[1]
    data = bytearray(damaged.read_bytes())
    size = len(encode(record(0)))
    data[START + size + 10] ^= 1  # in its second record
    damaged.write_bytes(bytes(data))
    each = (150 - START) // size
    assert each == 2, "the numbers below are for two records a segment"
    assert rest(tmp_path) == [0, 1, 2, 4, 5, 6, 7, 8]
    assert (tmp_path / f"{damaged.name}.corrupt").read_bytes() == bytes(data[START + size :])


def test_damage_that_comes_after_opening_is_kept_aside_too(tmp_path: Path) -> None:
    files = opened(tmp_path)
    write(files, 1, 2, 3)
    (segment,) = segments(tmp_path)
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(bytes(data))
    chunk = files.read(10)
    assert numbers(chunk.records) == [1, 2]
    files.advance(chunk.end)
    assert files.read(10).records == []
    write(files, 4)
    assert numbers(files.read(10).records) == [4]
    assert files.damaged_bytes == len(encode(record(3)))
    files.close()


def test_a_segment_of_a_later_version_stops_the_start_instead_of_being_put_aside(tmp_path: Path) -> None:
    files = opened(tmp_path)
    write(files, 1)
    files.close()
    (segment,) = segments(tmp_path)
    segment.write_bytes(b"weirspl\x02" + segment.read_bytes()[START:])
    with pytest.raises(ConfigError, match="version 2 of the spool; this Weir reads 1"):
        opened(tmp_path)


def test_a_crash_after_producing_brings_the_chunk_again_and_one_after_the_position_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = opened(tmp_path)
    write(files, 1, 2, 3, 4)
    chunk = files.read(2)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(Path, "replace", crash)
        files.advance(chunk.end)
    files.close()
    files = opened(tmp_path)
    chunk = files.read(2)
    assert numbers(chunk.records) == [1, 2]
    files.advance(chunk.end)
    files.close()
    assert rest(tmp_path) == [3, 4]


def test_a_crash_before_a_finished_segment_is_deleted_does_not_bring_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = opened(tmp_path, segment_bytes=50)
    write(files, 1)
    write(files, 2)
    files.advance(files.read(5).end)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(Path, "unlink", crash)
        files.read(5)
    files.close()
    assert len(segments(tmp_path)) == 2
    assert rest(tmp_path) == [2]


@pytest.mark.parametrize("position", [b"", b"x" * 20, bytes(20), b"short"])
def test_a_damaged_position_brings_all_again_rather_than_lose_any(tmp_path: Path, position: bytes) -> None:
    files = opened(tmp_path)
    write(files, 1, 2)
    files.advance(files.read(1).end)
    files.close()
    (tmp_path / "position").write_bytes(position)
    assert rest(tmp_path) == [1, 2]


def test_a_position_behind_the_end_of_its_segment_skips_nothing_that_comes_later(tmp_path: Path) -> None:
    files = opened(tmp_path)
    write(files, 1)
    files.advance(Position(1, 10_000))
    files.close()
    files = opened(tmp_path)
    write(files, 2)
    files.close()
    assert rest(tmp_path) == [2]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fdatasync", "fsync"])
def test_after_a_write_that_the_disk_refuses_the_spool_is_as_before_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    files = opened(tmp_path)
    if call != "fsync":  # that is for a new segment
        write(files, 1)
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(os, call, failing(code))
        write(files, 2)
    write(files, 3)
    expected = [3] if call == "fsync" else [1, 3]
    assert numbers(files.read(5).records)[:1] == expected[:1]
    files.close()
    assert rest(tmp_path) == expected


def test_half_a_write_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = opened(tmp_path)
    write(files, 1)
    (segment,) = segments(tmp_path)
    size = segment.stat().st_size
    real = os.write
    calls = iter([10, -1])

    def half(file: int, data: bytes) -> int:
        length = next(calls)
        if length < 0:
            raise OSError(errno.ENOSPC, "no space")
        return real(file, data[:length])

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(os, "write", half)
        write(files, 2)
    assert segment.stat().st_size == size
    files.close()
    assert rest(tmp_path) == [1]


def test_a_disk_too_full_for_the_position_does_not_stop_replay_from_making_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = opened(tmp_path)
    write(files, 1)
    monkeypatch.setattr(spool_files, "write_position", failing(errno.ENOSPC))
    files.advance(files.read(5).end)
    assert files.read(5).records == []
    assert segments(tmp_path) == []
    files.close()


def test_a_second_process_on_the_folder_is_told_which_setting_to_change(tmp_path: Path) -> None:
    files = opened(tmp_path)
    with pytest.raises(ConfigError, match="Another gateway uses the spool in .* WEIR_GATEWAY__DATA_DIR"):
        opened(tmp_path)
    files.close()
    opened(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="The spool in .* cannot be used: Not a directory"):
        opened(tmp_path / "file" / "spool")


def test_a_record_larger_than_what_is_read_at_a_time_comes_back_whole(tmp_path: Path) -> None:
    large = Outgoing("t", b"k", bytes(spool_files.CHUNK_BYTES * 2))
    files = opened(tmp_path)
    files.write(encode(record(1)) + encode(large) + encode(record(2)))
    files.advance(files.read(1).end)
    chunk = files.read(5)
    assert chunk.records == [large]
    files.advance(chunk.end)
    assert numbers(files.read(5).records) == [2]
    files.close()


def test_records_that_kafka_refused_for_good_can_be_read_with_the_reason(tmp_path: Path) -> None:
    files = opened(tmp_path)
    refused = Outgoing("t", None, b"\x00\xff", 3, (("name", b"\x01"),), 7)
    files.refuse([(refused, GatewayError(errors.TOO_LARGE, "Too large."))])
    files.refuse([(record(1), GatewayError(errors.KAFKA_ERROR, "No."))])
    files.close()
    lines = (tmp_path / "refused" / "refused.jsonl").read_text().splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["Too large.", "No."]
    assert json.loads(lines[0]) == {
        "error_code": 413,
        "message": "Too large.",
        "topic": "t",
        "partition": 3,
        "timestamp_ms": 7,
        "key": None,
        "value": "AP8=",
        "headers": [["name", "AQ=="]],
    }

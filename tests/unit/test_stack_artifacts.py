"""The lock of the Java archives, the cache, and the room for it."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest
from rich.console import Console

from weir.errors import StackError
from weir.stack import downloads
from weir.stack.artifacts import (
    Artifact,
    Lock,
    cached_path,
    format_line,
    is_intact,
    missing,
    parse_line,
    read_lock,
    registry_dir,
    write_lock,
)
from weir.stack.disk import require_space

SHA = "ab" * 32


def artifact(content: bytes, name: str = "thing", packaging: str = "jar", classifier: str = "") -> Artifact:
    return Artifact(
        "org.example", name, "1.0", classifier, packaging, hashlib.sha256(content).hexdigest(), len(content)
    )


def test_a_line_of_the_lock_names_one_file() -> None:
    plain = parse_line(f"org.example:thing:1.0:jar {SHA} 42")
    assert plain == Artifact("org.example", "thing", "1.0", "", "jar", SHA, 42)
    assert plain.filename == "thing-1.0.jar"
    archive = parse_line(f"org.example:thing:1.0:all:tar.gz {SHA} 7")
    assert (archive.classifier, archive.packaging, archive.filename) == ("all", "tar.gz", "thing-1.0-all.tar.gz")
    assert format_line(archive) == f"org.example:thing:1.0:all:tar.gz {SHA} 7"


@pytest.mark.parametrize(
    "line",
    [
        "",
        f"org.example:thing:1.0 {SHA} 42",
        f"org.example:thing:1.0:a:b:jar {SHA} 42",
        f"org.example::1.0:jar {SHA} 42",
        "org.example:thing:1.0:jar abc 42",
        f"org.example:thing:1.0:jar {'xy' * 32} 42",
        f"org.example:thing:1.0:jar {SHA} many",
        f"org.example:thing:1.0:jar {SHA}",
    ],
)
def test_a_line_that_is_not_whole_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        parse_line(line)


def test_a_damaged_lock_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "artifacts.lock"
    path.write_text('{"kafka": ["nonsense"], "registry": []}')
    with pytest.raises(StackError, match="cannot be read .* reinstall Weir"):
        read_lock(path)


def test_the_shipped_lock_holds_one_consistent_kafka() -> None:
    lock = read_lock()
    versions = {each.version for each in lock.kafka if each.group == "org.apache.kafka"}
    assert len(versions) == 1, "a broker with clients of another version does not start"
    logging = {each.version for each in lock.kafka if each.group == "org.apache.logging.log4j"}
    assert len(logging) == 1
    names = [each.filename for each in lock.all]
    assert len(names) == len(set(names)), "two files would share one place in the cache"
    assert {"kafka-server", "kafka-group-coordinator", "log4j-slf4j-impl"} <= {each.name for each in lock.kafka}


def test_a_lock_survives_being_written(tmp_path: Path) -> None:
    path = tmp_path / "artifacts.lock"
    write_lock(read_lock(), path)
    assert read_lock(path) == read_lock()


def test_only_exactly_the_locked_bytes_are_intact(tmp_path: Path) -> None:
    wanted, path = artifact(b"right"), tmp_path / "file"
    assert not is_intact(wanted, path)
    path.write_bytes(b"righ")
    assert not is_intact(wanted, path)
    path.write_bytes(b"wrong")
    assert not is_intact(wanted, path)
    path.write_bytes(b"right")
    assert is_intact(wanted, path)


def test_the_archive_is_not_wanted_once_it_is_unpacked(tmp_path: Path) -> None:
    lock = Lock((artifact(b"jar"),), artifact(b"tar", "registry", "tar.gz", "all"))
    assert missing(lock, tmp_path) == list(lock.all)
    (tmp_path / "artifacts").mkdir()
    cached_path(lock.kafka[0], tmp_path).write_bytes(b"jar")
    assert missing(lock, tmp_path) == [lock.registry]
    registry_dir(lock, tmp_path).mkdir()
    assert missing(lock, tmp_path) == []
    cached_path(lock.kafka[0], tmp_path).write_bytes(b"jam")
    assert missing(lock, tmp_path) == [lock.kafka[0]]


def test_too_little_room_is_one_sentence_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"Downloading needs 700 MB free at .*, and only 699 MB are"):
        require_space(tmp_path, 200_000_000, "Downloading", free=lambda _: 699_999_999)
    require_space(tmp_path, 200_000_000, "Downloading", free=lambda _: 700_000_000)


def test_room_is_measured_where_a_new_folder_will_be(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "there" / "yet", 0, "Starting")


def test_a_disk_that_fills_up_during_the_download_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloads, "_download", full)
    lock = Lock((artifact(b"jar"),), artifact(b"tar", "registry", "tar.gz", "all"))
    with pytest.raises(StackError, match="the disk at .* is full"):
        downloads.ensure_artifacts(Console(quiet=True), tmp_path, lock)
    assert list((tmp_path / "artifacts").iterdir()) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["artifacts", "lock"]

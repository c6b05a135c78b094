"""A ledger says of every message what became of it, wherever its writer was killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from weir.errors import UsageError
from weir.load.entries import VERSION, Acknowledged, Bad, End, Entry, Failed, Header, Readings, Series, Unknown, encode
from weir.load.ledger import LedgerWriter, whole_bytes
from weir.load.outcomes import Latencies, Outcomes
from weir.verify.ledger import ACKNOWLEDGED, FAILED, UNKNOWN, Sent, read_ledgers

HEADER = Header(VERSION, "weir.readings", 1_000, {})
NAMES = Series(0, [("d-0", "a"), ("d-1", "a")])
SESSION: list[Entry] = [
    HEADER,
    NAMES,
    Readings(0, [0, 1, 0], [5_000, 10, -20], [1.5, None, 3.0], {1: "open"}),
    Bad(3, ["truncated payload"], ["undecodable"]),
    Acknowledged(2, 40, 6_000, [0, 2]),
    Failed([1], "refused"),
    Acknowledged(2, 42, 6_001, [3]),
    Readings(4, [1], [7_000], [4.0]),
    Unknown([4], "no answer"),
    End(9_000, 5, 3),
]


def written(path: Path, entries: list[Entry], *, append: bool = False) -> Path:
    with LedgerWriter(path, append=append) as writer:
        writer.write(*entries)
    return path


def states(sent: Sent) -> list[int]:
    return list(sent.fates.state)


def test_every_message_has_its_fate(tmp_path: Path) -> None:
    sent = read_ledgers([written(tmp_path / "l", SESSION)])
    assert states(sent) == [ACKNOWLEDGED, FAILED, ACKNOWLEDGED, UNKNOWN]
    assert list(sent.ts) == [5_000, 5_010, 4_990, 7_000]
    assert [sent.names[number] for number in sent.series] == [("d-0", "a"), ("d-1", "a"), ("d-0", "a"), ("d-1", "a")]
    assert (sent.values[0], sent.texts, sent.values[2]) == (1.5, {1: "open"}, 3.0)
    assert (list(sent.fates.offset), list(sent.fates.partition)) == ([40, -1, 41, -1], [2, -1, 2, -1])
    assert (sent.kinds, sent.reasons, list(sent.bad_fates.offset)) == (["truncated payload"], ["undecodable"], [42])
    assert (sent.ends(), sent.unfinished) == ({2: 43}, 0)


def test_a_tail_torn_at_any_byte_costs_its_own_line_only(tmp_path: Path) -> None:
    whole = b"".join(encode(entry) for entry in SESSION)
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path = tmp_path / "torn"
        path.write_bytes(whole[:cut])
        lines = sum(end <= cut for end in ends)
        assert whole_bytes(path) == (ends[lines - 1] if lines else 0)
        sent = read_ledgers([path])
        assert len(sent.ts) == (0 if lines < 3 else 3 if lines < 8 else 4)
        assert sent.count(ACKNOWLEDGED) == (0 if lines < 5 else 2 if lines < 7 else 3)


def test_an_intent_without_outcome_is_unknown(tmp_path: Path) -> None:
    sent = read_ledgers([written(tmp_path / "l", SESSION[:4])])
    assert (states(sent), sent.count(UNKNOWN), sent.unfinished) == ([UNKNOWN] * 3, 4, 1)


def test_a_second_run_does_not_overwrite_a_ledger(tmp_path: Path) -> None:
    path = written(tmp_path / "l", SESSION)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="--append"):
        LedgerWriter(path)
    assert path.read_bytes() == before


def test_appending_after_a_kill_cuts_the_torn_line_and_counts_numbers_anew(tmp_path: Path) -> None:
    path = written(tmp_path / "l", SESSION)
    path.write_bytes(path.read_bytes() + encode(HEADER) + b'{"line":"seri')
    sent = read_ledgers([written(path, [HEADER, *SESSION[1:]], append=True)])
    assert states(sent) == [ACKNOWLEDGED, FAILED, ACKNOWLEDGED, UNKNOWN] * 2
    assert (len(sent.names), sent.unfinished) == (2, 1)


def test_two_ledgers_are_read_as_one(tmp_path: Path) -> None:
    sent = read_ledgers([written(tmp_path / "a", SESSION), written(tmp_path / "b", SESSION)])
    assert (sent.count(ACKNOWLEDGED), len(sent.kinds)) == (6, 2)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda lines: [lines[0][:30] + b"\n", *lines[1:]], "line 1"),
        (lambda lines: [*lines[:3], b"{}\n", *lines[3:]], "line 4"),
        (lambda lines: [*lines[:2], *lines[3:]], "line 3"),
        (lambda lines: lines[1:], "header"),
        (lambda lines: [lines[0].replace(b'"version":1', b'"version":99'), *lines[1:]], "version 99"),
    ],
)
def test_damage_before_the_end_is_an_error_and_not_a_short_ledger(tmp_path: Path, spoil: object, said: str) -> None:
    lines = [encode(entry) for entry in SESSION]
    path = tmp_path / "l"
    path.write_bytes(b"".join(spoil(lines)))  # type: ignore[operator]
    with pytest.raises(UsageError, match=said):
        read_ledgers([path])


def test_a_ledger_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_ledgers([tmp_path / "nowhere"])


def test_every_line_is_an_object_that_says_what_it_is() -> None:
    assert [json.loads(encode(entry))["line"] for entry in SESSION[:3]] == ["header", "series", "readings"]


def test_neighbours_of_one_append_time_share_a_line() -> None:
    outcomes = Outcomes()
    for number, (offset, at) in enumerate([(7, 1), (8, 1), (9, 2), (11, 2), (10, 2), (13, 2)]):
        outcomes.stored(number, 0, offset, at)
    assert outcomes.take() == [
        Acknowledged(0, 7, 1, [0, 1]),
        Acknowledged(0, 9, 2, [2, 2, -1]),
        Acknowledged(0, 13, 2, [5]),
    ]
    assert outcomes.take() == []
    assert outcomes.settled == 6


def test_refused_and_unanswered_messages_are_kept_apart() -> None:
    outcomes = Outcomes()
    outcomes.refused(1, "too large")
    outcomes.refused(4, "too large")
    outcomes.silent(2, "timed out")
    assert outcomes.take() == [Failed([1, 3], "too large"), Unknown([2], "timed out")]
    assert (outcomes.acknowledged, outcomes.failed, outcomes.unknown) == (0, 2, 1)


def test_a_latency_is_told_to_two_percent() -> None:
    latencies = Latencies()
    assert latencies.quantile(0.5) is None
    for number in range(1, 101):
        latencies.add(number / 1_000)
    assert latencies.quantile(0.5) == pytest.approx(0.050, rel=0.02)
    assert latencies.quantile(0.99) == pytest.approx(0.099, rel=0.02)

"""What the spool's layout promises: whole records in order, and never one that was not written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.gateway.log import spool_layout
from connectors.gateway.log.spool_layout import Tally, encode, read, tally
from connectors.gateway.log.waiting_keys import WaitingKeys
from connectors.gateway.records import Outgoing

LONG = 2**63 - 1
pieces = st.none() | st.binary(max_size=12)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
records = st.builds(
    Outgoing,
    topic=names,
    key=pieces,
    value=pieces,
    partition=st.integers(-1, 2**31 - 1),
    headers=st.lists(st.tuples(names, pieces), max_size=2).map(tuple),
    timestamp_ms=st.integers(-LONG, LONG),
)
several = st.lists(records, min_size=1, max_size=4)


def encoded(wanted: list[Outgoing]) -> tuple[bytes, list[int]]:
    """Their bytes one after the other, and where each ends."""
    data, ends = b"", [0]
    for record in wanted:
        data += encode(record)
        ends.append(len(data))
    return data, ends


def check_tally(data: bytes) -> None:
    """It finds the records and keys that ``read`` gives, and no others."""
    kept = list(read(data))
    keys = WaitingKeys(64)
    assert tally(data, 0, keys) == Tally(len(kept), kept[-1].end if kept else 0)
    for each in kept:
        assert each.record.key is None or keys.holds(each.record.topic, each.record.key)
    keys.remove_all(each.record for each in kept)
    assert keys.waiting == 0


def taken(data: bytes) -> list[Outgoing]:
    return [kept.record for kept in read(data)]


@given(several)
def test_records_come_back_as_they_were_written(wanted: list[Outgoing]) -> None:
    data, ends = encoded(wanted)
    assert taken(data) == wanted
    assert [kept.end for kept in read(data)] == ends[1:]


@given(several)
def test_a_tail_torn_at_any_byte_leaves_exactly_the_whole_records_before_it(wanted: list[Outgoing]) -> None:
    data, ends = encoded(wanted)
    for size in range(len(data)):
        whole = sum(end <= size for end in ends[1:])
        assert taken(data[:size]) == wanted[:whole], size
        check_tally(data[:size])


@given(several, st.integers(1, 255))
def test_any_damaged_byte_ends_the_records_before_the_one_it_is_in(wanted: list[Outgoing], change: int) -> None:
    data, ends = encoded(wanted)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= change
        whole = sum(end <= place for end in ends[1:])
        assert taken(bytes(damaged)) == wanted[:whole], place
        check_tally(bytes(damaged))


@given(several, st.binary(max_size=200))
def test_what_follows_the_records_by_accident_is_no_record(wanted: list[Outgoing], rubbish: bytes) -> None:
    data, _ = encoded(wanted)
    assert taken(data + rubbish) == wanted
    assert taken(data + bytes(len(rubbish))) == wanted


def test_without_the_checksum_a_damaged_value_would_be_taken_for_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(encode(Outgoing("t", b"k", b"value")))
    data[-1] ^= 1
    assert taken(bytes(data)) == []
    (said,) = spool_layout._CRC.unpack_from(data, 0)
    monkeypatch.setattr(spool_layout, "crc32", lambda _: said)
    assert taken(bytes(data)) == [Outgoing("t", b"k", b"valud")]

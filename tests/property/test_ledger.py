"""Whatever comes in whatever order, and wherever the file is torn: a ledger never says more than it was told."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from weir.load.entries import Bad, Entry, Header, Readings, Series, encode, steps
from weir.load.outcomes import Outcomes
from weir.verify.ledger import ACKNOWLEDGED, FAILED, UNKNOWN, read_ledgers

FATES = st.sampled_from([ACKNOWLEDGED, FAILED, UNKNOWN])
BATCHES = st.lists(st.tuples(st.lists(FATES, max_size=8), st.lists(FATES, max_size=3)), min_size=1, max_size=5)


def session(batches: list[tuple[list[int], list[int]]], order: list[int]) -> tuple[list[Entry], list[int], list[int]]:
    """Entries of a session, and the fates of its readings and of its bad records."""
    entries: list[Entry] = [Header(1, "t", 0, {}), Series(0, [("d", "a")])]
    good: list[int] = []
    bad: list[int] = []
    number, offset = 0, [0, 0, 0]
    for readings, refused in batches:
        outcomes = Outcomes()
        entries.append(Readings(number, [0] * len(readings), steps(list(range(len(readings)))), [1.0] * len(readings)))
        entries.append(Bad(number + len(readings), ["k"] * len(refused), ["r"] * len(refused)))
        fates = [*enumerate([*readings, *refused], start=number)]
        for each, fate in sorted(fates, key=lambda pair: order[pair[0] % len(order)]):
            if fate == ACKNOWLEDGED:
                outcomes.stored(each, each % 3, offset[each % 3], each // 4)
                offset[each % 3] += 1 + each % 2
            elif fate == FAILED:
                outcomes.refused(each, "no")
            elif each % 2:
                outcomes.silent(each, "time")
        entries += outcomes.take()
        good, bad, number = good + readings, bad + refused, number + len(fates)
    return entries, good, bad


@given(batches=BATCHES, order=st.permutations(range(12)), share=st.floats(0, 1))
def test_a_ledger_tells_what_it_was_told_and_less_when_torn(
    batches: list[tuple[list[int], list[int]]], order: list[int], share: float
) -> None:
    entries, good, bad = session(batches, order)
    whole = b"".join(encode(entry) for entry in entries)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger"
        path.write_bytes(whole)
        sent = read_ledgers([path])
        assert (list(sent.fates.state), list(sent.bad_fates.state)) == (good, bad)
        places = [*zip(sent.fates.partition, sent.fates.offset, strict=True)]
        acknowledged = [place for place, fate in zip(places, good, strict=True) if fate == ACKNOWLEDGED]
        assert len(set(acknowledged)) == len(acknowledged)

        path.write_bytes(whole[: int(len(whole) * share)])
        torn = read_ledgers([path])
        count = len(torn.fates.state)
        assert all(fate in (UNKNOWN, good[row]) for row, fate in enumerate(torn.fates.state))
        assert list(torn.fates.offset) == [
            offset if fate == ACKNOWLEDGED else -1
            for offset, fate in zip(sent.fates.offset[:count], torn.fates.state, strict=True)
        ]

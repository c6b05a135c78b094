"""How many windows a flush closes while it corrects others."""

import numpy as np
import polars as pl
import pytest

from streams.engine.fetch import Lease
from streams.engine.outcome import Outcome, Points
from streams.engine.partition_state import Part, PartitionState
from streams.engine.refusals import NO_LIMIT

MINUTE = 60_000
LATENESS = 5_000


def state_with(minutes: list[int]) -> PartitionState:
    """A partition that took in one reading of each of ``minutes``, in this order, and has closed nothing."""
    state = PartitionState(Lease("weir.readings", 0, None), 0, LATENESS, MINUTE)
    offsets, ts = np.arange(len(minutes)), np.array(minutes, dtype=np.int64) * MINUTE
    append = np.full(len(minutes), 10 * MINUTE)
    frame = pl.DataFrame({"series": np.zeros(len(minutes), dtype=np.int32), "ts": ts})
    outcome = Outcome(pl.DataFrame({"offset": offsets}), offsets, Points(frame, offsets, append), [])
    state.add(outcome, Part(0, len(minutes), 10 * MINUTE), NO_LIMIT)
    return state


@pytest.mark.parametrize(
    ("late", "closed"), [([], [0]), ([0], [0]), ([2], [0, 1, 2])], ids=["none", "the oldest", "a newer one"]
)
def test_a_flush_that_corrects_closes_up_to_what_it_corrects_and_no_more_than_it_should(
    late: list[int], closed: list[int]
) -> None:
    state = state_with([0, 1, 2, 3, 4, 5, 6, *late])
    pending, _ = state.closing(state.take(), most_points=1)
    assert [each["start"].to_list() for each in pending.late] == ([[late[0] * MINUTE]] if late else [])
    assert [window.start // MINUTE for window in state.close(pending.watermark)] == closed

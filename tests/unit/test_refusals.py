import numpy as np
import pytest

from streams.engine.checkpoint import Checkpoint, from_commit, to_commit
from streams.engine.kept import Kept
from streams.engine.refusals import HOUR_MS, NO_LIMIT, NO_REFUSALS, SEVERAL, RefusalLimit, RefusalLimitError, Refusals

NOON = 500_000 * HOUR_MS
LIMIT = RefusalLimit(max_share=0.5, share_messages=100, max_run=30)


def offsets(*spans: tuple[int, int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    numbers = [number for first, end in spans for number in range(first, end)]
    return np.array(numbers, dtype=np.int64)


def test_a_run_goes_on_across_blocks_and_ends_with_a_record_that_is_kept() -> None:
    first, longest = NO_REFUSALS.after(NOON, offsets((0, 10)), offsets((10, 30)))
    assert (first.run, longest) == (20, 20)
    second, longest = first.after(NOON, offsets((35, 36)), offsets((30, 35), (36, 38)))
    assert (second.run, longest) == (2, 25)
    third, longest = second.after(NOON, offsets((38, 40)), offsets())
    assert (third.run, longest) == (0, 0)
    assert (third.taken, third.refused) == (40, 27)


def test_the_longest_run_may_lie_in_the_middle_of_a_block() -> None:
    assert NO_REFUSALS.after(NOON, offsets((0, 5), (20, 25)), offsets((5, 20), (25, 27)))[1] == 15


def test_a_block_that_keeps_more_than_it_refuses_shows_that_the_fault_is_mended() -> None:
    before = Refusals(NOON // HOUR_MS, taken=1_000, refused=990, run=29, sender=SEVERAL)
    after, longest = before.after(NOON, offsets((1_001, 1_004)), offsets((1_000, 1_001)), [b"a"])
    after.check(LIMIT, longest, "t")


def test_one_sender_alone_never_stops_a_worker() -> None:
    after, longest = NO_REFUSALS.after(NOON, offsets(), offsets((0, 500)), [b"only-me"] * 500)
    again, longest = after.after(NOON, offsets(), offsets((500, 1_000)), [b"only-me"] * 500)
    again.check(LIMIT, longest, "t")
    with_another, longest = again.after(NOON, offsets(), offsets((1_000, 1_001)), [b"somebody-else"])
    with pytest.raises(RefusalLimitError):
        with_another.check(LIMIT, longest, "t")


def test_counts_begin_anew_with_the_hour_so_that_a_trickle_never_adds_up() -> None:
    before = Refusals(NOON // HOUR_MS, taken=99, refused=99, run=29)
    after, longest = before.after(NOON + HOUR_MS, offsets(), offsets((99, 100)))
    assert (after.taken, after.refused, after.run, longest) == (1, 1, 1, 1)


def test_a_run_as_long_as_the_limit_stops_the_worker_with_what_to_do() -> None:
    after, longest = NO_REFUSALS.after(NOON, offsets(), offsets((0, 30)), [b"a", b"b"])
    with pytest.raises(RefusalLimitError, match=r"^weir\.readings\[2\]: 30 records in a row .*weir dlq replay"):
        after.check(LIMIT, longest, "weir.readings[2]")


def test_a_shorter_run_does_not() -> None:
    after, longest = NO_REFUSALS.after(NOON, offsets(), offsets((0, 29)), [b"a", b"b"])
    after.check(LIMIT, longest, "t")


@pytest.mark.parametrize(("kept", "refused", "stops"), [(49, 51, True), (50, 50, False), (40, 59, False)])
def test_the_share_counts_from_enough_messages_on(kept: int, refused: int, stops: bool) -> None:
    counted = Refusals(NOON // HOUR_MS, kept + refused, refused, 1, SEVERAL)
    if stops:
        with pytest.raises(RefusalLimitError, match="51 of 100 records within an hour"):
            counted.check(LIMIT, 1, "t")
    else:
        counted.check(LIMIT, 1, "t")


def test_without_a_limit_everything_may_be_refused() -> None:
    after, longest = NO_REFUSALS.after(NOON, offsets(), offsets((0, 1_000_000)), [b"a", b"b"])
    after.check(NO_LIMIT, longest, "t")


def test_counts_are_part_of_the_checkpoint() -> None:
    checkpoint = Checkpoint(3, 5, 9, 77, Refusals(500_000, 1_000, 20, 7, SEVERAL), Kept(2, 7), Kept(3, 20))
    commit = to_commit("t", 0, checkpoint)
    assert from_commit(commit.offset, commit.metadata) == checkpoint


def test_a_checkpoint_of_an_earlier_version_is_read() -> None:
    read = from_commit(3, '{"v":1,"stored":5,"planned":6,"watermark":77}')
    assert read == Checkpoint(3, 5, 6, 77, kept=None, kept_planned=None)

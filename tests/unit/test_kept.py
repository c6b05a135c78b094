import numpy as np

from streams.engine.kept import NOTHING_KEPT, UNSURE, Kept, KeptSince, kept_of


def kept(*offsets: int) -> Kept:
    return kept_of(np.array(offsets, dtype=np.int64))


def test_counts_of_two_ranges_add_up_to_that_of_both() -> None:
    assert kept(1, 2).and_(kept(5)) == kept(1, 2, 5)
    assert kept() == NOTHING_KEPT


def test_choices_with_the_same_number_and_sum_are_told_apart() -> None:
    assert kept(1, 4) != kept(2, 3)


def test_what_was_kept_since_the_replay_point_begins_with_its_whole_part() -> None:
    since = KeptSince()
    since.add(0, 10, kept(0, 9))
    since.add(10, 20, kept(10, 11))
    since.add(20, 30, kept(25))
    assert since.between(12, 20) == (10, kept(10, 11))
    assert since.between(12, 30) == (10, kept(10, 11, 25))
    assert since.between(30, 30) == (30, NOTHING_KEPT)
    since.add(30, 40, kept(31))
    assert since.between(30, 40) == (30, kept(31))


def test_parts_beyond_what_is_stored_do_not_count_yet() -> None:
    since = KeptSince()
    since.add(5, 10, kept(7))
    assert since.between(5, 5) == (5, NOTHING_KEPT)
    assert since.between(5, 10) == (5, kept(7))


def test_doubt_lasts_until_the_parts_in_doubt_are_behind_the_replay_point() -> None:
    since = KeptSince()
    since.add(0, 10, kept(1))
    since.doubt()
    since.add(10, 20, kept(12))
    assert since.between(3, 20) == (0, UNSURE)
    assert since.between(10, 20) == (10, kept(12))


def test_a_replay_point_in_a_gap_of_the_log_stays_where_it_is() -> None:
    since = KeptSince()
    since.add(50, 60, kept(51))
    assert since.between(7, 60) == (7, kept(51))

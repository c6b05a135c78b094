from __future__ import annotations

from math import inf, nan

import pytest

from connectors.gateway.limits import Sampling
from connectors.gateway.quota.sampling import Sampler

NOW = 1_700_000_000_000
SECOND = 1_000
EVERY_10 = Sampling("every", seconds=10.0)
BAND = Sampling("dead_band", width=0.5)
CHANGE = Sampling("on_change")


@pytest.fixture
def sampler() -> Sampler:
    return Sampler(lambda: NOW / 1_000)


def kept(
    sampler: Sampler, sampling: Sampling, *readings: tuple[float, float | str | None], sensor: str = "t"
) -> list[int]:
    """Places of the readings (seconds before or after ``NOW``, number or text) that are kept."""
    return [
        place
        for place, (seconds, value) in enumerate(readings)
        if sampler.keeps(
            sampling,
            "d",
            sensor,
            NOW + round(seconds * SECOND),
            value if isinstance(value, float) else None,
            value if isinstance(value, str) else None,
        )
    ]


def test_without_a_policy_all_are_kept_and_nothing_is_remembered(sampler: Sampler) -> None:
    assert kept(sampler, Sampling(), (0, 1.0), (0.001, 1.0), (1, 1.0)) == [0, 1, 2]
    assert len(sampler) == 0


def test_every_ten_seconds_one_is_kept_whatever_it_measures(sampler: Sampler) -> None:
    readings = [(seconds, float(seconds)) for seconds in (0, 3, 9.999, 10, 15, 19, 20.5, 30, 30.5)]
    assert kept(sampler, EVERY_10, *readings) == [0, 3, 6, 8]


def test_within_the_dead_band_of_the_last_one_kept_nothing_is_stored(sampler: Sampler) -> None:
    readings = [(0, 20.0), (1, 20.4), (2, 19.6), (3, 20.5), (4, 20.1), (5, 20.0)]
    # 20.5 leaves the band around 20.0, and 20.0 that around 20.5; a slow drift cannot creep away
    assert kept(sampler, BAND, *readings) == [0, 3, 5]
    assert kept(sampler, BAND, *((10 + each, 20.0 + each / 10) for each in range(11)), sensor="drift") == [0, 5, 10]


def test_on_change_keeps_what_differs_at_all(sampler: Sampler) -> None:
    assert kept(sampler, CHANGE, (0, 1.0), (1, 1.0), (2, 1.0000001), (3, 1.0000001), (4, 1.0)) == [0, 2, 4]


def test_texts_are_kept_when_they_change_and_so_is_a_number_that_becomes_a_text(sampler: Sampler) -> None:
    for number, policy in enumerate((BAND, CHANGE)):
        readings: list[tuple[float, float | str | None]] = [
            (0, "on"),
            (1, "on"),
            (2, "off"),
            (3, 1.0),
            (4, 1.0),
            (5, "1.0"),
        ]
        assert kept(sampler, policy, *readings, sensor=str(number)) == [0, 2, 3, 5]


@pytest.mark.parametrize("policy", ["every", "dead_band", "on_change"])
def test_a_sign_of_life_is_kept_when_nothing_else_was(sampler: Sampler, policy: str) -> None:
    sampling = Sampling(policy, seconds=1e9, width=1e9, at_most_seconds=60.0)  # type: ignore[arg-type]
    assert kept(sampler, sampling, *((seconds, 1.0) for seconds in range(0, 200, 25))) == [0, 3, 6]


@pytest.mark.parametrize("sampling", [EVERY_10, BAND, CHANGE])
def test_a_resend_and_a_correction_of_the_last_one_kept_pass(sampler: Sampler, sampling: Sampling) -> None:
    assert kept(sampler, sampling, (0, 1.0), (0, 1.0), (0, 1.1)) == [0, 1, 2]


def test_the_next_one_is_judged_by_the_correction(sampler: Sampler) -> None:
    assert kept(sampler, BAND, (0, 1.0), (0, 9.0), (1, 9.1), (2, 1.0)) == [0, 1, 3]


def test_a_backlog_passes_and_does_not_change_what_is_judged_live(sampler: Sampler) -> None:
    assert kept(sampler, BAND, (0, 1.0), (-60, 5.0), (-59, 5.0), (1, 1.0), (2, 5.0)) == [0, 1, 2, 4]


def test_a_clock_that_was_once_far_ahead_does_not_end_sampling(sampler: Sampler) -> None:
    assert kept(sampler, CHANGE, (0, 1.0), (86_400, 1.0), (1, 1.0), (2, 2.0)) == [0, 3]
    assert kept(sampler, CHANGE, (86_400, 2.0), (86_401, 3.0), (3, 2.0)) == [1]


def test_a_status_without_number_and_text_passes(sampler: Sampler) -> None:
    assert kept(sampler, CHANGE, (0, None), (1, None)) == [0, 1]


@pytest.mark.parametrize("sampling", [EVERY_10, BAND, CHANGE])
def test_what_is_no_number_neither_crashes_nor_silences_a_series(sampler: Sampler, sampling: Sampling) -> None:
    odd = [(float(at), value) for at, value in enumerate((nan, nan, inf, inf, -inf, 1.0, nan, 2.0))]
    places = kept(sampler, sampling, *odd)
    assert places[0] == 0
    assert kept(sampler, sampling, (100, 50.0)) == [0]


def test_what_could_not_be_stored_does_not_silence_the_next_one(sampler: Sampler) -> None:
    assert kept(sampler, CHANGE, (0, 1.0), (1, 1.0)) == [0]
    sampler.forget("d", "t")
    sampler.forget("d", "never seen")
    assert kept(sampler, CHANGE, (2, 1.0), (3, 1.0)) == [0]


def test_each_series_is_judged_by_itself(sampler: Sampler) -> None:
    assert kept(sampler, CHANGE, (0, 1.0), sensor="a") == [0]
    assert kept(sampler, CHANGE, (1, 1.0), sensor="b") == [0]
    assert sampler.keeps(CHANGE, "other", "a", NOW + 1, 1.0, None)


def test_more_series_than_it_may_remember_keep_too_much_and_cost_no_more_memory() -> None:
    sampler = Sampler(lambda: NOW / 1_000, most_series=10)
    first = sum(sampler.keeps(CHANGE, f"d{each}", "t", NOW, 1.0, None) for each in range(1_000))
    assert first == 1_000
    assert len(sampler) <= 10
    assert sampler.keeps(CHANGE, "d0", "t", NOW + 1, 1.0, None)
    assert not sampler.keeps(CHANGE, "d999", "t", NOW + 1, 1.0, None)


@pytest.mark.parametrize("sampling", [EVERY_10, BAND, CHANGE])
def test_another_status_unit_or_quality_is_kept_although_the_number_is_the_same(
    sampler: Sampler, sampling: Sampling
) -> None:
    marks: list[tuple[object, ...]] = [(0, "C", None), (0, "C", None), (7, "C", None), (7, "K", None), (7, "K", "bad")]
    found = [sampler.keeps(sampling, "d", "t", NOW + place, 1.0, None, each) for place, each in enumerate(marks)]
    assert found == [True, False, True, True, True]

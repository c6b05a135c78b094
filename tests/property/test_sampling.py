"""What is left out can be told from what is stored: within the band, without gaps, and no more is kept than allowed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors.gateway.limits import Sampling
from connectors.gateway.quota.sampling import Sampler

NOW = 1_700_000_000_000
Series = list[tuple[int, float]]

PAUSES = st.lists(st.tuples(st.integers(1, 60_000), st.floats(-100, 100)), min_size=1, max_size=100)


def series_of(pauses: Series) -> Series:
    ts, series = NOW - 10_000_000, []
    for pause, value in pauses:
        ts += pause
        series.append((ts, value))
    return series


def kept(sampling: Sampling, series: Series) -> list[bool]:
    sampler = Sampler(lambda: NOW / 1_000)
    return [sampler.keeps(sampling, "d", "s", ts, value, None) for ts, value in series]


@given(PAUSES, st.floats(0.0, 50.0), st.sampled_from([0.0, 30.0]))
def test_the_last_value_stored_is_never_off_by_the_band_or_more(pauses: Series, width: float, at_most: float) -> None:
    series = series_of(pauses)
    stored = None
    for (_, value), is_kept in zip(
        series, kept(Sampling("dead_band", width=width, at_most_seconds=at_most), series), strict=True
    ):
        stored = value if is_kept else stored
        assert stored is not None, "the first is always kept"
        assert value == stored or abs(value - stored) < width


@given(PAUSES)
def test_on_change_loses_no_value(pauses: Series) -> None:
    series = series_of([(pause, round(value / 50)) for pause, value in pauses])
    stored = None
    for (_, value), is_kept in zip(series, kept(Sampling("on_change"), series), strict=True):
        assert is_kept == (value != stored)
        stored = value


@given(PAUSES, st.floats(0.5, 100.0), st.sampled_from(["every", "dead_band", "on_change"]))
def test_what_is_stored_has_no_gap_longer_than_allowed_where_the_device_sent(
    pauses: Series, at_most: float, policy: str
) -> None:
    sampling = Sampling(policy, seconds=1e6, width=1e6, at_most_seconds=at_most)  # type: ignore[arg-type]
    series = series_of([(pause, 1.0) for pause, _ in pauses])
    last = series[0][0]
    for (ts, _), is_kept in zip(series, kept(sampling, series), strict=True):
        assert is_kept == (ts == last or ts - last >= at_most * 1_000)
        last = ts if is_kept else last


@given(PAUSES, st.floats(0.5, 100.0))
def test_no_more_than_one_in_each_interval_is_kept(pauses: Series, seconds: float) -> None:
    series = series_of(pauses)
    chosen = [
        ts for (ts, _), is_kept in zip(series, kept(Sampling("every", seconds=seconds), series), strict=True) if is_kept
    ]
    assert all(later - earlier >= seconds * 1_000 for earlier, later in zip(chosen, chosen[1:], strict=False))
    assert len(chosen) <= (series[-1][0] - series[0][0]) / (seconds * 1_000) + 1


@given(
    st.lists(
        st.tuples(
            st.integers(NOW - 1_000, NOW + 1_000), st.one_of(st.none(), st.floats()), st.sampled_from([None, "", "a"])
        )
    ),
    st.sampled_from(["all", "every", "dead_band", "on_change"]),
    st.floats(),
)
def test_in_any_order_with_any_numbers_what_is_not_newer_than_the_last_kept_is_never_left_out(
    readings: list[tuple[int, float | None, str | None]], policy: str, number: float
) -> None:
    sampling = Sampling(policy, seconds=number, width=number, at_most_seconds=number)  # type: ignore[arg-type]
    sampler = Sampler(lambda: NOW / 1_000)
    newest = 0
    for ts, value, text in readings:
        is_kept = sampler.keeps(sampling, "d", "s", ts, value, text)
        assert is_kept or ts > newest
        if is_kept and not (value is None and text is None):  # a status alone judges nothing
            newest = max(newest, ts)

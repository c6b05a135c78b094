"""Whatever is asked of a bucket and when: never more than its rate and burst, and what was promised is there."""

from __future__ import annotations

from math import inf

from hypothesis import assume, given
from hypothesis import strategies as st

from connectors.gateway.errors import GatewayError
from connectors.gateway.limits import Device, Organisation, Rates
from connectors.gateway.quota.quotas import Quotas
from connectors.gateway.quota.token_bucket import TokenBucket, capacity
from weir.settings import GatewaySettings

RATES = st.floats(0.001, 1e6)
BURSTS = st.floats(0.0, 1_000.0)
STEPS = st.lists(st.tuples(st.floats(0.0, 30.0), st.integers(0, 500)), min_size=1, max_size=60)


@given(RATES, BURSTS, STEPS)
def test_in_any_stretch_of_time_no_more_than_burst_and_rate_is_taken(
    rate: float, burst_seconds: float, steps: list[tuple[float, int]]
) -> None:
    bucket, now, taken = TokenBucket(), 0.0, []
    for pause, tokens in steps:
        now += pause
        after = bucket.without(tokens, rate, burst_seconds, now)
        if after < inf:
            bucket.full_at = after
            taken.append((now, tokens))
    for first, (begin, _) in enumerate(taken):
        for end, _ in taken[first:]:
            got = sum(tokens for at, tokens in taken if begin <= at <= end)
            assert got <= (capacity(rate, burst_seconds) + rate * (end - begin)) * (1 + 1e-6) + rate * 2e-6


@given(RATES, BURSTS, STEPS, st.integers(1, 500))
def test_what_was_to_be_waited_for_is_there_after_the_wait_and_not_before(
    rate: float, burst_seconds: float, steps: list[tuple[float, int]], wanted: int
) -> None:
    bucket, now = TokenBucket(), 0.0
    for pause, tokens in steps:
        now += pause
        after = bucket.without(tokens, rate, burst_seconds, now)
        bucket.full_at = after if after < inf else bucket.full_at
    wait = bucket.wait(wanted, rate, burst_seconds, now)
    if wait == inf:
        assert wanted > capacity(rate, burst_seconds)
        return
    assert bucket.without(wanted, rate, burst_seconds, now + wait + 1e-3) < inf
    assume(wait > 1e-3)
    assert bucket.without(wanted, rate, burst_seconds, now + wait - 1e-3) == inf


NEEDS = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 4_000)), min_size=1
)
LIMITS = st.one_of(st.just(inf), st.floats(0.0, 50.0))
SOME_RATES = st.builds(Rates, LIMITS, st.one_of(st.just(inf), st.floats(0.0, 5_000.0)), LIMITS, st.floats(0.0, 20.0))


@given(SOME_RATES, SOME_RATES, st.lists(st.tuples(st.floats(0.0, 5.0), NEEDS), max_size=20))
def test_admitted_live_records_never_exceed_any_limit_and_every_refusal_names_one(
    whole: Rates, each: Rates, requests: list[tuple[float, dict[str, tuple[int, int, int]]]]
) -> None:
    now = 0.0
    quotas = Quotas(GatewaySettings(), lambda: now)
    organisation = Organisation("o", rates=whole, device_rates=each)
    sent: dict[str, int] = {}
    for pause, needs in requests:
        now += pause
        body = sum(size for _, _, size in needs.values())
        answer = quotas.admit(organisation, {Device(name, "o"): need for name, need in needs.items()}, body)
        errors = [answer] if isinstance(answer, GatewayError) else list(answer.values())
        for error in errors:
            assert error.extra["limit"].partition(".")[0] in ("organisation", "device")
            assert error.retry_after is None or 0.0 < error.retry_after < inf
        if isinstance(answer, GatewayError):
            continue
        for name, (live, _, _) in needs.items():
            if name not in answer:
                sent[name] = sent.get(name, 0) + live
    if whole.records_per_second < inf:
        most = capacity(whole.records_per_second, whole.burst_seconds) + whole.records_per_second * now
        assert sum(sent.values()) <= most * (1 + 1e-6) + 1e-3
    if each.records_per_second < inf:
        most = capacity(each.records_per_second, each.burst_seconds) + each.records_per_second * now
        assert all(got <= most * (1 + 1e-6) + 1e-3 for got in sent.values())

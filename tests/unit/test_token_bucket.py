from __future__ import annotations

from math import inf

import pytest

from connectors.gateway.quota.token_bucket import TokenBucket, capacity


def take(bucket: TokenBucket, tokens: float, rate: float, burst_seconds: float, now: float) -> bool:
    after = bucket.without(tokens, rate, burst_seconds, now)
    if after < inf:
        bucket.full_at = after
    return after < inf


def test_a_full_bucket_gives_its_burst_at_once_and_then_its_rate() -> None:
    bucket = TokenBucket()
    assert take(bucket, 100, 10.0, 10.0, 0.0)
    assert not take(bucket, 1, 10.0, 10.0, 0.0)
    assert bucket.wait(1, 10.0, 10.0, 0.0) == pytest.approx(0.1)
    assert bucket.wait(25, 10.0, 10.0, 0.5) == pytest.approx(2.0)  # 5 are there, 20 come in 2 s
    assert not take(bucket, 26, 10.0, 10.0, 2.5)
    assert take(bucket, 25, 10.0, 10.0, 2.5)


def test_what_is_refused_takes_nothing() -> None:
    bucket = TokenBucket()
    for _ in range(1_000):
        assert not take(bucket, 101, 10.0, 10.0, 0.0)
    assert take(bucket, 100, 10.0, 10.0, 0.0)


def test_what_it_can_never_hold_is_waited_for_in_vain() -> None:
    assert TokenBucket().wait(101, 10.0, 10.0, 0.0) == inf
    assert TokenBucket().wait(100, 10.0, 10.0, 0.0) == 0.0


def test_a_slow_rate_still_lets_one_through() -> None:
    bucket = TokenBucket()
    assert capacity(0.01, 10.0) == 1.0
    assert take(bucket, 1, 0.01, 10.0, 0.0)
    assert bucket.wait(1, 0.01, 10.0, 40.0) == pytest.approx(60.0)
    assert take(bucket, 1, 0.01, 10.0, 100.0)


@pytest.mark.parametrize("rate", [0.7, 0.1, 1 / 3, 450.72, 211.11, 1e9 / 7])
def test_rounding_never_refuses_a_full_bucket_what_it_holds(rate: float) -> None:
    for begin in (0.0, 1e5 + 1 / 3, 1e9 / 7):
        assert take(TokenBucket(), capacity(rate, 10.0), rate, 10.0, begin)


def test_a_changed_rate_holds_at_once_and_a_half_full_bucket_stays_half_full() -> None:
    bucket = TokenBucket()
    assert take(bucket, 50, 10.0, 10.0, 0.0)
    assert not take(bucket, 501, 100.0, 10.0, 0.0)
    assert take(bucket, 500, 100.0, 10.0, 0.0)
    assert bucket.wait(1, 1.0, 10.0, 0.0) == pytest.approx(1.0)


def test_a_rate_of_zero_gives_nothing_but_nothing_may_be_asked_of_it() -> None:
    bucket = TokenBucket()
    assert bucket.wait(1, 0.0, 10.0, 0.0) == inf
    assert not take(bucket, 1, 0.0, 10.0, 0.0)
    assert take(bucket, 0, 0.0, 10.0, 0.0)
    assert capacity(0.0, 10.0) == 0.0


def test_without_a_limit_anything_goes() -> None:
    bucket = TokenBucket()
    assert take(bucket, 10**12, inf, 10.0, 0.0)
    assert take(bucket, 10**12, inf, 0.0, 0.0)
    assert take(bucket, 10, 1.0, 10.0, 0.0), "what was taken without a limit counts under none"

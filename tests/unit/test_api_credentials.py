"""Who a request says it is: read from its headers, signed, remembered, and counted."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from uuid import uuid4

import pytest
from starlette.datastructures import Headers

from connectors.api.credentials import KeyCredential, credentials_of
from connectors.api.refusal_log import MOST_A_MINUTE, MOST_CALLERS, Allowance
from connectors.api.session_tokens import Session, SessionTokens
from connectors.api.verified_keys import VerifiedKeys

KEY = f"wr_{'a' * 12}_{'b' * 32}"


@dataclass
class FakeClock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY} "},
        {"x-api-key": KEY},
        {"authorization": basic(f"{'a' * 12}:{'b' * 32}")},
        {"authorization": basic(f"wr_{'a' * 12}:{'b' * 32}")},
    ],
)
def test_a_key_is_found_where_a_client_may_write_it(headers: dict[str, str]) -> None:
    assert credentials_of(Headers(headers)) == KEY


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Basic not base64!"},
        {"authorization": basic("ü:ü")},
        {"authorization": f"Digest {KEY}"},
        {"x-api-key": ""},
        {"x-api-key": "k" * 10_000},
        {"authorization": "Digest x", "x-api-key": KEY},
    ],
)
def test_anything_else_is_no_credential(headers: dict[str, str]) -> None:
    assert credentials_of(Headers(headers)) is None


def session(expires: int = 2_000) -> Session:
    return Session(user=uuid4(), email="ada@acme.example", organisation="acme", login=7, expires=expires)


def test_a_token_gives_its_session_back_until_it_expires() -> None:
    clock = FakeClock()
    tokens, wanted = SessionTokens("s" * 32, clock), session()
    token = tokens.issue(wanted)
    assert tokens.read(token) == wanted
    clock.now = 1_999.9
    assert tokens.read(token) == wanted
    clock.now = 2_000.0
    assert tokens.read(token) is None


def test_a_token_of_another_secret_or_with_other_claims_is_none() -> None:
    clock = FakeClock()
    tokens = SessionTokens("s" * 32, clock)
    mine = tokens.issue(session())
    assert SessionTokens("t" * 32, clock).read(mine) is None
    assert SessionTokens(None, clock).read(mine) is None
    claims, _, signature = mine.partition(".")
    other = tokens.issue(session(expires=9_999)).partition(".")[0]
    assert tokens.read(f"{other}.{signature}") is None
    for broken in ("", "ws_", "ws_.", claims, f"{claims}.", f".{signature}", f"{claims}.ü"):
        assert tokens.read(broken) is None


def test_a_verified_key_is_remembered_for_its_time_and_no_other_with_it() -> None:
    clock = FakeClock()
    verified, credential = VerifiedKeys(60.0, clock), KeyCredential("key:a", "acme", "a")
    verified.add(KEY, credential)
    assert verified.get(KEY) is credential
    assert verified.get(KEY[:-1] + "c") is None
    clock.now += 59.9
    assert verified.get(KEY) is credential
    clock.now += 0.1
    assert verified.get(KEY) is None
    assert KEY not in repr(vars(verified)), "memory holds a keyed hash"


def test_a_caller_writes_so_many_refusals_a_minute_and_the_rest_is_counted() -> None:
    clock = FakeClock()
    allowance = Allowance(clock)
    assert [allowance.take("eve") for _ in range(MOST_A_MINUTE)] == [0] * MOST_A_MINUTE
    assert [allowance.take("eve") for _ in range(25)] == [None] * 25
    assert allowance.take("ada") == 0, "another caller has a minute of its own"
    clock.now += 60
    assert allowance.take("eve") == 25
    assert allowance.take("eve") == 0


def test_the_memory_for_callers_has_a_bound() -> None:
    allowance = Allowance(FakeClock())
    for number in range(3 * MOST_CALLERS):
        allowance.take(f"key:{number}")
    assert len(allowance._used) <= MOST_CALLERS

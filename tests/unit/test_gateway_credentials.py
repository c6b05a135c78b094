"""The key that a request to the gateway brings, read from its raw headers."""

from __future__ import annotations

import base64

import pytest

from connectors.gateway.door.credentials import LONGEST
from connectors.gateway.door.identity import credentials_of, may_write
from connectors.gateway.http import RawHeaders
from connectors.gateway.records import Caller

KEY = b"wr_" + b"a" * 12 + b"_" + b"b" * 32


def basic(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer " + KEY)],
        [(b"authorization", b"bearer  " + KEY + b" ")],
        [(b"host", b"weir"), (b"x-api-key", KEY)],
        [(b"x-api-key", b" " + KEY + b" ")],
        [(b"authorization", basic(b"a" * 12 + b":" + b"b" * 32))],
        [(b"authorization", basic(b"wr_" + b"a" * 12 + b":" + b"b" * 32))],
        [(b"authorization", b"BASIC " + base64.b64encode(b"a" * 12 + b":" + b"b" * 32))],
        [(b"x-api-key", b"wr_other"), (b"authorization", b"Bearer " + KEY)],
        [(b"x-api-key", KEY), (b"x-api-key", b"wr_other")],
    ],
)
def test_every_way_to_send_a_key_gives_its_text(headers: RawHeaders) -> None:
    assert credentials_of(headers) == KEY


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer  ")],
        [(b"authorization", b"Digest " + KEY)],
        [(b"authorization", KEY)],
        [(b"authorization", b"Basic not base64!")],
        [(b"authorization", b"Basic YQ")],
        [(b"authorization", "Bearer wr_schlüssel".encode())],
        [(b"authorization", basic("prä:fix".encode()))],
        [(b"authorization", b"Bearer " + b"a" * (LONGEST + 1))],
        [(b"authorization", basic(b"a" * LONGEST))],
        [(b"x-api-key", b"")],
        [(b"authorization", b"Digest x"), (b"x-api-key", KEY)],
    ],
)
def test_what_can_be_no_key_is_none(headers: RawHeaders) -> None:
    assert credentials_of(headers) is None


def test_viewers_write_nothing() -> None:
    assert [may_write(Caller("p", "acme", role)) for role in ("device", "viewer", "editor", "admin")] == [
        True,
        False,
        True,
        True,
    ]

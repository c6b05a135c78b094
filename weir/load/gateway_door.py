"""One connection to a gateway: posts batches of readings, and says what became of each record.

A post without an answer is sent again with the same ``Idempotency-Key``: the gateway answers as it did before, and
where it has forgotten that, a reading that comes twice is stored once.
"""

from __future__ import annotations

import base64
import http.client
import random
import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit

import msgspec

from weir.errors import UsageError

Form = Literal["json", "binary"]

ANSWER_SECONDS: Final = 15.0
"""A gateway that has not answered by then has hung: it spools after three seconds of waiting for Kafka."""

LEAST_PAUSE, MOST_PAUSE = 0.1, 2.0
"""Seconds between two attempts, unless the gateway says how long."""

LONGEST_ADVICE: Final = 30.0

PASSING: Final = frozenset({408, 409, 429, 500, 502, 503, 504, 507})
"""Statuses, of a request or of one record, after which it may go through later."""

SPOOLED: Final = -1
SAMPLED_OUT: Final = -2


@dataclass(frozen=True, slots=True)
class Door:
    """A gateway's address and a key for it. Raises :class:`UsageError` for an address that is none."""

    url: str
    key: str = field(repr=False)

    def __post_init__(self) -> None:
        """Look at what a person may have typed."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise UsageError(f"The gateway's address looks like http://127.0.0.1:29405, not {self.url!r}.")
        if not self.key.isascii() or not self.key.isprintable() or not self.key:
            raise UsageError("The key of the gateway is empty or has characters that no key has.")


@dataclass(frozen=True, slots=True)
class Placed:
    """Kafka has it there."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Spooled:
    """The gateway has it on disk: acknowledged, with no place in Kafka yet."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not stored and will not be; ``code`` is the gateway's."""

    code: int
    why: str


@dataclass(frozen=True, slots=True)
class Silent:
    """Nobody knows."""

    why: str


Fate = Placed | Spooled | Refused | Silent


class _Answer(msgspec.Struct):
    offsets: list[_Offset] | None = None
    error_code: int | None = None
    message: str = ""


class _Offset(msgspec.Struct):
    partition: int | None = None
    offset: int | None = None
    error_code: int | None = None
    error: str | None = None


_INDEX: Final = re.compile(r"^Record \d+: ")
"""A reason names its record; without that, all of one kind are one line of a ledger."""

_decode = msgspec.json.Decoder(_Answer).decode


class Locked(Exception):
    """The gateway does not take this key: it is no use to go on."""


class DoorConnection:
    """Posts over one keep-alive connection; used by one thread, but :meth:`abandon` comes from another."""

    def __init__(self, door: Door, topic: str, patience_seconds: float) -> None:
        """Connects at the first post. What has no answer is sent again for ``patience_seconds``."""
        self._key = door.key
        parts = urlsplit(door.url)
        self._path = f"{parts.path.rstrip('/')}/topics/{quote(topic, safe='')}"
        self._patience = patience_seconds
        self._abandoned = threading.Event()
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._http: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=ANSWER_SECONDS, context=context
            )
        else:
            self._http = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def abandon(self) -> None:
        """Let the post that is under way end now, with what is known; from any thread."""
        self._abandoned.set()
        sock = self._http.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def post(self, form: Form, values: Sequence[bytes | None]) -> list[Fate]:
        """What became of each record, in order; blocks until all is known, or patience ends.

        What may pass (a gateway that is away or full, a quota) is tried again. ``values`` of the form ``json`` are
        JSON texts. Raises :class:`Locked`.
        """
        fates: list[Fate] = [Silent("not sent")] * len(values)
        waiting = list(range(len(values)))
        deadline = time.monotonic() + self._patience
        attempt, token = 0, uuid.uuid4().hex
        while True:
            found, advice = self._attempt(form, [values[place] for place in waiting], token)
            for place, fate in zip(waiting, found, strict=True):
                fates[place] = fate
            left = [place for place in waiting if _may_pass(fates[place])]
            if not left or self._abandoned.is_set() or time.monotonic() >= deadline:
                return [_final(fate) for fate in fates]
            if len(left) < len(waiting):  # another body, so another request
                waiting, token = left, uuid.uuid4().hex
            backoff = min(MOST_PAUSE, LEAST_PAUSE * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            attempt = min(attempt + 1, 10)
            self._abandoned.wait(min(max(advice, backoff), max(0.0, deadline - time.monotonic())))

    def _attempt(self, form: Form, values: Sequence[bytes | None], token: str) -> tuple[list[Fate], float]:
        """Fates, and how many seconds the gateway advises to wait."""
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": f"application/vnd.kafka.{form}.v2+json",
            "Accept": "application/vnd.kafka.v2+json",
            "Idempotency-Key": token,
        }
        try:
            if self._http.sock is None:
                self._http.connect()
            if self._abandoned.is_set():  # whoever abandons it sees the socket from here on
                return [Silent("given up")] * len(values), 0.0
            self._http.request("POST", self._path, _body(form, values), headers)
            answer = self._http.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            return [Silent(f"no answer: {type(error).__name__}")] * len(values), 0.0
        if answer.status == http.client.UNAUTHORIZED:
            raise Locked("The gateway does not take this key.")
        return _fates(answer.status, content, len(values)), _advice(answer.getheader("Retry-After"))


def _may_pass(fate: Fate) -> bool:
    return isinstance(fate, Silent) or (isinstance(fate, Refused) and _status(fate.code) in PASSING)


def _final(fate: Fate) -> Fate:
    """What is said of a record when patience has ended: an earlier attempt may have come through, but for a quota."""
    if isinstance(fate, Refused) and _may_pass(fate) and _status(fate.code) != http.client.TOO_MANY_REQUESTS:
        return Silent(f"{fate.code}: {fate.why}")
    return fate


def _body(form: Form, values: Sequence[bytes | None]) -> bytes:
    if form == "json":
        texts = [b"null" if value is None else value for value in values]
    else:
        texts = [b"null" if value is None else b'"' + base64.b64encode(value) + b'"' for value in values]
    return b'{"records":[' + b",".join([b'{"value":' + text + b"}" for text in texts]) + b"]}"


def _fates(status: int, content: bytes, count: int) -> list[Fate]:
    """By record, from an answer for each of them or from one for all."""
    try:
        answer = _decode(content)
    except msgspec.DecodeError:  # a proxy's page
        answer = _Answer()
    if answer.offsets is not None and len(answer.offsets) == count:
        return [_fate(each) for each in answer.offsets]
    if status < http.client.BAD_REQUEST:
        return [Silent(f"an answer of status {status} without offsets")] * count
    return [Refused(answer.error_code or status, answer.message or f"status {status}")] * count


def _fate(record: _Offset) -> Fate:
    if record.error_code is not None:
        return Refused(record.error_code, _INDEX.sub("", record.error or "refused without a reason"))
    if record.offset is None or record.offset == SPOOLED:
        return Spooled()
    if record.offset == SAMPLED_OUT:
        return Refused(SAMPLED_OUT, "left out by the device's sampling policy")
    return Placed(record.partition or 0, record.offset)


def _status(code: int) -> int:
    return code if code < 1_000 else code // 100


def _advice(header: str | None) -> float:
    """Seconds of a ``Retry-After``; a date is not asked for."""
    try:
        return min(LONGEST_ADVICE, max(0.0, float(header or 0)))
    except ValueError:
        return 0.0


def plain_json(fields: dict[str, Any]) -> bytes:
    """A reading as a device posts it: fields without a value are left out."""
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})

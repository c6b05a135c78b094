"""One case of the gateway's contract: what is sent, and what comes back, as data.

Words in braces, such as ``{acme}``, stand for names that each run of the tests makes anew.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

V2: Final = "application/vnd.kafka.v2+json"
V2_JSON: Final = "application/vnd.kafka.json.v2+json"
V2_AVRO: Final = "application/vnd.kafka.avro.v2+json"
V2_BINARY: Final = "application/vnd.kafka.binary.v2+json"
JSON: Final = "application/json"

SAME: Final = "the same"
NOT_COMPARED: Final = "not compared"
"""What its HTTP server does, or what its source does not say."""

Answer = Any
"""A JSON value in which :class:`Some` stands for what differs from run to run."""


@dataclass(frozen=True, eq=False)
class Some:
    """Equal to every value that fits; ``word`` stands for it in the table."""

    word: str
    fits: Callable[[Any], bool]
    words: tuple[str, ...] = ()
    """What a sentence must say; names in braces are filled in."""

    def filled(self, places: Mapping[str, str]) -> Some:
        """The same with its names filled in."""
        return saying(*(filled(each, places) for each in self.words)) if self.words else self

    def __eq__(self, other: object) -> bool:
        """Whether the other one fits."""
        return self.fits(other)

    def __hash__(self) -> int:
        """By the word."""
        return hash(self.word)

    def __repr__(self) -> str:
        """The word, as failures of tests show it."""
        return self.word


NUMBER: Final = Some("‹number›", lambda found: type(found) is int and found >= 0)
SECONDS: Final = Some("‹seconds›", lambda found: isinstance(found, int | float) and 0 < found < 60)
TEXT: Final = Some('"‹text›"', lambda found: isinstance(found, str) and found != "")
TIME: Final = Some('"‹time›"', lambda found: isinstance(found, str) and found.endswith("Z") and "T" in found)


def saying(*words: str) -> Some:
    """A sentence that has these words in it."""

    def fits(found: object) -> bool:
        return isinstance(found, str) and all(each in found for each in words)

    return Some(f'"…{"…".join(words)}…"', fits, words)


@dataclass(frozen=True)
class Stored:
    """What Kafka must hold: of a reading its fields, of another record its bytes."""

    value: bytes | Mapping[str, Any] | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: int | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """``name`` says what is special; ``confluent`` what Confluent's proxy would do.

    ``body`` is sent as JSON unless it is bytes; ``raw`` replaces everything that is sent. ``first`` is sent before, and
    whatever it is answered is of no interest. ``only`` names the one client that can send it. ``closes``: the server
    must hang up after its answer. ``lines``: the answer is a list of JSON texts one after the other.
    """

    name: str
    method: str = "POST"
    path: str
    body: Any = None
    media_type: str | None = None
    headers: Mapping[str, str] | None = None
    encoding: Literal["gzip", "deflate"] | None = None
    key: str | None = "organisation"
    scheme: Literal["bearer", "basic", "x-api-key"] = "bearer"
    raw: bytes | None = None
    shown: str = ""
    first: Case | None = None
    only: Literal["raw", "httpx"] | None = None
    status: int = 200
    answer: Answer = None
    answer_headers: Mapping[str, object] | None = None
    lines: bool = False
    closes: bool = False
    stored: tuple[Stored, ...] = ()
    confluent: str = ""

    def __str__(self) -> str:
        """The name, as the id of a test."""
        return self.name

    def content(self) -> bytes:
        """The body as bytes, with the words in braces, before it is compressed."""
        if isinstance(self.body, bytes):
            return self.body
        return b"" if self.body is None else json.dumps(self.body, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Group:
    """Cases under one heading of the table."""

    title: str
    cases: tuple[Case, ...]
    confluent: str = SAME
    """What holds of cases that say nothing else."""


def filled(text: str, places: Mapping[str, str]) -> str:
    """A text with its words in braces replaced; ``"{now}"`` in JSON becomes a number."""
    text = text.replace('"{now}"', "{now}").replace('"{readings schema}"', "{readings schema}")
    text = text.replace('"{foreign schema}"', "{foreign schema}")
    for word, name in places.items():
        text = text.replace(f"{{{word}}}", name)
    return text


def compressed(body: bytes, encoding: str | None) -> bytes:
    """A body in the encoding that its headers announce."""
    if encoding == "gzip":
        return gzip.compress(body)
    return zlib.compress(body) if encoding == "deflate" else body

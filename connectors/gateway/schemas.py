"""Schemas that clients name by id, text or version: asked of the registry in threads, kept once known.

A schema counts for a topic only when it is a version of one of the topic's own subjects. An id of somebody else's
subject is answered like one that does not exist. The text of a new schema is registered for an organisation's own
topics; the readings topic has its contract, and a text that is none of its versions is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import fastavro

from connectors.gateway.avro_json import Write, compiled
from connectors.gateway.errors import (
    BAD_REQUEST,
    INVALID_SCHEMA,
    KAFKA_RETRIABLE,
    OVER_QUOTA,
    SERIALISATION_FAILED,
    GatewayError,
)
from connectors.gateway.strict_json import flaw_of
from connectors.registry import Registry, Version
from weir.errors import ConfigError, TransientError
from weir.settings import Settings

NEGATIVE_SECONDS: Final = 5.0
"""How long an id stays unknown: a device with a wrong id must not send a request a record."""

LATEST_SECONDS: Final = 5.0
"""How long a subject's newest version is taken for the newest."""

MOST_TEXT: Final = 65_536
MOST_LEVELS: Final = 64
MOST_KEPT: Final = 2_000
MOST_KEPT_TEXT: Final = 8_388_608
"""Characters of schemas that are kept; parsed they take about ten times as much memory."""

REGISTERED_AN_HOUR: Final = 60
"""New schemas of one organisation: the registry keeps every one for ever, and a faulty client makes one a record."""

SECONDS_OF_HOUR: Final = 3_600.0
MOST_WAITING: Final = 64
MOST_ID: Final = 2**31 - 1

_RECORD_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """``parsed`` is for fastavro's reader, ``write`` appends a value of Avro's JSON encoding to some bytes."""

    id: int
    subject: str
    version: int
    schema: Any
    parsed: Any
    write: Write


class _Refused(NamedTuple):
    code: int
    message: str


class _Kept(NamedTuple):
    answer: RegisteredSchema | _Refused
    until: float
    characters: int


_Key = tuple[str, str, int | bytes]
"""How it was asked for (id, text, version, latest), the subject, and the id, digest or number."""


class Schemas:
    """The schemas of topics. Its methods belong to one event loop and raise :class:`GatewayError`.

    42205 for a text that is no schema of the topic, 42207 for an id or subject that has none, 400 for a version that
    does not exist, 42901 for too many new schemas, 503 while the registry is away.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """Connects on the first question; ``clock`` (seconds) ages what is kept."""
        self._readings = settings.topics.readings
        self._clock = clock
        # one attempt: the client hears 503 and tries again, while the thread serves others
        self._registry = Registry(settings.registry, attempts=1)
        self._threads = ThreadPoolExecutor(4, "schemas")
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._kept_characters = 0
        self._registered: dict[str, deque[float]] = {}
        self._asking: dict[_Key, asyncio.Task[RegisteredSchema | _Refused]] = {}

    async def close(self) -> None:
        """Wait for what is under way and close connections."""
        if self._asking:
            await asyncio.wait(list(self._asking.values()))
        self._threads.shutdown(wait=False)
        self._registry.close()

    def known(self, topic: str, is_key: bool, schema_id: int) -> RegisteredSchema | None:
        """The schema with that id when it was found before; no I/O."""
        kept = self._kept.get(("id", subject_of(topic, is_key), schema_id))
        return kept.answer if kept and isinstance(kept.answer, RegisteredSchema) else None

    async def named(
        self, topic: str, is_key: bool, schema_id: int | None = None, text: str | None = None
    ) -> RegisteredSchema:
        """The schema that a v2 request names, by id or by text; 400 for both or neither."""
        if schema_id is not None and text is None:
            return await self.by_id(topic, is_key, schema_id)
        if text is not None and schema_id is None:
            return await self.by_text(topic, is_key, text)
        raise GatewayError(BAD_REQUEST, "A schema is named by its id or its text, one of them.")

    async def by_id(self, topic: str, is_key: bool, schema_id: int, subject: str | None = None) -> RegisteredSchema:
        """The schema with an id, when it is one of the topic's."""
        subject = subject or subject_of(topic, is_key)
        missing = _Refused(SERIALISATION_FAILED, f"Error serializing message. {subject} has no schema id {schema_id}.")
        if not 0 <= schema_id <= MOST_ID:
            raise GatewayError(*missing)
        return await self._find(
            ("id", subject, schema_id), lambda: self._registry.version_with_id(subject, schema_id), missing
        )

    async def by_version(self, topic: str, is_key: bool, version: int, subject: str | None = None) -> RegisteredSchema:
        """The schema of a version of the topic's subject."""
        subject = subject or subject_of(topic, is_key)
        missing = _Refused(BAD_REQUEST, f"Schema does not exist for subject: {subject}, version: {version}")
        if not 1 <= version <= MOST_ID:
            raise GatewayError(*missing)
        return await self._find(
            ("version", subject, version), lambda: self._registry.version(subject, version), missing
        )

    async def latest(self, topic: str, is_key: bool, subject: str | None = None) -> RegisteredSchema:
        """The newest schema of the topic's subject; an older one while the registry is away."""
        subject = subject or subject_of(topic, is_key)
        missing = _Refused(SERIALISATION_FAILED, f"Error serializing message. {subject} has no schema.")
        return await self._find(("latest", subject, 0), lambda: self._registry.version(subject), missing)

    async def by_text(self, topic: str, is_key: bool, text: str, subject: str | None = None) -> RegisteredSchema:
        """The schema with this text; registers it, unless the topic is the readings topic."""
        subject = subject or subject_of(topic, is_key)
        may_register = topic != self._readings
        digest = hashlib.sha256(text.encode(errors="surrogatepass")).digest()
        if ("text", subject, digest) not in self._kept:
            parse(text)  # what is no schema need not reach the registry
        missing = _Refused(INVALID_SCHEMA, f"Invalid schema: it is no version of {subject}, whose schemas are fixed.")

        def ask() -> Version | None:
            found = self._registry.version_of(subject, text)
            return self._register(topic, subject, text) if found is None and may_register else found

        return await self._find(("text", subject, digest), ask, missing)

    def _register(self, topic: str, subject: str, text: str) -> Version:
        try:
            self._count_new(topic.rpartition(".")[0])
            self._registry.register(subject, text)
        except ConfigError:
            said = f"Error serializing message. The registry does not take the schema as a version of {subject}."
            raise GatewayError(SERIALISATION_FAILED, said) from None
        found = self._registry.version_of(subject, text)
        if found is None:
            raise TransientError(f"{subject} does not show a schema that it took.")
        return found

    def _count_new(self, organisation: str) -> None:
        """Runs in threads; one too many by a race of two does no harm."""
        now, times = self._clock(), self._registered.setdefault(organisation, deque(maxlen=REGISTERED_AN_HOUR))
        if len(times) == REGISTERED_AN_HOUR and now - times[0] < SECONDS_OF_HOUR:
            said = f"{organisation} has registered {REGISTERED_AN_HOUR} new schemas within the hour; try again later."
            raise GatewayError(OVER_QUOTA, said)
        times.append(now)

    async def _find(self, key: _Key, ask: Callable[[], Version | None], missing: _Refused) -> RegisteredSchema:
        kept = self._kept.get(key)
        if kept is None or self._clock() >= kept.until:
            answer = await self._ask(key, ask, missing, kept)
        else:
            self._kept.move_to_end(key)
            answer = kept.answer
        if isinstance(answer, _Refused):
            raise GatewayError(*answer)
        return answer

    async def _ask(
        self, key: _Key, ask: Callable[[], Version | None], missing: _Refused, old: _Kept | None
    ) -> RegisteredSchema | _Refused:
        """Join the question under way, or put it; a client that goes away does not end it for the others."""
        asking = self._asking.get(key)
        if asking is None:
            if len(self._asking) >= MOST_WAITING:
                raise _away("Too many questions about schemas are under way")
            asking = self._asking[key] = asyncio.create_task(self._ask_once(key, ask, missing, old))
            asking.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(asking)

    async def _ask_once(
        self, key: _Key, ask: Callable[[], Version | None], missing: _Refused, old: _Kept | None
    ) -> RegisteredSchema | _Refused:
        answer: RegisteredSchema | _Refused
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, _answer, key[1], ask, missing)
        except (TransientError, ConfigError):
            if old is not None and isinstance(old.answer, RegisteredSchema):
                return old.answer
            return _Refused(KAFKA_RETRIABLE, "The schema registry cannot be reached; try again.")
        self._keep(key, answer)
        return answer

    def _keep(self, key: _Key, answer: RegisteredSchema | _Refused) -> None:
        if isinstance(answer, _Refused):
            until, characters = self._clock() + NEGATIVE_SECONDS, len(answer.message)
        else:
            until = self._clock() + LATEST_SECONDS if key[0] == "latest" else float("inf")
            characters = len(str(answer.schema))
        before = self._kept.pop(key, None)
        self._kept_characters += characters - (before.characters if before else 0)
        self._kept[key] = _Kept(answer, until, characters)
        while len(self._kept) > MOST_KEPT or self._kept_characters > MOST_KEPT_TEXT:
            self._kept_characters -= self._kept.popitem(last=False)[1].characters


def _answer(subject: str, ask: Callable[[], Version | None], missing: _Refused) -> RegisteredSchema | _Refused:
    """Ask and parse, in a thread."""
    try:
        found = ask()
        if found is None:
            return missing
        schema, parsed, write = parse(found.text)
    except GatewayError as error:
        return _Refused(error.code, error.message)
    return RegisteredSchema(found.id, subject, found.version, schema, parsed, write)


def parse(text: str) -> tuple[Any, Any, Write]:
    """A schema's JSON, what fastavro makes of it, and its writer. Raises :class:`GatewayError` 42205."""
    if len(text) > MOST_TEXT:
        raise GatewayError(INVALID_SCHEMA, f"Invalid schema: it is longer than {MOST_TEXT} characters.")
    try:
        schema = json.loads(text)
        if not isinstance(schema, str | dict | list):
            raise ValueError("it is neither an object nor the name of a type")
        flaw = flaw_of(schema, MOST_LEVELS)
        if flaw is not None:
            raise ValueError(f"it {flaw}")
        parsed = fastavro.parse_schema(schema)
        return schema, parsed, compiled(parsed)
    except RecursionError:
        raise GatewayError(INVALID_SCHEMA, "Invalid schema: it has too many levels.") from None
    except Exception as error:  # fastavro raises whatever a bent schema leads it into, KeyError and TypeError included
        said = f"{type(error).__name__}: {error}" if isinstance(error, KeyError | TypeError) else str(error)
        raise GatewayError(INVALID_SCHEMA, f"Invalid schema: {said[:200]}") from None


def subject_of(topic: str, is_key: bool) -> str:
    """The subject that holds the schemas of a topic's keys or values."""
    return f"{topic}-{'key' if is_key else 'value'}"


def chosen_subject(topic: str, is_key: bool, subject: str | None, strategy: str | None, text: str | None) -> str:
    """The subject that a v3 record names, directly or by a strategy.

    Raises :class:`GatewayError` 400 for one that is not the topic's: its name followed by ``-key``, ``-value`` or the
    name of a record. A longer topic's subject can be none of these, since names of records have no hyphen.
    """
    if subject is not None:
        own, hyphen, record = subject.partition(f"{topic}-")
        if own or not hyphen or not _RECORD_NAME.fullmatch(record):
            raise GatewayError(BAD_REQUEST, f"A subject of {topic} is {topic}-key, {topic}-value or {topic}-<record>.")
        return subject
    if strategy in (None, "TOPIC_NAME"):
        return subject_of(topic, is_key)
    if strategy != "TOPIC_RECORD_NAME":
        raise GatewayError(BAD_REQUEST, "subject_name_strategy is TOPIC_NAME or TOPIC_RECORD_NAME here.")
    parsed = parse(text)[1] if text is not None else None
    if not isinstance(parsed, dict) or "name" not in parsed:
        raise GatewayError(BAD_REQUEST, "TOPIC_RECORD_NAME takes the text of a record's schema.")
    return f"{topic}-{parsed['name']}"


def _away(said: str) -> GatewayError:
    return GatewayError(KAFKA_RETRIABLE, f"{said}; try again.", retry_after=1.0)

"""Schemas that clients name by id, text or version: asked of the registry in threads, kept once known.

A schema counts for a topic only when it is a version of one of the topic's own subjects. An id of somebody else's
subject is answered like one that does not exist. The text of a new schema is registered for an organisation's own
topics; the readings topic has its contract, and a text that is none of its versions is refused.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from connectors.gateway.content.readings_schemas import ReadingsSchemas
from connectors.gateway.content.schema_questions import Answer, Found, Questions, Refused
from connectors.gateway.content.schema_text import RegisteredSchema, chosen_subject, json_of, parse, subject_of
from connectors.gateway.errors import BAD_REQUEST, INVALID_SCHEMA, OVER_QUOTA, SERIALISATION_FAILED, GatewayError
from connectors.registry import Registry, Version
from weir.errors import ConfigError, TransientError
from weir.settings import Settings

__all__ = ["RegisteredSchema", "Schemas", "chosen_subject", "parse", "subject_of"]

LATEST_SECONDS: Final = 5.0
"""How long a subject's newest version is taken for the newest."""

REGISTERED_AN_HOUR: Final = 60
"""New schemas of one organisation: the registry keeps every one for ever, and a faulty client makes one a record."""

SECONDS_OF_HOUR: Final = 3_600.0
MOST_ID: Final = 2**31 - 1


class Schemas:
    """The schemas of topics. Its methods belong to one event loop and raise :class:`GatewayError`.

    42205 for a text that is no schema of the topic, 42207 for an id or subject that has none, 400 for a version that
    does not exist, 42901 for too many new schemas, 503 while the registry is away or an organisation asks too much.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """Connects on the first question; ``clock`` (seconds) ages what is kept."""
        self._topic = settings.topics.readings
        self._subject = subject_of(self._topic, is_key=False)
        self._clock = clock
        # one attempt: the client hears 503 and tries again, while the thread serves others
        self._registry = Registry(settings.registry, attempts=1)
        self._readings = ReadingsSchemas(self._registry, self._subject, clock)
        self._questions = Questions(clock)
        self._registered: dict[str, deque[float]] = {}

    async def close(self) -> None:
        """Wait for what is under way and close connections."""
        await self._questions.close()
        await self._readings.close()
        self._registry.close()

    def known(self, topic: str, is_key: bool, schema_id: int) -> RegisteredSchema | None:
        """The schema with that id when it was found before; no I/O."""
        subject = subject_of(topic, is_key)
        if topic == self._topic:
            return self._readings.with_id(schema_id) if subject == self._subject else None
        return self._questions.known(_owner(topic), ("id", subject, schema_id))

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
        missing = Refused(SERIALISATION_FAILED, f"Error serializing message. {subject} has no schema id {schema_id}.")
        if not 0 <= schema_id <= MOST_ID:
            raise GatewayError(*missing)
        if topic == self._topic:
            return await self._of_readings(subject, lambda: self._readings.with_id(schema_id), missing)
        ask = _asking(subject, lambda: self._registry.version_with_id(subject, schema_id), missing)
        return await self._questions.answer(_owner(topic), ("id", subject, schema_id), ask)

    async def by_version(self, topic: str, is_key: bool, version: int, subject: str | None = None) -> RegisteredSchema:
        """The schema of a version of the topic's subject."""
        subject = subject or subject_of(topic, is_key)
        missing = Refused(BAD_REQUEST, f"Schema does not exist for subject: {subject}, version: {version}")
        if not 1 <= version <= MOST_ID:
            raise GatewayError(*missing)
        if topic == self._topic:
            return await self._of_readings(subject, lambda: self._readings.numbered(version), missing)
        ask = _asking(subject, lambda: self._registry.version(subject, version), missing)
        return await self._questions.answer(_owner(topic), ("version", subject, version), ask)

    async def latest(self, topic: str, is_key: bool, subject: str | None = None) -> RegisteredSchema:
        """The newest schema of the topic's subject; an older one while the registry is away."""
        subject = subject or subject_of(topic, is_key)
        missing = Refused(SERIALISATION_FAILED, f"Error serializing message. {subject} has no schema.")
        if topic == self._topic:
            return await self._of_readings(subject, self._readings.newest, missing, is_newest=True)
        ask = _asking(subject, lambda: self._registry.version(subject), missing)
        return await self._questions.answer(_owner(topic), ("latest", subject, 0), ask, LATEST_SECONDS)

    async def by_text(self, topic: str, is_key: bool, text: str, subject: str | None = None) -> RegisteredSchema:
        """The schema with this text; registers it, unless the topic is the readings topic."""
        subject = subject or subject_of(topic, is_key)
        if topic == self._topic:
            return await self._readings_text(subject, text)
        key = "text", subject, hashlib.sha256(text.encode(errors="surrogatepass")).digest()

        def ask() -> Answer:
            parse(text)  # what is no schema need not reach the registry
            found = self._registry.version_of(subject, text)
            return _found(subject, self._register(topic, subject, text) if found is None else found)

        return await self._questions.answer(_owner(topic), key, ask)

    # -- the readings topic ----------------------------------------------------------------------------------------

    async def _of_readings(
        self,
        subject: str,
        look: Callable[[], RegisteredSchema | None],
        missing: Refused,
        is_newest: bool = False,
    ) -> RegisteredSchema:
        found = await self._readings.find(look, is_newest) if subject == self._subject else None
        if found is None:
            raise GatewayError(*missing)
        return found

    async def _readings_text(self, subject: str, text: str) -> RegisteredSchema:
        """The version that is the same JSON, at once; else the one of the same meaning, judged in a thread."""
        schema = json_of(text)
        missing = Refused(INVALID_SCHEMA, f"Invalid schema: it is no version of {subject}, whose schemas are fixed.")
        if subject != self._subject:
            raise GatewayError(*missing)
        found = await self._readings.find(lambda: self._readings.same_json(schema))
        if found is not None:
            return found
        if not self._readings.is_near(schema):
            raise GatewayError(*missing)
        key = "text", subject, hashlib.sha256(text.encode(errors="surrogatepass")).digest()

        def ask() -> Answer:
            same = self._readings.same_meaning(text)
            return missing if same is None else Found(same, len(text))

        return await self._questions.answer(_owner(self._topic), key, ask)

    # -- in threads ------------------------------------------------------------------------------------------------

    def _register(self, topic: str, subject: str, text: str) -> Version:
        try:
            self._count_new(_owner(topic))
            self._registry.register(subject, text)
        except ConfigError:
            said = f"Error serializing message. The registry does not take the schema as a version of {subject}."
            raise GatewayError(SERIALISATION_FAILED, said) from None
        found = self._registry.version_of(subject, text)
        if found is None:
            raise TransientError(f"{subject} does not show a schema that it took.")
        return found

    def _count_new(self, organisation: str) -> None:
        """One too many by a race of two threads does no harm."""
        now, times = self._clock(), self._registered.setdefault(organisation, deque(maxlen=REGISTERED_AN_HOUR))
        if len(times) == REGISTERED_AN_HOUR and now - times[0] < SECONDS_OF_HOUR:
            said = f"{organisation} has registered {REGISTERED_AN_HOUR} new schemas within the hour; try again later."
            raise GatewayError(OVER_QUOTA, said)
        times.append(now)


def _asking(subject: str, ask: Callable[[], Version | None], missing: Refused) -> Callable[[], Answer]:
    def answer() -> Answer:
        found = ask()
        return missing if found is None else _found(subject, found)

    return answer


def _found(subject: str, version: Version) -> Found:
    return Found(RegisteredSchema(version.id, subject, version.version, *parse(version.text)), len(version.text))


def _owner(topic: str) -> str:
    """The organisation of a topic, whose name follows the last full stop."""
    return topic.rpartition(".")[0]

"""The versions of the readings topic's subject, loaded at once: any device may name one, and nothing else counts.

What a device makes up is then known to be wrong without a question, so that nobody can keep others from answers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from connectors.gateway.content.schema_text import RegisteredSchema, parse
from connectors.gateway.errors import KAFKA_RETRIABLE, GatewayError
from connectors.registry import Registry
from weir.errors import ConfigError, TransientError

REFRESH_SECONDS: Final = 5.0
"""How old the list of versions may be: so long a new version is refused at most."""

AGAIN_SECONDS: Final = 1.0
"""How soon a registry that was away is asked again."""


class ReadingsSchemas:
    """For one event loop. What was loaded once holds while the registry is away."""

    def __init__(self, registry: Registry, subject: str, clock: Callable[[], float]) -> None:
        """Nothing is loaded yet; ``clock`` counts seconds."""
        self._registry = registry
        self._subject = subject
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "schemas-of-readings")
        self._versions: Mapping[int, RegisteredSchema] = {}
        self._by_id: Mapping[int, RegisteredSchema] = {}
        self._fresh_until = self._away_until = float("-inf")
        self._loading: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._loading is not None:
            await asyncio.wait([self._loading])
        self._thread.shutdown(wait=False)

    def with_id(self, schema_id: int) -> RegisteredSchema | None:
        """The version with this id among those that are loaded."""
        return self._by_id.get(schema_id)

    def numbered(self, number: int) -> RegisteredSchema | None:
        """The version with this number among those that are loaded."""
        return self._versions.get(number)

    def newest(self) -> RegisteredSchema | None:
        """The newest of those that are loaded."""
        return self._versions[max(self._versions)] if self._versions else None

    def same_json(self, schema: Any) -> RegisteredSchema | None:
        """The version that is the same JSON, whatever the order of keys."""
        return next((each for each in self._versions.values() if each.schema == schema), None)

    def is_near(self, schema: Any) -> bool:
        """Whether a schema has the fields of a version; others need no further look."""
        named = _field_names(schema)
        return named is not None and any(_field_names(each.schema) == named for each in self._versions.values())

    def same_meaning(self, text: str) -> RegisteredSchema | None:
        """The version that is the same once names are complete. For a thread.

        Raises :class:`GatewayError` 42205 for what is no schema.
        """
        wanted = _resolved(parse(text)[1])
        return next((each for each in self._versions.values() if _resolved(each.parsed) == wanted), None)

    async def find(
        self, look: Callable[[], RegisteredSchema | None], is_newest: bool = False
    ) -> RegisteredSchema | None:
        """What ``look`` finds, after loading the versions anew where it finds nothing, every few seconds at most.

        Where the newest is looked for, they are never older than that. Raises :class:`GatewayError` 503 when nothing
        is found while the registry is away.
        """
        found = None if is_newest and self._clock() >= self._fresh_until else look()
        if found is not None or self._clock() < self._fresh_until:
            return found
        if self._clock() >= self._away_until:
            if self._loading is None:
                self._loading = asyncio.create_task(self._load())
            await asyncio.shield(self._loading)
        found = look()
        if found is None and self._clock() >= self._fresh_until:
            said = "The schema registry cannot be reached; try again."
            raise GatewayError(KAFKA_RETRIABLE, said, retry_after=AGAIN_SECONDS)
        return found

    async def _load(self) -> None:
        try:
            self._versions = await asyncio.get_running_loop().run_in_executor(self._thread, self._loaded)
            self._by_id = {each.id: each for each in self._versions.values()}
            self._fresh_until = self._clock() + REFRESH_SECONDS
        except (TransientError, ConfigError):
            self._away_until = self._clock() + AGAIN_SECONDS
        finally:
            self._loading = None

    def _loaded(self) -> dict[int, RegisteredSchema]:
        """In the thread: all versions, of which those that are known are not read again."""
        numbers = self._registry.versions(self._subject)
        found = {number: self._versions.get(number) or self._read(number) for number in numbers}
        return {number: each for number, each in found.items() if each is not None}

    def _read(self, number: int) -> RegisteredSchema | None:
        found = self._registry.version(self._subject, number)
        try:
            return found and RegisteredSchema(found.id, self._subject, number, *parse(found.text))
        except GatewayError:  # no Avro that can be written here; the others hold
            return None


def _field_names(schema: Any) -> list[Any] | None:
    fields = schema.get("fields") if isinstance(schema, dict) else None
    return (
        [each.get("name") if isinstance(each, dict) else None for each in fields] if isinstance(fields, list) else None
    )


def _resolved(parsed: Any) -> str:
    """What fastavro made of a schema, without its own remarks."""
    own = {name: part for name, part in parsed.items() if name[:2] != "__"} if isinstance(parsed, dict) else parsed
    return json.dumps(own, sort_keys=True)

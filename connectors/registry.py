"""Client of a schema registry that speaks Confluent's API (Apicurio's ccompat does, too)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from weir.errors import ConfigError, PoisonError, TransientError
from weir.server_errors import http_passes
from weir.settings import RegistrySettings

ATTEMPTS = 4
NEGATIVE_SECONDS = 5.0
"""How long an unknown schema id stays unknown: a broken producer must not send a request a message."""

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"


class Latest(NamedTuple):
    """The newest version of a subject: its schema's id, its version number and the parsed schema."""

    id: int
    version: int
    schema: dict[str, Any]


class Version(NamedTuple):
    """One version of a subject: the schema's id, its number and its text."""

    id: int
    version: int
    text: str


class Registry:
    """Schemas by id, kept for ever once read, and what migrations need. Threads may share one; close it.

    Every method blocks for at most ``attempts`` (four) times ``timeout_seconds`` with jittered pauses, then raises
    :class:`TransientError` when the registry could not be reached or answered 5xx. Other refusals are
    :class:`ConfigError` in the registry's own words.
    """

    def __init__(
        self, settings: RegistrySettings, clock: Callable[[], float] = time.monotonic, attempts: int = ATTEMPTS
    ) -> None:
        """Connects on the first request; ``clock`` (seconds) ages negative answers.

        ``attempts`` is how often a registry that is away is asked before a method raises.
        """
        self._url = settings.url.rstrip("/")
        self._attempts = attempts
        self._clock = clock
        self._schemas: dict[int, dict[str, Any]] = {}
        self._unknown: dict[int, tuple[float, str]] = {}
        self._lock = threading.Lock()
        password = settings.password.get_secret_value() if settings.password else ""
        self._http = httpx.Client(
            auth=(settings.username, password) if settings.username else None,
            timeout=settings.timeout_seconds,
            headers={"Accept": f"{MEDIA_TYPE}, application/json"},
            mounts={"all://127.0.0.1": None, "all://localhost": None},  # the embedded registry is behind no proxy
        )

    def __enter__(self) -> Self:
        """The registry itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close connections."""
        self.close()

    def close(self) -> None:
        """Close connections; the registry cannot be used afterwards."""
        self._http.close()

    def schema(self, schema_id: int) -> dict[str, Any]:
        """The parsed Avro schema with this id; only the first call for an id asks the registry.

        Raises :class:`PoisonError` ``unknown_schema_id`` when the registry has no such id (asked again after five
        seconds) or ``incompatible_schema`` when it is not Avro or refers to other subjects.
        """
        known = self._schemas.get(schema_id)
        if known is not None:  # without the lock: a registry that is away must not hold up what is known
            return known
        with self._lock:
            known = self._schemas.get(schema_id)
            if known is not None:
                return known
            until, said = self._unknown.get(schema_id, (0.0, ""))
            if said and self._clock() < until:
                raise PoisonError("unknown_schema_id", said)
            return self._fetch(schema_id)

    def _fetch(self, schema_id: int) -> dict[str, Any]:
        answer = self._ask("GET", f"/schemas/ids/{schema_id}", missing=(404,))
        if answer is None:
            said = f"The registry has no schema with id {schema_id}."
            if len(self._unknown) > 10_000:  # garbage bytes make garbage ids; they must not fill the memory
                self._unknown.clear()
            self._unknown[schema_id] = (self._clock() + NEGATIVE_SECONDS, said)
            raise PoisonError("unknown_schema_id", said)
        if answer.get("schemaType", "AVRO") != "AVRO" or answer.get("references"):
            raise PoisonError("incompatible_schema", f"Schema {schema_id} is not Avro or refers to other subjects.")
        schema = _parsed(answer["schema"])
        self._schemas[schema_id] = schema
        self._unknown.pop(schema_id, None)
        return schema

    def register(self, subject: str, schema_text: str) -> int:
        """Register a version of ``subject`` and return the schema's id; the same schema again returns the same id.

        Raises :class:`ConfigError` with the registry's own words when it is incompatible or invalid.
        """
        answer = self._ask("POST", f"{_path(subject)}/versions", {"schema": schema_text})
        return int(_present(answer)["id"])

    def latest(self, subject: str) -> Latest | None:
        """The newest version of ``subject``, None when it has none."""
        answer = self._ask("GET", f"{_path(subject)}/versions/latest", missing=(404,))
        return Latest(answer["id"], answer["version"], _parsed(answer["schema"])) if answer else None

    def version(self, subject: str, number: int | None = None) -> Version | None:
        """A version of ``subject``, the newest without a ``number``; None when there is no such Avro version."""
        path = f"{_path(subject)}/versions/{'latest' if number is None else number}"
        return _version(self._ask("GET", path, missing=(404, 422)))  # 422: a number that can be none

    def versions(self, subject: str) -> list[int]:
        """The numbers of all versions of ``subject``; empty when it has none."""
        answer = self._ask_any("GET", f"{_path(subject)}/versions", missing=(404,))
        if answer is None or isinstance(answer, list):
            return [int(each) for each in answer or []]
        raise self._not_a_registry(_path(subject))

    def version_of(self, subject: str, schema_text: str) -> Version | None:
        """The version of ``subject`` that has this schema; None when none has, or it can be no schema."""
        return _version(self._ask("POST", _path(subject), {"schema": schema_text}, missing=(404, 422)))

    def version_with_id(self, subject: str, schema_id: int) -> Version | None:
        """The version of ``subject`` whose schema has this id; None when the id is only of other subjects."""
        answer = self._ask_any("GET", f"/schemas/ids/{schema_id}/versions", missing=(404,))
        for each in answer if isinstance(answer, list) else []:
            if each["subject"] == subject:
                return self.version(subject, each["version"])
        return None

    def incompatibilities(self, subject: str, schema_text: str) -> list[str]:
        """What keeps a schema from being the next version of ``subject``; empty when nothing does."""
        path = f"/compatibility{_path(subject)}/versions/latest?verbose=true"
        answer = self._ask("POST", path, {"schema": schema_text}, missing=(404,))
        if answer is None or answer["is_compatible"]:
            return []
        return [str(message) for message in answer.get("messages", [])] or ["it is incompatible"]

    def compatibility(self, subject: str) -> str | None:
        """The compatibility level set on ``subject``, such as BACKWARD; None when none is."""
        answer = self._ask("GET", f"/config/{quote(subject, safe='')}", missing=(404,))
        return str(answer["compatibilityLevel"]) if answer else None

    def set_compatibility(self, subject: str, level: str) -> None:
        """Set the compatibility level of ``subject``: BACKWARD, FULL, NONE …"""
        path, body = f"/config/{quote(subject, safe='')}", {"compatibility": level}
        # Apicurio answers 409 to the slower of two that set a subject's first level at once
        if self._ask("PUT", path, body, missing=(409,)) is None and self.compatibility(subject) != level:
            self._ask("PUT", path, body)

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, missing: tuple[int, ...] = ()
    ) -> dict[str, Any] | None:
        """One answer that is an object; None for a status in ``missing``."""
        found = self._ask_any(method, path, body, missing)
        if found is None or isinstance(found, dict):
            return found
        raise self._not_a_registry(path)

    def _ask_any(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, missing: tuple[int, ...] = ()
    ) -> dict[str, Any] | list[Any] | None:
        """One answer, parsed; None for a status in ``missing``."""
        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=stop_after_attempt(self._attempts),
            reraise=True,
        )
        return retrying(self._ask_once, method, path, body, missing)

    def _ask_once(
        self, method: str, path: str, body: Mapping[str, Any] | None, missing: tuple[int, ...]
    ) -> dict[str, Any] | list[Any] | None:
        try:
            response = self._http.request(
                method, self._url + path, json=body, headers={"Content-Type": MEDIA_TYPE} if body else None
            )
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise ConfigError(f"WEIR_REGISTRY__URL is {self._url}; it should look like http://host:8081.") from error
        except httpx.HTTPError as error:
            place = f"The schema registry at {self._url}"
            raise TransientError(
                f"{place} cannot be reached: {_root(error)}; see that it runs (`weir status`)."
            ) from error
        if response.status_code in missing:
            return None
        if http_passes(response.status_code):
            raise TransientError(
                f"The schema registry at {self._url} answered {response.status_code}: {_said(response)}."
            )
        if response.is_error:
            raise ConfigError(
                f"The schema registry refused {method} {path} ({response.status_code}): {_said(response)}."
            )
        try:
            found = response.json()
        except ValueError:
            found = None
        if isinstance(found, dict | list):
            return found
        raise self._not_a_registry(path)

    def _not_a_registry(self, path: str) -> ConfigError:
        asked = f"{self._url}{path}"
        return ConfigError(f"{asked} did not answer as a schema registry does; check WEIR_REGISTRY__URL.")


def value_subject(topic: str) -> str:
    """The subject that holds the schemas of a topic's values."""
    return f"{topic}-value"


def _path(subject: str) -> str:
    return f"/subjects/{quote(subject, safe='')}"


def _parsed(text: str) -> dict[str, Any]:
    schema = json.loads(text)
    return schema if isinstance(schema, dict) else {"type": schema}


def _present(answer: dict[str, Any] | None) -> dict[str, Any]:
    return answer if answer is not None else {}


def _version(answer: dict[str, Any] | None) -> Version | None:
    if answer is None or answer.get("schemaType", "AVRO") != "AVRO" or answer.get("references"):
        return None
    return Version(answer["id"], answer["version"], answer["schema"])


def _said(response: httpx.Response) -> str:
    try:
        message = response.json().get("message")
    except (ValueError, AttributeError):
        message = None
    return " ".join(str(message or response.reason_phrase).split()).rstrip(".")


def _root(error: BaseException) -> str:
    """What the operating system said, under the layers of HTTP libraries; else the outermost words."""
    inner = error
    while inner.__cause__ is not None or inner.__context__ is not None:
        inner = inner.__cause__ or inner.__context__ or inner
    return inner.strerror if isinstance(inner, OSError) and inner.strerror else str(error) or type(error).__name__

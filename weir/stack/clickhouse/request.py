"""What one HTTP request asks for: query, settings, parameters, credentials, from its URL, headers and form."""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from weir.stack.clickhouse.exceptions import (
    AUTHENTICATION_FAILED,
    BAD_ARGUMENTS,
    INVALID_SESSION_TIMEOUT,
    NOT_IMPLEMENTED,
    ClickHouseError,
)

RESERVED = frozenset(
    (
        *("query", "query_id", "database", "default_format", "user", "password", "quota_key", "role", "stacktrace"),
        *("session_id", "session_timeout", "session_check", "close_session", "client_protocol_version"),
        *("compress", "decompress", "buffer_size", "wait_end_of_query"),
    )
)
"""URL parameters that are no settings of the engine."""

MAX_SESSION_SECONDS = 3600
DEFAULT_SESSION_SECONDS = 60
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_EXTERNAL = ("_structure", "_types", "_format")


@dataclass(frozen=True)
class SessionKey:
    """What the request says of its session: ``check`` refuses to create one, ``close`` ends it afterwards."""

    id: str
    timeout_seconds: int
    check: bool
    close: bool


@dataclass(frozen=True)
class ExternalTable:
    """A file of the form that the query may read as a temporary table; ``structure`` is its column list."""

    name: str
    structure: str
    format: str
    data: bytes


@dataclass(frozen=True)
class QueryRequest:
    """Everything but the body of a query's request; ``query`` is the part of the statement outside the body."""

    query: bytes
    query_id: str
    method: str
    database: str | None
    default_format: str | None
    parameters: Mapping[str, str]
    settings: Mapping[str, str]
    session: SessionKey | None
    wait_end_of_query: bool
    content_encoding: str
    accept_encoding: str
    external: tuple[ExternalTable, ...] = field(default=())

    @property
    def readonly(self) -> int:
        """The ``readonly`` setting that must hold: what was asked for, at least 2 for anything but POST."""
        asked = self.settings.get("readonly", "0")
        level = int(asked) if asked.isdigit() else 0
        return level or (0 if self.method == "POST" else 2)


def url_parameters(query_string: bytes) -> dict[str, str]:
    """The parameters of a URL; bytes that are no UTF-8 survive as surrogates, the last of equal names wins."""
    pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, errors="surrogateescape")
    return dict(pairs)


def query_request(
    method: str, parameters: Mapping[str, str], headers: Mapping[str, str], files: Mapping[str, bytes]
) -> QueryRequest:
    """Sort the ``parameters`` of URL and form, the lower-case ``headers`` and the form's ``files``.

    Raises :class:`ClickHouseError` for wrong credentials (516), a session timeout out of range (374), an external table
    without structure (36) and ClickHouse's own block compression (48).
    """
    check_credentials(parameters, headers)
    if is_true(parameters.get("compress", "")) or is_true(parameters.get("decompress", "")):
        raise ClickHouseError(
            NOT_IMPLEMENTED,
            "compress=1 and decompress=1 are not spoken here; use Content-Encoding, or enable_http_compression=1 "
            "with Accept-Encoding.",
        )
    return QueryRequest(
        query=parameters.get("query", "").encode("utf-8", "surrogateescape"),
        query_id=parameters.get("query_id") or str(uuid.uuid4()),
        method=method,
        database=parameters.get("database") or headers.get("x-clickhouse-database") or None,
        default_format=parameters.get("default_format") or headers.get("x-clickhouse-format") or None,
        parameters={name[6:]: value for name, value in parameters.items() if name.startswith("param_")},
        settings=_settings(parameters, files),
        session=_session(parameters),
        wait_end_of_query=is_true(parameters.get("wait_end_of_query", parameters.get("http_wait_end_of_query", ""))),
        content_encoding=headers.get("content-encoding", ""),
        accept_encoding=headers.get("accept-encoding", ""),
        external=tuple(_external_table(name, data, parameters) for name, data in files.items()),
    )


def is_true(value: str) -> bool:
    """Whether a boolean parameter is on, as ClickHouse reads it."""
    return value.strip().lower() in ("1", "true")


def check_credentials(parameters: Mapping[str, str], headers: Mapping[str, str]) -> None:
    """Let in only the user ``default`` with an empty password; raises :class:`ClickHouseError` 516 for others."""
    given = [
        (headers.get("x-clickhouse-user"), headers.get("x-clickhouse-key")),
        _basic(headers.get("authorization", "")),
        (parameters.get("user"), parameters.get("password")),
    ]
    named = [pair for pair in given if pair != (None, None)]
    if len(named) > 1:
        raise ClickHouseError(
            AUTHENTICATION_FAILED, "Invalid authentication: credentials were given in more than one way at once"
        )
    user, password = named[0] if named else (None, None)
    if (user or "default") != "default" or password:
        raise ClickHouseError(
            AUTHENTICATION_FAILED,
            f"{user or 'default'}: Authentication failed: password is incorrect, or there is no user with such name. "
            "The embedded engine knows only the user default, without a password",
        )


def _basic(header: str) -> tuple[str | None, str | None]:
    if not header:
        return None, None
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise ClickHouseError(
            AUTHENTICATION_FAILED, f"Invalid authentication: '{scheme}' HTTP Authorization scheme is not supported"
        )
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise ClickHouseError(
            AUTHENTICATION_FAILED, "Invalid authentication: the Basic credentials are not base64"
        ) from None
    return user, password


def _settings(parameters: Mapping[str, str], files: Mapping[str, bytes]) -> dict[str, str]:
    external = {f"{name}{suffix}" for name in files for suffix in _EXTERNAL}
    settings = {
        name: value
        for name, value in parameters.items()
        if name not in RESERVED and name not in external and not name.startswith("param_")
    }
    for name in settings:
        if not _SETTING_NAME.fullmatch(name):
            raise ClickHouseError((115, "UNKNOWN_SETTING"), f"Unknown setting '{name}'")
    return settings


def _session(parameters: Mapping[str, str]) -> SessionKey | None:
    identity = parameters.get("session_id")
    if not identity:
        return None
    timeout = parameters.get("session_timeout", str(DEFAULT_SESSION_SECONDS))
    if not timeout.isdigit():
        raise ClickHouseError(INVALID_SESSION_TIMEOUT, f"Invalid session timeout: '{timeout}'")
    if int(timeout) > MAX_SESSION_SECONDS:
        raise ClickHouseError(
            INVALID_SESSION_TIMEOUT,
            f"Session timeout '{timeout}' is larger than max_session_timeout: {MAX_SESSION_SECONDS}",
        )
    check = parameters.get("session_check", "") == "1"
    return SessionKey(identity, int(timeout), check, is_true(parameters.get("close_session", "")))


def _external_table(name: str, data: bytes, parameters: Mapping[str, str]) -> ExternalTable:
    structure, types = parameters.get(f"{name}_structure"), parameters.get(f"{name}_types")
    if not structure and types:
        structure = ", ".join(f"_{number} {kind}" for number, kind in enumerate(split_types(types), start=1))
    if not structure:
        raise ClickHouseError(
            BAD_ARGUMENTS,
            f"Neither structure nor types have been provided for external table {name}. "
            f"Use fields {name}_structure or {name}_types to do so",
        )
    return ExternalTable(name, structure, parameters.get(f"{name}_format", "TabSeparated"), data)


def split_types(types: str) -> list[str]:
    """The types of a comma-separated list, leaving the commas inside brackets alone."""
    parts, depth = [""], 0
    for sign in types:
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]

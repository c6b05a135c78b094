"""Asking ClickHouse what a person typed, and passing the answer on as it comes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, Error
from urllib3 import BaseHTTPResponse

from sinks.clickhouse.client import UNKNOWN_DATABASE, UNKNOWN_TABLE, said, translated
from weir.errors import QueryError
from weir.settings import ClickHouseSettings

CHUNK_BYTES = 65_536
READONLY = 164

_SETTINGS: Mapping[str, Any] = {
    "wait_end_of_query": 1,  # an error after the first rows would otherwise arrive in the middle of a 200 answer
    "session_timezone": "UTC",
    "output_format_json_quote_denormals": 1,  # JSON has no NaN and no infinity
}


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask: ``params`` fill ``{name:Type}`` in the SQL.

    ``row_limit`` cuts the rows of the result (and those of an INSERT … SELECT: give none when writing).
    """

    sql: str
    params: Mapping[str, str]
    format: str
    write: bool = False
    row_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """``format`` is the one it came in, which a FORMAT clause decides; ``rows`` is None when the server did not say."""

    format: str
    chunks: Iterator[bytes]
    seconds: float
    rows: int | None
    written: int


@contextmanager
def asking(client: Client, settings: ClickHouseSettings, question: Question) -> Iterator[Answer]:
    """Ask, and read the answer inside the block; blocks until the server has the whole of it.

    Unless ``question.write``, the server refuses whatever would change data. Raises :class:`QueryError` with the
    server's code, name and words, :class:`TransientError` when it is away or busy.
    """
    limits: dict[str, Any] = {} if question.write else {"readonly": 2}
    if question.row_limit is not None:
        limits["limit"] = question.row_limit
    began = time.monotonic()
    try:
        stream = client.raw_stream(
            question.sql,
            parameters=dict(question.params),
            settings={**_SETTINGS, **limits},
            transport_settings={"X-ClickHouse-Format": question.format},
        )
    except (ClickHouseError, OSError) as error:
        raise _refused(error, settings) from error
    response = cast("BaseHTTPResponse", stream)
    try:
        summary = json.loads(response.headers.get("X-ClickHouse-Summary", "{}"))
        rows = summary.get("result_rows")
        yield Answer(
            format=response.headers.get("X-ClickHouse-Format", question.format),
            chunks=response.stream(CHUNK_BYTES, decode_content=True),
            seconds=time.monotonic() - began,
            rows=None if rows is None else int(rows),
            written=int(summary.get("written_rows", 0)),
        )
    finally:
        response.close()


def _refused(error: Exception, settings: ClickHouseSettings) -> Exception:
    code = error.code if isinstance(error, Error) else None
    if code is None or code == UNKNOWN_DATABASE:
        return translated(error, settings)
    hint = {READONLY: "; add --write to allow changes", UNKNOWN_TABLE: "; see SHOW TABLES"}.get(code, "")
    name = error.name if isinstance(error, Error) and error.name else "error"
    return QueryError(f"ClickHouse refused the query ({name}, code {code}): {said(error)}{hint}.")

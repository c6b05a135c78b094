"""The HTTP answer of one statement: headers, body, compression, and errors before and after the first byte."""

from __future__ import annotations

import json
import random
import string
import time
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile

from weir.stack.clickhouse.compression import chosen_encoding, compressor
from weir.stack.clickhouse.engine import Block, Engine, Statistics
from weir.stack.clickhouse.exceptions import ClickHouseError
from weir.stack.clickhouse.exchange import Reply
from weir.stack.clickhouse.query import Result
from weir.stack.clickhouse.request import QueryRequest, is_true

BUFFER_BYTES = 1 << 20
"""What is held back before the status is sent: an error within the first MiB still gets a status of its own, as on a
server (its output buffer has this size)."""

SPOOL_BYTES = 64 << 20
"""What ``wait_end_of_query`` holds in memory before it goes to a temporary file."""

EXPOSED = ("Query-Id", "Summary", "Server-Display-Name", "Format", "Timezone", "Exception-Code", "Exception-Tag")


class BrokenAnswerError(Exception):
    """The answer could not be completed; its connection has to be closed so that the client notices."""


class Answer:
    """Writes what one statement returns; blocks, for one thread."""

    def __init__(self, engine: Engine, query_id: str, reply: Reply) -> None:
        """The clock of ``elapsed_ns`` starts here."""
        self._engine, self._query_id, self._reply = engine, query_id, reply
        self._started_ns = time.monotonic_ns()
        self._tag = "".join(random.choices(string.ascii_lowercase, k=16))  # noqa: S311  (marks a place, hides nothing)
        self._total = Statistics()

    def send_result(self, request: QueryRequest, result: Result) -> None:
        """Send everything; raises :class:`ClickHouseError` while nothing is out, :class:`BrokenAnswerError` later."""
        encoding = chosen_encoding(
            request.accept_encoding, is_true(request.settings.get("enable_http_compression", "0"))
        )
        with SpooledTemporaryFile(max_size=SPOOL_BYTES) as held:
            complete = self._hold(result.blocks, held, BUFFER_BYTES if not request.wait_end_of_query else None)
            headers = self._headers(result.format)
            if encoding is not None:
                headers.append(("Content-Encoding", encoding))
            size = held.tell()
            held.seek(0)
            if complete and size <= SPOOL_BYTES:
                self._send_whole(held.read(), headers, encoding)
            else:
                self._send_stream(_pieces(held), result.blocks, headers, encoding)

    def send_error(self, error: ClickHouseError) -> None:
        """Send an error as the whole answer."""
        headers = [
            *self._headers(None),
            ("Content-Type", "text/plain; charset=UTF-8"),
            ("X-ClickHouse-Exception-Code", str(error.code)),
        ]
        if error.status == 401:
            headers.append(("WWW-Authenticate", 'Basic realm="ClickHouse server HTTP API"'))
        body = error.text(self._engine.version).encode("utf-8", "replace") + b"\n"
        self._reply.start(error.status, [*headers, ("Content-Length", str(len(body)))], watch=False)
        self._reply.write(body, more=False)

    def _hold(self, blocks: Iterator[Block], held: SpooledTemporaryFile[bytes], limit: int | None) -> bool:
        for block in blocks:
            self._total += block.statistics
            held.write(block.data)
            if limit is not None and held.tell() > limit:
                return False
        return True

    def _send_whole(self, body: bytes, headers: list[tuple[str, str]], encoding: str | None) -> None:
        if encoding is not None:
            pressed = compressor(encoding)
            body = pressed.compress(body) + pressed.flush()
        self._reply.start(200, [*headers, ("Content-Length", str(len(body)))], watch=False)
        self._reply.write(body, more=False)

    def _send_stream(
        self, pieces: Iterator[bytes], blocks: Iterator[Block], headers: list[tuple[str, str]], encoding: str | None
    ) -> None:
        pressed = compressor(encoding) if encoding else None
        self._reply.start(200, headers, watch=True)
        try:
            for data in pieces:
                self._write(pressed.compress(data) if pressed else data)
            for block in blocks:
                self._write(pressed.compress(block.data) if pressed else block.data)
        except ClickHouseError as error:
            frame = self._exception_frame(error)
            self._write(pressed.compress(frame) + pressed.flush() if pressed else frame)
            raise BrokenAnswerError from None
        self._reply.write(pressed.flush() if pressed else b"", more=False)

    def _write(self, data: bytes) -> None:
        if data:
            self._reply.write(data, more=True)

    def _exception_frame(self, error: ClickHouseError) -> bytes:
        text = error.text(self._engine.version).encode("utf-8", "replace")
        tag = self._tag.encode()
        return b"\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n" % (tag, text, len(text) + 1, tag)

    def _headers(self, name: str | None) -> list[tuple[str, str]]:
        headers = [
            ("X-ClickHouse-Query-Id", self._query_id),
            ("X-ClickHouse-Server-Display-Name", self._engine.host_name),
            ("X-ClickHouse-Timezone", self._engine.timezone),
            ("X-ClickHouse-Summary", self._summary()),
            ("X-ClickHouse-Exception-Tag", self._tag),
            ("Access-Control-Expose-Headers", ",".join(f"X-ClickHouse-{part}" for part in EXPOSED)),
        ]
        if name is not None:
            headers.append(("X-ClickHouse-Format", name))
            headers.append(("Content-Type", self._engine.content_types[name.lower()]))
        return headers

    def _summary(self) -> str:
        total = self._total
        return json.dumps(
            {
                "read_rows": str(total.read_rows),
                "read_bytes": str(total.read_bytes),
                "written_rows": str(total.written_rows),
                "written_bytes": str(total.written_bytes),
                "total_rows_to_read": str(total.read_rows),
                "result_rows": str(total.result_rows or total.written_rows),
                "result_bytes": str(total.result_bytes or total.written_bytes),
                "elapsed_ns": str(time.monotonic_ns() - self._started_ns),
            },
            separators=(",", ":"),
        )


def _pieces(held: SpooledTemporaryFile[bytes]) -> Iterator[bytes]:
    while piece := held.read(BUFFER_BYTES):
        yield piece

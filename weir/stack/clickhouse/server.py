"""The ASGI application: routes, the event loop's side of a query, and the bound on how many run at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from typing import Any

from weir.stack.clickhouse.answer import Answer, BrokenAnswerError
from weir.stack.clickhouse.compression import decompressed
from weir.stack.clickhouse.engine import Engine
from weir.stack.clickhouse.exceptions import (
    HTTP_LENGTH_REQUIRED,
    STD_EXCEPTION,
    TOO_MANY_SIMULTANEOUS_QUERIES,
    ClickHouseError,
)
from weir.stack.clickhouse.exchange import Body, ClientGoneError, Receive, Reply, Send, gather
from weir.stack.clickhouse.multipart import is_form, parse_form
from weir.stack.clickhouse.query import Execution
from weir.stack.clickhouse.request import QueryRequest, query_request, url_parameters
from weir.stack.clickhouse.session import Lease, Sessions

log = logging.getLogger("weir.clickhouse")

MAX_FORM_BYTES = 1 << 30
_NOT_FOUND = (
    "There is no handle {path}\n\nUse / or /ping for health checks.\nSend queries with POST method or GET /?query=...\n"
)


class Server:
    """ClickHouse's HTTP interface on one engine."""

    def __init__(self, engine: Engine, max_running: int, max_waiting: int) -> None:
        """At most ``max_running`` queries run and ``max_waiting`` more wait; beyond that code 202 is answered."""
        self._engine = engine
        self._sessions = Sessions()
        self._limit = max_running + max_waiting
        self._threads = ThreadPoolExecutor(max_workers=max_running, thread_name_prefix="query")
        self._queries: set[Future[None]] = set()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        method, path = scope["method"], scope["path"]
        if path in ("/ping", "/replicas_status") and method in ("GET", "HEAD"):
            await _send_text(send, 200, "Ok.\n")
        elif path not in ("/", "/query"):
            await _send_text(send, 404, _NOT_FOUND.format(path=path))
        elif method == "OPTIONS":
            await _send_text(send, 204, "")
        elif method in ("GET", "HEAD") and b"query=" not in scope["query_string"]:
            await _send_text(send, 200, "Ok.\n")
        elif method in ("GET", "HEAD", "POST"):
            await self._query(scope, receive, send)
        else:
            await _send_text(send, 501, f"The method {method} is not known here; use GET or POST.\n")

    def close(self, timeout_seconds: float) -> bool:
        """End every session once no query runs, and return True; False if some still run after ``timeout_seconds``."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if wait(set(self._queries), timeout_seconds).not_done:
            return False
        self._sessions.close()
        return True

    async def _query(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        reply = Reply(loop, receive, send)
        parameters = url_parameters(scope["query_string"])
        answer = Answer(self._engine, parameters.get("query_id", ""), reply)
        lease: Lease | None = None
        try:
            request, body = await self._read(scope, parameters, receive)
            answer = Answer(self._engine, request.query_id, reply)
            self._check_load()
            lease = self._sessions.acquire(request.session) if request.session else None
            work = self._threads.submit(self._work, request, body, answer, lease)
            self._queries.add(work)
            work.add_done_callback(self._queries.discard)
            await asyncio.wrap_future(work)
        except ClientGoneError:
            log.info("A client went away before its answer was complete.")
        except ClickHouseError as error:
            await loop.run_in_executor(None, answer.send_error, error)
        finally:
            if lease is not None:
                lease.release()
            reply.close()

    def _check_load(self) -> None:
        if len(self._queries) >= self._limit:
            raise ClickHouseError(
                TOO_MANY_SIMULTANEOUS_QUERIES, f"Too many simultaneous queries. Maximum: {self._limit}; try again later"
            )

    async def _read(
        self, scope: Mapping[str, Any], parameters: dict[str, str], receive: Receive
    ) -> tuple[QueryRequest, Body]:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method, files, is_form_read = scope["method"], dict[str, bytes](), False
        sized = "content-length" in headers or "chunked" in headers.get("transfer-encoding", "")
        if method == "POST" and not sized:
            raise ClickHouseError(
                HTTP_LENGTH_REQUIRED,
                "The Transfer-Encoding is not chunked and there is no Content-Length header for POST request",
            )
        if method == "POST" and is_form(headers.get("content-type", "")):
            form, _ = await gather(receive, MAX_FORM_BYTES)
            whole = b"".join(decompressed(iter([form]), headers.pop("content-encoding", "")))
            fields, files = parse_form(headers["content-type"], whole)
            parameters, is_form_read = {**parameters, **fields}, True
        body = Body(asyncio.get_running_loop(), receive, is_form_read)
        return query_request(method, parameters, headers, files), body

    def _work(self, request: QueryRequest, body: Body, answer: Answer, lease: Lease | None) -> None:
        """In a thread: run the statement and send its result, or its error while nothing is out."""
        try:
            data = decompressed(body.chunks(), request.content_encoding)
            result = Execution(self._engine, request, data).run(lease)
            with closing(result):
                answer.send_result(request, result)
        except (ClickHouseError, ClientGoneError, BrokenAnswerError):
            raise
        except Exception as error:
            log.exception("A query failed in this process, not in the engine.")
            raise ClickHouseError(STD_EXCEPTION, f"{type(error).__name__}: {error}") from error


async def _send_text(send: Send, status: int, text: str) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/html; charset=UTF-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

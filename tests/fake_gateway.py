"""A gateway that answers what a test tells it to, for whoever posts to one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "wr_AAAAAAAAAAAA_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"


@dataclass(frozen=True)
class Posted:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    records: list[Any]


@dataclass(frozen=True)
class Answered:
    """Status, body and headers; ``hangs_up``: no answer at all."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hangs_up: bool = False


@dataclass
class FakeGateway:
    """``answer`` decides what each request gets; ``posted`` keeps them in order."""

    answer: Callable[[Posted], Answered]
    posted: list[Posted] = field(default_factory=list)
    url: str = ""

    def values(self) -> list[Any]:
        """Values of every record that came, resent ones as often as they came."""
        return [record["value"] for each in self.posted for record in each.records]


def stored(post: Posted) -> Answered:
    """Every record is in partition 0, at the offset that its value names as ``seq``, or at 0."""
    return offsets([{"partition": 0, "offset": (record["value"] or {}).get("seq", 0)} for record in post.records])


def offsets(records: list[dict[str, Any]]) -> Answered:
    """A v2 answer with these records; what they do not name is null."""
    empty = {"partition": None, "offset": None, "error_code": None, "error": None}
    return Answered(200, {"offsets": [empty | record for record in records]})


def refused(status: int, code: int, **headers: str) -> Answered:
    """A refusal of a whole request."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answered(status, {"error_code": code, "message": f"refused with {code}"}, named)


@contextmanager
def fake_gateway(answer: Callable[[Posted], Answered]) -> Iterator[FakeGateway]:
    """Serve on a port of its own until the end of the block."""
    gateway = FakeGateway(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            post = Posted(self.path, dict(self.headers.items()), json.loads(body)["records"])
            gateway.posted.append(post)
            told = gateway.answer(post)
            if told.hangs_up:
                self.close_connection = True
                return
            content = json.dumps(told.body).encode() if not isinstance(told.body, bytes) else told.body
            self.send_response(told.status)
            for name, value in {"Content-Length": str(len(content)), **told.headers}.items():
                self.send_header(name, value)
            with suppress(OSError):  # a client that has given up
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    gateway.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

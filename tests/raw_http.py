"""HTTP as it goes over the wire: for requests that a client library would put right, or refuse, before sending them."""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tests.waiting import patient

SECONDS = patient(10.0)
"""How long an answer is waited for."""


@dataclass(frozen=True)
class RawAnswer:
    """What came back; ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RawConnection:
    """One connection to a server; bytes out, answers in."""

    def __init__(self, port: int) -> None:
        """Connect on loopback."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self._reader = _Reader(self._socket)
        self._read = b""

    def send(self, request: bytes) -> None:
        """Send bytes as they are; a server that has hung up is no error, its answer may still be there."""
        try:
            self._socket.sendall(request)
        except ConnectionError:
            return

    def receive(self, method: str = "POST") -> RawAnswer:
        """The next answer to a request of that method; ConnectionError when the server hangs up without one."""
        answer = http.client.HTTPResponse(self._reader, method=method)  # type: ignore[arg-type]  # has makefile()
        try:
            answer.begin()
            body = answer.read()
        except (http.client.BadStatusLine, http.client.IncompleteRead) as error:
            raise ConnectionError("the server hung up without a whole answer") from error
        return RawAnswer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body)

    def receive_until(self, wanted: bytes, times: int) -> bool:
        """Whether bytes have come so many times since the connection began; does not look at what they are part of."""
        while self._read.count(wanted) < times:
            piece = self._reader.makefile().read1(65_536)
            if not piece:
                return False
            self._read += piece
        return True

    def is_closed(self) -> bool:
        """Whether the server hangs up, without sending more, before the time for an answer has passed."""
        try:
            return not self._reader.makefile().read(1)
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def close(self) -> None:
        """Hang up."""
        self._reader.close()
        self._socket.close()


@contextmanager
def raw_connection(port: int) -> Iterator[RawConnection]:
    """A connection that ends with the block."""
    connection = RawConnection(port)
    try:
        yield connection
    finally:
        connection.close()


def exchange(port: int, request: bytes, method: str = "POST") -> RawAnswer:
    """Send one request on a connection of its own, and return the answer."""
    with raw_connection(port) as connection:
        connection.send(request)
        return connection.receive(method)


def rendered(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A request as text on the wire, with its length unless ``headers`` say how the body is framed."""
    lines = {"Host": "gateway"} | dict(headers)
    if (body or method == "POST") and not {"Content-Length", "Transfer-Encoding"} & lines.keys():
        lines["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def chunked(*pieces: bytes) -> bytes:
    """A body in chunks, with its end."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


class _Reader:
    """One buffer for all answers of a connection: ``HTTPResponse`` would close it with the first."""

    def __init__(self, connected: socket.socket) -> None:
        self._file = _Unclosed(connected.makefile("rb", buffering=0))

    def makefile(self, *_: object) -> _Unclosed:
        return self._file

    def close(self) -> None:
        self._file.really_close()


class _Unclosed(io.BufferedReader):
    def close(self) -> None:
        """Stay open for the next answer."""

    def really_close(self) -> None:
        super().close()

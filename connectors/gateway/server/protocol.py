"""HTTP/1.1 as uvicorn and httptools speak it, with the limits that they leave out.

httptools takes headers without end and uvicorn waits for them for ever; here both have limits, and so have clients that
do not read their answers. The clock is read once a phase of a connection, and one task looks at all of them
(:func:`cut_overdue`): a timer for each request would cost 3 µs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from math import inf
from typing import Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from connectors.gateway import errors
from connectors.gateway.errors import GatewayError
from connectors.gateway.server.joined_writes import JoinedWrites
from connectors.gateway.server.metrics import CONNECTIONS_REFUSED
from connectors.gateway.server.turned_away import response_bytes, too_many
from connectors.gateway.server.upgrades import Parser
from weir.settings import GatewaySettings

IDLE_SECONDS: Final = 75
"""How long a connection may stay open without a request: longer than proxies keep theirs (60 s), or they would send a
request into one that is just being closed."""
LINGER_SECONDS: Final = 5.0
"""How long the rest of what was refused is thrown away: a socket closed with unread bytes resets the connection, and
the client may never see why it was refused."""
LINGER_BYTES: Final = 8_388_608
SURPLUS_SECONDS: Final = 2.0
"""How long a client that is one too many has for its headers."""
SURPLUS_CONNECTIONS: Final = 500
"""Clients beyond the limit that are answered; further ones are cut at once."""
STOPPING_SECONDS: Final = 5.0
"""How long a body that has begun may take once the program ends."""
CUT_AT_ONCE: Final = 20
"""Connections that are cut, 30 µs each, before others get their turn."""
MOST_WAITING: Final = 100
"""Requests that may wait for the answer to one before them; uvicorn would take in 10,000 for each that it answers."""
MOST_CHUNKS: Final = 5_000
"""Chunks of a body in one piece of at most 256 KB: 40,000 of a byte each would hold up everybody for 150 ms."""
MOST_URL_BYTES: Final = 8_000
"""What RFC 9110 asks every server to take; a route of ours needs a few hundred."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What :class:`DoorProtocol` takes; times in seconds."""

    headers: int
    header_bytes: int
    header_seconds: float
    write_seconds: float
    connections: int

    @classmethod
    def of(cls, settings: GatewaySettings) -> Limits:
        """Those of the settings; an answer may take as long to be read as a body to be sent."""
        return cls(
            headers=settings.headers,
            header_bytes=settings.header_bytes,
            header_seconds=settings.header_seconds,
            write_seconds=settings.body_seconds,
            connections=settings.most_connections,
        )


class Place(IntEnum):
    """Where in a request the bytes of a connection are."""

    BETWEEN = 0
    HEADERS = 1
    BODY = 2


class DoorProtocol(HttpToolsProtocol):
    """One connection; ``deadline`` (of the loop's clock) is when it is cut, unless something happens before."""

    limits: Limits
    deadline: float = inf
    stuck_since: float = inf
    place: Place = Place.BETWEEN
    _begun = 0
    """Requests that began in the piece that is being parsed."""
    _piece = 0
    """Its bytes."""
    _chunks = 0
    """Pieces of bodies in it."""
    _unended = 0
    """Bytes that came for headers, a trailer or a chunk's size, before the last piece, and have not come to an end."""
    _thrown_away = 0
    _stopping = False
    _is_refused = False
    _refusal: GatewayError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, or tell it to come back, or, far beyond the limit, cut it."""
        super().connection_made(transport)
        self.transport = cast(asyncio.Transport, JoinedWrites(transport, self.loop))
        self.parser = Parser(self)  # type: ignore[assignment]
        self.deadline = self.loop.time() + self.limits.header_seconds
        surplus = len(self.connections) - self.limits.connections
        if surplus > 0:
            CONNECTIONS_REFUSED.labels("too_many").inc()
            self.app = too_many
            self.deadline = self.loop.time() + SURPLUS_SECONDS
            if surplus > SURPLUS_CONNECTIONS:
                transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse what is too long although it has not come to its end."""
        if self.transport.is_closing():
            return
        if self._is_refused:
            self._throw_away(len(data))
            return
        before, self._begun, self._piece, self._chunks = self.place, 0, len(data), 0
        super().data_received(data)
        if self._is_refused:
            return
        if self.place is Place.BETWEEN:
            self._unended = 0
        elif self._begun == 0:  # all of the piece belongs to what has not come to its end
            self._unended += len(data)
        elif self._begun == 1 and before is Place.BETWEEN:
            self._unended = len(data) if self.place is Place.HEADERS else 0
        else:  # another request ended in it: only what is known to be of this one counts
            self._unended = self._head_bytes() if self.place is Place.HEADERS else 0
        if self._unended > self.limits.header_bytes:
            is_url = self.place is Place.HEADERS and not self.headers and len(self.url) > self.limits.header_bytes // 2
            self._refuse_and_close(_url_too_long() if is_url else _headers_too_large(self.limits))

    # What the parser finds; an exception here ends the parsing, and comes out as send_400_response
    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self.place = Place.HEADERS
        self._begun += 1
        if not self._turned_away:
            self.deadline = self.loop.time() + self.limits.header_seconds

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self.url += url
        if len(self.url) > MOST_URL_BYTES:
            self._refuse(_url_too_long())

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header. Those after a chunked body are dropped: what they would say was decided long before."""
        if self.place is Place.BODY:
            return
        super().on_header(name, value)
        if len(self.headers) > self.limits.headers:
            self._refuse(GatewayError(errors.HEADERS_TOO_LARGE, f"There are more than {self.limits.headers} headers."))

    def on_headers_complete(self) -> None:
        """The request can be answered."""
        if self._unended + self._piece > self.limits.header_bytes and self._head_bytes() > self.limits.header_bytes:
            self._refuse(_headers_too_large(self.limits))
        if len(self.pipeline) >= MOST_WAITING:
            self._refuse(GatewayError(errors.BAD_REQUEST, "Too many requests were sent without waiting for answers."))
        self._refuse_unclear()
        self.place, self._unended = Place.BODY, 0
        self.deadline = inf if not self._stopping else self.loop.time() + STOPPING_SECONDS
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._unended = -self._piece  # whatever was open has come to its end within this piece
        self._chunks += 1
        if self._chunks > MOST_CHUNKS:
            self._refuse(GatewayError(errors.BAD_REQUEST, "The chunks of the body are too small; send larger ones."))
        if self.cycle.response_complete:
            self._throw_away(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has come to its end."""
        super().on_message_complete()
        self.place = Place.BETWEEN
        if self.cycle.response_complete:
            self.deadline = self.loop.time() + IDLE_SECONDS

    def body_goes_on(self) -> None:
        """The request only seemed to be complete, because it offered another protocol."""
        self.cycle.more_body = True
        self.cycle.message_event.clear()
        self.place = Place.BODY

    def on_response_complete(self) -> None:
        """The answer was handed over; what is still to come of the request has only so long."""
        super().on_response_complete()
        if self.transport.is_closing() or not self.cycle.response_complete:
            return  # or the next one is already being answered
        self._thrown_away = 0
        seconds = (IDLE_SECONDS, self.limits.header_seconds, LINGER_SECONDS)[self.place]
        self.deadline = self.loop.time() + seconds

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; what it has sent whole is answered, and then the connection ends.

        TLS cannot be half closed.
        """
        if self._is_refused or self.scheme == "https" or not self._is_answering or self.place is Place.BODY:
            self.transport.close()  # with what is held back of the last answer
            return False
        self.cycle.keep_alive = False
        return True

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self.stuck_since = self.loop.time()

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self.stuck_since = inf

    def shutdown(self) -> None:
        """Let what has begun come to its end, soon."""
        super().shutdown()
        self._stopping = True
        if self.place is Place.BODY:
            self.deadline = self.loop.time() + STOPPING_SECONDS

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or what a method above has refused."""
        self._refuse_and_close(self._refusal or GatewayError(errors.BAD_REQUEST, "This is no HTTP/1.1 request."))

    def overdue(self) -> None:
        """The deadline has passed."""
        self.deadline = inf
        if self._is_refused:
            self.transport.close()
        elif self._is_answering:
            if self._stopping and self.place is Place.BODY:
                self._end_body()
        elif self.place is Place.HEADERS:
            late = f"The headers did not arrive within {self.limits.header_seconds:g} s."
            self._refuse_and_close(GatewayError(errors.REQUEST_TIMEOUT, late))
        else:
            self.transport.close()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _turned_away(self) -> bool:
        return self.app is too_many

    def _end_body(self) -> None:
        """The program ends: a stream ends where it is, a body that is not there is asked for again."""
        if self.cycle.response_started:
            self.cycle.more_body = False
            self.cycle.message_event.set()
        else:
            again = "The gateway is being restarted; send the request again."
            self._refuse_and_close(GatewayError(errors.KAFKA_RETRIABLE, again, reason="stopping", retry_after=1.0))

    def _refuse_unclear(self) -> None:
        """Refuse what RFC 9112 does: another version, a host that is missing or given twice, and codings of bodies."""
        names = [name for name, _ in self.headers]
        version, hosts = self.parser.get_http_version(), names.count(b"host")
        if version not in ("1.1", "1.0"):
            self._refuse(GatewayError(errors.BAD_REQUEST, "This is no HTTP/1.1 request."))
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            self._refuse(GatewayError(errors.BAD_REQUEST, "A request has one Host header."))
        if b"transfer-encoding" in names:
            codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
            if codings != [b"chunked"]:
                said = "Transfer-Encoding may be chunked; that a body is compressed, Content-Encoding says."
                self._refuse(GatewayError(errors.BAD_REQUEST, said))

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse(self, error: GatewayError) -> None:
        self._refusal = error
        raise error

    def _refuse_and_close(self, error: GatewayError) -> None:
        """Answer, if the answer cannot be mistaken for that of another request, and close."""
        CONNECTIONS_REFUSED.labels(error.reason).inc()
        if not self._is_answering:
            self._say_and_linger(error)
        elif self.place is not Place.BODY:  # a request before this one is still being answered, and then it ends
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        else:
            self.cycle.disconnected = True  # nobody reads what the application would say
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.close()
            else:
                self._say_and_linger(error)

    def _say_and_linger(self, error: GatewayError) -> None:
        self._is_refused = True
        self._thrown_away = 0
        self.deadline = self.loop.time() + LINGER_SECONDS
        self.transport.write(response_bytes(error))
        if self._stopping or error.code == errors.REQUEST_TIMEOUT:  # nothing is on its way
            self.transport.close()
        elif self.transport.can_write_eof():
            self.transport.write_eof()

    def _throw_away(self, count: int) -> None:
        self._thrown_away += count
        if self._thrown_away > LINGER_BYTES:
            self.transport.close()


def protocol_of(limits: Limits) -> type[DoorProtocol]:
    """The class for uvicorn's ``http``, which makes one for each connection, without limits."""
    return type("BoundDoorProtocol", (DoorProtocol,), {"limits": limits})


async def cut_overdue(connections: Collection[object]) -> None:
    """Look at every connection once; 10,000 take about a millisecond. Many that are cut do not hold up the others."""
    loop = asyncio.get_running_loop()
    now, cut = loop.time(), 0
    for each in list(connections):
        if not isinstance(each, DoorProtocol):
            continue
        if now - each.stuck_since > each.limits.write_seconds:
            CONNECTIONS_REFUSED.labels("not_reading").inc()
            each.transport.abort()
        elif each.deadline < now:
            each.overdue()
            cut += 1
            if cut % CUT_AT_ONCE == 0:
                await asyncio.sleep(0)


def _url_too_long() -> GatewayError:
    return GatewayError(errors.URI_TOO_LONG, f"The URL is too long; {MOST_URL_BYTES} bytes are taken at the most.")


def _headers_too_large(limits: Limits) -> GatewayError:
    return GatewayError(errors.HEADERS_TOO_LARGE, f"The headers are larger than {limits.header_bytes} bytes.")

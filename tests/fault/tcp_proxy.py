"""A proxy between a worker and one server, on loopback, that can be told to misbehave; what it did is counted.

It knows no protocol but this: a client asks, the server answers, and what the client sends after an answer begins the
next question. HTTP without pipelining and Postgres' simple queries are like that.

=========== ====================================================================================================
fault       what happens
=========== ====================================================================================================
refuse      the port is closed, and so is every connection
hang        questions are taken and never passed on
cut         the server gets the first half of a question, then both sides are reset
slow        questions trickle to the server
late        the server answers, the client hears of it ``seconds`` later; counted when it had given up by then
forget      the server answers, the client is reset instead: it never learns what became of its question
=========== ====================================================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeVar

from tests.waiting import patient, wait_until

Kind = Literal["pass", "refuse", "hang", "cut", "slow", "late", "forget"]
Answer = TypeVar("Answer")
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

CHUNK_BYTES: Final = 65_536
SLICES_A_SECOND: Final = 20
BEGINNING_SECONDS: Final = 0.02


@dataclass(frozen=True)
class Fault:
    """What to do to questions in whose first bytes ``only`` (a bytes pattern) is found; all others pass.

    ``seconds`` is for ``late``, ``bytes_a_second`` for ``slow``.
    """

    kind: Kind
    only: bytes = b""
    seconds: float = 0.0
    bytes_a_second: int = 0


PASS: Final = Fault("pass")


class TcpProxy:
    """Listens on a free port of 127.0.0.1 and passes everything on to ``host:port``; a context manager.

    ``fired`` counts the questions (for ``refuse``, the connections reset) that each kind of fault was done to.
    """

    def __init__(self, host: str, port: int) -> None:
        """Listen from the start of the ``with`` block on."""
        self._server_address = host, port
        self.fired: Counter[str] = Counter()
        self.fault = PASS
        self.port = 0
        self._fired_before: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy", daemon=True)
        self._listener: socket.socket | None = None
        self._connections: set[_Connection] = set()
        self._ways: set[asyncio.Task[Any]] = set()
        self._connecting: set[asyncio.Task[Any]] = set()

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        self._in_loop(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        """Reset every connection and close the port; nothing that was opened is left."""
        try:
            self._in_loop(self._end())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def set(self, fault: Fault) -> None:
        """Misbehave like this from the next question on; ``refuse`` resets what is connected at once."""
        before, self.fault = self.fault, fault
        self._fired_before = self.fired.copy()
        if fault.kind == "refuse":
            self._in_loop(self._close())
        elif before.kind == "refuse":
            self._in_loop(self._listen())
        elif before.kind == "hang":  # a question that was swallowed will never be answered
            self._in_loop(self._reset_all())

    def wait_fired(self, times: int = 1, seconds: float = 60.0) -> None:
        """Wait until the fault was done so many times since it was set."""
        kind = self.fault.kind
        wait_until(lambda: self.times_fired >= times, f"the fault {kind} happens {times} times", seconds)

    @property
    def times_fired(self) -> int:
        """How often the fault was done since it was set."""
        return self.fired[self.fault.kind] - self._fired_before[self.fault.kind]

    def _in_loop(self, step: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(step, self._loop).result(patient(20.0))

    async def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._loop.add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        """Take one connection; asyncio's own server forgets those that it has taken when it is closed (Python 3.11)."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            accepted, _ = listener.accept()
            accepted.setblocking(False)
            way = self._loop.create_task(self._connected(accepted))
            self._ways.add(way)
            way.add_done_callback(self._ways.discard)

    async def _close(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        self.fired["refuse"] += len(self._connections) if self.fault.kind == "refuse" else 0
        while self._ways:  # some have only just been accepted
            await self._reset_all()

    async def _end(self) -> None:
        await self._close()
        await self._loop.shutdown_asyncgens()

    async def _reset_all(self) -> None:
        """What is connected now. A task that has not begun is let begin: ended before, it would leave its socket."""
        for way in self._connecting:
            way.cancel()
        for connection in list(self._connections):
            connection.reset()
        if ways := set(self._ways):
            await asyncio.wait(ways, timeout=0.05)

    async def _connected(self, accepted: socket.socket) -> None:
        client = await asyncio.open_connection(sock=accepted)
        opened = [client[1]]
        try:
            if server := await self._connect():
                opened.append(server[1])
                await self._pass_all(client, server)
        finally:
            await drop(opened)

    async def _connect(self) -> Stream | None:
        """The connection to the server; None when it is refused, or the proxy closes meanwhile."""
        way = asyncio.current_task()
        assert way is not None
        self._connecting.add(way)
        try:
            return await asyncio.open_connection(*self._server_address)
        except (OSError, asyncio.CancelledError):
            return None
        finally:
            self._connecting.discard(way)

    async def _pass_all(self, client: Stream, server: Stream) -> None:
        connection = _Connection(self, client, server)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)


async def drop(opened: Sequence[asyncio.StreamWriter]) -> None:
    """End connections with a RST, and wait until the loop has let go of their sockets."""
    for each in opened:
        each.transport.abort()
    for each in opened:
        with contextlib.suppress(OSError):
            await each.wait_closed()


class _Connection:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy: TcpProxy, client: Stream, server: Stream) -> None:
        self._proxy = proxy
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        self._fault = PASS
        self._between_questions = True
        self._client_gone = asyncio.Event()

    async def run(self) -> None:
        """Until one side ends."""
        ways = {asyncio.create_task(self._questions()), asyncio.create_task(self._answers())}
        done, left = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        if self._client_gone.is_set() and self._fault.kind == "late":
            done, left = await asyncio.wait(ways)  # the server goes on with what it was asked
        for task in left:
            task.cancel()
        for task in ways:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await task

    def reset(self) -> None:
        """Drop both sides with a RST."""
        self._to_client.transport.abort()
        self._to_server.transport.abort()

    async def _questions(self) -> None:
        try:
            while data := await self._from_client.read(CHUNK_BYTES):
                if self._between_questions:
                    data += await self._rest_of_the_beginning()
                    self._begin(data)
                await self._pass_on(data)
        finally:
            self._client_gone.set()

    async def _rest_of_the_beginning(self) -> bytes:
        """What comes at once behind the first bytes: clients send the head of a request and its body separately."""
        if self._proxy.fault.only:
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(self._from_client.read(CHUNK_BYTES), BEGINNING_SECONDS)
        return b""

    def _begin(self, data: bytes) -> None:
        wanted = self._proxy.fault
        self._fault = wanted if re.search(wanted.only, data) else PASS
        self._between_questions = False
        if self._fault.kind in ("hang", "cut", "slow"):
            self._proxy.fired[self._fault.kind] += 1

    async def _pass_on(self, data: bytes) -> None:
        if self._fault.kind == "hang":
            return
        if self._fault.kind == "cut":
            self._to_server.write(data[: len(data) // 2])
            await self._to_server.drain()
            self.reset()
            return
        size = max(1, self._fault.bytes_a_second // SLICES_A_SECOND) if self._fault.kind == "slow" else len(data)
        for begin in range(0, len(data), size):
            self._to_server.write(data[begin : begin + size])
            await self._to_server.drain()
            if size < len(data):
                await asyncio.sleep(1 / SLICES_A_SECOND)

    async def _answers(self) -> None:
        while data := await self._from_server.read(CHUNK_BYTES):
            if self._fault.kind == "forget":
                self._proxy.fired["forget"] += 1
                self.reset()
                return
            if self._fault.kind == "late" and not self._between_questions:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._client_gone.wait(), self._fault.seconds)
                    self._proxy.fired["late"] += 1
                    return
            self._between_questions = True
            self._to_client.write(data)
            await self._to_client.drain()

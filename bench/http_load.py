"""A load of HTTP requests from one thread, in a process of its own: as fast as answered, or at a constant rate.

``python -m bench.http_load`` reads a :class:`Load` (MessagePack) from stdin and writes an :class:`Outcome` (JSON). Why
not wrk: it sends a connection's next request when the last answer has come, so a server that stalls is asked less and
looks faster than it is (coordinated omission); and it does not look into answers, where a record may be refused under
status 200. At a constant rate a request's latency begins when it was due, whether a connection was free or not.

The requests are bytes made before: what one costs here is to write it, and to find the end of its answer, 8 to 15 µs.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final, cast

import msgspec
import numpy as np
import uvloop

TICK_SECONDS: Final = 0.001
"""At a constant rate, what is due goes out so often; a latency is too long by half of it in the mean."""

LAST_ANSWERS_SECONDS: Final = 10.0
"""How long answers are waited for after the last request."""

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"


class Load(msgspec.Struct, frozen=True):
    """What to send: ``requests`` in turn over keep-alive ``connections`` for ``warm_up`` and then ``seconds``.

    ``rate`` requests a second; 0 as fast as they are answered. An answer is good with status 200 and as many ``marks``
    in it as there are ``records`` in a request.
    """

    host: str
    port: int
    requests: Sequence[bytes]
    connections: int
    seconds: float
    warm_up: float = 1.0
    rate: float = 0.0
    records: int = 0
    mark: bytes = b""


class Outcome(msgspec.Struct, frozen=True):
    """Requests answered well within ``seconds``, percentiles of their latency in ms, and what else came.

    ``began`` is when ``seconds`` began (``time.time()``). ``good_in_all`` counts the warm-up and late answers, too;
    ``failures`` counts other answers by their first line, and requests without one.
    """

    began: float
    seconds: float
    requests: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    good_in_all: int
    failures: dict[str, int]
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Requests answered well a second."""
        return self.requests / self.seconds


class _Connection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._rest = b""
        self.due = 0.0
        self.waits = False
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)  # uvloop's does not inherit from it

    def send(self, request: bytes, due: float) -> None:
        self.due, self.waits = due, True
        if self.transport is not None:
            self.transport.write(request)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        answer = self._rest + data if self._rest else data
        head = answer.find(_HEAD_END)
        if head >= 0:
            length = _LENGTH.search(answer, 0, head + 2)
            if len(answer) >= head + 4 + (int(length[1]) if length else 0):
                self._rest = b""
                self.waits = False
                self._run.answered(self, answer)
                return
        self._rest = answer

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self._run.lost(self)


class _Run:
    """One load, from its first request to its last answer."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._latencies = array("d")
        self._failures: Counter[str] = Counter()
        self._good = self._sent = self._open = 0
        self._idle: deque[_Connection] = deque()
        self._connections: set[_Connection] = set()
        self._overdue: deque[float] = deque()
        self._from = self._until = 0.0
        self._over = asyncio.Event()

    async def run(self) -> Outcome:
        load = self._load
        await asyncio.gather(*(self._connect() for _ in range(load.connections)))
        began, wall = time.perf_counter(), time.time()
        self._from, self._until = began + load.warm_up, began + load.warm_up + load.seconds
        cpu = time.process_time()
        if load.rate:
            await self._pace(began)
        else:
            for _ in range(len(self._idle)):
                self._next(self._idle.popleft(), time.perf_counter())
            await asyncio.sleep(max(0.0, self._until - time.perf_counter()))
        cpu = time.process_time() - cpu
        await self._last_answers()
        outcome = self._outcome(wall + load.warm_up, cpu)
        for connection in self._connections:
            connection.close()
        await asyncio.sleep(0)
        return outcome

    def answered(self, connection: _Connection, answer: bytes) -> None:
        now = time.perf_counter()
        self._open -= 1
        if answer[9:12] == b"200" and (not self._load.mark or answer.count(self._load.mark) == self._load.records):
            self._good += 1
            # at a constant rate what was due counts, however late its answer is; else what was answered in time
            if self._from <= (connection.due if self._load.rate else now) < self._until:
                self._latencies.append(now - connection.due)
        else:
            self._failures[answer[:120].split(b"\r\n", 1)[0].decode("latin-1")] += 1
        if self._load.rate:
            if self._overdue:
                self._next(connection, self._overdue.popleft())
            else:
                self._idle.append(connection)
        elif now < self._until:
            self._next(connection, now)
        if not self._open:
            self._over.set()

    def lost(self, connection: _Connection) -> None:
        """A connection that the server closed is opened again."""
        self._connections.discard(connection)
        if connection.waits:
            self._open -= 1
            self._failures["connection lost"] += 1
        if connection in self._idle:
            self._idle.remove(connection)
        if time.perf_counter() < self._until:
            self._again = asyncio.ensure_future(self._connect(at_once=not self._load.rate))
        if not self._open:
            self._over.set()

    async def _connect(self, at_once: bool = False) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Connection(self), self._load.host, self._load.port)
        self._connections.add(connection)
        if at_once:
            self._next(connection, time.perf_counter())
        else:
            self._idle.append(connection)

    def _next(self, connection: _Connection, due: float) -> None:
        requests = self._load.requests
        connection.send(requests[self._sent % len(requests)], due)
        self._sent += 1
        self._open += 1

    async def _pace(self, began: float) -> None:
        scheduled, rate = 0, self._load.rate
        while (now := time.perf_counter()) < self._until:
            while (due := began + scheduled / rate) <= now:
                scheduled += 1
                if self._idle:
                    self._next(self._idle.popleft(), due)
                else:
                    self._overdue.append(due)
            await asyncio.sleep(TICK_SECONDS)

    async def _last_answers(self) -> None:
        """What was due and had no connection is still sent: it is the slowest of all."""
        self._over.clear()
        if self._open:
            try:
                await asyncio.wait_for(self._over.wait(), LAST_ANSWERS_SECONDS)
            except TimeoutError:
                self._failures["not answered"] += self._open + len(self._overdue)
                self._overdue.clear()

    def _outcome(self, began: float, cpu: float) -> Outcome:
        latencies = np.frombuffer(self._latencies) * 1_000 if self._latencies else np.full(1, np.nan)
        p50, p99 = np.percentile(latencies, [50, 99])
        failures = {what: count for what, count in self._failures.items() if count}
        return Outcome(
            began,
            self._load.seconds,
            len(self._latencies),
            float(p50),
            float(p99),
            float(latencies.max()),
            self._good,
            failures,
            cpu,
        )


def run_load(load: Load) -> Outcome:
    """Send it all and wait for the last answers; blocks. Raises OSError when nobody listens."""
    return uvloop.run(_Run(load).run())


def main() -> None:
    """Do what stdin says."""
    load = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Load)
    sys.stdout.buffer.write(msgspec.json.encode(run_load(load)) + b"\n")


if __name__ == "__main__":
    main()

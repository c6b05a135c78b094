"""Live load through the gateway, in a process of its own: batches of readings that are measured as they are posted.

``python -m bench.live_posts FILE`` reads a :class:`PostPlan` (JSON; a file, because it holds a key) and writes an
:class:`~bench.http_load.Outcome` (JSON) as its last line. Every sensor sends once a second; no two readings share an
identity.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, overload

import msgspec

from bench.dataset import SENSORS
from bench.gateway_requests import MARK
from bench.http_load import Load, Outcome, run_load
from bench.testbed import Testbed
from weir.errors import StackError
from weir.settings import Settings
from weir.stack.child import Child

BATCH: Final = 100
"""Readings in one request."""

CONNECTIONS: Final = 128
"""At 20,000 readings a second answers may take 0.6 s before requests wait for a connection."""

END_SECONDS: Final = 60.0


class PostPlan(msgspec.Struct, frozen=True):
    """What to post: ``rate`` readings a second for ``warm_up`` and then ``seconds``, to a topic, with a key."""

    host: str
    port: int
    topic: str
    key: str
    rate: int
    seconds: float
    warm_up: float


class LiveRequests(Sequence[bytes]):
    """Requests that are made when they are sent, 0.1 to 0.2 ms each: their readings are of that moment."""

    def __init__(self, plan: PostPlan) -> None:
        """``rate // 4`` devices, named as in :mod:`bench.dataset`."""
        self._devices = max(1, plan.rate // len(SENSORS))
        self._head = (
            f"POST /topics/{plan.topic} HTTP/1.1\r\nHost: gateway\r\nUser-Agent: weir-bench\r\n"
            f"Authorization: Bearer {plan.key}\r\nContent-Type: application/vnd.kafka.json.v2+json\r\n"
        ).encode()
        self._last_ms = [0] * (self._devices * len(SENSORS))

    def __len__(self) -> int:
        """More than anybody sends."""
        return sys.maxsize

    @overload
    def __getitem__(self, number: int) -> bytes: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[bytes]: ...
    def __getitem__(self, number: int | slice) -> bytes | Sequence[bytes]:
        """Request ``number``, of now."""
        if isinstance(number, slice):
            raise TypeError("Requests are made one by one.")
        now_ms = time.time_ns() // 1_000_000
        readings = [{"value": self._reading(turn, now_ms)} for turn in range(number * BATCH, (number + 1) * BATCH)]
        body = msgspec.json.encode({"records": readings})
        return self._head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body

    def _reading(self, turn: int, now_ms: int) -> dict[str, object]:
        series = turn % len(self._last_ms)
        device, place = divmod(series, len(SENSORS))
        sensor, _, unit, mean, spread = SENSORS[place]
        self._last_ms[series] = ts = max(now_ms, self._last_ms[series] + 1)
        return {
            "device_id": f"bench-{device:06d}",
            "sensor": sensor,
            "ts": ts,
            "value": round(mean + spread * math.sin(turn / 97) / 4, 2),
            "unit": unit,
            "seq": turn,
            "quality": "good",
            "fw_ver": "1.4.2",
            "source": "bench",
        }


class LivePosts:
    """The process, from outside."""

    def __init__(self, child: Child, plan: PostPlan) -> None:
        """``child`` runs ``plan``."""
        self.child, self._plan = child, plan

    def wait(self, check: Callable[[], object]) -> Outcome:
        """Block until it has posted everything; ``check`` is called now and then.

        Raises :class:`~weir.errors.StackError`, and what ``check`` raises.
        """
        deadline = time.monotonic() + self._plan.warm_up + self._plan.seconds + END_SECONDS
        while self.child.exit_code() is None and time.monotonic() < deadline:
            check()
            time.sleep(0.1)
        if self.child.exit_code() != 0:
            raise StackError(f"The load failed; the last lines of {self.child.log}:\n{self.child.last_lines()}")
        return msgspec.json.decode(self.child.last_lines().splitlines()[-1], type=Outcome)


@contextmanager
def live_posts(testbed: Testbed, settings: Settings, plan: PostPlan) -> Iterator[LivePosts]:
    """Run the plan in a process; it ends with the block."""
    file = settings.worker.data_dir / "posts.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_bytes(msgspec.json.encode(plan))
    child = testbed.spawn("bench-posts", settings, "bench.live_posts", str(file))
    try:
        yield LivePosts(child, plan)
    finally:
        child.request_stop()
        child.wait_stopped()
        file.unlink()


def main() -> None:
    """Run the plan of the file on the command line."""
    plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=PostPlan)
    load = Load(
        plan.host,
        plan.port,
        LiveRequests(plan),
        CONNECTIONS,
        plan.seconds,
        plan.warm_up,
        plan.rate / BATCH,
        BATCH,
        MARK,
    )
    print(msgspec.json.encode(run_load(load)).decode())


if __name__ == "__main__":
    main()

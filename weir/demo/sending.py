"""The thread that posts the readings of this machine and of the fleet when they are due."""

from __future__ import annotations

import threading
import time

from weir.demo.fleet import Fleet
from weir.demo.host import Host
from weir.demo.ledger import Uplink
from weir.demo.reading import Framing, Reading

STEP_SECONDS = 0.02
HOST_EVERY_MS = 250


class Sender(threading.Thread):
    """Sends until ``end_ms`` (ms since 1970) or until stopped."""

    def __init__(self, host_id: str, host: Host, fleet: Fleet, uplink: Uplink, framing: Framing) -> None:
        """Nothing is sent before :meth:`send_until`."""
        super().__init__(name="demo-sender", daemon=True)
        self.last_values: dict[str, float] = {}
        self.failure: BaseException | None = None
        self._host_id = host_id
        self._host = host
        self._fleet = fleet
        self._uplink = uplink
        self._framing = framing
        self._end_ms = 0
        self._seq = 0
        self._stopping = threading.Event()

    def send_until(self, end_ms: int) -> None:
        """Start; no reading is sent at or after ``end_ms``."""
        self._end_ms = end_ms
        self.start()

    def stop(self) -> None:
        """Ask for the end; join the thread to wait for it."""
        self._stopping.set()

    def run(self) -> None:
        """Send what is due, step by step; what goes wrong is kept in ``failure``."""
        next_sample = 0
        try:
            while not self._stopping.is_set() and (now := time.time_ns() // 1_000_000) < self._end_ms:
                if now >= next_sample:
                    self._post_host(now)
                    next_sample = now + HOST_EVERY_MS
                for message in self._fleet.due(now):
                    self._uplink.send(message)
                self._uplink.poll()
                self._stopping.wait(STEP_SECONDS)
        except BaseException as error:
            self.failure = error

    def _post_host(self, now_ms: int) -> None:
        self.last_values.update(self._host.sample())
        for name, value in list(self.last_values.items()):
            self._seq += 1
            reading = Reading(self._host_id, name, now_ms, value=value, seq=self._seq, quality="good", source="psutil")
            self._uplink.send(self._framing.message(reading, "host"))

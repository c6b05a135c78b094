"""Ingest-to-query latency, from outside: a probe reading is posted, then the view is asked until it shows it."""

from __future__ import annotations

import math
import threading
import time
from random import Random

from clickhouse_connect.driver import Client

from sinks.clickhouse.client import connect, translating
from weir.demo.ledger import Uplink
from weir.demo.reading import Framing, Reading
from weir.settings import ClickHouseSettings

PROBE_ID = "demo-probe"
PROBE_SENSOR = "probe"
POLL_SECONDS = 0.02
PATIENCE_SECONDS = 30.0

HOW = (
    "from posting a probe reading to the gateway until the view `readings` shows it, "
    f"asked every {POLL_SECONDS * 1000:.0f} ms over HTTP"
)

_QUERY = """
SELECT max(value) FROM readings
WHERE org_id = {org:String} AND device_id = {device:String} AND ts >= fromUnixTimestamp64Milli({since:Int64})
"""


class LatencyProbe(threading.Thread):
    """Sends one probe after another; ``seconds`` collects how long each took, ``missing`` those that never showed."""

    def __init__(self, organisation: str, uplink: Uplink, framing: Framing, settings: ClickHouseSettings) -> None:
        """Connects when it starts."""
        super().__init__(name="demo-probe", daemon=True)
        self.seconds: list[float] = []
        self.missing = 0
        self.failure: BaseException | None = None
        self._organisation = organisation
        self._uplink = uplink
        self._framing = framing
        self._settings = settings
        self._pause = Random(0)  # noqa: S311 - uneven pauses, so that probes do not fall into step with flushes
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ask for the end; the probe under way is still waited for."""
        self._stopping.set()

    def run(self) -> None:
        """Probe until stopped; what goes wrong is kept in ``failure``."""
        try:
            client = connect(self._settings)
            try:
                number = 0
                while not self._stopping.is_set():
                    number += 1
                    self._probe(client, number)
                    self._stopping.wait(self._pause.uniform(0.3, 1.1))
            finally:
                client.close()
        except BaseException as error:
            self.failure = error

    def _probe(self, client: Client, number: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        reading = Reading(PROBE_ID, PROBE_SENSOR, now_ms, value=float(number), seq=number, source="probe")
        message = self._framing.message(reading, "probe")
        sent = time.monotonic()
        self._uplink.send(message)
        parameters = {"org": self._organisation, "device": PROBE_ID, "since": now_ms}
        while time.monotonic() - sent < PATIENCE_SECONDS:
            self._uplink.poll()
            with translating(self._settings):
                ((highest,),) = client.query(_QUERY, parameters=parameters).result_rows
            if highest is not None and highest >= number:
                self.seconds.append(time.monotonic() - sent)
                return
            time.sleep(POLL_SECONDS)
        self.missing += 1


def quantile(seconds: list[float], share: float) -> float | None:
    """The smallest measured value that at least ``share`` of all do not exceed; None of none."""
    if not seconds:
        return None
    ranked = sorted(seconds)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]

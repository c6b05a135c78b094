"""One load: makes readings, writes their intents down, sends them, and writes down what became of them.

The order of each batch: intents into the ledger, fsync, then Kafka. So whatever Kafka has is in the ledger, even when
this process is killed.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import polars as pl

from connectors.kafka.topics import check_topics
from connectors.postgres.devices import register
from weir.demo.preparation import batch_framing, registered_framings
from weir.errors import TransientError, UsageError
from weir.load.entries import VERSION, End, Header, Series
from weir.load.event_time import EventTimes, FreeTimes, PacedTimes
from weir.load.gateway_door import Door
from weir.load.gateway_uplink import GatewayUplink
from weir.load.ledger import LedgerWriter
from weir.load.outcomes import Outcomes
from weir.load.plan import DAY_MS, HOUR_MS, MINUTE_MS, LoadPlan
from weir.load.source import LIMIT, Batch, Source
from weir.load.uplink import KafkaUplink, Uplink
from weir.settings import Settings

TICK_SECONDS: Final = 0.05
"""At a steady rate a batch is made this often, so there are at most 20 fsyncs a second (2 ms each where measured)."""

IN_FLIGHT: Final = 50_000
"""Messages without an outcome at which no more are made."""


@dataclass(frozen=True)
class Tally:
    """Where a load is; latencies in seconds, None before the first acknowledgement.

    ``turned_away`` are those of the ``failed`` that were made to be refused.
    """

    seconds: float
    readings: int
    sent: int
    acknowledged: int
    failed: int
    turned_away: int
    unknown: int
    p50: float | None
    p99: float | None


def register_fleet(settings: Settings, plan: LoadPlan, organisation: str) -> None:
    """Make the plan's devices known; harmless when repeated. Blocks; raises what ``register`` raises."""
    frame = pl.DataFrame(plan.names(), schema=["device_id", "sensor"], orient="row").with_columns(
        device_type=pl.lit("device.simulated"),
        metric=pl.lit("load.value"),
        min_value=pl.lit(-LIMIT),
        max_value=pl.lit(LIMIT),
    )
    register(settings.postgres.dsn.get_secret_value(), organisation, None, frame)


class Load(threading.Thread):
    """Runs a plan in a thread of its own, from ``start`` (or ``with``) until the plan's end or :meth:`stop`.

    What goes wrong is kept in ``failure`` and raised by :meth:`finish`.
    """

    def __init__(
        self,
        settings: Settings,
        plan: LoadPlan,
        ledger: Path,
        *,
        append: bool = False,
        patience_seconds: float = 120.0,
        door: Door | None = None,
    ) -> None:
        """Check the topics, ask the registry, create the ledger; with a ``door``, post to that gateway.

        Raises ConfigError, UsageError, TransientError.
        """
        super().__init__(name="weir-load", daemon=True)
        _check_event_times(settings, plan)
        check_topics(settings)
        framings = [*registered_framings(settings), *([batch_framing(settings)] if plan.packed else [])]
        self.failure: BaseException | None = None
        self._plan = plan
        self._topic = settings.topics.readings
        self._patience = patience_seconds
        self._outcomes = Outcomes()
        self._door = door
        self._uplink = self._new_uplink(settings)
        self._begin_ms = plan.begin_ms if plan.begin_ms is not None else time.time_ns() // 1_000_000
        self._times = _times(plan, self._begin_ms)
        self._source = Source(plan, self._times, *framings)
        self._stopping, self._giving_up = threading.Event(), threading.Event()
        self._sent = 0
        self._began, self._ended = time.monotonic(), 0.0
        self._ledger = LedgerWriter(ledger, append=append)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End in order; after an error, at once."""
        self.stop()
        if error is not None:
            self.give_up()
            self.join()
        else:
            self.finish()

    @property
    def acknowledged(self) -> int:
        """Messages that the broker has acknowledged."""
        return self._outcomes.acknowledged

    def tally(self) -> Tally:
        """Where it is now; from any thread."""
        outcomes = self._outcomes
        return Tally(
            (self._ended or time.monotonic()) - self._began,
            self._source.made,
            self._sent,
            outcomes.acknowledged,
            outcomes.failed,
            outcomes.turned_away,
            outcomes.unknown,
            outcomes.latencies.quantile(0.5),
            outcomes.latencies.quantile(0.99),
        )

    def stop(self) -> None:
        """Make no more readings; what was sent is still waited for."""
        self._stopping.set()

    def give_up(self) -> None:
        """Do not wait for acknowledgements either."""
        self._stopping.set()
        self._giving_up.set()

    def finish(self) -> Tally:
        """Wait for the end and return the last figures; raises what went wrong."""
        self.join()
        if self.failure is not None:
            raise self.failure
        return self.tally()

    def run(self) -> None:
        """The whole load; called by ``start``."""
        self._began = time.monotonic()
        try:
            with self._ledger:
                self._open()
                self._send_all()
                self._await_outcomes()
                self._close()
        except BaseException as error:
            self.failure = error
        finally:
            self._ended = time.monotonic()
            self._uplink.close()

    def _new_uplink(self, settings: Settings) -> Uplink:
        if self._door is not None:
            return GatewayUplink(self._door, self._topic, self._outcomes, self._patience)
        return KafkaUplink(settings, self._outcomes, self._patience)

    def _open(self) -> None:
        began_ms = time.time_ns() // 1_000_000
        header = Header(VERSION, self._topic, began_ms, asdict(self._plan), repeats=self._door is not None)
        self._ledger.write(header, Series(0, self._plan.names()))
        self._ledger.sync()

    def _send_all(self) -> None:
        next_tick = self._began
        while not self._over():
            count = self._due()
            if count:
                self._send(self._source.take(count, time.monotonic() - self._began))
            if self._plan.rate or not count:
                next_tick = max(next_tick + TICK_SECONDS, time.monotonic())
                self._poll_until(next_tick)
            else:
                self._uplink.poll(0)
            self._write_outcomes()
        if not self._outcomes.unknown:
            self._send(self._source.rest())

    def _over(self) -> bool:
        plan = self._plan
        if self._outcomes.unknown:
            who = "Kafka" if self._door is None else "The gateway"
            self.failure = TransientError(f"{who} did not answer within {self._patience:g} s; see `weir status`.")
            return True
        made_all = 0 < plan.readings <= self._source.made
        return made_all or 0 < plan.seconds <= time.monotonic() - self._began or self._stopping.is_set()

    def _due(self) -> int:
        if self._sent - self._outcomes.settled >= IN_FLIGHT:
            return 0
        due = self._times.due(time.monotonic() - self._began, self._source.made)
        return min(due, self._plan.readings - self._source.made) if self._plan.readings else due

    def _send(self, batch: Batch) -> None:
        """Intents on disk first, together with the outcomes that came meanwhile."""
        if not batch.messages:
            return
        intents = [entry for entry in (batch.readings, batch.bad) if entry is not None]
        self._ledger.write(*intents, *self._outcomes.take())
        self._ledger.sync()
        self._uplink.send(batch.messages)
        self._sent += sum(len(message.packed) or 1 for message in batch.messages)

    def _poll_until(self, instant: float) -> None:
        """``instant`` is monotonic; librdkafka returns from poll after the first outcome."""
        while (left := instant - time.monotonic()) > 0 and not self._stopping.is_set():
            self._uplink.poll(left)

    def _await_outcomes(self) -> None:
        deadline = time.monotonic() + self._patience + 5.0  # librdkafka's own end comes first
        while self._outcomes.settled < self._sent:
            if self._giving_up.is_set() or time.monotonic() > deadline:
                self._uplink.give_up()
                break
            self._uplink.poll(TICK_SECONDS)
            self._write_outcomes()

    def _write_outcomes(self) -> None:
        entries = self._outcomes.take()
        if entries:
            self._ledger.write(*entries)

    def _close(self) -> None:
        end = End(time.time_ns() // 1_000_000, self._sent, self._outcomes.acknowledged)
        self._ledger.write(*self._outcomes.take(), end)


def _check_event_times(settings: Settings, plan: LoadPlan) -> None:
    """Good readings must not be refused for their time."""
    now_ms = time.time_ns() // 1_000_000
    begin_ms = plan.begin_ms if plan.begin_ms is not None else now_ms
    oldest_ms = now_ms - settings.retention.raw_days * DAY_MS
    if begin_ms - (plan.late > 0) * plan.late_minutes * MINUTE_MS < oldest_ms + HOUR_MS:
        raise UsageError(
            f"Readings are kept for {settings.retention.raw_days} days: let --begin be later, or --late-minutes less."
        )
    lasts = min(each for each in (plan.seconds, plan.readings / plan.rate if plan.rate else 0.0, 1e9) if each)
    if begin_ms + (lasts if lasts < 1e9 else 0.0) * (plan.speed - 1.0) * 1_000 > now_ms + 1_000:
        raise UsageError("Event time would overtake the clock: let --begin be earlier, or --speed less.")


def _times(plan: LoadPlan, begin_ms: int) -> EventTimes:
    if plan.rate:
        return PacedTimes(begin_ms, plan.rate, plan.speed)
    return FreeTimes(begin_ms, plan.series, plan.speed)

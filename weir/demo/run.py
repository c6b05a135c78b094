"""One run of the demo: make devices known, send, wait until all is stored and closed, compare."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import dataclass

from connectors.kafka.client import kafka_client_config
from weir.demo.bad_records import BadRecords
from weir.demo.dead_letters import DeadLetterWatch
from weir.demo.fleet import Fleet, device_ids
from weir.demo.gateway_key import demo_key
from weir.demo.host import Host, host_device_id
from weir.demo.interrupt import Interrupt
from weir.demo.latency import PROBE_ID, LatencyProbe
from weir.demo.ledger import KafkaUplink, Ledger
from weir.demo.live_view import LiveView, Moment
from weir.demo.parity import Parity, Scope, compare_run
from weir.demo.posting import GatewayUplink
from weir.demo.preparation import (
    Start,
    await_metadata,
    await_open_way,
    choose_start,
    registered_framings,
    sending_end,
)
from weir.demo.registration import ORGANISATION, register_demo
from weir.demo.result import Result
from weir.demo.running_stack import RunningStack, naming_the_cause
from weir.demo.sending import Sender
from weir.demo.settling import windows_to_close
from weir.demo.stored import StoredRun
from weir.demo.worker_metrics import MetricsPages, WorkerMetrics
from weir.errors import StackError
from weir.load.gateway_door import Door
from weir.verify.progress import Closed, StageProgress

QUIET = {"log_level": 0}
"""librdkafka writes to stderr, over the live picture; what concerns us comes as an error or a late delivery."""

TICK_SECONDS = 0.25
METRICS_SECONDS = 1.0
CLOSING_MARGIN_SECONDS = 20.0
STORING_SECONDS = 30.0
REFUSING_SECONDS = 10.0


@dataclass(frozen=True)
class DemoOptions:
    """Size of the fleet, length in minutes, and the seed of everything simulated."""

    devices: int
    minutes: float
    seed: int = 1


def run_demo(stack: RunningStack, options: DemoOptions, console_view: LiveView) -> Result:
    """Run once, from registration to the comparison. Blocks; ends early and still compares after one Ctrl-C.

    Raises :class:`~weir.errors.WeirError` when something that it runs on is away, KeyboardInterrupt after two Ctrl-C.
    """
    with naming_the_cause(stack.check), ExitStack() as opened:
        run = _Run(stack, options, console_view, opened)
        start = run.prepare()
        with Interrupt() as interrupt, console_view:
            run.send(start, interrupt)
            closed = run.settle(start, interrupt)
            return run.result(start, closed, interrupt.wanted)


class _Run:
    """What lives from preparation to the result; everything opened is closed with ``opened``.

    Making it registers the devices and makes the key with which they post.
    """

    def __init__(self, stack: RunningStack, options: DemoOptions, view: LiveView, opened: ExitStack) -> None:
        self._stack = stack
        self._settings = settings = stack.settings
        self._options = options
        self._view = view
        self._host, self._host_id = Host(), host_device_id()
        self._ledger = Ledger()
        self._reading, self._alert = registered_framings(settings)
        self._known = register_demo(settings, self._host_id, self._host.sensors, options.devices)
        dsn = settings.postgres.dsn.get_secret_value()
        self._door = Door(stack.gateway_url, opened.enter_context(demo_key(dsn, options.minutes)))
        self._uplink = opened.enter_context(closing(self._new_uplink(self._ledger)))
        self._stored = opened.enter_context(closing(StoredRun(settings.clickhouse, ORGANISATION)))
        self._progress = opened.enter_context(closing(StageProgress(settings)))
        self._pages = opened.enter_context(closing(MetricsPages(stack.worker_urls, settings)))
        self._letters = DeadLetterWatch(self._client, settings.topics.deadletters, settings.topics.readings)
        self._probe = LatencyProbe(ORGANISATION, self._uplink, self._reading, settings.clickhouse)
        self._sender: Sender | None = None
        self._base = self._latest = WorkerMetrics()
        self._asked_at = 0.0
        self._end_ms = 0
        self._problems: list[str] = []
        opened.callback(self._stop_threads)
        self._letters.start()

    # -- the steps -----------------------------------------------------------------------------------------------

    def prepare(self) -> Start:
        """Open the way, choose the start."""
        options = self._options
        self._view.say(f"This machine is the device {self._host_id} with {len(self._host.sensors)} sensors.")
        await_metadata(self._settings, changed=bool(self._known.devices or self._known.sensors))
        devices = [self._host_id, PROBE_ID, *device_ids(options.devices)]
        with closing(self._new_uplink(Ledger())) as first:
            await_open_way(devices, first, self._reading, self._stored, self._stack.check)
        start = choose_start(self._stored)
        self._base = self._latest = self._first_metrics()
        self._end_ms = sending_end(start.since_ms, options.minutes)
        return start

    def send(self, start: Start, interrupt: Interrupt) -> None:
        """Send until the end or until interrupted."""
        while (left := start.since_ms / 1000 - time.time()) > 0 and not interrupt.wanted:
            self._tick("waiting for a minute without readings of an earlier run", start, left)
        bad = BadRecords(self._reading, self._alert)
        fleet = Fleet(self._options.devices, self._options.seed, start.since_ms, self._reading, bad)
        self._sender = Sender(self._host_id, self._host, fleet, self._uplink, self._reading)
        self._sender.send_until(self._end_ms)
        self._probe.start()
        while self._sender.is_alive() and not interrupt.wanted:
            self._tick("sending", start, self._end_ms / 1000 - time.time())
        self._end_ms = min(self._end_ms, time.time_ns() // 1_000_000)
        self._stop_sending()
        self._uplink.flush(STORING_SECONDS)

    def settle(self, start: Start, interrupt: Interrupt) -> Closed:
        """Wait until the last minute is closed (not when interrupted), and all is stored; say what is closed."""
        ends = dict(self._ledger.ends)
        if not interrupt.wanted:
            self._await_closed(start, interrupt)
        self._await_stored(ends)
        closed = self._progress.closed()
        self._await_stored(ends)  # what was published before `closed` was read
        deadline = time.monotonic() + REFUSING_SECONDS
        while self._ledger.bad.keys() - self._letters.reasons.keys() and time.monotonic() < deadline:
            self._tick("waiting for dead letters", start, deadline - time.monotonic())
        return closed

    def result(self, start: Start, closed: Closed, interrupted: bool) -> Result:
        """Compare, and gather what there is to report."""
        self._ask_workers()
        scope = Scope(start.since_ms, start.earlier, closed)
        parity: Parity = compare_run(self._ledger, self._stored, dict(self._letters.reasons), scope)
        if self._ledger.unacknowledged:
            self._problems.append(f"{len(self._ledger.unacknowledged)} messages were never acknowledged.")
        if self._probe.missing:
            self._problems.append(f"{self._probe.missing} probe readings did not show in the view within 30 s.")
        return Result(
            device_id=self._host_id,
            since_ms=start.since_ms,
            sending_seconds=max(0, self._end_ms - start.since_ms) / 1000,
            interrupted=interrupted,
            sent=dict(self._ledger.kinds.most_common()),
            turned_away=dict(self._ledger.turned_away.most_common()),
            rows=self._stored.rows_since(start.since_ms),
            rows_in_all=self._stored.rows_in_all(),
            corrections=self._metrics.corrections,
            dead_letters=self._letters.by_reason(),
            this_machine=self._stored.latest_minutes(self._host_id, start.since_ms),
            latency=self._probe.seconds,
            parity=parity,
            problems=self._problems,
        )

    # -- waiting -------------------------------------------------------------------------------------------------

    def _await_closed(self, start: Start, interrupt: Interrupt) -> None:
        minutes, hours = windows_to_close(self._ledger.readings, start.since_ms)
        if not minutes:
            return
        stream = self._settings.stream
        last_ms = max(minutes.values())
        expected = last_ms / 1000 + stream.lateness_seconds + 2 * stream.idle_seconds - time.time()
        deadline = time.monotonic() + max(0.0, expected) + CLOSING_MARGIN_SECONDS
        phase = f"waiting until {time.strftime('%H:%M', time.gmtime(last_ms / 1000))} UTC is over and closed"

        def tick() -> bool:
            self._tick(phase, start, max(0.0, deadline - time.monotonic() - CLOSING_MARGIN_SECONDS), sleep=False)
            return interrupt.wanted

        if not self._progress.await_closed(minutes, hours, deadline, tick) and not interrupt.wanted:
            self._problems.append(
                f"The last minute was not closed within {CLOSING_MARGIN_SECONDS:.0f} s after it was due; "
                "the windows that are closed were compared."
            )

    def _await_stored(self, ends: dict[int, int]) -> None:
        if not self._problems and not self._progress.await_stored(ends, STORING_SECONDS):
            self._problems.append(f"The workers did not store everything within {STORING_SECONDS:.0f} s.")

    def _tick(self, phase: str, start: Start, left_seconds: float, sleep: bool = True) -> None:
        """Show the present moment; raise what went wrong in a thread or in the stack."""
        self._stack.check()
        for thread in (self._sender, self._probe, self._letters):
            if thread is not None and thread.failure is not None:
                raise thread.failure
        if time.monotonic() - self._asked_at >= METRICS_SECONDS:
            self._ask_workers()
        self._view.show(
            Moment(
                phase=phase,
                elapsed_seconds=time.time() - start.since_ms / 1000,
                left_seconds=left_seconds,
                sent=self._ledger.messages,
                metrics=self._metrics,
                dead_letters=self._letters.by_reason(),
                host=dict(self._sender.last_values) if self._sender is not None else {},
                units={sensor.name: sensor.unit for sensor in self._host.sensors},
                latency=list(self._probe.seconds),
            )
        )
        if sleep:
            time.sleep(TICK_SECONDS)

    # -- parts ---------------------------------------------------------------------------------------------------

    @property
    def _client(self) -> dict[str, object]:
        return {**kafka_client_config(self._settings.kafka), **QUIET}

    @property
    def _metrics(self) -> WorkerMetrics:
        return self._latest.since(self._base)

    def _first_metrics(self) -> WorkerMetrics:
        metrics = self._pages.read()
        if metrics is None:
            raise StackError(f"The metrics page of {self._stack.worker_urls[0]} does not answer; see `weir status`.")
        return metrics

    def _ask_workers(self) -> None:
        self._asked_at = time.monotonic()
        self._latest = self._pages.read() or self._latest

    def _new_uplink(self, ledger: Ledger) -> GatewayUplink:
        acknowledged = {"enable.idempotence": True, "acks": "all", "linger.ms": 5, "partitioner": "murmur2_random"}
        topic = self._settings.topics.readings
        return GatewayUplink(self._door, topic, ledger, KafkaUplink({**self._client, **acknowledged}, topic, ledger))

    def _stop_sending(self) -> None:
        for thread in (self._sender, self._probe):
            if thread is not None and thread.is_alive():
                thread.stop()
                thread.join()

    def _stop_threads(self) -> None:
        self._stop_sending()
        self._letters.stop()
        self._letters.join()

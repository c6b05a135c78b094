"""Before the first reading: devices are registered, the way to the view is open, and the start instant is chosen."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from connectors.contracts import record_subject
from connectors.registry import Registry, value_subject
from weir.demo.ledger import Uplink
from weir.demo.reading import Framing, Reading
from weir.demo.registration import HELLO
from weir.demo.running_stack import Check
from weir.demo.stored import StoredRun
from weir.errors import ConfigError, StackError
from weir.settings import Settings
from weir.verify.recompute import HOUR_MS, MINUTE_MS

HELLO_SECONDS = 60.0
HELLO_AGAIN_SECONDS = 5.0
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Start:
    """Event times of the run begin at ``since_ms``; its hour may hold older readings of the ``earlier`` series."""

    since_ms: int
    earlier: Collection[tuple[str, str]]


def registered_framings(settings: Settings) -> tuple[Framing, Framing]:
    """Writers of readings and of alerts. Raises :class:`ConfigError` when `weir migrate` has not run."""
    with Registry(settings.registry) as registry:
        readings, alerts = (value_subject(topic) for topic in (settings.topics.readings, settings.topics.alerts))
        return _framing(registry, readings), _framing(registry, alerts)


def batch_framing(settings: Settings) -> Framing:
    """A writer of packed readings. Raises :class:`ConfigError` when `weir migrate` has not run."""
    with Registry(settings.registry) as registry:
        return _framing(registry, record_subject(settings.topics.readings, "ReadingBatch"))


def _framing(registry: Registry, subject: str) -> Framing:
    latest = registry.latest(subject)
    if latest is None:
        raise ConfigError(f"The registry has no schema under {subject}; run `weir migrate`.")
    return Framing(latest.schema, latest.id)


def await_metadata(settings: Settings, changed: bool) -> None:
    """Give the workers the time to load what was just registered."""
    if changed:
        time.sleep(settings.postgres.refresh_seconds + 1.0)


def await_open_way(devices: list[str], uplink: Uplink, framing: Framing, stored: StoredRun, check: Check) -> None:
    """Let every device say hello until the view shows all of them: then every partition has a worker that keeps up.

    Raises :class:`~weir.errors.StackError` after a minute.
    """
    began_ms = time.time_ns() // 1_000_000
    deadline = time.monotonic() + HELLO_SECONDS
    missing, again_at = set(devices), 0.0
    while missing:
        check()
        now = time.monotonic()
        if now > deadline:
            raise StackError(
                f"Within {HELLO_SECONDS:.0f} s the workers have not stored the first reading of {len(missing)} of "
                f"{len(devices)} devices; see `weir status` and the log faust-1.log in the data folder."
            )
        if now >= again_at:  # one that came before its worker had the new metadata was refused
            again_at = now + HELLO_AGAIN_SECONDS
            for device_id in sorted(missing):
                hello = Reading(device_id, HELLO, time.time_ns() // 1_000_000, str_value="hello", source="demo")
                uplink.send(framing.message(hello, "hello"))
        uplink.poll()
        time.sleep(POLL_SECONDS)
        missing -= stored.devices_seen(HELLO, began_ms)


def choose_start(stored: StoredRun) -> Start:
    """Begin now, or with the next minute when this one already holds readings of an earlier run that was cut short."""
    now_ms = time.time_ns() // 1_000_000
    earlier = stored.series_since(now_ms - now_ms % HOUR_MS)
    this_minute = now_ms - now_ms % MINUTE_MS
    if earlier and stored.series_since(this_minute):
        return Start(this_minute + MINUTE_MS, earlier)
    return Start(now_ms, earlier)


def sending_end(start_ms: int, minutes: float) -> int:
    """When sending ends: from one minute up, with the whole minute nearest to ``minutes`` after the start.

    A minute closes when it is over, so ending with it spares waiting for its rest.
    """
    wanted = start_ms + round(minutes * MINUTE_MS)
    return wanted if minutes < 1 else (wanted + MINUTE_MS // 2) // MINUTE_MS * MINUTE_MS

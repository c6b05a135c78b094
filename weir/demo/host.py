"""This machine as a device: what psutil can tell of it, several times a second."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import NamedTuple

import psutil


def host_device_id() -> str:
    """``host-`` and the machine's name."""
    return f"host-{socket.gethostname() or 'this-machine'}"[:60]


class HostSensor(NamedTuple):
    """One number of this machine; ``read`` gives None when it cannot be told just now."""

    name: str
    metric: str
    unit: str
    read: Callable[[], float | None]


class Host:
    """The sensors that this machine has."""

    def __init__(self) -> None:
        """Look once at everything, so that rates and shares have something to start from."""
        psutil.cpu_percent()
        found = [*_always(), *_disk(), *_network(), *_temperature()]
        self.sensors = [sensor for sensor in found if sensor.name.endswith("_rate") or sensor.read() is not None]

    def sample(self) -> dict[str, float]:
        """The present value of each sensor that has one."""
        values = ((sensor.name, sensor.read()) for sensor in self.sensors)
        return {name: value for name, value in values if value is not None}


class _Rate:
    """Turns a counter into units a second since the last look."""

    def __init__(self, counter: Callable[[], float]) -> None:
        self._counter = counter
        self._last, self._at = counter(), time.monotonic()

    def __call__(self) -> float | None:
        now, count = time.monotonic(), self._counter()
        passed, grown = now - self._at, count - self._last
        self._last, self._at = count, now
        return grown / passed if passed > 0 and grown >= 0 else None  # a counter that wrapped tells nothing


def _always() -> list[HostSensor]:
    return [
        HostSensor("cpu", "host.cpu", "percent", lambda: psutil.cpu_percent()),
        HostSensor("load_1m", "host.load_1m", "processes", lambda: psutil.getloadavg()[0]),
        HostSensor("memory", "host.memory", "percent", lambda: psutil.virtual_memory().percent),
        HostSensor("memory_available", "host.memory_available", "MB", lambda: psutil.virtual_memory().available / 1e6),
        HostSensor("swap", "host.swap", "percent", lambda: psutil.swap_memory().percent),
        HostSensor("disk_used", "host.disk_used", "percent", lambda: psutil.disk_usage("/").percent),
    ]


def _disk() -> list[HostSensor]:
    if psutil.disk_io_counters() is None:  # as in many containers
        return []

    def counter(name: str) -> Callable[[], float]:
        return lambda: getattr(psutil.disk_io_counters(), name, 0) / 1e3

    return [
        HostSensor("disk_read_rate", "host.disk_read_rate", "kB/s", _Rate(counter("read_bytes"))),
        HostSensor("disk_write_rate", "host.disk_write_rate", "kB/s", _Rate(counter("write_bytes"))),
    ]


def _network() -> list[HostSensor]:
    if psutil.net_io_counters() is None:
        return []

    def counter(name: str) -> Callable[[], float]:
        return lambda: getattr(psutil.net_io_counters(), name, 0) / 1e3

    return [
        HostSensor("network_received_rate", "host.network_received_rate", "kB/s", _Rate(counter("bytes_recv"))),
        HostSensor("network_sent_rate", "host.network_sent_rate", "kB/s", _Rate(counter("bytes_sent"))),
    ]


def _temperature() -> list[HostSensor]:
    def hottest() -> float | None:
        read = getattr(psutil, "sensors_temperatures", None)  # not on every system
        found = [each.current for chip in read().values() for each in chip] if read else []
        return max(found, default=None)

    return [HostSensor("temperature", "host.temperature", "celsius", hottest)]

"""Measuring processes from outside: CPU over a span of time, peak memory, and the worker's own metrics page."""

from __future__ import annotations

import http.client
import threading
import time
from bisect import bisect_left
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil
from prometheus_client.parser import text_string_to_metric_families

SAMPLE_SECONDS = 0.02
"""Two ticks of the clock that the kernel counts CPU in."""

LOOK_SECONDS = 0.25
"""How often a tree's new processes are looked for: it costs some milliseconds."""

BUSY = ("user", "nice", "system", "irq", "softirq", "steal")
"""What is not left of a machine's CPU: ``steal`` is what its host gave to others. Guests count as user already."""

MACHINE = "machine"
"""Name under which the CPU of everything that runs on this machine is counted."""


class CpuMeter:
    """Samples the CPU time (user + system, all threads) of processes, so that any span can be asked for afterwards.

    A context manager; it samples while it is entered. A process that ends keeps its last figures.
    """

    def __init__(self, pids: Mapping[str, int], trees: Collection[str] = ()) -> None:
        """Watch ``pids``, by name; those named in ``trees`` with all processes that they start."""
        self._processes = {name: _Watched(psutil.Process(pid), name in trees) for name, pid in pids.items()}
        self._times: list[float] = []
        self._used: dict[str, list[float]] = {name: [] for name in (*pids, MACHINE)}
        self._peak: dict[str, int] = dict.fromkeys(pids, 0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cpu-meter", daemon=True)

    def __enter__(self) -> CpuMeter:
        """Begin to sample."""
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop sampling."""
        self._stopping.set()
        self._thread.join()

    def cpu_seconds(self, name: str, begin: float, end: float) -> float:
        """CPU seconds that a process, or :data:`MACHINE`, used between two times of ``time.time()``."""
        return self._at(name, end) - self._at(name, begin)

    def others_share(self, begin: float, end: float) -> float:
        """The part of the machine's CPU between two times that none of the watched processes used."""
        watched = sum(self.cpu_seconds(name, begin, end) for name in self._used if name != MACHINE)
        others = self.cpu_seconds(MACHINE, begin, end) - watched
        return max(0.0, others / (end - begin) / (psutil.cpu_count() or 1))

    def peak_bytes(self, name: str) -> int:
        """The largest resident memory of a process since its start: the kernel's mark, or the largest sample."""
        return self._peak[name]

    def _run(self) -> None:
        while not self._stopping.wait(SAMPLE_SECONDS):
            self._sample()
        self._sample()

    def _sample(self) -> None:
        self._times.append(time.time())
        machine = psutil.cpu_times()._asdict()
        self._used[MACHINE].append(sum(machine.get(name, 0.0) for name in BUSY))
        for name, watched in self._processes.items():
            self._used[name].append(watched.cpu_seconds())
            with suppress(psutil.NoSuchProcess):
                self._peak[name] = max(self._peak[name], _high_water(watched.process))

    def _at(self, name: str, moment: float) -> float:
        used = self._used[name]
        at = bisect_left(self._times, moment)
        if at == 0 or at == len(used):
            return used[min(at, len(used) - 1)]
        before, after = self._times[at - 1], self._times[at]
        return used[at - 1] + (used[at] - used[at - 1]) * (moment - before) / (after - before)


class _Watched:
    """A process, or a tree of them: descendants are looked for every :data:`LOOK_SECONDS`, and count until they end."""

    def __init__(self, process: psutil.Process, is_tree: bool) -> None:
        self.process = process
        self._family = {process.pid: process}
        self._used: dict[int, float] = {}
        self._look_at = time.monotonic() if is_tree else float("inf")

    def cpu_seconds(self) -> float:
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            with suppress(psutil.NoSuchProcess):
                self._family |= {child.pid: child for child in self.process.children(recursive=True)}
        for pid, process in self._family.items():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                self._used[pid] = times.user + times.system
        return sum(self._used.values())


def _high_water(process: psutil.Process) -> int:
    """VmHWM where the kernel tells it (Linux), else what is resident now."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    except OSError:
        return int(process.memory_info().rss)
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def read_metrics(host: str, port: int) -> dict[tuple[str, str], float] | None:
    """Samples of a worker's ``/metrics`` by (name, stream), summed over other labels; None while it does not answer."""
    connection = http.client.HTTPConnection(host, port, timeout=5.0)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        if response.status != http.client.OK:
            return None
        text = response.read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    sums: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, sample.labels.get("stream", ""))
            sums[key] = sums.get(key, 0.0) + sample.value
    return sums

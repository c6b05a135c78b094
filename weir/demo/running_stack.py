"""The stack that a demo runs on: the one that is up on the data folder, or one that is started for it."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console

from weir.errors import StackError, TransientError
from weir.settings import Settings, load_settings
from weir.stack.console import StartView
from weir.stack.detached import start_detached, stop_on_signals
from weir.stack.downloads import ensure_artifacts
from weir.stack.endpoints import child_environment
from weir.stack.extra import require_extra
from weir.stack.plan import HOST, StackPlan
from weir.stack.state import StackState, failure_file, read_state
from weir.stack.supervisor import Stack, StopRequested

DYING_SECONDS = 15.0
"""How long a supervisor may take to take everything down after one of its children has ended."""


class Check(Protocol):
    """Raises :class:`~weir.errors.StackError` when the stack has ended."""

    def __call__(self) -> None:
        """Look now."""


@dataclass(frozen=True)
class RunningStack:
    """``worker_urls`` are the workers' web pages; ``gateway_url`` is where devices post; ``started`` says whether the
    demo started it.
    """

    plan: StackPlan
    settings: Settings
    worker_urls: list[str]
    gateway_url: str
    started: bool
    check: Check


@contextmanager
def stack_for_demo(plan: StackPlan, keep_up: bool, console: Console) -> Iterator[RunningStack]:
    """Use the stack on the plan's folder, or start one by ``plan`` and take it down at the end unless ``keep_up``.

    Raises :class:`~weir.errors.StackError` when it cannot start, has no worker, or another demo uses it.
    """
    with _alone(plan.data_dir):
        state = read_state(plan.data_dir)
        if state is not None and state.supervisor.process() is not None:
            console.print(f"Using the stack that is up on {plan.data_dir}.", soft_wrap=True)
            yield _attached(state)
        elif keep_up:
            require_extra()
            cache = ensure_artifacts(console)
            with StartView(console) as view:
                start_detached(plan, cache, view)
            yield _described(plan, started=True, check=lambda: _check_supervisor(plan.data_dir))
        else:
            with _own_stack(plan, console) as stack:
                yield _described(plan, started=True, check=stack.check)
                console.print("Taking the stack down; its data stays.")


@contextmanager
def naming_the_cause(check: Check) -> Iterator[None]:
    """When a server seems away because the whole stack went down, say that, and why, instead."""
    try:
        yield
    except TransientError:
        deadline = time.monotonic() + DYING_SECONDS
        while time.monotonic() < deadline:
            check()
            time.sleep(0.2)
        raise


@contextmanager
def _own_stack(plan: StackPlan, console: Console) -> Iterator[Stack]:
    require_extra()
    view = StartView(console)
    stack = Stack(plan, ensure_artifacts(console), view)
    with _signals_stop(stack), view:
        stack.start()
    try:
        yield stack
    finally:
        stack.stop()


@contextmanager
def _signals_stop(stack: Stack) -> Iterator[None]:
    """A signal ends a start in a moment; a KeyboardInterrupt would wait for the parts that are just starting."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    stop_on_signals(stack)
    try:
        yield
    except StopRequested:
        raise KeyboardInterrupt from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Two demos at once would send readings of the same devices and each would find the other's."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "demo.lock").open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"A demo already runs on {data_dir}; wait for its end or choose --data-dir.") from None
        yield


def _attached(state: StackState) -> RunningStack:
    plan = state.plan
    if not state.ready:
        raise StackError(f"The stack on {plan.data_dir} is still starting; try again in a few seconds.")
    if not plan.has("faust"):
        raise StackError(
            f"The stack on {plan.data_dir} runs without a worker; stop it with `weir down` and start it anew, "
            "or let `weir demo` start it."
        )
    if not plan.has("gateway"):
        raise StackError(
            f"The stack on {plan.data_dir} runs without a gateway; stop it with `weir down` and start it anew, "
            "or let `weir demo` start it."
        )
    return _described(plan, started=False, check=lambda: _check_supervisor(plan.data_dir))


def _check_supervisor(data_dir: Path) -> None:
    state = read_state(data_dir)
    if state is None or state.supervisor.process() is None:
        left = failure_file(data_dir)
        cause = left.read_text(encoding="utf-8") if left.is_file() else "it was stopped"
        raise StackError(f"The stack on {data_dir} went down during the demo: {cause}")


def _described(plan: StackPlan, started: bool, check: Check) -> RunningStack:
    urls = [f"http://{HOST}:{plan.port('faust') + number}" for number in range(plan.workers)]
    gateway = f"http://{HOST}:{plan.port('gateway')}"
    return RunningStack(plan, _settings_of(plan), urls, gateway, started, check)


def _settings_of(plan: StackPlan) -> Settings:
    """The settings that the stack's own children have."""
    before = dict(os.environ)
    try:
        _replace_environment(child_environment(plan))
        return load_settings()
    finally:
        _replace_environment(before)


def _replace_environment(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)

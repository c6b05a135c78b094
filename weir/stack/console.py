"""The start of a stack as a person sees it."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.status import Status

from weir.settings import PORT_BASE
from weir.stack.plan import StackPlan
from weir.stack.supervisor import Progress


class StartView:
    """A line for each part that became healthy, and below them, on a terminal, what is still starting."""

    def __init__(self, console: Console) -> None:
        """Nothing is shown before the context is entered."""
        self._console = console
        self._starting: dict[str, None] = {}
        self._status: Status | None = None
        self._begun = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Show one step; may be called from any thread."""
        if progress.state == "starting":
            self._starting[progress.part] = None
        else:
            self._starting.pop(progress.part, None)
            self._console.print(f"[green]✓[/] {progress.part:<11}{progress.seconds:5.1f} s  {progress.address}")
        if self._status is not None:
            self._status.update("starting " + ", ".join(self._starting) if self._starting else "")

    def __enter__(self) -> StartView:
        """Show the line of what is starting, if there is a terminal."""
        self._begun = time.monotonic()
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take that line away; say how long it took."""
        if self._status is not None:
            self._status.stop()
        if kind is None:
            self._console.print(f"The stack is up after {time.monotonic() - self._begun:.1f} s.")


def advice(plan: StackPlan, default_dir: bool) -> str:
    """How other commands find this stack: nothing to say for the default ports."""
    if plan.port_base == PORT_BASE and default_dir:
        return ""
    return f"export WEIR_CONFIG={plan.settings_file}"

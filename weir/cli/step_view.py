"""What a long command is doing now."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console

LINE_SECONDS = 2.0
"""Where there is no terminal, progress is not told more often."""


class StepView:
    """One changing line on a terminal, else a line every few seconds; ``prefix`` stands before each."""

    def __init__(self, console: Console) -> None:
        """Write to ``console``."""
        self.prefix = ""
        self._console = console
        self._status = console.status("starting")
        self._said = float("-inf")

    def __call__(self, what: str) -> None:
        """Say what is going on."""
        if self._console.is_terminal:
            self._status.update(self.prefix + what)
        elif time.monotonic() - self._said >= LINE_SECONDS:
            self._console.print(self.prefix + what)
            self._said = time.monotonic()

    def __enter__(self) -> StepView:
        """Begin."""
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the line away."""
        self._status.stop()

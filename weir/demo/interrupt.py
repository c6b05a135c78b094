"""Ctrl-C as a wish to end early, not as a crash."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType

Handler = Callable[[int, FrameType | None], object] | int | None


class Interrupt:
    """While entered, the first SIGINT or SIGTERM sets ``wanted``; a second one raises KeyboardInterrupt.

    Only from the main thread.
    """

    def __init__(self) -> None:
        """Nothing changes before the context is entered."""
        self.wanted = False
        self._before: dict[int, Handler] = {}

    def __enter__(self) -> Interrupt:
        """Take the signals over."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True

"""The demo while it runs: a live picture on a terminal, a line every few seconds anywhere else."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType

from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from weir.demo.latency import quantile
from weir.demo.worker_metrics import WorkerMetrics

LINE_SECONDS = 5.0
WAITING_LINE_SECONDS = 15.0
RATE_SECONDS = 5.0
"""Rates are taken over the last seconds, so that a flush now and then does not make them jump."""


@dataclass(frozen=True)
class Moment:
    """What there is to see now. ``metrics`` count from the start of the run; ``host`` has last values."""

    phase: str
    elapsed_seconds: float
    left_seconds: float
    sent: int
    metrics: WorkerMetrics
    dead_letters: dict[str, int]
    host: dict[str, float]
    units: dict[str, str] = field(default_factory=dict)
    latency: list[float] = field(default_factory=list)


class LiveView:
    """Shows moments; also a context manager."""

    def __init__(self, console: Console) -> None:
        """Nothing is shown before the context is entered."""
        self._console = console
        self._live: Live | None = None
        self._recent: deque[tuple[float, int, int]] = deque()
        self._line_at = 0.0
        self._line_sent = 0
        self._phase = ""

    def __enter__(self) -> LiveView:
        """Take the screen, if there is one."""
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the screen back."""
        if self._live is not None:
            self._live.stop()

    def say(self, sentence: str) -> None:
        """Print a line that stays."""
        self._console.print(sentence, soft_wrap=True, markup=False)

    def show(self, moment: Moment) -> None:
        """Show the present moment; call it a few times a second."""
        rates = self._rates(moment)
        if self._live is not None:
            self._live.update(_picture(moment, *rates))
            return
        now = time.monotonic()
        patience = LINE_SECONDS if moment.sent > self._line_sent else WAITING_LINE_SECONDS
        if now - self._line_at >= patience or moment.phase != self._phase:
            self._line_at, self._line_sent, self._phase = now, moment.sent, moment.phase
            self._console.print(_line(moment, *rates), soft_wrap=True, markup=False)

    def _rates(self, moment: Moment) -> tuple[float, float]:
        """Messages sent and rows stored a second."""
        now = time.monotonic()
        self._recent.append((now, moment.sent, moment.metrics.stored))
        while now - self._recent[0][0] > RATE_SECONDS:
            self._recent.popleft()
        then, sent, stored = self._recent[0]
        passed = now - then
        return ((moment.sent - sent) / passed, (moment.metrics.stored - stored) / passed) if passed else (0.0, 0.0)


def _line(moment: Moment, sent_rate: float, stored_rate: float) -> str:
    refused = ", ".join(f"{reason} {count}" for reason, count in moment.dead_letters.items()) or "none"
    return (
        f"{moment.phase}, {_clock(moment.elapsed_seconds)} gone, {_clock(moment.left_seconds)} left: "
        f"in {sent_rate:.0f}/s, stored {stored_rate:.0f}/s, lag {moment.metrics.lag}, "
        f"windows {moment.metrics.windows}, corrected {moment.metrics.corrections}, dead letters: {refused}"
    )


def _picture(moment: Moment, sent_rate: float, stored_rate: float) -> RenderableType:
    head = Text.assemble(
        ("weir demo  ", "bold"),
        (moment.phase, "bold cyan"),
        f"   {_clock(moment.elapsed_seconds)} gone, {_clock(moment.left_seconds)} left   Ctrl-C ends it early",
    )
    return Group(
        head, Columns([_flow(moment, sent_rate, stored_rate), _refused(moment), _host(moment)], padding=(0, 3))
    )


def _flow(moment: Moment, sent_rate: float, stored_rate: float) -> Table:
    median = quantile(moment.latency, 0.5)
    table = _two_columns("flow")
    table.add_row("messages in", f"{sent_rate:,.0f}/s")
    table.add_row("rows stored", f"{stored_rate:,.0f}/s")
    table.add_row("lag", f"{moment.metrics.lag:,}")
    table.add_row("sent in all", f"{moment.sent:,}")
    table.add_row("stored in all", f"{moment.metrics.stored:,}")
    table.add_row("1m rows published", f"{moment.metrics.windows:,}")
    table.add_row("1m rows corrected", f"{moment.metrics.corrections:,}")
    table.add_row("ingest to query", "" if median is None else f"{median * 1000:.0f} ms")
    return table


def _refused(moment: Moment) -> Table:
    table = _two_columns("dead letters")
    for reason, count in moment.dead_letters.items():
        table.add_row(reason, f"{count:,}")
    return table


def _host(moment: Moment) -> Table:
    table = _two_columns("this machine")
    for sensor, value in moment.host.items():
        table.add_row(sensor, f"{value:,.1f} {moment.units.get(sensor, '')}")
    return table


def _two_columns(title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=box.SIMPLE)
    table.add_column()
    table.add_column(justify="right")
    return table


def _clock(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"

"""What every benchmark's command has: how often, where, in which form, and an end that leaves nothing behind."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from bench.testbed import Testbed, alone, running_testbed
from weir.cli.step_view import StepView
from weir.settings import PORT_BASE

Measured = TypeVar("Measured")
Command = Callable[..., None]


@dataclass(frozen=True)
class Bench:
    """How to measure."""

    runs: int
    as_json: bool
    data_dir: Path | None
    port_base: int

    @contextmanager
    def testbed(self) -> Iterator[tuple[Testbed, StepView]]:
        """The stack to measure on, and what says on stderr what is going on."""
        console = Console(stderr=True, highlight=False)
        with (
            running_testbed(self.data_dir, self.port_base, console) as testbed,
            alone(testbed),
            StepView(console) as view,
        ):
            yield testbed, view

    def repeat(self, measure: Callable[[Testbed, StepView], Measured]) -> list[Measured]:
        """Measure as often as asked, on one stack."""
        with self.testbed() as (testbed, view):
            return [measure(testbed, view) for _ in self.counted(view)]

    def counted(self, view: StepView) -> Iterator[int]:
        """The number of each run; ``view`` names it before everything that it says."""
        for number in range(1, self.runs + 1):
            view.prefix = f"run {number} of {self.runs}: " if self.runs > 1 else ""
            yield number


def bench_options(*repeat: str) -> Callable[[Command], Command]:
    """Give a command ``--runs`` (or the names in ``repeat``), ``--json``, ``--data-dir`` and ``--port-base``.

    The command gets them as one :class:`Bench`, before its own parameters. SIGTERM ends it like Ctrl-C, so that no
    server and no database is left behind.
    """
    names = repeat or ("--runs",)
    options = (
        click.option(
            *names,
            "runs",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="Repeat, each time from an empty start; tells min, median, max.",
        ),
        click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout; progress goes to stderr."),
        click.option(
            "--data-dir", type=click.Path(path_type=Path), help="Folder of the stack. Default: a temporary one."
        ),
        click.option(
            "--port-base", type=int, default=PORT_BASE + 200, show_default=True, help="First port of its block."
        ),
    )

    def decorate(command: Command) -> Command:
        @wraps(command)
        def measuring(*, runs: int, as_json: bool, data_dir: Path | None, port_base: int, **parameters: Any) -> None:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            command(Bench(runs, as_json, data_dir, port_base), **parameters)

        decorated: Command = measuring
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate

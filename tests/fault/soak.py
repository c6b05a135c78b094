"""``make soak``: every fault many times over, each with its seed, and a table of what was lost, doubled or different.

Example: ``python -m tests.fault.soak --iterations 5 --only kill --json soak.json``. Exit codes: 0 nothing lost, doubled
or different, 1 something was, or a fault did not happen, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.fault.faults import FAULTS
from tests.fault.result import Result
from tests.fault.worker_faults import Fault
from tests.stack_under_test import CHOICE, StackUnderTest, running_stack, weir_variables

COUNTS = ("lost", "duplicated", "phantom", "differing_windows")


@dataclass
class Tally:
    """The iterations of one fault; ``failures`` are those that could not be compared, each in words."""

    fault: str
    results: list[Result] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def readings(self) -> int:
        """Messages sent, in all iterations; those of one world are counted once."""
        worlds: list[int] = []
        for result in self.results:
            if worlds and result.readings >= worlds[-1]:
                worlds[-1] = result.readings
            else:
                worlds.append(result.readings)
        return sum(worlds)

    def total(self, count: str) -> int:
        """The sum of one of :data:`COUNTS`; a world in which anything was found is left, so nothing counts twice."""
        return sum(getattr(result, count) for result in self.results)

    @property
    def clean(self) -> bool:
        """Whether every iteration was compared and nothing was found."""
        return bool(self.results) and not self.failures and not any(map(self.total, COUNTS))

    def as_json(self) -> dict[str, object]:
        """One line of the report."""
        recovery = [result.recovery_seconds for result in self.results] or [0.0]
        return {
            "fault": self.fault,
            "iterations": len(self.results),
            "seeds": [result.seed for result in self.results],
            "readings": self.readings,
            **{count: self.total(count) for count in COUNTS},
            "recovery_seconds_p50": round(median(recovery), 2),
            "recovery_seconds_max": round(max(recovery), 2),
            "seconds": round(self.seconds, 1),
            "failures": self.failures,
            "differences": [result.words() for result in self.results if result.differences],
        }


class Soak:
    """Runs faults on one stack and keeps the tallies; a line on stderr for every iteration."""

    def __init__(self, stack: StackUnderTest, folder: Path, console: Console, deadline: float) -> None:
        """Keep the logs of workers in ``folder``; begin no iteration after ``deadline``, by the monotonic clock."""
        self.tallies: list[Tally] = []
        self._stack = stack
        self._folder = folder
        self._console = console
        self._deadline = deadline

    def run_all(self, faults: Mapping[str, Fault], seeds: Sequence[int], jobs: int) -> None:
        """All iterations of all faults, ``jobs`` faults at a time, each in a world of its own."""
        self.tallies = [Tally(name) for name in faults]
        with ThreadPoolExecutor(jobs) as pool:
            running = [pool.submit(self.run, tally, faults[tally.fault], seeds) for tally in self.tallies]
            try:
                for each in running:
                    each.result()
            except BaseException:
                self._deadline = 0.0  # the iterations under way are the last
                pool.shutdown(cancel_futures=True)
                raise

    def run(self, tally: Tally, fault: Fault, seeds: Sequence[int]) -> None:
        """All iterations of one fault; after a failure the rest goes on in a new world."""
        began = time.monotonic()
        left = list(seeds)
        while left and time.monotonic() < self._deadline:
            self._in_one_world(tally, fault, left)
        tally.seconds = time.monotonic() - began

    def _in_one_world(self, tally: Tally, fault: Fault, left: list[int]) -> None:
        """Take seeds from ``left`` until it is empty, time is over, or something was found."""
        folder = Path(tempfile.mkdtemp(prefix=tally.fault.replace(" ", "-") + "-", dir=self._folder))
        try:
            with fault(self._stack, folder) as iterate:
                while left and time.monotonic() < self._deadline:
                    result = iterate(left[0])
                    left.pop(0)
                    tally.results.append(result)
                    self._say(tally, result)
                    if result.differences:
                        return
        except Exception as error:
            seed = left.pop(0) if left else 0
            tally.failures.append(f"seed {seed}: {error}")
            self._console.print(f"[red]{tally.fault}, seed {seed} failed[/red]; logs in {folder}")
            self._console.print(traceback.format_exc(), markup=False)
        else:
            shutil.rmtree(folder, ignore_errors=True)

    def _say(self, tally: Tally, result: Result) -> None:
        found = ", ".join(f"{getattr(result, count)} {count}" for count in COUNTS if getattr(result, count))
        self._console.print(
            f"{tally.fault}: {len(tally.results)} done, seed {result.seed}, {result.readings:,} readings, "
            f"recovered in {result.recovery_seconds:.1f} s, {found or 'nothing lost, doubled or different'}"
        )
        if result.differences:
            self._console.print(result.words(), style="red", markup=False)


def table_of(tallies: Sequence[Tally]) -> Table:
    """What a person reads at the end."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("fault")
    titles = ("iterations", "readings", "lost", "duplicated", "phantom", "differing windows", "recovery p50 s", "max s")
    for title in titles:
        table.add_column(title, justify="right")
    for tally in tallies:
        line = tally.as_json()
        counts = [f"{line[name]:,}" for name in ("iterations", "readings", *COUNTS)]
        table.add_row(
            tally.fault, *counts, f"{line['recovery_seconds_p50']:.1f}", f"{line['recovery_seconds_max']:.1f}"
        )
    return table


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options; ends with 2 when ``--only`` names nothing."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fault.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=30, help="of each fault (default: 30)")
    parser.add_argument("--seed", type=int, default=None, help="of the first iteration; the others count on from it")
    parser.add_argument("--only", metavar="TEXT", default="", help="only faults with TEXT in their name")
    parser.add_argument(
        "--minutes",
        type=float,
        default=float("inf"),
        help="begin no iteration after so long; a fault without any is no success",
    )
    parser.add_argument(
        "--jobs", type=int, default=3, help="faults at a time: most of a kill is waiting for its session (default: 3)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    parser.add_argument("--list", action="store_true", help="print the names of the faults and end")
    options = parser.parse_args(arguments)
    options.faults = {name: fault for name, fault in FAULTS.items() if options.only in name}
    if not options.faults:
        parser.error(f"no fault has {options.only!r} in its name; --list prints them")
    return options


def main(arguments: list[str]) -> int:
    """Run the soak; the exit code."""
    options = parse(arguments)
    if options.list:
        print("\n".join(options.faults))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"{options.iterations} iterations of {len(options.faults)} faults, from seed {first}.")
    folder = Path(tempfile.mkdtemp(prefix="weir-soak-"))
    ambient = dict(os.environ)
    for name in weir_variables():
        del os.environ[name]
    deadline = time.monotonic() + options.minutes * 60
    with running_stack(ambient.get(CHOICE, "embedded"), ambient) as stack:
        soak = Soak(stack, folder, console, deadline)
        try:
            soak.run_all(options.faults, range(first, first + options.iterations), options.jobs)
        finally:
            report(soak.tallies, options.json, first)
    clean = all(tally.clean for tally in soak.tallies)
    if clean:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        console.print(f"Something was lost, doubled or different, or did not happen; workers' logs are in {folder}.")
    return 0 if clean else 1


def report(tallies: Sequence[Tally], file: Path | None, seed: int) -> None:
    """Print the table, and write it as JSON when a file is named."""
    Console(highlight=False, width=160).print(table_of(tallies))
    if file is not None:
        lines = [tally.as_json() for tally in tallies]
        file.write_text(json.dumps({"seed": seed, "faults": lines}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)

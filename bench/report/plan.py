"""Which benchmarks there are to run, with which options, and how long each takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from weir.errors import UsageError


@dataclass(frozen=True, slots=True)
class Measurement:
    """One entry of the results: ``weir bench COMMAND OPTIONS --runs RUNS``; a command with dots is a module.

    ``quick`` takes the place of ``options`` where only the way shall be seen to work; ``seconds`` is what all runs take
    on two cores.
    """

    name: str
    command: str
    options: tuple[str, ...]
    quick: tuple[str, ...]
    seconds: float
    runs: int = 3
    quick_seconds: float = 25.0

    @property
    def program(self) -> tuple[str, ...]:
        """What a person calls."""
        return ("python", "-m", self.command) if "." in self.command else ("weir", "bench", self.command)

    def words(self, quick: bool) -> tuple[str, ...]:
        """The command's own options."""
        return self.quick if quick else self.options


PACKED_PATH: Final = "bench.micro.packed"
MODULES: Final = {PACKED_PATH: ("--readings", "--runs")}
"""Programs beside ``weir bench`` and their options: importing one to ask it would set Polars' threads for all."""

MANY: Final = ("--readings", "3000000")
REGISTERED: Final = ("--registered", "1000000")
FEW: Final = ("--readings", "20000")
QUICK_GROWTH: Final = ("--series", "400,1000", *FEW, "--idle-seconds", "1")

MEASUREMENTS: Final = (
    Measurement("pipeline", "pipeline", (*MANY, *REGISTERED), FEW, 720.0),
    Measurement("sparse", "pipeline", (*MANY, "--sparse"), (*FEW, "--sparse"), 300.0),
    Measurement("aggregate", "pipeline", (*MANY, "--only", "aggregate"), (*FEW, "--only", "aggregate"), 200.0),
    Measurement("packed", "pipeline", (*MANY, "--packed", "50"), (*FEW, "--packed", "50"), 200.0),
    Measurement("packed-path", PACKED_PATH, (), ("--readings", "20000"), 60.0, runs=5),
    Measurement("workers", "pipeline", (*MANY, *REGISTERED, "--workers", "2"), (*FEW, "--workers", "2"), 720.0),
    Measurement("growth", "growth", (), QUICK_GROWTH, 600.0, runs=1, quick_seconds=90.0),
    Measurement("latency", "latency", (), ("--rate", "400", "--seconds", "5"), 400.0, runs=1, quick_seconds=60.0),
    Measurement(
        "saturation",
        "latency",
        ("--saturation", "--backlog", "10000000"),
        ("--saturation", "--backlog", "20000", "--seconds", "5"),
        500.0,
        runs=1,
        quick_seconds=60.0,
    ),
    Measurement("profile", "profile", (), FEW, 210.0),
    Measurement("gateway", "gateway", (), ("--seconds", "0.5"), 270.0),
    Measurement("enrich", "enrich", (), ("--devices", "1000", "--devices", "5000"), 330.0, runs=1),
    Measurement(
        "recovery", "recovery", (), ("--rate", "400", "--history", "120", "--live", "4"), 720.0, quick_seconds=60.0
    ),
    Measurement("late", "late", (), ("--late", "600", "--rate", "100", "--before", "2"), 420.0, quick_seconds=40.0),
    Measurement("peers", "peers", (), ("--messages", "1000", "--only", "faust"), 1_200.0, quick_seconds=60.0),
)
"""In the order in which they run: what is asked for most often first, for the case that somebody has no time."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What will be run, and why the others will not: name → a sentence."""

    measurements: tuple[Measurement, ...]
    skipped: Mapping[str, str]


def plan(
    only: Collection[str], options: Mapping[str, Collection[str]], quick: bool, missing_peers: Sequence[str]
) -> Planned:
    """Choose measurements; ``options`` are those that each subcommand of ``weir bench`` knows.

    Raises :class:`~weir.errors.UsageError` for a name in ``only`` that is none.
    """
    unknown = sorted(set(only) - {each.name for each in MEASUREMENTS})
    if unknown:
        known = ", ".join(each.name for each in MEASUREMENTS)
        raise UsageError(f"There is no benchmark {', '.join(unknown)}; there are {known}.")
    skipped: dict[str, str] = {}
    chosen = []
    for each in MEASUREMENTS:
        if only and each.name not in only:
            continue
        why = _missing(each, options, quick)
        if each.command == "peers" and missing_peers and not only and not quick:
            why = f"{', '.join(missing_peers)} not installed; `weir bench all --only peers` installs and measures them"
        if why:
            skipped[each.name] = why
        else:
            chosen.append(each)
    return Planned(tuple(chosen), skipped)


def _missing(measurement: Measurement, options: Mapping[str, Collection[str]], quick: bool) -> str | None:
    known = options.get(measurement.command)
    if known is None:
        return f"there is no `{' '.join(measurement.program)}`"
    lacking = [word for word in measurement.words(quick) if word.startswith("--") and word not in known]
    return f"`{' '.join(measurement.program)}` has no {', '.join(lacking)}" if lacking else None


def seconds(measurements: Iterable[Measurement], quick: bool, earlier: Mapping[str, float]) -> float:
    """How long all take together: as long as the last time where there was one, and not less than is known."""
    if quick:
        return sum(each.quick_seconds for each in measurements)
    return sum(earlier.get(each.name, each.seconds) for each in measurements)

"""The generated sections of docs/performance.md, by the names of their places."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Final

from bench.report import tables
from bench.report.plan import MEASUREMENTS
from bench.report.plots import PLOTS
from bench.report.results import Entry, Results

RENDERED: Final[Mapping[str, Callable[[Entry], str]]] = {
    **{
        name: partial(tables.spreads, rows=tables.PIPELINE)
        for name in ("pipeline", "sparse", "aggregate", "packed", "workers")
    },
    **{name: partial(tables.spreads, rows=tables.LATENCY) for name in ("latency", "saturation")},
    "packed-path": partial(tables.spreads, rows=tables.PACKED_PATH),
    "growth": tables.growth,
    "profile": tables.profile,
    "gateway": tables.gateway,
    "enrich": tables.enrich,
    "recovery": partial(tables.spreads, rows=tables.RECOVERY),
    "late": partial(tables.spreads, rows=tables.LATE),
    "peers": tables.peers,
}
"""Name of a measurement → what makes the table of its result."""


def sections(results: Results, plots: Collection[str]) -> dict[str, str]:
    """Every section's Markdown; ``plots`` are the files that exist beside the results."""
    made = {"targets": tables.targets(results), "machine": machines(results)}
    made |= {each.name: section(each.name, results.get(each.name)) for each in MEASUREMENTS}
    one, two = results.get("pipeline"), results.get("workers")
    if one is not None and two is not None:
        made["workers"] += f"\n\n{tables.efficiency(one, two)}"
    for plot in PLOTS:
        caption = f"![{plot.caption}](performance/{plot.file})" if plot.file in plots else "Not measured yet."
        made[f"plot-{plot.name}"] = caption
    return made


def section(name: str, entry: Entry | None) -> str:
    """One measurement's table and the line that says how it came about.

    A result of another form than its table needs is told on the page: it must not keep the others from it.
    """
    if entry is None:
        return f"Not measured yet: `weir bench all --only {name}`."
    try:
        text = RENDERED[name](entry)
    except (KeyError, TypeError, ValueError) as error:
        return f"The last result has not the form that the table needs ({error!r}): `weir bench all --only {name}`."
    return f"{text}\n\n{_origin(entry)}"


def _origin(entry: Entry) -> str:
    result = entry.result
    runs = result.get("runs", 1)
    how = f"{runs} runs" if runs != 1 else "One run"
    told = [f"{how}: `{entry.command}`", str(result.get("date", ""))[:10], f"commit {result.get('commit', 'unknown')}"]
    others = entry.spread("others_cpu_share")
    if others is not None:
        told.append(f"others took up to {others.max:.0%} of the CPU")
    return ", ".join(each for each in told if each) + "."


def machines(results: Results) -> str:
    """Every machine and its software that a result comes from, and which results these are."""
    found: dict[str, list[str]] = {}
    for name, entry in results:
        found.setdefault(_machine(entry.result), []).append(name)
    if not found:
        return "Nothing is measured yet: `make bench`."
    if len(found) == 1:
        return next(iter(found)) + "."
    return "\n".join(f"- {machine}: {', '.join(names)}." for machine, names in found.items())


def _machine(result: dict[str, Any]) -> str:
    machine = result.get("machine")
    if not machine:
        return "an unknown machine"
    software = ", ".join(f"{name} {number}" for name, number in sorted(result.get("versions", {}).items()))
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']:.0f} GB, {machine['kernel']}, "
        f"Python {machine['python']}, {software}"
    )

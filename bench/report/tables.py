"""The results as Markdown tables: cells are min / median / max of the runs, or one value where they agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from bench.report.plots import SEEN
from bench.report.results import Entry, Results, Spread
from bench.report.targets import TARGETS


class Row(NamedTuple):
    """A figure of a result, its name on the page, its format."""

    figure: str
    label: str
    form: str


PIPELINE: Final = (
    Row("readings_per_second", "readings/s", "{:,.0f}"),
    Row("cpu_seconds_per_million", "CPU s/million", "{:.2f}"),
    Row("ceiling_readings_per_second", "readings/s, `consume()` alone", "{:,.0f}"),
    Row("ceiling_cpu_seconds_per_million", "CPU s/million, `consume()` alone", "{:.2f}"),
    Row("ratio", "ratio", "{:.3f}"),
    Row("of_flink", "times Flink's readings a CPU second", "{:.2f}"),
    Row("worker_cores", "cores that the workers got", "{:.2f}"),
    Row("peak_rss_mb", "peak memory, MB", "{:,.0f}"),
    Row("clickhouse_cpu_seconds_per_million", "CPU s/million, ClickHouse", "{:.2f}"),
    Row("broker_cpu_seconds_per_million", "CPU s/million, broker", "{:.2f}"),
    Row("others_cpu_share", "CPU that others took", "{:.0%}"),
)

PACKED_PATH: Final = (
    Row("packed_readings_per_cpu_second", "packed, readings a CPU second", "{:,.0f}"),
    Row("packed_decode_ns", "packed: decode, ns a reading", "{:,.0f}"),
    Row("packed_judge_and_enrich_ns", "packed: judge and enrich", "{:,.0f}"),
    Row("packed_windows_ns", "packed: windows", "{:,.0f}"),
    Row("single_readings_per_cpu_second", "single, readings a CPU second", "{:,.0f}"),
    Row("single_decode_ns", "single: decode", "{:,.0f}"),
    Row("single_judge_and_enrich_ns", "single: judge and enrich", "{:,.0f}"),
    Row("single_windows_ns", "single: windows", "{:,.0f}"),
    Row("ratio", "packed over single", "{:.2f}"),
)

RECOVERY: Final = (
    Row("recovered_seconds", "caught up after, s", "{:.1f}"),
    Row("start_seconds", "start, s", "{:.1f}"),
    Row("session_seconds", "session, s", "{:.1f}"),
    Row("replay_seconds", "replay, s", "{:.1f}"),
    Row("backlog_seconds", "backlog, s", "{:.1f}"),
    Row("replayed_readings", "readings read again", "{:,.0f}"),
    Row("replayed_minutes", "1-minute rows read again", "{:,.0f}"),
    Row("age_worst_seconds", "age of the newest row at worst, s", "{:.1f}"),
    Row("worker_cpu_seconds", "CPU of the worker, s", "{:.1f}"),
    Row("others_cpu_share", "CPU that others took", "{:.0%}"),
)

LATE: Final = (
    Row("corrected_seconds", "all corrected after, s", "{:.1f}"),
    Row("minutes_corrected_seconds", "all minutes corrected after, s", "{:.1f}"),
    Row("queries", "queries", "{:,.0f}"),
    Row("corrections", "corrections published", "{:,.0f}"),
    Row("before_p50", "latency of the others before, p50, s", "{:.2f}"),
    Row("before_p95", "before, p95, s", "{:.2f}"),
    Row("during_p50", "meanwhile, p50, s", "{:.2f}"),
    Row("during_p95", "meanwhile, p95, s", "{:.2f}"),
    Row("worker_cpu_seconds", "CPU of the worker, s", "{:.1f}"),
    Row("others_cpu_share", "CPU that others took", "{:.0%}"),
)

LATENCY: Final = (
    Row("p50_ms", "post to query, p50, ms", "{:,.0f}"),
    Row("p95_ms", "p95, ms", "{:,.0f}"),
    Row("p99_ms", "p99, ms", "{:,.0f}"),
    Row("max_ms", "at worst, ms", "{:,.0f}"),
    Row("acknowledged_p50_ms", "post to acknowledgement, p50, ms", "{:,.1f}"),
    Row("probes", "probes", "{:,.0f}"),
    Row("maximum_readings_per_second", "maximum, readings/s (0: not asked for)", "{:,.0f}"),
    Row("asked_readings_per_second", "load that was asked for, readings/s", "{:,.0f}"),
    Row("readings_per_second", "load that was acknowledged, readings/s", "{:,.0f}"),
    Row("unseen", "probes that no query showed", "{:,.0f}"),
    Row("refused", "requests that were not answered well", "{:,.0f}"),
    Row("worker_cores", "cores, worker", "{:.2f}"),
    Row("gateway_cores", "cores, gateway", "{:.2f}"),
    Row("clickhouse_cores", "cores, ClickHouse", "{:.2f}"),
    Row("broker_cores", "cores, broker", "{:.2f}"),
    Row("load_cores", "cores, load", "{:.2f}"),
    Row("others_cpu_share", "CPU that others took", "{:.0%}"),
)

GROWTH: Final = (
    Row("readings_per_second", "readings/s", "{:,.0f}"),
    Row("ratio_to_first", "of the first", "{:.2f}"),
    Row("cpu_seconds_per_million", "CPU s/million", "{:.2f}"),
    Row("ratio", "ratio", "{:.3f}"),
    Row("peak_rss_mb", "peak MB", "{:,.0f}"),
    Row("open_points", "open points", "{:,.0f}"),
    Row("published", "1-minute rows", "{:,.0f}"),
    Row("loop_pause_p99_ms", "pause of the loop, p99, ms", "{:,.0f}"),
    Row("loop_pause_max_ms", "at worst, ms", "{:,.0f}"),
)

GROWTH_BESIDE: Final = (
    Row("bytes_an_open_point", "bytes of memory for each point of an open window", "{:,.0f}"),
    Row("idle_cpu_seconds_an_hour", "CPU seconds an hour of a worker with nothing to read", "{:,.0f}"),
    Row("others_cpu_share", "CPU that others took", "{:.0%}"),
)

GATEWAY: Final = (
    Row("requests_per_second", "requests/s", "{:,.0f}"),
    Row("records_per_second", "records/s", "{:,.0f}"),
    Row("requests_per_cpu_second", "requests/CPU s", "{:,.0f}"),
    Row("records_per_cpu_second", "records/CPU s", "{:,.0f}"),
    Row("p50_ms", "p50, ms", "{:,.1f}"),
    Row("p99_ms", "p99, ms", "{:,.1f}"),
    Row("cores", "cores", "{:.2f}"),
)

ENRICH: Final = (
    Row("enrich_ns", "ns a reading", "{:,.0f}"),
    Row("change_seconds", "a change in force after, s", "{:.2f}"),
    Row("load_seconds", "load, s", "{:.2f}"),
    Row("prepare_seconds", "prepare, s", "{:.2f}"),
    Row("memory_mb", "memory, MB", "{:,.0f}"),
    Row("register_seconds", "register, s", "{:,.1f}"),
)

PEER: Final = (
    Row("readings_per_second", "readings/s", "{:,.0f}"),
    Row("cpu_seconds_per_million", "CPU s/million", "{:.2f}"),
    Row("weir_ratio", "Weir is faster by", "{:.1f}"),
    Row("weir_cpu_ratio", "its CPU over Weir's", "{:.1f}"),
    Row("ceiling_ratio", "ceiling is faster by", "{:.1f}"),
)

PROGRAMS: Final = {
    "ceiling": "`consume()` alone",
    "weir": "Weir, everything on",
    "pathway": "Pathway",
    "bytewax": "Bytewax",
    "quix": "Quix Streams",
    "faust": "Faust, per event",
}


def cell(found: Spread | None, form: str) -> str:
    """``min / median / max``; one value where they print the same, nothing where nothing was measured."""
    if found is None:
        return ""
    shown = [form.format(value) for value in found]
    return shown[0] if len(set(shown)) == 1 else " / ".join(shown)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in line)}|" for line in lines)


def spreads(entry: Entry, rows: Sequence[Row]) -> str:
    """A row a figure, with a column for each statistic of several runs; figures that the result lacks are left out."""
    several = entry.result.get("runs", 1) > 1
    found = [(row, entry.spread(row.figure)) for row in rows]
    lines = [
        (row.label, *(row.form.format(value) for value in (of if several else of[:1])))
        for row, of in found
        if of is not None
    ]
    return table(("figure", *(Spread._fields if several else ("value",))), lines)


def parts(entry: Entry, first: str, columns: Sequence[Row], named: Iterable[tuple[str, tuple[str, ...]]]) -> str:
    """A row for each part of a result, by its name and where it lies; a column a figure."""
    rows = [[name, *(cell(entry.spread(row.figure, *within), row.form) for row in columns)] for name, within in named]
    return table((first, *(row.label for row in columns)), rows)


def listed(entry: Entry, key: str, first: str, columns: Sequence[Row]) -> str:
    """The same for a result that has its parts as a list under ``key``, each with its number under ``first``."""
    rows = []
    for part in entry.result[key]:
        inner = Entry(entry.command, entry.seconds, part)
        rows.append([f"{part[first]:,}", *(cell(inner.spread(row.figure), row.form) for row in columns)])
    return table((first, *(row.label for row in columns)), rows)


def gateway(entry: Entry) -> str:
    """A row a load, the floor last."""
    return parts(entry, "load", GATEWAY, ((name, ("loads", name)) for name in entry.result["loads"]))


def enrich(entry: Entry) -> str:
    """A row a fleet."""
    return listed(entry, "fleets", "devices", ENRICH)


def growth(entry: Entry) -> str:
    """A row for each number of series, and what else was found."""
    return f"{listed(entry, 'sizes', 'series', GROWTH)}\n\n{spreads(entry, GROWTH_BESIDE)}"


def profile(entry: Entry) -> str:
    """A row a stage, the dearest first, then their sum."""
    costs = sorted(((float(each["ns_per_reading"]), each["stage"]) for each in entry.result["stages"]), reverse=True)
    whole = sum(cost for cost, _ in costs)
    rows = [(stage, f"{cost:,.0f}", f"{cost / whole:.0%}") for cost, stage in costs if cost >= SEEN]
    return table(("stage", "ns a reading", "share"), [*rows, ("all", f"{whole:,.0f}", "")])


def peers(entry: Entry) -> str:
    """A row a program, the ceiling and Weir first; why one has no figures stands below."""
    told: dict[str, Any] = entry.result["peers"]
    places = {name: ("peers", name) if name in told else (name,) for name in PROGRAMS}
    failed = {name: told[name]["reason"] for name in told if told[name].get("reason")}
    named = [
        (title, places[name])
        for name, title in PROGRAMS.items()
        if name not in failed and (name in told or name in entry.result)
    ]
    text = parts(entry, "program", PEER, named)
    return "\n\n".join([text, *(f"{PROGRAMS[name]} has no figures: {reason}" for name, reason in failed.items())])


def efficiency(one: Entry, two: Entry) -> str:
    """What a second worker adds, by the clock and by CPU: on few cores the servers' share decides the first."""
    rate, rates = (entry.spread("readings_per_second") for entry in (one, two))
    cpu, cpus = (entry.spread("cpu_seconds_per_million") for entry in (one, two))
    if rate is None or rates is None or cpu is None or cpus is None:
        return ""
    times = rates.median / rate.median
    return (
        f"Two workers did {times:.2f} times the readings of one in the same time, {times / 2:.0%} of twice as many; "
        f"a CPU second of theirs did {cpu.median / cpus.median:.0%} of what one of the single worker did."
    )


def targets(results: Results) -> str:
    """Every target, what was found, and how far from it a miss is."""
    rows = []
    for each in TARGETS:
        found = each.found(results)
        bound = f"{'at least' if each.at_least else 'at most'} {each.form.format(each.bound)}"
        verdict = each.verdict(found) if found is not None else "not measured yet"
        rows.append((f"`{each.benchmark}`", each.what, bound, cell(found, each.form), verdict))
    return table(("benchmark", "figure", "target", "measured", ""), rows)

"""A check for a person, and for a script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sinks.clickhouse.parity import StoredParity
from sinks.clickhouse.parity_queries import Level
from weir.parity.check import Checked, Compared, instant

COLUMNS = ("windows", "equal", "missing", "different", "phantom", "left out")


class Fault(NamedTuple):
    """One measure of one window that is not as it should be; ``expected`` and ``stored`` are None where there is none.

    A window that is missing or a phantom has one, its count.
    """

    org: str
    level: Level
    device_id: str
    sensor: str
    window_start: int
    verdict: str
    field: str
    expected: float | None
    stored: float | None


def first_faults(stored: StoredParity, checked: Checked, most: int) -> list[Fault]:
    """The first faults of each organisation and level, of at most ``most`` windows in all. Blocks for queries."""
    found: list[Fault] = []
    for part in checked.faulty() if most else ():
        frame = stored.faults(part, most)
        most -= len(frame)
        found += [fault for row in frame.iter_rows(named=True) for fault in _of_row(part.org, part.level, row)]
        if most <= 0:
            break
    return found


def _of_row(org: str, level: Level, row: Mapping[str, Any]) -> Iterator[Fault]:
    where = (org, level, row["device_id"], row["sensor"], row["start"], row["verdict"])
    if row["verdict"] == "missing":
        yield Fault(*where, "count", row["want_count"], None)
    elif row["verdict"] == "phantom":
        yield Fault(*where, "count", None, row["got_count"])
    else:
        for name in row["fields"]:
            yield Fault(*where, name, row[f"want_{name}"], row[f"got_{name}"])


def as_json(checked: Checked, faults: list[Fault], repaired: Mapping[Level, int] | None) -> dict[str, Any]:
    """The whole check; times in milliseconds since 1970."""
    result: dict[str, Any] = {
        "equal": not checked.faults,
        "from": checked.scope.begin,
        "to": checked.scope.end,
        "closed": dict(checked.closed),
        "compared": [_row_of(each) for each in checked.compared],
        "faults": [fault._asdict() for fault in faults],
    }
    return result if repaired is None else result | {"repaired": dict(repaired)}


def _row_of(each: Compared) -> dict[str, Any]:
    tally = each.tally
    return {
        "org": each.org,
        "level": each.level,
        "windows": tally.checked,
        "equal": tally.equal,
        "missing": tally.missing,
        "different": tally.different,
        "phantom": tally.phantom,
        "left_out": tally.left_out,
    }


def print_check(console: Console, checked: Checked, faults: list[Fault]) -> None:
    """Print a table of organisations and levels, and one of the faults when there are any."""
    if not console.is_terminal:
        console.width = 160  # a file has no width
    table = _table("organisation", "level")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for each in checked.compared:
        numbers = [value for value in _row_of(each).values() if isinstance(value, int)]
        table.add_row(Text(each.org), each.level, *(f"{number:,}" for number in numbers))
    if checked.compared:
        console.print(table)
    if faults:
        console.print(_faults(faults))


def _faults(faults: list[Fault]) -> Table:
    table = _table("organisation", "level", "device/sensor", "window", "fault", "field")
    for name in ("should be", "is"):
        table.add_column(name, justify="right")
    for fault in faults:
        start = instant(fault.window_start)
        values = ["" if value is None else repr(value) for value in (fault.expected, fault.stored)]
        names = Text(fault.org), fault.level, Text(f"{fault.device_id}/{fault.sensor}"), start, fault.verdict
        table.add_row(*names, fault.field, *values)
    return table


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=True)
    return table

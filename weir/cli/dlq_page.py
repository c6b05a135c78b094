"""How ``weir dlq`` shows letters, to people and to programs."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from connectors.registry import Registry
from streams.telemetry.letter import Letter
from weir.cli.result_table import Result, print_result, printable
from weir.dlq.receipts import Receipts
from weir.dlq.shown_value import as_json, hex_dump, show_value

COLUMNS = ("place", "time", "reason", "org", "device", "origin", "replays", "put back", "detail")
TYPES = ("String", "String", "String", "String", "String", "String", "UInt32", "String", "String")


def print_letters(letters: Sequence[Letter], receipts: Receipts) -> None:
    """Print a table, or a block a letter where that is too wide."""
    if not letters:
        Console(highlight=False).print("No dead letters.")
        return
    rows = [[printable(cell) for cell in _cells(letter, receipts.cover(letter))] for letter in letters]
    print_result(Console(highlight=False), Result(COLUMNS, TYPES, rows))


def _cells(letter: Letter, put_back: bool) -> tuple[str, ...]:
    return (
        letter.place,
        instant(letter.append_ms),
        letter.reason,
        letter.org_id,
        letter.device,
        str(letter.origin or ""),
        str(letter.replay_count),
        "yes" if put_back else "",
        letter.headers.get("detail", ""),
    )


def summary_of(letters: Iterable[Letter], receipts: Receipts) -> list[dict[str, Any]]:
    """Letters, those put back and the latest's time, by reason and organisation; the most frequent first."""
    found: dict[tuple[str, str], list[int]] = {}
    for letter in letters:
        counts = found.setdefault((letter.reason, letter.org_id), [0, 0, 0])
        counts[0] += 1
        counts[1] += receipts.cover(letter)
        counts[2] = max(counts[2], letter.append_ms)
    ordered = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))
    return [
        {"reason": reason, "org": org, "letters": count, "put_back": put_back, "latest": instant(latest)}
        for (reason, org), (count, put_back, latest) in ordered
    ]


def print_summary(counts: Sequence[dict[str, Any]]) -> None:
    """Print what :func:`summary_of` found."""
    if not counts:
        Console(highlight=False).print("No dead letters.")
        return
    rows = [[printable(str(cell)) for cell in row.values()] for row in counts]
    types = ("String", "String", "UInt64", "UInt64", "String")
    print_result(Console(highlight=False), Result([name.replace("_", " ") for name in counts[0]], types, rows))


def letter_object(letter: Letter, put_back: bool) -> dict[str, Any]:
    """One letter of a list for a program: everything but its value."""
    origin = letter.origin
    return {
        "place": letter.place,
        "time": instant(letter.append_ms),
        "reason": letter.reason,
        "detail": letter.headers.get("detail", ""),
        "stage": letter.headers.get("stage", ""),
        "org_id": letter.org_id,
        "device": letter.device,
        "origin": origin._asdict() if origin is not None else None,
        "origin_time": instant(letter.timestamp_ms),
        "schema_id": letter.schema_id,
        "first_seen": instant(letter.first_seen_ms),
        "replay_count": letter.replay_count,
        "put_back": put_back,
        "value_bytes": len(letter.value) if letter.value is not None else None,
        "original_size": letter.original_size,
    }


def whole_object(letter: Letter, put_back: bool, registry: Registry) -> dict[str, Any]:
    """One letter for a program, with headers, key and value."""
    shown = show_value(letter.value, registry)
    return letter_object(letter, put_back) | {
        "headers": dict(letter.headers),
        "key_base64": _base64(letter.key),
        "value_base64": _base64(letter.value),
        "form": shown.form,
        "decoded": shown.decoded,
        "note": shown.note,
    }


def letter_page(letter: Letter, put_back: bool, registry: Registry) -> None:
    """Print everything of one letter."""
    console = Console(highlight=False)
    shown = show_value(letter.value, registry)
    size = f", {len(letter.value):,} bytes" if letter.value is not None else ""
    whole = f" of {letter.original_size:,}" if letter.original_size is not None else ""
    facts = {
        "place": letter.place,
        "time": instant(letter.append_ms),
        "put back": "yes" if put_back else "no",
        "key": "null" if letter.key is None else letter.key.decode(errors="backslashreplace"),
        **{f"header {name}": text for name, text in letter.headers.items()},
        "value": f"{shown.form}{size}{whole}{f' ({shown.note})' if shown.note else ''}",
    }
    margin = max(len(name) for name in facts)
    for name, text in facts.items():
        console.print(
            Text(f"{printable(name):>{margin}}  ", style="bold").append(printable(text), style="not bold"),
            soft_wrap=True,
        )
    lines = as_json(shown.decoded).splitlines() if shown.form in ("avro", "json") else hex_dump(letter.value or b"")
    for line in lines:
        console.print(Text(printable(line)), soft_wrap=True)
    console.print()


def instant(ms: int) -> str:
    """A time as ISO text, UTC, as --since takes it."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _base64(value: bytes | None) -> str | None:
    return base64.b64encode(value).decode() if value is not None else None

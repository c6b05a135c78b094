"""``results.json``: what each benchmark gave the last time that it ran to its end."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from weir.errors import StackError

FILE: Final = "results.json"
FORM: Final = 1

FLAT: Final = re.compile(r'\[\n[^][{}"]*\]')
"""A list of numbers: thousands of latencies, a line each, would be all that one sees."""

Result = dict[str, Any]
"""The JSON object of a benchmark's command."""


class Spread(NamedTuple):
    """A figure of several runs."""

    min: float
    median: float
    max: float


class Entry(NamedTuple):
    """The command as a person would repeat it, how long it took, and what it told; ``quick`` ones say nothing."""

    command: str
    seconds: float
    result: Result
    quick: bool = False

    def spread(self, figure: str, *within: str) -> Spread | None:
        """Min, median and max of a figure of the result, or of an object ``within`` it; None where it has none."""
        node: Any = self.result
        for name in within:
            node = node.get(name) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            return None
        value = node.get(figure)
        if isinstance(value, dict) and set(Spread._fields) <= set(value):
            return Spread(*(value[name] for name in Spread._fields))
        if isinstance(node.get("median"), dict) and figure in node["median"]:
            return Spread(*(node[name][figure] for name in Spread._fields))
        return Spread(value, value, value) if isinstance(value, int | float) else None


class Results:
    """The entries by name, kept in one file of ``folder``."""

    def __init__(self, folder: Path) -> None:
        """Read the file; without one there are no entries. Raises :class:`~weir.errors.StackError` if it is broken."""
        self.path = folder / FILE
        self._entries: dict[str, Entry] = {}
        if not self.path.exists():
            return
        try:
            told = json.loads(self.path.read_text(encoding="utf-8"))
            if told["form"] != FORM:
                raise ValueError(f"form {told['form']}, and this program reads {FORM}")
            self._entries = {name: Entry(**entry) for name, entry in told["benchmarks"].items()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StackError(
                f"The results {self.path} cannot be read ({error}); delete the file to begin anew."
            ) from None

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        """Names and entries, by name."""
        return iter(sorted(self._entries.items()))

    def get(self, name: str) -> Entry | None:
        """What ``name`` gave, if it was ever measured."""
        return self._entries.get(name)

    @property
    def measured(self) -> bool:
        """Whether any entry is more than a try-out."""
        return any(not entry.quick for entry in self._entries.values())

    def put(self, name: str, entry: Entry) -> None:
        """Take the place of what ``name`` gave before, and write the file: an interruption loses nothing."""
        self._entries[name] = entry
        told = {"form": FORM, "benchmarks": {each: kept._asdict() for each, kept in self}}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".tmp")
        text = FLAT.sub(_on_one_line, json.dumps(told, indent=1, sort_keys=True))
        beside.write_text(text + "\n", encoding="utf-8")
        os.replace(beside, self.path)


def _on_one_line(found: re.Match[str]) -> str:
    return re.sub(r"\s*\n\s*", " ", found[0]).replace("[ ", "[").replace(" ]", "]")

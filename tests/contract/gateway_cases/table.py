"""The cases as tables for people."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from tests.contract.gateway_cases import GROUPS
from tests.contract.gateway_cases.answers import READING, taken
from tests.contract.gateway_cases.case import Case, Group, Some, filled

PAGE: Final = Path(__file__).parents[3] / "docs" / "gateway.md"
BEGIN: Final = "<!-- cases: python -m tests.contract.gateway_cases -->"
END: Final = "<!-- end of cases -->"
LONGEST: Final = 150
"""Characters of a body that are shown."""

PLACES: Final = {
    "acme": "acme",
    "birch": "birch",
    "thrift": "thrift",
    "novel": "novel",
    "readings": "weir.readings",
    "weir": "weir",
    "cluster": "…",
    "readings schema": "3",
    "foreign schema": "8",
    "now": "1790000000000",
    "unique": "7f3a…",
}
SHORT: Final = {"application/vnd.kafka.v2+json": "v2", "application/json": "json"}


def tables() -> str:
    """All groups, one under the other."""
    return "\n".join(_table(group) for group in GROUPS)


def with_tables(page: str) -> str:
    """A page with the tables between the two markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


def _table(group: Group) -> str:
    head = (
        f"### {group.title[0].upper()}{group.title[1:]}\n\n| case | request | status | answer | Confluent's proxy |\n"
    )
    return head + "|---|---|---|---|---|\n" + "".join(f"{_row(case, group)}\n" for case in group.cases)


def _row(case: Case, group: Group) -> str:
    cells = (case.name, _request(case), str(case.status), _answer(case), case.confluent or group.confluent)
    return "| " + " | ".join(filled(each, PLACES).replace("|", "\\|").replace("\n", " ") for each in cells) + " |"


def _request(case: Case) -> str:
    parts = []
    if case.raw is None:
        parts.append(f"`{case.method} {case.path}`")
        if case.media_type:
            parts.append(_short_type(case.media_type))
    if case.shown.startswith("`GET ") or case.shown.startswith("`POST "):
        parts = [case.shown]
    elif case.shown:
        parts.append(case.shown)
    else:
        parts += [f"`{name}: {value}`" for name, value in (case.headers or {}).items()]
        if case.encoding:
            parts.append(f"`Content-Encoding: {case.encoding}`")
        if case.body is not None:
            parts.append(_code(case.content().decode(errors="replace")))
    if case.key not in ("organisation", "editor") and not case.shown.startswith("the first"):
        parts.append("no key" if case.key is None else f"key: {case.key}")
    if case.first is not None:
        parts.append("after " + (_code(case.first.content().decode()) if case.first.body is not None else "another"))
    return ", ".join(parts)


def _short_type(media_type: str) -> str:
    found = re.fullmatch(r"application/vnd\.kafka\.(\w+)\.v2\+json(.*)", media_type)
    return f"{found[1]} v2{found[2]}" if found else SHORT.get(media_type, media_type)


def _answer(case: Case) -> str:
    shown = [f"`{name}: {value}`" for name, value in (case.answer_headers or {}).items()]
    if case.answer is not None:
        values = case.answer if case.lines else [case.answer]
        shown.append(" ".join(_code(_json(each)) for each in values))
    if case.closes:
        shown.append("and the end of the connection")
    return ", ".join(shown) or "no body"


def _json(value: Any) -> str:
    if isinstance(value, Some):
        return value.word
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{name}": {_json(each)}' for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_json(each) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _code(text: str) -> str:
    for long, word in _words().items():
        text = text.replace(long, word)
    text = filled(text, PLACES)
    return f"`{text[:LONGEST]}…`" if len(text) > LONGEST + 10 else f"`{text}`"


def _words() -> dict[str, str]:
    """What stands so often in the tables that it has a word of its own, explained above them."""
    return {json.dumps(READING): "READING", _json(taken()): "TAKEN"}

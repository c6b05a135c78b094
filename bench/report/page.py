"""The generated sections of a Markdown page, each between its own pair of comments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from weir.errors import StackError

OPENING: Final = re.compile(r"^<!-- bench:(?P<name>[\w-]+) -->$", re.MULTILINE)
CLOSING: Final = "<!-- /bench -->"


def remade(page: str, sections: Mapping[str, str]) -> str:
    """``page`` with the text of every section between ``<!-- bench:NAME -->`` and ``<!-- /bench -->``.

    Raises :class:`~weir.errors.StackError` when a section has no place on the page, two of them, no end, or when the
    page has a place that nothing fills.
    """
    places = [match["name"] for match in OPENING.finditer(page)]
    for name in sections:
        if places.count(name) != 1:
            found = "no place" if name not in places else f"{places.count(name)} places"
            raise StackError(
                f"The page has {found} for {name}; write one line `<!-- bench:{name} -->` and one `{CLOSING}` after it."
            )
    strangers = sorted(set(places) - set(sections))
    if strangers:
        raise StackError(f"Nothing fills the place for {', '.join(strangers)}; take its two comments off the page.")
    before, *pieces = OPENING.split(page)
    made = [before]
    for name, piece in zip(pieces[::2], pieces[1::2], strict=True):
        _, closed, after = piece.partition(CLOSING)
        if not closed:
            raise StackError(f"The place for {name} has no end; write `{CLOSING}` after it.")
        made.append(f"<!-- bench:{name} -->\n{sections[name].strip()}\n{CLOSING}{after}")
    return "".join(made)

"""The page and the plots, made from the results beside them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from bench.report.page import remade
from bench.report.plots import draw_all
from bench.report.results import Results
from bench.report.sections import sections
from weir.errors import UsageError

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGE: Final = "performance.md"
FOLDER: Final = "performance"


def write(results: Results, into: Path) -> Path:
    """Make ``performance.md`` and the plots of ``performance/`` in ``into`` anew; returns the page.

    Raises what :func:`check` does, and :class:`~weir.errors.StackError` without matplotlib.
    """
    text = check(results, into)
    plots = draw_all(results, into / FOLDER)
    page, beside = into / PAGE, (into / PAGE).with_suffix(".tmp")
    beside.write_text(remade(text, sections(results, [plot.name for plot in plots])), encoding="utf-8")
    os.replace(beside, page)
    return page


def check(results: Results, into: Path) -> str:
    """The pattern, once it is sure that every section has its place: the checkout's page, elsewhere what is there.

    Raises :class:`~weir.errors.UsageError` when there is none, and :class:`~weir.errors.StackError` when places and
    sections do not fit.
    """
    pattern = DOCS / PAGE if (DOCS / PAGE).exists() else into / PAGE
    try:
        text = pattern.read_text(encoding="utf-8")
    except OSError:
        raise UsageError(f"There is no {pattern} to write into; run this in a checkout of Weir.") from None
    remade(text, sections(results, ()))
    return text

"""The options of ``weir dlq`` that choose letters, the same for every command of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from weir.dlq.selection import Selection, moment
from weir.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])


def filters(wrapped: Command) -> Command:
    """Add the options that choose letters; pass what they gave to :func:`selected`."""
    options = (
        click.option("--reason", "reasons", multiple=True, metavar="WORD", help="Refused for this; may be repeated."),
        click.option("--device", metavar="TEXT", help="Whose message key is this text."),
        click.option("--org", metavar="ID", help="Of this organisation."),
        click.option("--stage", metavar="NAME", help="Refused by readings, aggregates_1m or aggregates_1h."),
        click.option("--since", metavar="TIME", help="Refused then or later: an ISO time (UTC), or 30m, 2h, 7d ago."),
        click.option("--until", metavar="TIME", help="Refused before then."),
    )
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def selected(
    reasons: tuple[str, ...],
    device: str | None,
    org: str | None,
    stage: str | None,
    since: str | None,
    until: str | None,
) -> Selection:
    """The letters that the options mean, now. Raises :class:`UsageError`."""
    now_ms = time.time_ns() // 1_000_000
    since_ms = moment(since, now_ms) if since is not None else None
    until_ms = moment(until, now_ms) if until is not None else None
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise UsageError("--since must be before --until.")
    return Selection(frozenset(reasons), device, org, stage, since_ms, until_ms)

"""Options that the commands of every kind of entity have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from connectors.entities.models import EntityUpdate
from weir.cli.acting import record
from weir.cli.property_options import properties_of, property_option
from weir.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
org_option = click.option("--org", "organisation", metavar="ID", help="Of this organisation only.")
retired_option = click.option("--retired", is_flag=True, help="Also what is retired.")


def described(wrapped: Command) -> Command:
    """Add --name, --description, --status and --property."""
    options = (
        click.option("--name", help="What people call it."),
        click.option("--description", help="A sentence or more about it."),
        click.option("--status", metavar="WORD", help="Its state, such as active or online."),
        property_option,
    )
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def changed(wrapped: Command) -> Command:
    """The same, and --reactivate; pass what they gave to :func:`update_of`."""
    return described(click.option("--reactivate", is_flag=True, help="Make it active again.")(wrapped))


def update_of(
    name: str | None,
    description: str | None,
    status: str | None,
    properties: tuple[str, ...],
    reactivate: bool,
    **more: Any,
) -> EntityUpdate:
    """What the options of :func:`changed` mean; ``more`` are properties that have options of their own.

    Raises :class:`UsageError` when there is nothing to change.
    """
    merge = properties_of(properties) | {key: value for key, value in more.items() if value is not None}
    if not merge and not reactivate and (name, description, status) == (None, None, None):
        raise UsageError("Say what to change, such as --name TEXT or --property PATH=JSON.")
    return record(
        EntityUpdate,
        name=name,
        description=description,
        status=status,
        merge=merge or None,
        is_active=True if reactivate else None,
    )

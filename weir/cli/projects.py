"""``weir projects``: what an organisation groups its devices by."""

from __future__ import annotations

from typing import Any

import click

from connectors.entities.models import EntityCreate
from weir.cli.acting import directory, record
from weir.cli.entity_changes import add_entity, retire_entity, set_entity
from weir.cli.entity_options import changed, described, json_option, org_option, retired_option
from weir.cli.entity_table import fields_of, print_entities, print_fields, search_of
from weir.cli.listing import asked, list_options
from weir.cli.property_options import contained, properties_of, ranges_of, search_options

KIND = "project"


@click.group(name="projects")
def command() -> None:
    """Projects: they group devices, and may shorten the retention of their readings."""


@command.command(name="list")
@org_option
@click.option("--status", metavar="WORD", help="In this state.")
@search_options
@retired_option
@list_options
def list_projects(
    organisation: str | None,
    status: str | None,
    contains: str | None,
    ranges: tuple[str, ...],
    retired: bool,
    form: str | None,
    limit: int | None,
) -> None:
    """List projects, oldest first.

    \b
    Example:
      weir projects list --org acme-research-labs
      weir projects list --range settings.data_retention_days:1:30 --json

    Exit codes: 0 done, also when there are none; 1 Postgres is away; 2 wrong usage or settings.
    """
    search = search_of(organisation, status, retired, contained(contains), ranges_of(ranges))
    with directory() as metadata:
        print_entities(metadata, KIND, asked(form, limit), search, "No projects.")


@command.command(name="show")
@click.argument("project")
@json_option
def show(project: str, as_json: bool) -> None:
    """Show everything of one project.

    \b
    Example:
      weir projects show bioreactor-optimization

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such project, or wrong usage or settings.
    """
    with directory() as metadata:
        print_fields(fields_of(metadata.entities.get(KIND, project)), as_json)


@command.command(name="add")
@click.argument("project")
@click.option("--org", "organisation", metavar="ID", required=True, help="Organisation that owns it.")
@described
@json_option
def add(project: str, properties: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Add a project. PROJECT is its id: lower case letters, digits, dots and dashes, unique everywhere.

    \b
    Example:
      weir projects add ales --org my-lab --name "Ales" --property settings.data_retention_days=90

    Exit codes: 0 done; 1 Postgres is away; 2 it is there already, or wrong usage, properties or settings.
    """
    wanted = record(EntityCreate, entity_type=KIND, key=project, properties=properties_of(properties), **given)
    add_entity(wanted, as_json)


@command.command(name="set")
@click.argument("project")
@changed
def change(project: str, **given: Any) -> None:
    """Change a project; what is not named stays.

    \b
    Example:
      weir projects set ales --property 'settings.alert_thresholds={"temperature": {"min": 15, "max": 30}}'

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such project, or wrong usage, properties or settings.
    """
    set_entity(KIND, project, given)


@command.command(name="retire")
@click.argument("project")
def retire(project: str) -> None:
    """Retire a project: it stays known, and its readings keep it. A second time changes nothing.

    \b
    Example:
      weir projects retire ales

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such project, or wrong usage or settings.
    """
    retire_entity(KIND, project)

"""``weir orgs``: the organisations that everything belongs to."""

from __future__ import annotations

from typing import Any

import click

from connectors.entities.models import EntityCreate
from connectors.entities.tenants import grant_role, revoke_role
from weir.cli.acting import directory, record
from weir.cli.entity_changes import add_entity, retire_entity, set_entity
from weir.cli.entity_options import changed, described, json_option, retired_option
from weir.cli.entity_table import fields_of, print_entities, print_fields, search_of
from weir.cli.listing import asked, list_options
from weir.cli.passwords import typed_password
from weir.cli.property_options import contained, properties_of, ranges_of, search_options
from weir.errors import UsageError

KIND = "organisation"


@click.group(name="orgs")
def command() -> None:
    """Organisations: tenants that own projects, devices and users."""


@command.command(name="list")
@click.option("--status", metavar="WORD", help="In this state.")
@search_options
@retired_option
@list_options
def list_orgs(
    status: str | None,
    contains: str | None,
    ranges: tuple[str, ...],
    retired: bool,
    form: str | None,
    limit: int | None,
) -> None:
    """List organisations, oldest first.

    \b
    Example:
      weir orgs list
      weir orgs list --contains '{"country": "USA"}' --csv

    Exit codes: 0 done, also when there are none; 1 Postgres is away; 2 wrong usage or settings.
    """
    search = search_of(None, status, retired, contained(contains), ranges_of(ranges))
    with directory() as metadata:
        print_entities(metadata, KIND, asked(form, limit), search, "No organisations.")


@command.command(name="show")
@click.argument("org")
@json_option
def show(org: str, as_json: bool) -> None:
    """Show everything of one organisation.

    \b
    Example:
      weir orgs show acme-research-labs

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such organisation, or wrong usage or settings.
    """
    with directory() as metadata:
        print_fields(fields_of(metadata.entities.get(KIND, org)), as_json)


@command.command(name="add")
@click.argument("org")
@described
@json_option
def add(org: str, properties: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Add an organisation. ORG is the id that readings and rows carry: lower case letters, digits, dots and dashes.

    \b
    Example:
      weir orgs add my-lab --name "My Lab" --property timezone=Europe/Berlin

    Exit codes: 0 done; 1 Postgres is away; 2 it is there already, or wrong usage, properties or settings.
    """
    wanted = record(EntityCreate, entity_type=KIND, key=org, properties=properties_of(properties), **given)
    add_entity(wanted, as_json)


@command.command(name="set")
@click.argument("org")
@changed
def change(org: str, **given: Any) -> None:
    """Change an organisation; what is not named stays.

    \b
    Example:
      weir orgs set my-lab --property contact_email=lab@example.org

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such organisation, or wrong usage, properties or settings.
    """
    set_entity(KIND, org, given)


@command.command(name="retire")
@click.argument("org")
def retire(org: str) -> None:
    """Retire an organisation: it stays known, its keys and roles end, its devices send on. Twice is as once.

    \b
    Example:
      weir orgs retire my-lab

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such organisation, or wrong usage or settings.
    """
    retire_entity(KIND, org)


@command.command(name="role")
@click.argument("org")
@click.option(
    "--login", is_flag=True, help="Ask for a password, or read it from stdin, with which the role may log in."
)
@click.option("--revoke", is_flag=True, help="Take the role away instead.")
def role(org: str, login: bool, revoke: bool) -> None:
    """Make the database role that reads this organisation's rows and no others, and print its name.

    Whoever is that role may write any SQL; the database itself keeps the other organisations' rows from it. Without
    --login nobody logs in as it: grant it to a role that does.

    \b
    Example:
      weir orgs role acme-research-labs
      weir orgs role acme-research-labs --revoke

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such organisation, or wrong usage or settings.
    """
    if login and revoke:
        raise UsageError("Say --login or --revoke, one of the two.")
    password = typed_password() if login else None
    with directory() as metadata:
        if revoke:
            revoke_role(metadata, org)
            click.echo(f"The database role of {org} is gone.")
            return
        click.echo(grant_role(metadata, org, password=password))

"""``weir users``: people, their roles and passwords."""

from __future__ import annotations

from typing import Final

import click

from connectors.entities.user_models import MemberRole, UserCreate
from weir.cli.acting import directory, record
from weir.cli.entity_options import json_option, org_option, retired_option
from weir.cli.entity_table import fields_of, print_fields
from weir.cli.listing import Column, asked, every, list_options, most, print_list
from weir.cli.passwords import typed_password
from weir.cli.property_options import properties_of, property_option

COLUMNS = (
    Column("user", "email"),
    Column("name", "name"),
    Column("organisation", "organisation"),
    Column("roles", "roles"),
    Column("superuser", "is_superuser"),
    Column("password", "has_password"),
    Column("active", "is_active"),
    Column("last login", "last_login", "time"),
)

ROLES: Final[dict[str, MemberRole]] = {"viewer": "viewer", "editor": "editor", "admin": "admin"}


@click.group(name="users")
def command() -> None:
    """Users: each is a member of an organisation, with a role there."""


@command.command(name="list")
@org_option
@retired_option
@list_options
def list_users(organisation: str | None, retired: bool, form: str | None, limit: int | None) -> None:
    """List users with their roles, oldest first.

    \b
    Example:
      weir users list --org acme-research-labs

    Exit codes: 0 done, also when there are none; 1 Postgres is away; 2 wrong usage or settings.
    """
    wanted = asked(form, limit)
    with directory() as metadata:
        found = every(
            lambda size, cursor: metadata.users.list(
                organisation=organisation, include_inactive=retired, limit=size, cursor=cursor
            ),
            most(wanted),
        )
        print_list((fields_of(each) for each in found), COLUMNS, wanted, "No users.")


@command.command(name="show")
@click.argument("email")
@json_option
def show(email: str, as_json: bool) -> None:
    """Show one user.

    \b
    Example:
      weir users show ada@acme.example

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such user, or wrong usage or settings.
    """
    with directory() as metadata:
        print_fields(fields_of(metadata.users.get(email)), as_json)


@command.command(name="add")
@click.argument("email")
@click.option("--org", "organisation", metavar="ID", required=True, help="Organisation that the user belongs to.")
@click.option(
    "--role", type=click.Choice(list(ROLES)), default="viewer", show_default=True, help="What the user may do."
)
@click.option("--name", default="", help="Of the person.")
@click.option("--superuser", is_flag=True, help="May do everything in every organisation; needs --password.")
@click.option("--password", "with_password", is_flag=True, help="Ask for a password now, or read it from stdin.")
@property_option
def add(
    email: str,
    organisation: str,
    role: str,
    name: str,
    superuser: bool,
    with_password: bool,
    properties: tuple[str, ...],
) -> None:
    """Add a user. Without a password nobody can log in as this user yet; `weir users password` sets it.

    \b
    Example:
      weir users add ada@my-lab.example --org my-lab --role admin --name "Ada"

    Exit codes: 0 added; 1 Postgres is away; 2 it is there already, no such organisation, or wrong usage or settings.
    """
    wanted = record(
        UserCreate,
        email=email,
        organisation=organisation,
        role=role,
        name=name,
        is_superuser=superuser,
        password=typed_password() if with_password else None,
        properties=properties_of(properties),
    )
    with directory() as metadata:
        made = metadata.users.create(wanted)
    click.echo(f"User {made.key} added.")


@command.command(name="password")
@click.argument("email")
def password(email: str) -> None:
    """Set a user's password: it is asked for, or read from standard input, and never an argument.

    \b
    Example:
      weir users password ada@my-lab.example
      pass show weir/ada | weir users password ada@my-lab.example

    Exit codes: 0 set; 1 Postgres is away; 2 no such user, a password that is too short, or wrong usage or settings.
    """
    text = typed_password()
    with directory() as metadata:
        metadata.users.set_password(email, text)
    click.echo(f"Password of {email} set.")


@command.command(name="role")
@click.argument("email")
@click.argument("role", type=click.Choice([*ROLES, "none"]))
@click.option("--org", "organisation", metavar="ID", required=True, help="Organisation in which it holds.")
def role(email: str, role: str, organisation: str) -> None:
    """Give a user a role in an organisation from now on, or none. A second time changes nothing.

    \b
    Example:
      weir users role ada@my-lab.example editor --org my-lab

    Exit codes: 0 done; 1 Postgres is away; 2 no such user or organisation, or wrong usage or settings.
    """
    with directory() as metadata:
        found = metadata.users.set_role(email, organisation, ROLES.get(role))
    click.echo(f"{found.email} is {found.roles.get(organisation, 'nothing')} in {organisation}.")


@command.command(name="retire")
@click.argument("email")
def retire(email: str) -> None:
    """End an account: it stays known, and nobody logs in with it. A second time changes nothing.

    \b
    Example:
      weir users retire ada@my-lab.example

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such user, or wrong usage or settings.
    """
    with directory() as metadata:
        metadata.users.retire(email)
    click.echo(f"User {email} retired.")

"""What a role of the database that is made for one organisation reads: its own rows, whatever SQL it writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from connectors.entities.actor import SYSTEM
from connectors.entities.command_models import CommandCreate
from connectors.entities.directory import Directory, open_directory
from connectors.entities.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from connectors.entities.key_models import KeyCreate
from connectors.entities.models import EntityCreate, SchemaCreate
from connectors.entities.process_models import ProcessCreate
from connectors.entities.tenants import grant_role, revoke_role, role_of
from connectors.entities.user_models import UserCreate
from tests.stack_under_test import StackUnderTest
from tests.two_tenants import TENANTS, acting, two_tenants, users_of

PASSWORD: Final = "the role of an analyst"

OWN: Final = {
    "entities",
    "relationships",
    "events",
    "schemas",
    "processes",
    "process_instances",
    "commands",
    "tenant_roles",
    "links",
    "organisations",
    "projects",
    "devices",
    "sensors",
}
"""Tables and views of which a tenant reads its own rows."""

SHARED: Final = {"metrics", "relationship_types"}
"""Registries that belong to everybody. Whatever stands in neither set must be refused altogether."""


@dataclass(frozen=True)
class Tenants:
    """A filled database, the role of each organisation in it, and every id by which a row may name one of them."""

    dsn: str
    roles: dict[str, str]
    ids: dict[str, list[str]]

    def connect(self, slug: str) -> psycopg.Connection:
        """A session of its own, as the organisation's analyst opens it."""
        return psycopg.connect(make_conninfo(self.dsn, user=self.roles[slug], password=PASSWORD))


@pytest.fixture(scope="module")
def tenants(stack: StackUnderTest) -> Iterator[Tenants]:
    with two_tenants(stack) as dsn:
        try:
            with open_directory(dsn, SYSTEM) as directory:
                for slug in TENANTS:
                    fill(directory, slug)
                roles = {slug: grant_role(directory, slug, password=PASSWORD) for slug in TENANTS}
            with psycopg.connect(dsn) as conn:
                conn.execute("ANALYZE")
                ids = {slug: named_by(conn, slug) for slug in TENANTS}
            yield Tenants(dsn, roles, ids)
        finally:
            with open_directory(dsn, SYSTEM) as directory:
                for slug in TENANTS:
                    with suppress(NotFoundError):
                        revoke_role(directory, slug)


def fill(directory: Directory, slug: str) -> None:
    """A row of every kind, with the organisation's name in it."""
    directory.schemas.add(
        SchemaCreate(
            entity_type=f"machine_{slug}",
            definition={"size": {"type": "number"}},
            description=f"of {slug}",
            organisation=slug,
        )
    )
    directory.entities.create(
        EntityCreate(entity_type=f"machine_{slug}", key=f"{slug}-machine", organisation=slug, properties={"size": 3})
    )
    users_of(directory).create(UserCreate(email=f"ada@{slug}.example", organisation=slug, role="admin"))
    directory.processes.define(
        ProcessCreate(
            name=f"{slug}-recipe", version="1", process_type="recipe", definition={"of": slug}, organisation=slug
        )
    )
    directory.processes.start(f"{slug}-recipe", batch_id=f"{slug}-batch", organisation=slug)
    directory.commands.send(f"{slug}-1", CommandCreate(command="restart", parameters={"of": slug}))
    directory.keys.create(KeyCreate(device=f"{slug}-1", name=f"{slug} key"))


def named_by(conn: psycopg.Connection, slug: str) -> list[str]:
    """The name of an organisation and the ids of its entities: every row of it holds one of these."""
    found = conn.execute(
        "SELECT e.id::text FROM entities e JOIN entities o ON o.id = e.organisation_id WHERE o.key = %s", [slug]
    ).fetchall()
    return [slug, *(row[0] for row in found)]


def relations(conn: psycopg.Connection) -> list[tuple[str, str]]:
    """Schema and name of every table and view in the database that is not Postgres' own."""
    return conn.execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
        " AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1, 2"
    ).fetchall()


def rows_of(conn: psycopg.Connection, table: sql.Composable, ids: list[str]) -> int:
    """Rows of a table, or of a query in brackets, that name an organisation in any column."""
    found = conn.execute(
        sql.SQL("SELECT count(*) FROM {} AS t WHERE t::text LIKE ANY (%s)").format(table),
        [[f"%{text}%" for text in ids]],
    ).fetchone()
    assert found is not None
    return int(found[0])


def test_in_every_table_and_view_a_tenant_finds_its_own_rows_and_none_of_the_other(tenants: Tenants) -> None:
    with psycopg.connect(tenants.dsn) as owner:
        found = relations(owner)
        assert {name for _, name in found} >= OWN | SHARED | {"api_keys", "user_credentials", "weir_migrations"}
        for schema, name in found:
            table = sql.Identifier(schema, name)
            if schema == "public" and name in OWN:
                for slug, other in zip(TENANTS, reversed(TENANTS), strict=True):
                    assert rows_of(owner, table, tenants.ids[slug]) > 0, f"{name} has nothing to be found of {slug}"
                    with tenants.connect(slug) as tenant:
                        assert rows_of(tenant, table, tenants.ids[slug]) > 0, f"{slug} finds nothing in {name}"
                        assert rows_of(tenant, table, tenants.ids[other]) == 0, f"{slug} finds {other} in {name}"
            elif schema == "public" and name in SHARED:
                with tenants.connect("acme") as tenant:
                    assert rows_of(tenant, table, tenants.ids["bread"]) == 0
            else:
                with tenants.connect("acme") as tenant, pytest.raises(errors.InsufficientPrivilege):
                    tenant.execute(sql.SQL("SELECT FROM {}").format(table))


def test_a_tenant_changes_no_table(tenants: Tenants) -> None:
    with psycopg.connect(tenants.dsn) as owner:
        found = relations(owner)
    # a view over several tables takes no rows from anybody
    refusals = (errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState, errors.WrongObjectType)
    statements = ("DELETE FROM {}", "TRUNCATE {}", "INSERT INTO {} DEFAULT VALUES", "LOCK TABLE {} IN EXCLUSIVE MODE")
    for schema, name in found:
        for statement in statements:
            with tenants.connect("acme") as tenant, pytest.raises(refusals):
                tenant.execute(sql.SQL(statement).format(sql.Identifier(schema, name)))
    with tenants.connect("acme") as tenant, pytest.raises(errors.InsufficientPrivilege):
        tenant.execute("UPDATE tenant_roles SET organisation_id = organisation_id")


OTHERS: Final = [
    "entities",
    "(SELECT l.* FROM links l JOIN entities e ON e.id = l.to_entity)",
    "(SELECT v.* FROM events v WHERE v.entity_type = 'organisation' OR true)",
    "(SELECT e.* FROM entities e RIGHT JOIN relationships r ON true)",
    "(WITH RECURSIVE r AS (SELECT from_entity, to_entity FROM links UNION"
    " SELECT l.from_entity, l.to_entity FROM links l, r WHERE l.from_entity = r.to_entity) SELECT * FROM r)",
    "(SELECT json_agg(e) FROM entities e)",
    "(SELECT e.* FROM entities e TABLESAMPLE SYSTEM (100))",
    "(SELECT to_regclass('entities'), most_common_vals::text, histogram_bounds::text FROM pg_stats)",
    "(SELECT query FROM pg_stat_activity)",
]


@pytest.mark.parametrize("query", OTHERS)
@pytest.mark.parametrize(
    "before",
    [
        "",
        "SET weir.bulk = 'on'",
        "SET search_path = pg_catalog, public",
        "SET weir.organisation = 'bread'",
        "SET ROLE weir_tenant",
        "SET default_transaction_read_only = on",
        "PREPARE p AS SELECT * FROM entities; EXECUTE p",
    ],
)
def test_no_query_and_no_setting_of_a_tenant_shows_the_other(tenants: Tenants, before: str, query: str) -> None:
    with tenants.connect("acme") as tenant:
        if before:
            tenant.execute(before.encode())
        assert rows_of(tenant, sql.SQL(query), tenants.ids["bread"]) == 0
    if query != OTHERS[-1]:
        with psycopg.connect(tenants.dsn) as owner:  # the query would find it
            assert rows_of(owner, sql.SQL(query), tenants.ids["bread"]) > 0


@pytest.mark.parametrize(
    "statement",
    [
        "SET row_security = off; SELECT * FROM entities",
        "SET ROLE {other}",
        "SET SESSION AUTHORIZATION {other}",
        "SET ROLE postgres",
        "SET session_replication_role = replica",
        "ALTER TABLE entities DISABLE ROW LEVEL SECURITY",
        "DROP POLICY own_rows ON entities",
        "CREATE POLICY mine ON entities USING (true)",
        "INSERT INTO tenant_roles SELECT current_user, organisation_id FROM entities",
        "GRANT {other} TO {own}",
        "GRANT weir_tenant TO {other}",
        "ALTER ROLE {own} BYPASSRLS",
        "ALTER ROLE {other} RENAME TO another",
        "ALTER ROLE {other} PASSWORD 'mine'",
        "CREATE FUNCTION public.leak() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TABLE public.copied AS SELECT * FROM entities",
        "CREATE SCHEMA mine",
        "COPY entities TO '/dev/null'",
        "COPY entities TO PROGRAM 'cat'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT password_hash FROM user_credentials",
        "SELECT secret_hash FROM api_keys",
        "SELECT rolpassword FROM pg_authid",
        "SELECT * FROM weir_kept.entities",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_xact_lock_shared(1, 2)",
    ],
)
def test_a_tenant_gives_itself_no_more_than_it_has(tenants: Tenants, statement: str) -> None:
    names = {"own": sql.Identifier(tenants.roles["acme"]), "other": sql.Identifier(tenants.roles["bread"])}
    with tenants.connect("acme") as tenant, pytest.raises((errors.InsufficientPrivilege, errors.InvalidSchemaName)):
        for part in statement.split("; "):
            tenant.execute(sql.SQL(part).format(**names))


def test_a_function_that_tells_what_it_is_shown_is_shown_own_rows_only(tenants: Tenants) -> None:
    """The classic leak: a cheap function that the planner would like to ask first, before the policy."""
    heard: list[str] = []
    with tenants.connect("acme") as tenant:
        tenant.add_notice_handler(lambda notice: heard.append(notice.message_primary or ""))
        tenant.execute(
            "CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS"
            " $$BEGIN RAISE NOTICE '%', $1; RETURN true; END$$"
        )
        for view in ("entities", "devices", "sensors", "links", "events", "commands"):
            tenant.execute(
                sql.SQL("SELECT count(*) FROM {} AS t WHERE pg_temp.tell(t::text)").format(sql.Identifier(view))
            )
    assert [text for text in heard if "acme" in text]
    assert not [text for text in heard if any(known in text for known in tenants.ids["bread"])]


def test_a_copy_of_a_table_holds_own_rows_only(tenants: Tenants) -> None:
    with tenants.connect("acme") as tenant, tenant.cursor().copy("COPY (SELECT * FROM entities) TO STDOUT") as copied:
        text = b"".join(bytes(part) for part in copied).decode()
    assert "acme" in text
    assert not [known for known in tenants.ids["bread"] if known in text]


def test_a_role_that_stands_nowhere_finds_nothing(tenants: Tenants) -> None:
    with psycopg.connect(tenants.dsn) as owner:
        owner.execute("SET ROLE weir_tenant")
        for name in OWN:
            # schemas without an organisation are everybody's
            of_somebody = sql.SQL("organisation_id IS NOT NULL" if name == "schemas" else "true")
            query = sql.SQL("SELECT FROM {} WHERE {}").format(sql.Identifier(name), of_somebody)
            assert owner.execute(query).fetchall() == [], name


def test_the_role_of_an_organisation_that_was_retired_reads_nothing_more(tenants: Tenants) -> None:
    with open_directory(tenants.dsn, SYSTEM) as directory:
        place = directory.entities.create(EntityCreate(entity_type="organisation", key="closed", name="Closed"))
        role = grant_role(directory, "closed")
    count = "SELECT count(*) FROM entities"
    with psycopg.connect(tenants.dsn) as owner:
        owner.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        assert owner.execute(count).fetchone() == (1,)
        owner.execute("RESET ROLE")
        owner.execute("UPDATE entities SET is_active = false WHERE id = %s", [place.id])
        owner.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        assert owner.execute(count).fetchone() == (0,)
        owner.rollback()
        owner.execute("DELETE FROM tenant_roles WHERE role_name = %s", [role])
        owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_a_role_is_made_again_without_a_login_and_revoked_for_good(tenants: Tenants) -> None:
    with open_directory(tenants.dsn, SYSTEM) as directory:
        directory.entities.create(EntityCreate(entity_type="organisation", key="short", name="Short"))
        role = grant_role(directory, "short", password=PASSWORD)
    with psycopg.connect(make_conninfo(tenants.dsn, user=role, password=PASSWORD)) as tenant:
        assert tenant.execute("SELECT id FROM organisations").fetchall() == [("short",)]
    with open_directory(tenants.dsn, SYSTEM) as directory:
        assert grant_role(directory, "short") == role
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(make_conninfo(tenants.dsn, user=role, password=PASSWORD))
    with open_directory(tenants.dsn, SYSTEM) as directory:
        revoke_role(directory, "short")
    with psycopg.connect(tenants.dsn) as owner:
        assert owner.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchall() == []
        assert owner.execute("SELECT FROM tenant_roles WHERE role_name = %s", [role]).fetchall() == []
        told = owner.execute(
            "SELECT event_type, data FROM events WHERE entity_key = 'short' AND event_type LIKE 'role.%' ORDER BY id"
        ).fetchall()
    assert told == [
        ("role.granted", {"role": role, "login": True}),
        ("role.granted", {"role": role, "login": False}),
        ("role.revoked", {"role": role}),
    ]
    with open_directory(tenants.dsn, SYSTEM) as directory, pytest.raises(NotFoundError, match="has no role"):
        revoke_role(directory, "short")


def test_the_server_keeps_a_scram_verifier_and_never_the_password(tenants: Tenants) -> None:
    with psycopg.connect(tenants.dsn) as owner:
        kept = owner.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [tenants.roles["acme"]]).fetchone()
        events = owner.execute("SELECT e::text FROM events e WHERE event_type LIKE 'role.%'").fetchall()
    assert kept is not None and kept[0].startswith("SCRAM-SHA-256$")
    assert PASSWORD not in str(events) and "SCRAM" not in str(events)


@pytest.mark.parametrize("powers", ["BYPASSRLS LOGIN", "SUPERUSER", "LOGIN"])
def test_a_role_that_somebody_else_made_is_not_taken_for_the_organisations(tenants: Tenants, powers: str) -> None:
    role = role_of(str(conninfo_to_dict(tenants.dsn)["dbname"]), "squatted")
    with psycopg.connect(tenants.dsn, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} " + powers).format(sql.Identifier(role)))
        try:
            with (
                pytest.raises(ConflictError, match="may do more or is somebody else's"),
                open_directory(tenants.dsn, SYSTEM) as directory,
            ):
                directory.entities.create(EntityCreate(entity_type="organisation", key="squatted", name="S"))
                grant_role(directory, "squatted")
        finally:
            owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_only_a_superuser_grants_roles_and_with_a_password_worth_its_name(tenants: Tenants) -> None:
    with open_directory(tenants.dsn, acting("acme", "admin")) as directory:
        with pytest.raises(ForbiddenError):
            grant_role(directory, "acme")
        with pytest.raises(ForbiddenError):
            revoke_role(directory, "acme")
    with open_directory(tenants.dsn, SYSTEM) as directory:
        with pytest.raises(InvalidError, match="at least 16 characters"):
            grant_role(directory, "acme", password="short")
        with pytest.raises(NotFoundError, match="no organisation 'nobody'"):
            grant_role(directory, "nobody")


def test_long_names_of_organisations_get_roles_of_their_own() -> None:
    assert role_of("weir", "acme") == "weir_org_acme"
    one, two = role_of("weir", "a" * 62 + "1"), role_of("weir", "a" * 62 + "2")
    assert one != two
    assert {len(one), len(two)} == {63}
    assert one.startswith("weir_org_aaaa")

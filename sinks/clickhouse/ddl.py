"""Makes Weir's database, tables and views in ClickHouse, and brings older ones up to date without losing a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clickhouse_connect.driver import Client

from sinks.clickhouse.cluster import check_cluster, check_form, on_every_server
from sinks.clickhouse.existing import Existing, read_existing
from sinks.clickhouse.relation import Column, Table, View, everywhere, quoted
from sinks.clickhouse.tables import relations
from weir.change import Change
from weir.errors import ConfigError
from weir.settings import Settings


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement and the object that it makes."""

    name: str
    sql: str


def statements(settings: Settings) -> list[Statement]:
    """Everything that an empty server needs, in order; each statement may be repeated."""
    database = settings.clickhouse.database
    return [
        Statement(database, _create_database(settings)),
        *(Statement(relation.name, relation.create(database)) for relation in relations(settings)),
    ]


def apply(
    client: Client, settings: Settings, dry_run: bool = False, wanted: Sequence[Table | View] | None = None
) -> list[Change]:
    """Make what is missing, alter what differs, and say so; a dry run only says so.

    ``wanted`` are Weir's own when not given; another stream passes its own. New columns, comments, codecs, defaults,
    TTL and table settings are altered in place, a view is replaced. A column's type, an engine or a key that differs
    cannot be: the change then says ``differs`` and the table stays as it is.

    On a cluster every statement goes to all of its servers, and what one of them lacks is made there.

    Raises :class:`ConfigError` when the storage policy of the settings has no volume named cold, when the servers are
    not the cluster that the settings name, and when the tables are of the other form, one server's or a cluster's.
    """
    database = settings.clickhouse.database
    _check_policy(client, settings.clickhouse.storage_policy)
    check_cluster(client, settings.clickhouse)
    check_form(client, settings.clickhouse)
    whole = on_every_server(client, settings.clickhouse) if settings.clickhouse.cluster else None
    changes = [_database(client, settings, whole, dry_run)]
    existing = read_existing(client, database)
    for relation in relations(settings) if wanted is None else wanted:
        found = existing.get(relation.name)
        steps = _steps(relation, found, database)
        if found is not None and whole is not None and relation.name not in whole:
            steps.insert(0, Statement("servers that lack it", relation.create(database)))
        for statement in steps if not dry_run else []:
            client.command(statement.sql)
        changes.append(_told(relation, found, steps))
    return changes


def _database(client: Client, settings: Settings, whole: set[str] | None, dry_run: bool) -> Change:
    database = settings.clickhouse.database
    query = "SELECT 1 FROM system.databases WHERE name = {name:String}"
    there = database in whole if whole is not None else client.query(query, {"name": database}).result_rows
    if there:
        return Change("clickhouse", database, "unchanged")
    if not dry_run:
        client.command(_create_database(settings))
    return Change("clickhouse", database, "create", "database")


def _create_database(settings: Settings) -> str:
    where = settings.clickhouse
    return f"CREATE DATABASE IF NOT EXISTS `{where.database}`{everywhere(where.cluster or '')}"


def _check_policy(client: Client, policy: str | None) -> None:
    query = "SELECT 1 FROM system.storage_policies WHERE policy_name = {policy:String} AND volume_name = 'cold'"
    if policy and not client.query(query, {"policy": policy}).result_rows:
        raise ConfigError(
            f"ClickHouse has no storage policy {policy} with a volume named cold; "
            "define it in the server's configuration or unset WEIR_CLICKHOUSE__STORAGE_POLICY."
        )


def _steps(relation: Table | View, found: Existing | None, database: str) -> list[Statement]:
    if found is None:
        return [Statement("create", relation.create(database))]
    if isinstance(relation, Table):
        alter = f"ALTER TABLE `{database}`.`{relation.name}`{everywhere(relation.cluster)} "
        return [Statement(what, alter + clause) for what, clause in _alterations(relation, found)]
    same = (
        found.select == relation.select(database)
        and found.comment == relation.comment
        and [(column.name, column.type, column.comment) for column in relation.columns]
        == [(column.name, column.type, column.comment) for column in found.columns.values()]
    )
    return [] if same else [Statement("definition", relation.create(database))]


def _told(relation: Table | View, found: Existing | None, steps: list[Statement]) -> Change:
    if found is None:
        return Change("clickhouse", relation.name, "create", "table" if isinstance(relation, Table) else "view")
    immutable = list(_immutable(relation, found)) if isinstance(relation, Table) else []
    altered = ", ".join(step.name for step in steps)
    if immutable:
        hint = f"{'; '.join(immutable)}: copy it into a new table"
        return Change("clickhouse", relation.name, "differs", f"{hint}; altered {altered}" if altered else hint)
    return Change("clickhouse", relation.name, "alter" if steps else "unchanged", altered)


def _alterations(table: Table, found: Existing) -> Iterator[tuple[str, str]]:
    """What has to be altered, and the clause that does it."""
    previous = ""
    longer = _longer_order(table, found)
    for column in table.columns:
        known = found.columns.get(column.name)
        if known is None and column.name == longer:  # only together with the column that is new may a key grow
            added = f"ADD COLUMN {column.definition} AFTER `{previous}`"
            yield f"column {column.name} and order", f"{added}, MODIFY ORDER BY ({table.order_by})"
        elif known is None:
            where = f" AFTER `{previous}`" if previous else " FIRST"
            yield f"column {column.name}", f"ADD COLUMN IF NOT EXISTS {column.definition}{where}"
        elif known.type == column.type and known != column:
            yield from _column_alterations(column, known)
        previous = column.name
    if table.ttl != found.ttl:
        yield "TTL", f"MODIFY TTL {table.ttl}" if table.ttl else "REMOVE TTL"
    for name, value in table.settings.items():
        if found.settings.get(name) != value:
            yield f"setting {name}", f"MODIFY SETTING {name} = {value}"
    if table.comment != found.comment:
        yield "comment", f"MODIFY COMMENT {quoted(table.comment)}"


def _column_alterations(column: Column, known: Column) -> Iterator[tuple[str, str]]:
    if known.codec and not column.codec:
        yield f"codec of {column.name}", f"MODIFY COLUMN `{column.name}` REMOVE CODEC"
    if known.default and not column.default:
        yield f"default of {column.name}", f"MODIFY COLUMN `{column.name}` REMOVE DEFAULT"
    yield f"column {column.name}", f"MODIFY COLUMN {column.definition}"


def _longer_order(table: Table, found: Existing) -> str:
    """The new column that the order of an existing table can be lengthened by; empty when its order stays."""
    last = table.order_by.rpartition(", ")[2]
    grows = f"{found.order_by}, {last}" == table.order_by and last not in found.columns
    return last if grows else ""


def _immutable(table: Table, found: Existing) -> Iterator[str]:
    for what, wanted, there in (
        ("engine", table.engine, found.engine),
        ("partition key", table.partition_by, found.partition_by),
        ("order", table.order_by, found.order_by),
    ):
        if wanted != there and not (what == "order" and _longer_order(table, found)):
            yield f"its {what} is {there}, not {wanted}"
    for column in table.columns:
        known = found.columns.get(column.name)
        if known and known.type != column.type:
            yield f"its column {column.name} is {known.type}, not {column.type}"

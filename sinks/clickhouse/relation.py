"""Tables and views as data, and the SQL that makes them. Knows nothing of what they hold."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Column:
    """One column: ``type``, ``codec`` and ``default`` are written as the server itself prints them.

    That way a difference between a table and its definition can be seen by comparing text: ``Delta(8), ZSTD(1)``, not
    ``Delta, ZSTD``.
    """

    name: str
    type: str
    comment: str
    codec: str = ""
    default: str = ""

    @property
    def definition(self) -> str:
        """The column as it stands in CREATE TABLE or in ALTER TABLE … MODIFY COLUMN."""
        default = f" DEFAULT {self.default}" if self.default else ""
        codec = f" CODEC({self.codec})" if self.codec else ""
        return f"`{self.name}` {self.type}{default} COMMENT {quoted(self.comment)}{codec}"


@dataclass(frozen=True, slots=True)
class Table:
    """A MergeTree table, or a Distributed one, which has no keys; ``settings`` are the table's own settings by name.

    ``cluster`` is empty or the cluster on every server of which it is made.
    """

    name: str
    comment: str
    columns: tuple[Column, ...]
    engine: str
    partition_by: str
    order_by: str
    ttl: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    cluster: str = ""

    def create(self, database: str) -> str:
        """The CREATE TABLE statement."""
        columns = ",\n".join(f"    {column.definition}" for column in self.columns)
        ttl = f"\nTTL {self.ttl}" if self.ttl else ""
        pairs = ", ".join(f"{name} = {value}" for name, value in self.settings.items())
        settings = f"\nSETTINGS {pairs}" if pairs else ""
        keys = f"PARTITION BY {self.partition_by}\nORDER BY ({self.order_by}){ttl}{settings}\n" if self.order_by else ""
        return (
            f"CREATE TABLE IF NOT EXISTS `{database}`.`{self.name}`{everywhere(self.cluster)}\n(\n{columns}\n)\n"
            f"ENGINE = {self.engine}\n{keys}COMMENT {quoted(self.comment)}"
        )


@dataclass(frozen=True, slots=True)
class View:
    """Some columns of a table, after ReplacingMergeTree has dropped what was replaced; ``where`` hides more rows."""

    name: str
    comment: str
    table: str
    columns: tuple[Column, ...]
    where: str = ""
    cluster: str = ""

    def select(self, database: str) -> str:
        """What the view reads, as the server prints it on one line."""
        names = ", ".join(column.name for column in self.columns)
        where = f" WHERE {self.where}" if self.where else ""
        return f"SELECT {names} FROM {database}.{self.table} FINAL{where}"  # noqa: S608 - from the definitions

    def create(self, database: str) -> str:
        """The CREATE OR REPLACE VIEW statement."""
        columns = ",\n".join(
            f"    `{column.name}` {column.type} COMMENT {quoted(column.comment)}" for column in self.columns
        )
        return (
            f"CREATE OR REPLACE VIEW `{database}`.`{self.name}`{everywhere(self.cluster)}\n(\n{columns}\n)\n"
            f"COMMENT {quoted(self.comment)}\nAS {self.select(database)}"
        )


def everywhere(cluster: str) -> str:
    """The clause that has a statement carried out on every server of a cluster; empty for none."""
    return f" ON CLUSTER `{cluster}`" if cluster else ""


def quoted(text: str) -> str:
    """A ClickHouse string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

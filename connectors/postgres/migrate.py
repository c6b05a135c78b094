"""Numbered SQL migrations of the metadata database: applied once, in order, and never changed afterwards.

``migrations/NNN_name.sql`` goes up, ``migrations/NNN_name.down.sql`` comes back. Each runs in a transaction of its own
under one advisory lock, so that two migrating processes do not meet, and is recorded with its checksum in
``weir_migrations``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from connectors.postgres.connection import connection, database_of
from weir.change import Change
from weir.errors import ConfigError

FOLDER = Path(__file__).parent / "migrations"
SAMPLE = Path(__file__).parent / "sample.sql"
LOCK_KEY = 0x77656972  # "weir"

_LEDGER = """
    CREATE TABLE IF NOT EXISTS weir_migrations (
        number      integer PRIMARY KEY,
        name        text NOT NULL,
        checksum    text NOT NULL,
        applied_at  timestamptz NOT NULL DEFAULT now()
    )
"""

_COUNT = """
    SELECT (SELECT count(*) FROM entities) + (SELECT count(*) FROM relationships) + (SELECT count(*) FROM metrics)
         + (SELECT count(*) FROM processes)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: its number, name, SQL up and (when there is a way back) SQL down."""

    number: int
    name: str
    up: str
    down: str | None

    @property
    def title(self) -> str:
        """The file's stem, such as ``001_metadata``."""
        return f"{self.number:03d}_{self.name}"

    @property
    def checksum(self) -> str:
        """SHA-256 of the SQL that goes up."""
        return hashlib.sha256(self.up.encode()).hexdigest()


def read_migrations(folder: Path = FOLDER) -> list[Migration]:
    """All migrations of a folder in order; their numbers must be 1, 2, 3 … without a gap.

    Raises :class:`ConfigError` for a gap, a number used twice or a file with another kind of name.
    """
    found = []
    for path in sorted(folder.glob("*.sql")):
        if path.name.endswith(".down.sql"):
            continue
        match = re.fullmatch(r"(\d{3})_([a-z0-9_]+)\.sql", path.name)
        if match is None:
            raise ConfigError(f"Migration {path.name} is not named NNN_name.sql; rename it.")
        down = path.with_name(f"{path.stem}.down.sql")
        back = down.read_text() if down.exists() else None
        found.append(Migration(int(match[1]), match[2], path.read_text(), back))
    for expected, migration in enumerate(found, start=1):
        if migration.number != expected:
            raise ConfigError(f"Migration {migration.title} should have number {expected:03d}; renumber it.")
    return found


def apply(dsn: str, *, dry_run: bool = False, folder: Path = FOLDER) -> list[Change]:
    """Bring the database to the last migration, making the database itself when it is missing. Blocks.

    Raises :class:`ConfigError` when a migration that was applied has changed since, :class:`TransientError` when the
    server is away.
    """
    migrations = read_migrations(folder)
    missing = _ensure_database(dsn, dry_run)
    if missing and dry_run:
        return [missing, *(_to_apply(migration) for migration in migrations)]
    with connection(dsn, autocommit=True) as conn, _lock(conn):
        applied = _applied(conn)
        _refuse_changed(migrations, applied)
        if not dry_run:
            conn.execute(_LEDGER)
        changes = [_step(conn, migration, applied, dry_run) for migration in migrations]
    return [missing, *changes] if missing else changes


def rollback(dsn: str, to: int, *, dry_run: bool = False, folder: Path = FOLDER) -> list[Change]:
    """Undo the applied migrations with a number above ``to``, newest first.

    Raises :class:`ConfigError` when one of them has no way back; nothing is undone then.
    """
    with connection(dsn, autocommit=True) as conn, _lock(conn):
        applied = _applied(conn)
        above = [step for step in reversed(read_migrations(folder)) if step.number > to and step.number in applied]
        for step in above:
            if step.down is None:
                raise ConfigError(f"Migration {step.title} has no way back; restore a backup instead.")
        for step in above if not dry_run else []:
            with conn.transaction():
                conn.execute(step.down or "")
                conn.execute("DELETE FROM weir_migrations WHERE number = %s", [step.number])
    return [Change("postgres", step.title, "remove", "rolled back") for step in above]


def load_sample(dsn: str, *, dry_run: bool = False) -> Change:
    """Add the example organisations with their users, projects, devices, sensors, metrics and processes.

    Rows that exist stay as they are, and what people have changed stays changed. A dry run does it, counts and rolls
    back.
    """
    with connection(dsn) as conn:
        before = _rows(conn)
        conn.execute(SAMPLE.read_text())
        added = _rows(conn) - before
        if dry_run or not added:
            conn.rollback()
    return Change("postgres", "sample data", "create" if added else "unchanged", f"{added} rows" if added else "")


def _ensure_database(dsn: str, dry_run: bool) -> Change | None:
    name = database_of(dsn)
    with connection(make_conninfo(dsn, dbname="postgres"), autocommit=True) as conn:
        if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            return None
        if not dry_run:
            try:
                create = sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0")
                conn.execute(create.format(sql.Identifier(name)))
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                return None  # another migration made it in this moment
    return Change("postgres", name, "create", "database")


def _applied(conn: psycopg.Connection) -> dict[int, tuple[str, str]]:
    if conn.execute("SELECT to_regclass('weir_migrations')").fetchone() == (None,):
        return {}
    rows = conn.execute("SELECT number, name, checksum FROM weir_migrations").fetchall()
    return {number: (name, checksum) for number, name, checksum in rows}


def _refuse_changed(migrations: list[Migration], applied: dict[int, tuple[str, str]]) -> None:
    known = {migration.number: migration for migration in migrations}
    for number, (name, checksum) in sorted(applied.items()):
        if number not in known:
            raise ConfigError(
                f"The database has migration {number:03d}_{name}, which this Weir does not know; update Weir first."
            )
        if known[number].checksum != checksum:
            raise ConfigError(
                f"Migration {known[number].title} was applied with other content; restore the file and add a new one."
            )


def _step(conn: psycopg.Connection, step: Migration, applied: dict[int, tuple[str, str]], dry_run: bool) -> Change:
    if step.number in applied:
        return Change("postgres", step.title, "unchanged")
    if not dry_run:
        with conn.transaction():
            conn.execute(step.up)
            conn.execute(
                "INSERT INTO weir_migrations (number, name, checksum) VALUES (%s, %s, %s)",
                [step.number, step.name, step.checksum],
            )
    return _to_apply(step)


def _to_apply(step: Migration) -> Change:
    return Change("postgres", step.title, "create", "migration")


@contextmanager
def _lock(conn: psycopg.Connection) -> Iterator[None]:
    conn.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
    try:
        yield
    finally:
        if not conn.broken:
            conn.execute("SELECT pg_advisory_unlock(%s)", [LOCK_KEY])


def _rows(conn: psycopg.Connection) -> int:
    row = conn.execute(_COUNT).fetchone()
    return int(row[0]) if row else 0

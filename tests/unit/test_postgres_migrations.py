from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from connectors.postgres.connection import translated, where
from connectors.postgres.migrate import read_migrations
from weir.errors import ConfigError, TransientError

DSN = "postgresql://weir:hush@db.example:5433/meta"


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text(f"SELECT '{name}'")
    return folder


def test_every_migration_that_ships_has_a_way_back() -> None:
    assert [step.title for step in read_migrations() if step.down is None] == []


def test_migrations_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = write(tmp_path, "002_second.sql", "001_first.sql", "001_first.down.sql")
    first, second = read_migrations(folder)
    assert (first.title, first.up, first.down) == (
        "001_first",
        "SELECT '001_first.sql'",
        "SELECT '001_first.down.sql'",
    )
    assert (second.title, second.down) == ("002_second", None)


def test_a_gap_in_the_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="003_third should have number 002"):
        read_migrations(write(tmp_path, "001_first.sql", "003_third.sql"))


def test_a_number_used_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="001_b should have number 002"):
        read_migrations(write(tmp_path, "001_a.sql", "001_b.sql"))


def test_a_file_with_another_kind_of_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"first\.sql is not named"):
        read_migrations(write(tmp_path, "first.sql"))


def test_one_changed_character_changes_the_checksum(tmp_path: Path) -> None:
    before = read_migrations(write(tmp_path, "001_first.sql"))[0].checksum
    (tmp_path / "001_first.sql").write_text("SELECT '001_first.sqL'")
    assert read_migrations(tmp_path)[0].checksum != before


def test_no_message_holds_the_password() -> None:
    assert where(DSN) == "db.example:5433/meta"
    told = str(translated(psycopg.OperationalError("connection failed: Connection refused"), DSN))
    assert "hush" not in told
    assert "db.example:5433/meta" in told


def test_a_server_that_is_away_may_come_back() -> None:
    refused = psycopg.OperationalError("connection failed: Connection refused")
    starting = psycopg.OperationalError("connection failed: FATAL:  the database system is starting up")
    assert isinstance(translated(refused, DSN), TransientError)
    assert isinstance(translated(starting, DSN), TransientError)
    assert isinstance(translated(psycopg.errors.DeadlockDetected("deadlock detected"), DSN), TransientError)


def test_what_no_retry_mends_is_the_configuration() -> None:
    no_database = psycopg.OperationalError('connection failed: FATAL:  database "meta" does not exist')
    no_password = psycopg.OperationalError("connection failed: FATAL:  password authentication failed for user weir")
    assert "weir migrate" in str(translated(no_database, DSN))
    for error in (no_database, no_password, psycopg.errors.UndefinedTable("no table"), psycopg.ProgrammingError("x")):
        assert isinstance(translated(error, DSN), ConfigError)
    assert isinstance(translated(psycopg.ProgrammingError("missing ="), "postgres:/bad"), ConfigError)

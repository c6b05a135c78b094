"""A Weir of a test's own on the shared servers: its topics, its databases, its worker ports. Dropped afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg
from confluent_kafka.admin import AdminClient
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from connectors.contracts import contracts
from connectors.kafka.client import kafka_client_config
from sinks.clickhouse.client import connect
from tests.free_ports import free_port
from tests.stack_under_test import StackUnderTest, environment_of, plain_environment, settings_from
from tests.waiting import patient, tail, wait_until
from tests.worker_process import WORKER, WorkerProcess
from weir.cli.migrate import migrate
from weir.settings import Settings

SESSION_SECONDS = 5.0
"""Silence after which a killed worker's partitions go to another; the default of 45 s would be waited for in tests."""

Answer = TypeVar("Answer")
Changes = Mapping[str, Mapping[str, object]]


@dataclass
class World:
    """``settings`` lead to it; ``folder`` holds its workers' files and logs."""

    settings: Settings
    folder: Path
    workers: list[WorkerProcess] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a child process that belongs to this world."""
        return plain_environment() | environment_of(self.settings)

    @property
    def dsn(self) -> str:
        """Its Postgres database."""
        return self.settings.postgres.dsn.get_secret_value()

    def query(self, statement: str, **parameters: object) -> list[tuple[Any, ...]]:
        """Rows that ClickHouse answers; ``{name:Type}`` in the statement takes the parameter of that name."""
        client = connect(self.settings.clickhouse)
        try:
            return [tuple(row) for row in client.query(statement, parameters=parameters).result_rows]
        finally:
            client.close()

    def value(self, statement: str, **parameters: object) -> Any:
        """The first column of the first row."""
        return self.query(statement, **parameters)[0][0]

    def start_worker(self, *, ready: bool = True, module: Sequence[str] = WORKER, **variables: str) -> WorkerProcess:
        """Start one more worker as a process; waits until it reads, unless ``ready`` is false."""
        number = len(self.workers) + 1
        port = self.settings.worker.web_port if number == 1 else free_port()
        own = {"WEIR_WORKER__WEB_PORT": str(port), "WEIR_WORKER__DATA_DIR": str(self.folder / f"worker-{number}")}
        worker = WorkerProcess(number, port, self.environment | own | variables, self.folder, module)
        self.workers.append(worker)
        if ready:
            worker.wait_ready()
        return worker

    def wait(
        self, ask: Callable[[], Answer], what: str, seconds: float = 30.0, explain: Callable[[], str] = str
    ) -> Answer:
        """As :func:`tests.waiting.wait_until`, but ends at once, with the log, when a worker has crashed.

        When it waits in vain, the failure has the end of the log of every worker that runs.
        """

        def ask_or_fail() -> Answer:
            for worker in self.workers:
                worker.check()
            return ask()

        return wait_until(ask_or_fail, what, seconds, explain=lambda: f"{explain()}{self._logs()}")

    def _logs(self) -> str:
        return "".join(tail(worker.log_file) for worker in self.workers if worker.exit_code is None)

    def stop_workers(self) -> None:
        """Stop every worker that runs, in order."""
        for worker in self.workers:
            worker.stop()


@contextmanager
def world_on(stack: StackUnderTest, folder: Path, changes: Changes | None = None) -> Iterator[World]:
    """A fresh, migrated world; ``changes`` are settings by group, as ``{"stream": {"lateness_seconds": 2.0}}``."""
    world = World(_settings(stack.settings, folder, changes or {}), folder)
    try:
        migrate(world.settings)
        yield world
    finally:
        try:
            world.stop_workers()
        finally:
            _drop(world.settings)


def _settings(base: Settings, folder: Path, changes: Changes) -> Settings:
    token = f"t{uuid.uuid4().hex[:10]}"
    values: dict[str, Any] = base.model_dump()
    values["namespace"] = token
    values["postgres"]["dsn"] = make_conninfo(base.postgres.dsn.get_secret_value(), dbname=token)
    values["clickhouse"]["database"] = token
    values["worker"] |= {"web_port": free_port(), "data_dir": folder / "worker"}
    values["stream"]["session_timeout_seconds"] = SESSION_SECONDS
    for group, wanted in changes.items():
        values[group] |= wanted
    return settings_from(values)


def _drop(settings: Settings) -> None:
    _drop_clickhouse(settings)
    _drop_postgres(settings)
    _drop_topics(settings)
    _drop_subjects(settings)


def _drop_clickhouse(settings: Settings) -> None:
    client = connect(settings.clickhouse, database=False)
    try:
        client.command(f"DROP DATABASE IF EXISTS `{settings.clickhouse.database}`")
    finally:
        client.close()


def _drop_postgres(settings: Settings) -> None:
    dsn = settings.postgres.dsn.get_secret_value()
    name = sql.Identifier(str(conninfo_to_dict(dsn)["dbname"]))
    with psycopg.connect(make_conninfo(dsn, dbname="postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


def _drop_topics(settings: Settings) -> None:
    admin = AdminClient(kafka_client_config(settings.kafka) | {"log_level": 0})
    prefix = f"{settings.namespace}."
    topics = [name for name in admin.list_topics(timeout=patient(10.0)).topics if name.startswith(prefix)]
    for gone in admin.delete_topics(topics).values() if topics else []:
        gone.result()
    found = admin.list_consumer_groups(request_timeout=patient(10.0)).result().valid
    groups = [group.group_id for group in found if group.group_id.startswith(prefix)]
    for group in admin.delete_consumer_groups(groups).values() if groups else []:
        with suppress(Exception):  # a killed worker is a member until its session ends; the group expires by itself
            group.result()


def _drop_subjects(settings: Settings) -> None:
    registry = settings.registry
    password = registry.password.get_secret_value() if registry.password else ""
    auth = (registry.username, password) if registry.username else None
    with httpx.Client(base_url=registry.url, auth=auth, trust_env=False, timeout=patient(10.0)) as client:
        for subject in contracts(settings):
            client.delete(f"/subjects/{subject}")

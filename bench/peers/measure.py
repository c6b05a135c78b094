"""Running a peer's program on a topic of its own and measuring it from outside."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

import bench
from bench.backlog import Writer, readings_schema_id
from bench.dataset import Dataset, DatasetPlan
from bench.harness import CpuMeter
from bench.peers.comparison import PeerRun, Totals, affordable, expected
from bench.peers.environment import interpreter
from bench.peers.program import REPORT, WINDOW_MS, Job
from bench.testbed import Testbed
from connectors.kafka.client import kafka_client_config
from schemas import load_schema
from weir.errors import StackError
from weir.settings import Settings
from weir.stack.child import Child, Command

LIMIT_SECONDS: Final = 180.0
"""A program that has not ended by then does not end."""

CLOSING_MS: Final = 2 * WINDOW_MS
"""The closing readings lie so far behind the last: beyond its window and every grace."""

FOLDER = Path(__file__).parent
RUN: Final = "import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_module(sys.argv.pop(1), None, '__main__')"
"""Bench comes last in the path: what is installed for a peer goes before what is installed for Weir."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class Peer:
    """A program: ``bench.peers.MODULE``, whether it has an environment of its own, and the size of its first run.

    ``resends`` says whether its windows count them.
    """

    name: str
    title: str
    module: str
    locked: bool
    probe: int
    resends: bool = True

    @property
    def lock(self) -> Path | None:
        """Its lock file."""
        return FOLDER / f"{self.name}.lock" if self.locked else None


PEERS: Final = (
    Peer("faust", "Faust, per event", "faust_windows", locked=False, probe=3_000),
    Peer("quix", "Quix Streams", "quix_windows", locked=True, probe=15_000),
    Peer("bytewax", "Bytewax", "bytewax_windows", locked=True, probe=50_000),
    Peer("pathway", "Pathway", "pathway_windows", locked=True, probe=100_000),
)

WEIR: Final = Peer("aggregate", "Weir, aggregation only", "weir_windows", locked=False, probe=0, resends=False)
"""Weir's engine doing the work of its peers."""


def run_peer(testbed: Testbed, settings: Settings, peer: Peer, messages: int, report: Report) -> PeerRun:
    """Measure one peer: a short run first to see how much it can do, then one of about 20 s with at most ``messages``.

    Raises :class:`~weir.errors.StackError` when it cannot be installed, fails, or its windows are not right.
    """
    report(f"{peer.title}: installing")
    python = interpreter(peer.name, peer.lock)
    few = min(peer.probe, messages)
    report(f"{peer.title}: first run, {few:,} readings")
    first = _run(testbed, settings, peer, python, few)
    many = affordable(first.readings, first.readings / first.readings_per_second, few, messages)
    report(f"{peer.title}: measuring {many:,} readings")
    return _run(testbed, settings, peer, python, many)


def _run(testbed: Testbed, settings: Settings, peer: Peer, python: Path, readings: int) -> PeerRun:
    with prepared(settings, peer, readings) as (job, wanted):
        return run_program(testbed, peer, python, job, wanted)


@contextmanager
def prepared(settings: Settings, peer: Peer, readings: int) -> Iterator[tuple[Job, Totals]]:
    """A topic with so many readings, the job of reading it, and what is to come out; all of it is gone afterwards."""
    end_ms = time.time_ns() // 1_000_000 - CLOSING_MS - 10 * WINDOW_MS  # so that no closing reading is of the future
    end_ms -= end_ms % WINDOW_MS  # with a minute, so that the same readings are always as many windows
    dataset = Dataset(DatasetPlan(readings, end_ms=end_ms))
    closing_ms = (int(dataset.ts.max()) + CLOSING_MS) // WINDOW_MS * WINDOW_MS
    folder = Path(tempfile.mkdtemp(prefix="weir-peer-"))
    try:
        with _topic(settings, peer, dataset, closing_ms) as (topic, closing):
            job = Job(
                broker=settings.kafka.bootstrap_servers,
                topic=topic,
                partitions=settings.kafka.partitions,
                messages=readings + closing,
                closing=closing,
                closing_ms=closing_ms,
                schema=json.dumps(plain_schema()),
                folder=str(folder),
            )
            yield job, expected(dataset, peer.resends)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def plain_schema() -> dict[str, Any]:
    """The schema of readings with the event time as a number: a datetime each would cost the peers 0.5 us."""
    schema = load_schema("Reading")
    for field in schema["fields"]:
        if field["name"] == "ts":
            field["type"] = "long"
    return schema


@contextmanager
def _topic(settings: Settings, peer: Peer, dataset: Dataset, closing_ms: int) -> Iterator[tuple[str, int]]:
    """A topic like that of readings that holds ``dataset`` and its closing readings; name and number of the latter.

    It is not compressed: Faust's client has no codec for what others compress with, and nobody is slower for it.
    """
    name = f"{settings.namespace}.{peer.name}.{time.time_ns():x}"
    admin = AdminClient(kafka_client_config(settings.kafka) | {"log_level": 5})  # 6 tells of events left at its end
    config = {"message.timestamp.type": "LogAppendTime", "compression.type": "uncompressed"}
    admin.create_topics([NewTopic(name, settings.kafka.partitions, 1, config=config)])[name].result(timeout=30)
    try:
        writer = Writer(settings, name)
        schema_id = readings_schema_id(settings)
        for chunk in dataset.chunks(schema_id):
            writer.write(chunk)
        last = dataset.closing(schema_id, closing_ms)
        writer.write(last)
        writer.finish()
        yield name, len(last.keys)
    finally:
        _drop(admin, name)


def _drop(admin: AdminClient, name: str) -> None:
    """Delete the topic, the changelogs that a peer made of it, and its group."""
    topics = [topic for topic in admin.list_topics(timeout=30).topics if name in topic]
    for deleted in admin.delete_topics(topics).values():
        deleted.exception(timeout=30)
    groups = [each.group_id for each in admin.list_consumer_groups().result(timeout=30).valid if name in each.group_id]
    if groups:
        for gone in admin.delete_consumer_groups(groups).values():
            gone.exception(timeout=30)


def run_program(testbed: Testbed, peer: Peer, python: Path, job: Job, wanted: Totals) -> PeerRun:
    """Let a program do its job and measure it; raises :class:`~weir.errors.StackError` when its windows are wrong."""
    root = str(Path(bench.__file__).parents[1])
    # -P: the current folder is not the peer's business
    arguments = [str(python), "-P", "-c", RUN, root, f"bench.peers.{peer.module}", str(job.write())]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["POLARS_MAX_THREADS"] = "1"  # as a worker of Weir has it; the others do not use it
    child = Child(f"peer-{peer.name}", Command(arguments), environment, testbed.plan.log_file(f"peer-{peer.name}"))
    try:
        with CpuMeter({"peer": child.pid, **testbed.pids()}, trees=("peer",)) as meter:
            deadline = time.monotonic() + LIMIT_SECONDS
            while child.exit_code() is None and time.monotonic() < deadline:
                time.sleep(0.05)
        code = child.exit_code()
    finally:
        child.request_stop()
        child.wait_stopped()
    if code != 0:
        what = f"had not ended after {LIMIT_SECONDS:.0f} s" if code is None else f"ended with code {code}"
        raise StackError(f"{what}; the last line of {child.log}: {_last_line(child)}")
    return account(job, Path(job.folder) / REPORT, wanted, meter)


def _last_line(child: Child) -> str:
    return (child.last_lines().splitlines() or [""])[-1].strip()


def account(job: Job, report: Path, wanted: Totals, meter: CpuMeter) -> PeerRun:
    """What a program did by its own report and the meter; raises StackError when that is not the job."""
    if not report.exists():
        raise StackError("ended without a report")
    told = json.loads(report.read_text(encoding="utf-8"))
    if told["messages"] != job.messages:
        raise StackError(f"took {told['messages']:,} of {job.messages:,} messages")
    found = Totals(*(told[name] for name in Totals._fields))
    wrong = found.difference(wanted)
    if wrong is not None:
        raise StackError(wrong)
    begin, end = told["begin"], told["end"]
    return PeerRun(
        readings=job.messages,
        readings_per_second=job.messages / (end - begin),
        cpu_seconds_per_million=meter.cpu_seconds("peer", begin, end) / job.messages * 1e6,
        windows=found.windows,
        expected_windows=wanted.windows,
        others_cpu_share=meter.others_share(begin, end),
    )

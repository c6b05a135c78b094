"""How many partitions, workers, gateways and ClickHouse shards a rate needs, from what was measured on one machine.

``python -m bench.sizing --rate 1000000 --series 1000000`` prints them; ``--json`` as one object. It is arithmetic: the
figures under :class:`Measured` times the rate, divided by what a part may be filled to. docs/scale.md says how to read
it.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Final

import click

from weir.settings import StreamSettings

SECONDS_A_DAY: Final = 86_400
MILLION: Final = 1_000_000
GIB: Final = 2**30
SHORTEST_FLUSH: Final = StreamSettings().flush_seconds


@dataclass(frozen=True, slots=True)
class Measured:
    """What the calculation rests on; each says where it comes from, so that a machine of yours can replace it."""

    worker_dense: float = 3.73
    """CPU seconds a million readings of a worker, dense shape, the slow hour: docs/performance.md."""
    worker_sparse: float = 7.44
    """The same when a window holds four readings: docs/performance.md."""
    worker_rate: float = 238_000
    """Readings a second that one worker stored, dense, the slow hour, beside its servers: docs/performance.md."""
    clickhouse_dense: float = 2.7
    """CPU seconds a million of ClickHouse with large blocks, the slow hour, merges of that time included."""
    clickhouse_sparse: float = 3.6
    """The same, sparse: an aggregate row for every four readings."""
    broker_dense: float = 0.5
    """CPU seconds a million of a broker without replicas, the slow hour."""
    broker_sparse: float = 2.2
    """The same, sparse."""
    replay: float = 2.5
    """CPU seconds a million messages that are read again after a restart."""
    point_bytes: float = 56.0
    """Bytes of memory an open window's point."""
    message_bytes: float = 120.0
    """Bytes of one reading in the log: 66 of Avro (bench.micro.codec), key, framing. An estimate."""
    raw_row_bytes: float = 20.0
    """Bytes of one raw row in ClickHouse, compressed. An estimate: codecs are measured, whole rows are not."""
    aggregate_row_bytes: float = 60.0
    """Bytes of one aggregate row, compressed. An estimate."""
    gateway_request: float = 125e-6
    """CPU seconds of a request with one reading: docs/decisions.md, "The gateway"."""
    gateway_reading: float = 2.5e-6
    """CPU seconds of each further reading of a request: decoding 0.4 µs, encoding 1.5 µs, and the rest. An estimate."""
    quorum_insert: float = 0.1
    """Seconds until a shard has an insert on a quorum; one is on its way in a table at a time. An estimate."""


@dataclass(frozen=True, slots=True)
class Load:
    """What comes in. ``readings_a_minute`` is of one series; ``batch`` readings a request."""

    rate: int
    series: int
    batch: int = 100
    replicas: int = 3
    raw_days: int = 37
    agg_1m_days: int = 210
    agg_1h_days: int = 910
    topic_days: int = 7
    lateness_seconds: float = 5.0

    @property
    def readings_a_minute(self) -> float:
        """Readings in one window of one series."""
        return self.rate * 60 / self.series

    @property
    def minutes_a_second(self) -> float:
        """1-minute rows a second: a series has a row for each minute in which it sent anything."""
        return min(self.series / 60, float(self.rate))


@dataclass(frozen=True, slots=True)
class Filled:
    """How much of a part is planned to be used: the rest is for backlogs, merges, failures and bad hours."""

    worker: float = 0.5
    clickhouse: float = 0.4
    broker: float = 0.4
    gateway: float = 0.5
    shard_cores: int = 32
    broker_cores: int = 8
    broker_bytes: float = 150e6
    """Bytes a second that one broker writes, replicas included."""
    broker_disk: float = 20e12
    """Bytes that lie on one broker."""
    server_bytes: float = 20e12
    """Bytes that lie on one ClickHouse server, hot and cold."""
    inserts: float = 0.5
    """Share of the time in which a table of a shard has an insert on its way."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the load needs; cores are busy ones, of all instances together."""

    partitions: int
    workers: int
    worker_cores: float
    worker_memory_gib: float
    gateways: int
    brokers: int
    broker_cores: float
    shards: int
    clickhouse_servers: int
    clickhouse_cores: float
    flush_seconds: float
    kafka_bytes_a_day: float
    kafka_bytes_kept: float
    clickhouse_bytes_a_day: float
    clickhouse_bytes_kept: float
    replay_seconds: float


def between(load: Load, dense: float, sparse: float) -> float:
    """A cost between its measurements with 60 (dense) and 4 readings a window, straight in 1 / readings a window."""
    share = (1 / load.readings_a_minute - 1 / 60) / (1 / 4 - 1 / 60)
    return dense + (sparse - dense) * max(0.0, share)


def plan(load: Load, measured: Measured | None = None, filled: Filled | None = None) -> Plan:
    """What ``load`` needs, each part filled to its share only."""
    measured, filled = measured or Measured(), filled or Filled()
    millions = load.rate / MILLION
    worker_cores = millions * between(load, measured.worker_dense, measured.worker_sparse)
    # one Python thread decides a worker's pace; what was measured dense slows down as its CPU grows
    pace = measured.worker_rate * measured.worker_dense / between(load, measured.worker_dense, measured.worker_sparse)
    workers = math.ceil(load.rate / (pace * filled.worker))
    clickhouse_cores = millions * between(load, measured.clickhouse_dense, measured.clickhouse_sparse)
    broker_cores = millions * between(load, measured.broker_dense, measured.broker_sparse) * load.replicas
    kafka_day = SECONDS_A_DAY * measured.message_bytes * (load.rate + load.minutes_a_second * 2)
    raw_day, minutes_day = load.rate * SECONDS_A_DAY, load.minutes_a_second * SECONDS_A_DAY
    hours_day = min(load.series * 24.0, minutes_day)
    rows_kept = raw_day * load.raw_days * measured.raw_row_bytes + measured.aggregate_row_bytes * (
        minutes_day * load.agg_1m_days + hours_day * load.agg_1h_days
    )
    shards = math.ceil(
        max(clickhouse_cores / (filled.shard_cores * filled.clickhouse), rows_kept / filled.server_bytes)
    )
    partitions = partitions_for(workers, shards)
    points = load.rate * (60 + load.lateness_seconds)
    gateway_cores = load.rate / load.batch * measured.gateway_request + (
        load.rate * (load.batch - 1) / load.batch * measured.gateway_reading
    )
    return Plan(
        partitions=partitions,
        workers=workers,
        worker_cores=worker_cores,
        worker_memory_gib=0.7 + points * measured.point_bytes / workers / GIB,
        gateways=math.ceil(gateway_cores / filled.gateway),
        brokers=max(
            load.replicas,
            math.ceil(broker_cores / (filled.broker_cores * filled.broker)),
            math.ceil(kafka_day * load.replicas / SECONDS_A_DAY / filled.broker_bytes),
            math.ceil(kafka_day * load.replicas * load.topic_days / filled.broker_disk),
        ),
        broker_cores=broker_cores,
        shards=shards,
        clickhouse_servers=shards * load.replicas,
        clickhouse_cores=clickhouse_cores,
        flush_seconds=max(SHORTEST_FLUSH, partitions / shards * measured.quorum_insert / filled.inserts),
        kafka_bytes_a_day=kafka_day * load.replicas,
        kafka_bytes_kept=kafka_day * load.topic_days * load.replicas,
        clickhouse_bytes_a_day=load.replicas
        * (raw_day * measured.raw_row_bytes + (minutes_day + hours_day) * measured.aggregate_row_bytes),
        clickhouse_bytes_kept=rows_kept * load.replicas,
        replay_seconds=points / MILLION * measured.replay / workers,
    )


def partitions_for(workers: int, shards: int) -> int:
    """Twice the workers, because partitions cannot be added, rounded up so that every shard has as many of them."""
    return math.ceil(2 * workers / shards) * shards


def report(load: Load, needed: Plan) -> str:
    """The plan in words, a line each."""
    lines = [
        f"{load.rate:,} readings/s of {load.series:,} series, {load.readings_a_minute:.1f} in each minute of a series",
        f"partitions      {needed.partitions}",
        f"workers         {needed.workers} ({needed.worker_cores:.1f} cores busy), "
        f"{needed.worker_memory_gib:.1f} GiB each",
        f"gateways        {needed.gateways} ({load.batch} readings a request)",
        f"brokers         {needed.brokers} ({needed.broker_cores:.1f} cores busy)",
        f"shards          {needed.shards}, {needed.clickhouse_servers} servers "
        f"({needed.clickhouse_cores:.1f} cores busy in one replica of all; "
        f"WEIR_STREAM__FLUSH_SECONDS at least {needed.flush_seconds:.2f})",
        f"Kafka           {_tb(needed.kafka_bytes_a_day)} a day, {_tb(needed.kafka_bytes_kept)} kept",
        f"ClickHouse      {_tb(needed.clickhouse_bytes_a_day)} a day, {_tb(needed.clickhouse_bytes_kept)} kept",
        f"after a kill    {needed.replay_seconds:.1f} CPU s to rebuild a worker's open minutes",
    ]
    return "\n".join(lines)


def _tb(size: float) -> str:
    return f"{size / 1e12:,.2f} TB"


@click.command()
@click.option("--rate", type=click.IntRange(min=1), required=True, help="Readings a second.")
@click.option("--series", type=click.IntRange(min=1), help="Series that send; as many as the rate when not given.")
@click.option("--batch", type=click.IntRange(min=1), default=100, show_default=True, help="Readings in one request.")
@click.option("--replicas", type=click.IntRange(min=1), default=3, show_default=True, help="Copies of everything.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def main(rate: int, series: int | None, batch: int, replicas: int, as_json: bool) -> None:
    """Say what a rate needs."""
    load = Load(rate=rate, series=series or rate, batch=batch, replicas=replicas)
    needed = plan(load)
    click.echo(json.dumps({"load": asdict(load), "plan": asdict(needed)}) if as_json else report(load, needed))


if __name__ == "__main__":
    main()

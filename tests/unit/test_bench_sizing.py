"""The sizing's arithmetic on figures that a person can follow."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from bench.sizing import Filled, Load, Measured, between, main, partitions_for, plan

ROUND = Measured(
    worker_dense=4.0,
    worker_sparse=8.0,
    worker_rate=250_000,
    clickhouse_dense=2.0,
    clickhouse_sparse=4.0,
    broker_dense=0.5,
    broker_sparse=2.0,
    replay=2.0,
    point_bytes=40,
    message_bytes=100,
    raw_row_bytes=10,
    aggregate_row_bytes=50,
    gateway_request=100e-6,
    gateway_reading=2e-6,
    quorum_insert=0.1,
)
HALF = Filled(
    worker=0.5,
    clickhouse=0.5,
    broker=0.5,
    gateway=0.5,
    shard_cores=4,
    broker_cores=1,
    broker_bytes=1e12,
    broker_disk=1e18,
    server_bytes=1e18,
    inserts=0.5,
)


def test_a_million_readings_a_second_of_a_million_series_by_hand() -> None:
    needed = plan(Load(rate=1_000_000, series=1_000_000, replicas=3), ROUND, HALF)
    assert (needed.workers, needed.worker_cores) == (8, 4.0)  # 250,000 a worker, half filled
    assert (needed.shards, needed.clickhouse_servers) == (1, 3)  # 2 cores of 4, half filled
    assert needed.brokers == 3  # 0.5 cores, three copies, half of a core each
    assert needed.partitions == 16
    assert needed.flush_seconds == pytest.approx(3.2)  # 16 inserts of 0.1 s, half of the time
    # 10,000 requests at 100 µs and 990,000 further readings at 2 µs are 2.98 cores, half filled
    assert needed.gateways == 6
    assert needed.replay_seconds == pytest.approx(65 * 2.0 / 8)


def test_bytes_a_day_by_hand() -> None:
    needed = plan(Load(rate=1_000, series=600, replicas=1), ROUND, HALF)
    # 86,400,000 raw rows of 10 bytes, 864,000 minutes and 14,400 hours of 50
    assert needed.clickhouse_bytes_a_day == pytest.approx(864e6 + 43.2e6 + 0.72e6)
    # 1,000 readings, 10 minutes written twice at the most (with a correction), 100 bytes each
    assert needed.kafka_bytes_a_day == pytest.approx(86_400 * 100 * 1_020)
    assert needed.clickhouse_bytes_kept == pytest.approx(864e6 * 37 + 43.2e6 * 210 + 0.72e6 * 910)


def test_disks_ask_for_shards_when_cores_do_not() -> None:
    small_disks = Filled(shard_cores=1_000, server_bytes=1e12)
    needed = plan(Load(rate=1_000_000, series=1_000_000), ROUND, small_disks)
    assert needed.shards > 10
    assert needed.clickhouse_bytes_kept / needed.clickhouse_servers <= 1e12


def test_bytes_ask_for_brokers_when_cores_do_not() -> None:
    needed = plan(Load(rate=1_000_000, series=1_000_000), ROUND, Filled(broker_bytes=50e6, broker_disk=1e18))
    assert needed.brokers == 7  # 103.3 MB/s three times, 50 MB/s each


def test_costs_meet_both_measurements_and_rise_between_them() -> None:
    dense, sparse = Load(rate=1_000, series=1_000), Load(rate=1_000, series=15_000)
    assert between(dense, 4, 8) == pytest.approx(4)
    assert between(sparse, 4, 8) == pytest.approx(8)
    assert 4 < between(Load(rate=1_000, series=5_000), 4, 8) < 8
    assert between(Load(rate=60_000, series=1_000), 4, 8) == 4, "nothing was measured below dense"


def test_ten_times_the_rate_is_not_less_of_anything() -> None:
    small, large = (plan(Load(rate=rate, series=rate)) for rate in (1_000_000, 10_000_000))
    for name in ("partitions", "workers", "gateways", "brokers", "shards", "clickhouse_bytes_kept"):
        assert getattr(large, name) > getattr(small, name)


@pytest.mark.parametrize(("workers", "shards"), [(1, 1), (8, 3), (17, 5), (85, 42)])
def test_every_shard_has_as_many_partitions_and_every_worker_has_two(workers: int, shards: int) -> None:
    partitions = partitions_for(workers, shards)
    assert partitions % shards == 0
    assert 2 * workers <= partitions < 2 * workers + shards


def test_the_command_prints_every_figure() -> None:
    ended = CliRunner().invoke(main, ["--rate", "1000000", "--json"])
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.output)
    assert told["load"]["series"] == 1_000_000
    assert told["plan"]["workers"] == plan(Load(rate=1_000_000, series=1_000_000)).workers
    words = CliRunner().invoke(main, ["--rate", "1000000"]).output
    for part in ("partitions", "workers", "gateways", "brokers", "shards", "Kafka", "ClickHouse", "after a kill"):
        assert f"\n{part} " in words

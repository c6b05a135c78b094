from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import polars as pl
import psycopg
import pytest

from connectors.postgres.devices import Registered, register
from connectors.postgres.metadata import SENSOR_SCHEMA, load_metadata, metadata_version
from connectors.postgres.migrate import load_sample
from tests.free_ports import free_port
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest
from weir.errors import ConfigError, TransientError, UsageError


@pytest.fixture
def dsn(stack: StackUnderTest) -> Iterator[str]:
    with postgres_database(stack) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def sample(stack: StackUnderTest) -> Iterator[str]:
    """The DSN of a database with the sample data, shared by the tests of this file."""
    with postgres_database(stack) as fresh:
        load_sample(fresh)
        yield fresh


def sensor(dsn: str, device: str, name: str) -> dict[str, Any]:
    return load_metadata(dsn).sensors.row(
        by_predicate=(pl.col("device_id") == device) & (pl.col("sensor") == name), named=True
    )


def test_an_empty_database_gives_an_empty_frame_with_all_columns(dsn: str) -> None:
    metadata = load_metadata(dsn)
    assert metadata.version == 1
    assert metadata.sensors.height == 0
    assert metadata.sensors.schema == SENSOR_SCHEMA


def test_a_sensor_comes_with_its_owner_its_metric_and_its_projects_retention(sample: str) -> None:
    assert sensor(sample, "acme-esp32-001", "temperature") == {
        "device_id": "acme-esp32-001",
        "sensor": "temperature",
        "org_id": "acme-research-labs",
        "project_id": "bioreactor-optimization",
        "device_type": "device.esp32",
        "metric": "environment.temperature",
        "unit": "celsius",
        "min_value": -40.0,
        "max_value": 125.0,
        "retention_days": 365,
    }


def test_a_sensors_own_unit_and_bounds_win_over_the_metrics_one_by_one(sample: str) -> None:
    pressure = sensor(sample, "biotech-esp32-001", "pressure")
    oven = sensor(sample, "acme-oven-001", "temperature")
    assert (pressure["unit"], pressure["min_value"], pressure["max_value"]) == ("hPa", 300.0, 1200.0)
    assert (oven["min_value"], oven["max_value"]) == (0.0, 350.0)


def test_a_device_without_project_has_an_empty_project_and_no_retention_of_its_own(sample: str) -> None:
    state = sensor(sample, "acme-oven-001", "state")
    assert (state["project_id"], state["retention_days"]) == ("", None)
    assert (state["min_value"], state["max_value"], state["unit"]) == (None, None, "")


def test_retired_devices_are_left_out_and_the_rest_is_sorted(sample: str) -> None:
    frame = load_metadata(sample).sensors
    assert "acme-esp32-003" not in set(frame["device_id"])
    pairs = frame.select("device_id", "sensor").rows()
    assert pairs == sorted(pairs, key=lambda pair: (pair[0].encode(), pair[1].encode()))
    assert len(pairs) == 15


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE projects SET settings = '{\"data_retention_days\": 7}' WHERE id = 'fermentation-development'",
        "UPDATE devices SET is_active = false WHERE id = 'acme-oven-001'",
        "UPDATE metrics SET max_value = 60 WHERE name = 'environment.temperature'",
        "UPDATE sensors SET unit = 'K' WHERE device_id = 'acme-esp32-001' AND name = 'temperature'",
        "INSERT INTO organisations (id, name) VALUES ('new-org', 'New')",
        "DELETE FROM devices WHERE id = 'biotech-esp32-001'",
        "TRUNCATE sensors",
    ],
)
def test_any_change_grows_the_version_and_wakes_who_listens(sample: str, statement: str) -> None:
    before = metadata_version(sample)
    with (
        psycopg.connect(sample, autocommit=True) as listener,
        psycopg.connect(sample, autocommit=True) as writer,
    ):
        listener.execute("LISTEN weir_metadata")
        writer.execute(statement.encode())
        heard = [int(notice.payload) for notice in listener.notifies(timeout=5, stop_after=1)]
    assert heard and heard[0] > before
    assert metadata_version(sample) >= heard[0]
    with psycopg.connect(sample, autocommit=True) as writer:  # for the next test
        writer.execute("DELETE FROM organisations; DELETE FROM metrics")
    load_sample(sample)


def test_a_statement_that_touches_no_row_leaves_the_version_alone(sample: str) -> None:
    before = metadata_version(sample)
    with psycopg.connect(sample) as conn:
        conn.execute("UPDATE devices SET name = 'x' WHERE id = 'nobody'")
    load_sample(sample)
    assert metadata_version(sample) == before


def test_the_version_belongs_to_the_rows_it_came_with(dsn: str) -> None:
    load_sample(dsn)
    with psycopg.connect(dsn) as conn:  # not committed: neither the version nor the row may be seen
        conn.execute("DELETE FROM devices WHERE id = 'acme-oven-001'")
        metadata = load_metadata(dsn)
        assert metadata.version == metadata_version(dsn)
        assert "acme-oven-001" in set(metadata.sensors["device_id"])
        conn.rollback()


def test_registered_devices_are_what_a_worker_then_knows(dsn: str) -> None:
    sensors = pl.DataFrame(
        {
            "device_id": ['pump, "7"', 'pump, "7"', "ünit-8"],
            "sensor": ["flow", "state", "flow"],
            "unit": ["l/s", None, "l/s"],
            "metric": ["pump.flow", "pump.state", "pump.flow"],
            "value_type": ["number", "text", None],
            "max_value": [9.5, None, None],
            "device_type": ["device.pump", "device.pump", None],
        }
    )
    assert register(dsn, "waterworks", "north", sensors) == Registered(devices=2, sensors=3)
    frame = load_metadata(dsn).sensors
    assert frame.rows() == [
        ('pump, "7"', "flow", "waterworks", "north", "device.pump", "pump.flow", "l/s", None, 9.5, None),
        ('pump, "7"', "state", "waterworks", "north", "device.pump", "pump.state", "", None, None, None),
        ("ünit-8", "flow", "waterworks", "north", "device", "pump.flow", "l/s", None, None, None),
    ]


def test_the_same_registration_again_changes_nothing_and_another_updates(dsn: str) -> None:
    sensors = pl.DataFrame({"device_id": ["d1", "d2"], "sensor": ["t", "t"], "max_value": [5.0, 5.0]})
    register(dsn, "org", None, sensors)
    version = metadata_version(dsn)
    assert register(dsn, "org", None, sensors) == Registered(devices=0, sensors=0)
    assert metadata_version(dsn) == version
    changed = sensors.with_columns(max_value=pl.Series([5.0, 6.0]))
    assert register(dsn, "org", "late-project", changed) == Registered(devices=2, sensors=1)
    assert sensor(dsn, "d2", "t")["max_value"] == 6.0
    assert sensor(dsn, "d1", "t")["project_id"] == "late-project"


def test_a_device_of_another_organisation_is_not_taken_over(dsn: str) -> None:
    sensors = pl.DataFrame({"device_id": ["d1"], "sensor": ["t"]})
    register(dsn, "first", "p1", sensors)
    with pytest.raises(UsageError, match="d1 belongs to organisation first"):
        register(dsn, "second", None, sensors)
    with pytest.raises(UsageError, match="p1 belongs to organisation first"):
        register(dsn, "second", "p1", sensors.with_columns(device_id=pl.lit("d2")))
    assert load_metadata(dsn).sensors["org_id"].to_list() == ["first"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"device_id": ["d"]}, "column sensor"),
        ({"device_id": ["d"], "sensor": ["s"], "colour": ["red"]}, "colour"),
        ({"device_id": ["d", "d"], "sensor": ["s", "s"]}, "given twice"),
    ],
)
def test_a_registration_that_makes_no_sense_says_which_column(
    dsn: str, columns: dict[str, list[str]], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        register(dsn, "org", None, pl.DataFrame(columns))


def test_a_hundred_thousand_sensors_load_in_a_few_seconds_on_a_busy_machine(dsn: str) -> None:
    devices = [f"dev-{number:05d}" for number in range(25_000) for _ in range(4)]
    names = ["temperature", "humidity", "pressure", "voltage"] * 25_000
    register(dsn, "big", None, pl.DataFrame({"device_id": devices, "sensor": names}))
    began = time.monotonic()
    metadata = load_metadata(dsn)
    assert time.monotonic() - began < 5.0  # measured: 0.2 s, and 1.6 s for a million
    assert metadata.sensors.height == 100_000


def test_a_server_that_is_away_passes_and_missing_tables_do_not() -> None:
    with pytest.raises(TransientError, match="cannot be reached"):
        load_metadata(f"postgresql://postgres@127.0.0.1:{free_port()}/weir")


def test_a_database_without_tables_says_to_migrate(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP TABLE metadata_version")
    with pytest.raises(ConfigError, match="weir migrate"):
        metadata_version(dsn)
    with pytest.raises(ConfigError, match="weir migrate"):
        load_metadata(dsn)

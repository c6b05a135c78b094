from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import psycopg
import pytest
from psycopg.types.json import Jsonb

from connectors.postgres.devices import Registered, register
from connectors.postgres.metadata import SENSOR_SCHEMA, load_changes, load_metadata, metadata_version
from connectors.postgres.migrate import load_sample
from connectors.postgres.newcomers import MOST_SENSORS, PENDING, admissible
from streams.telemetry.newcomers import Newcomers
from tests.free_ports import free_port
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest
from tests.waiting import patient
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
    assert metadata.version == metadata_version(dsn)
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
        "sensor_unit": "celsius",
        "own_min": False,
        "own_max": False,
        "value_type": "float",
        "mark_bounds": False,
    }


def test_a_sensors_own_unit_and_bounds_win_over_the_metrics_one_by_one(sample: str) -> None:
    pressure = sensor(sample, "biotech-esp32-001", "pressure")
    oven = sensor(sample, "acme-oven-001", "temperature")
    assert (pressure["sensor_unit"], pressure["min_value"], pressure["max_value"]) == ("hPa", 300.0, 1200.0)
    assert (pressure["unit"], pressure["own_min"], pressure["own_max"]) == ("kPa", True, True)
    assert (oven["min_value"], oven["max_value"]) == (0.0, 350.0)
    assert (oven["own_min"], oven["own_max"]) == (False, True)


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
        "UPDATE entities SET properties = '{\"settings\": {}}' WHERE key = 'fermentation-development'",
        "UPDATE entities SET is_active = false WHERE key = 'acme-oven-001'",
        "UPDATE metrics SET max_value = 60 WHERE name = 'environment.temperature'",
        'UPDATE entities SET properties = properties || \'{"unit": "K"}\' WHERE parent_id IS NOT NULL',
        "INSERT INTO entities (id, entity_type, key, organisation_id) SELECT id, 'organisation', 'new-org', id "
        "FROM (SELECT gen_random_uuid() AS id) o",
        "UPDATE relationships SET valid_to = now() WHERE relationship_type = 'contains'",
        "INSERT INTO relationships (from_entity, to_entity, relationship_type, organisation_id) SELECT b.id, e.id, "
        "'contains', e.organisation_id FROM entities b, entities e "
        "WHERE b.key = 'bioreactor-optimization' AND e.key = 'acme-oven-001'",
    ],
)
def test_any_change_grows_the_version_and_wakes_who_listens(dsn: str, statement: str) -> None:
    load_sample(dsn)
    before = metadata_version(dsn)
    with (
        psycopg.connect(dsn, autocommit=True) as listener,
        psycopg.connect(dsn, autocommit=True) as writer,
    ):
        listener.execute("LISTEN weir_metadata")
        writer.execute(statement.encode())
        heard = [int(notice.payload) for notice in listener.notifies(timeout=patient(5), stop_after=1)]
    assert heard and heard[0] > before
    assert metadata_version(dsn) >= heard[0]


def test_a_statement_that_touches_no_row_leaves_the_version_alone(sample: str) -> None:
    before = metadata_version(sample)
    with psycopg.connect(sample) as conn:
        conn.execute("UPDATE entities SET name = 'x' WHERE key = 'nobody'")
    load_sample(sample)
    assert metadata_version(sample) == before


def test_the_version_belongs_to_the_rows_it_came_with(dsn: str) -> None:
    load_sample(dsn)
    with psycopg.connect(dsn) as conn:  # not committed: neither the version nor the row may be seen
        conn.execute("UPDATE entities SET is_active = false WHERE key = 'acme-oven-001'")
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
            "value_type": ["float", "string", None],
            "max_value": [9.5, None, None],
            "device_type": ["device.pump", "device.pump", None],
        }
    )
    assert register(dsn, "waterworks", "north", sensors) == Registered(devices=2, sensors=3)
    frame = load_metadata(dsn).sensors.drop("own_min", "own_max", "mark_bounds", "retention_days", "org_id")
    assert frame.rows() == [
        ('pump, "7"', "flow", "north", "device.pump", "pump.flow", "l/s", None, 9.5, "l/s", "float"),
        ('pump, "7"', "state", "north", "device.pump", "pump.state", "", None, None, "", "string"),
        ("ünit-8", "flow", "north", "device", "pump.flow", "l/s", None, None, "l/s", "float"),
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
    assert time.monotonic() - began < patient(5.0)  # measured: 0.2 s, and 1.6 s for a million
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


def acme(dsn: str, **policy: object) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "UPDATE entities SET properties = %s WHERE entity_type = 'organisation' AND key = 'acme'",
            [Jsonb({"unknown_devices": policy})],
        )


def one(*devices: str) -> pl.DataFrame:
    return pl.DataFrame({"device_id": list(devices), "sensor": ["t"] * len(devices)})


def test_no_policy_and_no_relationship_keeps_the_others_from_being_read(dsn: str) -> None:
    register(dsn, "acme", "p", one("a", "b"))
    register(dsn, "acme", None, one("never"))
    acme(dsn, policy="register", prefix="acme-", most=-(10**30))
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "INSERT INTO relationships (from_entity, to_entity, relationship_type, valid_from, organisation_id) "
            "SELECT p.id, d.id, 'contains', 'infinity', p.organisation_id FROM entities p, entities d "
            "WHERE p.kind = 'project' AND d.key = 'never'"
        )
    found = load_metadata(dsn)
    assert found.policies.rows() == [("acme", "acme-", 0)]
    assert found.sensors.height == 3


def test_the_words_of_an_enum_are_texts(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "INSERT INTO metrics (name, value_type, enum_values) "
            "VALUES ('nulls', 'enum', '{NULL, a}'), ('nested', 'enum', '{{a, b}, {c, d}}'), ('x', 'float', NULL)"
        )
    found = load_metadata(dsn).metrics.select("name", "enum_values")
    assert sorted(found.rows()) == [("nested", '["a","b","c","d"]'), ("nulls", '["a"]'), ("x", None)]


def test_changes_are_found_in_a_server_that_numbers_its_transactions_anew(dsn: str) -> None:
    register(dsn, "acme", None, one("a"))
    restored = replace(load_metadata(dsn), horizon=10**12)
    register(dsn, "acme", None, one("b"))
    assert load_changes(dsn, restored).devices.sort().to_list() == ["a", "b"]


def test_a_pending_device_of_somebody_else_is_not_taken_in(dsn: str) -> None:
    register(dsn, "acme", None, one("x-1"), status=PENDING)
    register(dsn, "other", None, one("x-2"), status=PENDING)
    assert admissible(dsn, "acme", ["x-1", "x-2", "x-3"], 10) == {"x-1": MOST_SENSORS - 1, "x-3": MOST_SENSORS}


def taken_in(dsn: str, *sent: tuple[str, str, float | None, str | None]) -> bool:
    schema = {"device_id": pl.String, "sensor": pl.String, "value": pl.Float64, "str_value": pl.String}
    frame = pl.DataFrame(sent, schema=schema, orient="row")
    codes = np.full(len(frame), -1, dtype=np.int32)
    return asyncio.run(Newcomers(dsn).take_in(frame, codes, load_metadata(dsn)))


def test_a_pending_device_makes_no_metrics_without_end(dsn: str) -> None:
    register(dsn, "acme", None, one("known"))
    acme(dsn, policy="register", prefix="acme-")
    assert taken_in(dsn, *(("acme-1", f"s{number}", 1.0, None) for number in range(MOST_SENSORS + 50)))
    assert not taken_in(dsn, ("acme-1", "one more", 1.0, None))
    assert load_metadata(dsn).sensors.filter(device_id="acme-1").height == MOST_SENSORS


def test_a_newcomer_that_first_sends_a_status_is_not_one_that_sends_texts(dsn: str) -> None:
    register(dsn, "acme", None, one("known"))
    acme(dsn, policy="register", prefix="acme-")
    assert taken_in(dsn, ("acme-1", "booting", None, None), ("acme-1", "door", None, "open"))
    found = load_metadata(dsn).sensors.filter(device_id="acme-1").select("sensor", "value_type")
    assert dict(found.iter_rows()) == {"booting": "float", "door": "string"}


def test_readings_do_not_wait_for_somebody_elses_open_transaction(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.telemetry.newcomers.WITHIN_SECONDS", 0.5)
    register(dsn, "acme", None, one("known"))
    acme(dsn, policy="register", prefix="acme-")
    with psycopg.connect(dsn, options="-c idle_in_transaction_session_timeout=20000") as conn:
        conn.execute("UPDATE entities SET name = 'edited' WHERE key = 'known'")
        began = time.monotonic()
        assert not taken_in(dsn, ("acme-1", "t", 1.0, None))
        assert time.monotonic() - began < patient(10.0)


def test_every_row_that_a_registration_adds_or_changes_has_its_event(dsn: str) -> None:
    def since(known: int) -> list[tuple[str, str]]:
        with psycopg.connect(dsn) as conn:
            found = conn.execute("SELECT event_type, entity_key FROM events WHERE id > %s ORDER BY 1, 2", [known])
            return list(found.fetchall())

    def newest() -> int:
        with psycopg.connect(dsn) as conn:
            row = conn.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()
        return int(row[0]) if row else 0

    fleet = pl.DataFrame({"device_id": ["a", "b"], "sensor": ["t", "t"], "min_value": [1.0, 1.0]})
    register(dsn, "acme", "one", fleet)
    assert since(0) == [
        ("data.imported", "acme"),
        ("device.created", "a"),
        ("device.created", "b"),
        ("organisation.created", "acme"),
        ("project.created", "one"),
        ("relationship.created", "a"),
        ("relationship.created", "b"),
        ("sensor.created", "t"),
        ("sensor.created", "t"),
    ]
    before = newest()
    register(dsn, "acme", "one", fleet)
    assert since(before) == []
    register(dsn, "acme", "two", fleet[:1].with_columns(min_value=2.0))
    assert since(before) == [
        ("data.imported", "acme"),
        ("project.created", "two"),
        ("relationship.created", "a"),
        ("relationship.ended", "a"),
        ("sensor.updated", "t"),
    ]

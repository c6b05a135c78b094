"""The benchmark's dataset: what it claims to be, counted again from the bytes."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import fastavro
import numpy as np

from bench.dataset import Dataset, DatasetPlan
from schemas import load_schema

END = 1_700_000_000_000
PLAN = DatasetPlan(readings=40_000, end_ms=END)
SCHEMA = fastavro.parse_schema(load_schema("Reading") | {"name": "BenchReading"})


def messages(plan: DatasetPlan) -> tuple[list[bytes], list[bytes]]:
    chunks = list(Dataset(plan).chunks(schema_id=258, size=7_000))
    return [key for chunk in chunks for key in chunk.keys], [value for chunk in chunks for value in chunk.values]


def decode(value: bytes) -> dict[str, Any]:
    record = fastavro.schemaless_reader(io.BytesIO(value[5:]), SCHEMA, None)
    assert isinstance(record, dict)
    return record | {"ts": round(record["ts"].timestamp() * 1000)}


def test_fastavro_reads_back_what_the_columns_say_and_the_key_is_the_device() -> None:
    keys, values = messages(PLAN)
    assert len(keys) == len(values) == 40_000
    rows = Dataset(PLAN).frame(0, 40_000).to_dicts()
    for at in range(0, 40_000, 97):
        assert values[at][:5] == b"\x00\x00\x00\x01\x02"
        assert decode(values[at]) == rows[at]
        assert keys[at] == rows[at]["device_id"].encode()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    assert messages(PLAN) == messages(PLAN)
    assert messages(PLAN) != messages(replace(PLAN, seed=2))


def test_one_in_a_hundred_messages_repeats_an_earlier_one_byte_for_byte() -> None:
    keys, values = messages(PLAN)
    assert PLAN.distinct == 39_600
    assert len(set(values)) == 39_600
    assert {value: key for key, value in zip(keys, values, strict=True)} == dict(zip(values, keys, strict=True))


def test_one_in_twenty_readings_comes_after_younger_ones_but_within_three_seconds() -> None:
    dataset = Dataset(PLAN)
    identity = dataset.series * 10**14 + dataset.ts
    originals = np.sort(np.unique(identity, return_index=True)[1])
    ts = dataset.ts[originals]
    behind = np.maximum.accumulate(ts) - ts
    assert 0.045 < np.mean(behind > 0) <= 0.05
    assert behind.max() <= 3_000


def test_what_is_sent_again_is_marked() -> None:
    dataset = Dataset(PLAN)
    originals = np.unique(dataset.series * 10**14 + dataset.ts, return_index=True)[1]
    assert set(np.flatnonzero(~dataset.resent)) == set(originals)


def test_no_reading_and_no_resend_is_so_late_that_its_window_may_be_closed() -> None:
    ts = Dataset(PLAN).ts
    assert (np.maximum.accumulate(ts) - ts).max() < 5_000


def test_every_sensor_measures_once_a_second_and_the_last_second_ends_at_the_end() -> None:
    dataset = Dataset(PLAN)
    assert len(np.unique(dataset.series)) == 4_000
    for series in (0, 1_234, 3_999):
        assert set(np.diff(np.unique(dataset.ts[dataset.series == series]))) == {1_000}
    assert END - 1_000 - 1 <= dataset.ts.max() < END


def test_packed_messages_hold_the_same_readings_of_one_device_each_and_none_is_older_than_a_window_waits() -> None:
    plan = DatasetPlan(readings=40_000, end_ms=END, devices=100, packed=50)
    dataset, keys, values = Dataset(plan), *messages(plan)
    batch = fastavro.parse_schema(load_schema("ReadingBatch"))
    rows = []
    for key, value in zip(keys, values, strict=True):
        record: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), batch, None)
        assert record["device_id"].encode() == key
        assert 1 <= len(record["readings"]) <= 50
        identities = {(each["sensor"], each["ts"]) for each in record["readings"]}
        assert len(identities) == len(record["readings"]), "a resend is in the batch of its original"
        rows += [{"device_id": record["device_id"], **each} for each in record["readings"]]
    assert len(rows) == 40_000
    assert 800 <= len(values) < 1_100
    ts = np.array([round(row["ts"].timestamp() * 1000) for row in rows])
    assert (np.maximum.accumulate(ts) - ts).max() < 5_000
    sent = {(row["device_id"], row["sensor"], at, row["value"]) for row, at in zip(rows, ts.tolist(), strict=True)}
    wanted = dataset.frame(0, 40_000).select("device_id", "sensor", "ts", "value")
    assert sent == set(wanted.iter_rows())


def test_spread_over_two_hours_leaves_a_few_readings_a_window() -> None:
    dataset = Dataset(DatasetPlan(readings=2_000_000, end_ms=END, resent=0.0, delayed=0.0).spread_over(7_200.0))
    assert dataset.ts.min() == END - 7_200_000
    assert dataset.ts.max() < END
    windows = np.unique(dataset.series * 10**9 + dataset.ts // 60_000)
    assert 4.1 < 2_000_000 / len(windows) < 4.2  # 60 s / 14.4 s


def test_devices_fill_different_fields_so_that_columns_hold_nulls() -> None:
    frame = Dataset(PLAN).frame(0, 40_000)
    assert frame["value"].null_count() == 0
    assert 0.3 < frame["unit"].null_count() / 40_000 < 0.5
    assert frame["unit"].is_null().equals(frame["battery_level"].is_null())
    assert frame["str_value"].null_count() == 40_000
    assert frame["fw_ver"].null_count() == 0


def test_the_fleet_registers_every_series_that_sends() -> None:
    dataset = Dataset(PLAN)
    sensors = dataset.sensors()
    assert sensors.height == 4_000
    assert sensors["device_id"].n_unique() == 1_000
    sent = dataset.frame(0, 40_000).select("device_id", "sensor").unique()
    assert sent.join(sensors, on=["device_id", "sensor"], how="semi").height == sent.height == 4_000

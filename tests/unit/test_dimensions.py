from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.gateway.errors import NEW_DIMENSIONS, GatewayError
from connectors.gateway.limits import Device, Organisation
from connectors.gateway.quota.dimensions import Dimensions
from connectors.gateway.quota.seen_values import SeenValue, SeenValues
from weir.errors import ConfigError

DAY = 86_400
ACME = Organisation("acme", new_values_a_day=3)
DEVICE = Device("d1", "acme", sensors=frozenset({"temperature"}))


class Clock:
    now = 20_000.0 * DAY + DAY / 2

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dimensions(tmp_path: Path, clock: Clock) -> Dimensions:
    return Dimensions(tmp_path, clock)


def sends(
    dimensions: Dimensions,
    sensor: str = "temperature",
    unit: str | None = None,
    source: str | None = None,
    fw_ver: str | None = None,
    *,
    organisation: Organisation = ACME,
    device: Device = DEVICE,
) -> GatewayError | None:
    return dimensions.refusal(organisation, device, sensor, unit, source, fw_ver)


def test_registered_sensors_cost_nothing(dimensions: Dimensions) -> None:
    many = replace(DEVICE, sensors=frozenset(f"s{each}" for each in range(100)))
    assert [sends(dimensions, f"s{each}", device=many) for each in range(100)] == [None] * 100


def test_the_fourth_new_value_of_a_day_is_refused_with_all_that_one_needs_to_know(dimensions: Dimensions) -> None:
    assert [sends(dimensions, name) for name in ("a", "b", "c")] == [None] * 3
    error = sends(dimensions, "d")
    assert error is not None
    assert (error.code, error.status, error.reason) == (NEW_DIMENSIONS, 429, "new_dimensions")
    assert error.message == (
        "The sensor 'd' of device d1 is new, and organisation acme has used up its 3 new values of this day; "
        "new ones are taken again from 2024-10-05 00:00 UTC on."
    )
    assert error.retry_after == DAY / 2
    assert error.extra == {"dimension": "sensor", "value": "d", "allowed": 3, "renews": "2024-10-05T00:00:00Z"}


def test_what_was_seen_stays_free_when_the_allowance_is_used_up(dimensions: Dimensions) -> None:
    assert sends(dimensions, "a", "degC", "esp32") is None
    assert sends(dimensions, "b") is not None
    assert sends(dimensions, "a", "degC", "esp32") is None
    assert sends(dimensions, "temperature", "degC") is None


def test_each_dimension_counts_and_is_named(dimensions: Dimensions) -> None:
    none_left = replace(ACME, new_values_a_day=0)
    refusals = {
        "unit": sends(dimensions, unit="x", organisation=none_left),
        "source": sends(dimensions, source="x", organisation=none_left),
        "fw_ver": sends(dimensions, fw_ver="x", organisation=none_left),
    }
    for dimension, error in refusals.items():
        assert error is not None
        assert error.extra["dimension"] == dimension


def test_a_reading_that_cannot_pay_for_everything_pays_for_nothing(dimensions: Dimensions) -> None:
    assert sends(dimensions, "a", "b", "c", "d") is not None
    assert [sends(dimensions, name) for name in ("a", "e", "f")] == [None] * 3
    assert sends(dimensions, unit="b") is not None


def test_absent_and_empty_labels_are_no_values(dimensions: Dimensions) -> None:
    assert sends(dimensions, "temperature", "", "", "", organisation=replace(ACME, new_values_a_day=0)) is None


def test_the_same_sensor_of_another_device_is_another_series(dimensions: Dimensions) -> None:
    for name in ("d1", "d2", "d3"):
        assert sends(dimensions, "a", device=replace(DEVICE, id=name)) is None
    assert sends(dimensions, "a", device=replace(DEVICE, id="d4")) is not None


def test_one_organisation_does_not_use_up_what_is_anothers(dimensions: Dimensions) -> None:
    for each in range(10):
        sends(dimensions, f"s{each}", unit=f"u{each}")
    other = Organisation("globex", new_values_a_day=1)
    theirs = Device("g1", "globex")
    assert sends(dimensions, "s0", organisation=other, device=theirs) is None
    assert sends(dimensions, "s0", "u0", organisation=other, device=theirs) is not None, "u0 is known to acme only"


def test_the_allowance_is_fresh_the_next_day_and_a_clock_set_back_renews_nothing(
    dimensions: Dimensions, clock: Clock
) -> None:
    for name in ("a", "b", "c"):
        assert sends(dimensions, name) is None
    clock.now += DAY
    assert [sends(dimensions, name) for name in ("d", "e", "f")] == [None] * 3
    clock.now -= DAY
    assert sends(dimensions, "g") is not None


def test_a_value_that_is_long_or_odd_is_known_again_and_shown_short(dimensions: Dimensions) -> None:
    long = "x\x00\n\u202e" * 100_000
    assert sends(dimensions, long) is None
    assert sends(dimensions, long) is None
    error = sends(dimensions, long, organisation=replace(ACME, new_values_a_day=1), unit=long)
    assert error is not None
    assert len(error.message) < 400
    assert error.message.isprintable()
    assert [sends(dimensions, name) for name in ("a", "b")] == [None] * 2, "it cost once"


def test_a_restart_neither_forgets_nor_charges_again(tmp_path: Path, clock: Clock) -> None:
    async def one_life(*sensors: str) -> list[bool]:
        dimensions = Dimensions(tmp_path / "new folder", clock)
        await dimensions.start()
        answers = [sends(dimensions, name, "degC") is None for name in sensors]
        await dimensions.stop()
        return answers

    assert asyncio.run(one_life("a")) == [True]  # two: the sensor and its unit
    assert asyncio.run(one_life("a", "b", "c")) == [True, True, False]
    assert asyncio.run(one_life("a", "b", "c")) == [True, True, False]
    clock.now += DAY
    assert asyncio.run(one_life("a", "b", "c", "d", "e", "f")) == [True] * 5 + [False]


def test_what_a_crash_tore_is_passed_over_and_the_rest_is_known(tmp_path: Path) -> None:
    file = SeenValues(tmp_path, 100)
    file.load()
    values = [SeenValue(1, "acme", "unit", name) for name in ("a", "b", "c")]
    file.append(values)
    path = tmp_path / "seen.jsonl"
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        known = whole[:cut].count(b"]")
        assert SeenValues(tmp_path, 100).load() == values[:known]
        assert path.read_bytes().endswith(b"\n") or known == 0
    path.write_bytes(b"\xff\x00[1]\n{}\n" + whole)
    again = SeenValues(tmp_path, 100)
    assert again.load() == values
    again.append([SeenValue(2, "acme", "unit", "d")])
    assert SeenValues(tmp_path, 100).load()[-1].value == "d"


def test_the_file_is_written_anew_when_it_has_grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.gateway.quota.seen_values.LARGE_BYTES", 1_000)
    file = SeenValues(tmp_path, 10)
    file.load()
    for each in range(1_000):
        file.append([SeenValue(1, "acme", "unit", f"u{each}")])
    assert (tmp_path / "seen.jsonl").stat().st_size <= 1_100
    assert [value.value for value in file.load()] == [f"u{each}" for each in range(990, 1_000)]


def test_more_sensors_than_it_may_remember_cost_no_more_memory(tmp_path: Path, clock: Clock) -> None:
    dimensions = Dimensions(tmp_path, clock, most_sensors=10)
    rich = replace(ACME, new_values_a_day=10_000)
    for each in range(1_000):
        assert sends(dimensions, f"s{each}", organisation=rich) is None
    assert len(dimensions._sensors) <= 10
    assert len(dimensions._unsaved) <= 1_000


def test_a_folder_that_cannot_be_used_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="WEIR_GATEWAY__DATA_DIR"):
        asyncio.run(Dimensions(tmp_path / "file" / "folder").start())


def test_a_disk_that_takes_nothing_for_a_while_costs_no_value(
    dimensions: Dimensions, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: SeenValues, values: object) -> None:
        raise OSError(28, "No space left on device")

    async def one_life() -> None:
        await dimensions.start()
        with monkeypatch.context() as patched:
            patched.setattr(SeenValues, "append", full)
            assert sends(dimensions, "a") is None
            await dimensions._save()
        await dimensions.stop()

    asyncio.run(one_life())
    assert [value.value for value in SeenValues(tmp_path, 10).load()] == ["a"]


def test_one_device_uses_at_most_its_share_and_the_others_go_on(dimensions: Dimensions, clock: Clock) -> None:
    large = Organisation("acme", new_values_a_day=5_000)
    answers = [sends(dimensions, f"s{number}", organisation=large) for number in range(502)]
    assert answers[:500] == [None] * 500
    error = answers[500]
    assert error is not None and "device d1 has used up its 500 new values" in error.message
    assert sends(dimensions, "t", organisation=large, device=Device("d2", "acme")) is None
    clock.now += DAY
    assert sends(dimensions, "s500", organisation=large) is None


def test_a_clock_that_was_once_far_ahead_does_not_close_the_door_until_then(
    dimensions: Dimensions, clock: Clock
) -> None:
    clock.now += 300 * DAY
    assert [sends(dimensions, name) for name in ("a", "b", "c")] == [None] * 3
    clock.now -= 300 * DAY
    assert sends(dimensions, "d") is None

"""What a load sends: its shares, its order, and the same again for the same seed."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from schemas import load_schema
from weir.demo.reading import Framing
from weir.errors import UsageError
from weir.load.draws import draw
from weir.load.entries import Readings, summed
from weir.load.event_time import FreeTimes, PacedTimes
from weir.load.plan import LoadPlan
from weir.load.source import Batch, Source

BEGIN = 1_700_000_000_000


def batches(plan: LoadPlan, *sizes: int) -> list[Batch]:
    framings = Framing(load_schema("Reading"), 1), Framing(load_schema("Alert"), 2)
    source = Source(plan, PacedTimes(BEGIN, plan.rate, 1.0), *framings)
    return [*(source.take(size, 0.0) for size in sizes), source.rest()]


def sent(made: list[Batch]) -> list[dict[str, object]]:
    """Good readings in the order of their sending; the plan must ask for JSON."""
    good = {number for batch in made if batch.readings for number in _numbers(batch.readings)}
    return [json.loads(each.value or b"") for batch in made for each in batch.messages if each.number in good]


def _numbers(readings: Readings) -> range:
    return range(readings.first, readings.first + len(readings.series))


PLAN = LoadPlan("d", devices=5, sensors=2, rate=100.0, readings=20_000, json_values=True)
ALL = LoadPlan(
    "d", 5, 2, 100.0, 20_000, 0.0, 3, 0.05, 0.02, 0.01, 0.03, 10.0, 0.04, 0.01, json_values=True
)  # fmt: skip


def test_batches_of_any_size_hold_the_same_messages() -> None:
    one = [each for batch in batches(ALL, 20_000) for each in batch.messages]
    many = [each for batch in batches(ALL, 1, 7_000, 999, 12_000) for each in batch.messages]
    assert Counter((each.key, each.value) for each in one) == Counter((each.key, each.value) for each in many)
    assert [(each.key, each.value) for each in one[:5_000]] == [(each.key, each.value) for each in many[:5_000]]


def test_another_seed_gives_other_values() -> None:
    other = LoadPlan("d", 5, 2, 100.0, 100, seed=2, json_values=True)
    assert sent(batches(PLAN, 100))[0]["value"] != sent(batches(other, 100))[0]["value"]


def test_the_ledger_names_every_message_once_and_as_it_is_sent() -> None:
    plan, numbers, told = ALL, [], []
    made = batches(plan, 5_000, 5_000)
    names = plan.names()
    for batch in made:
        numbers += [each.number for each in batch.messages]
        assert batch.readings is not None
        times = summed(batch.readings.ts)
        for place, (series, ts) in enumerate(zip(batch.readings.series, times, strict=True)):
            told.append((*names[series], ts, batch.readings.values[place], batch.readings.texts.get(place)))
    assert sorted(numbers) == list(range(len(numbers)))
    seen = [(r["device_id"], r["sensor"], r["ts"], r.get("value"), r.get("str_value")) for r in sent(made)]
    assert seen == told


def test_each_fault_has_its_share() -> None:
    made = batches(ALL, 20_000)
    readings = sent(made)
    bad = sum(len(batch.bad.kinds) for batch in made if batch.bad)
    values: dict[object, list[object]] = {}
    for each in readings:
        values.setdefault((each["device_id"], each["sensor"], each["ts"]), []).append(each.get("value"))
    again = [each for each in values.values() if len(each) > 1]
    assert bad == pytest.approx(200 * 15 / 14, abs=60)
    assert sum("str_value" in each for each in readings) == pytest.approx(800, abs=120)
    assert sum(each[0] == each[1] for each in again) == pytest.approx(400, abs=80)
    assert sum(each[0] != each[1] for each in again) == pytest.approx(200, abs=60)
    assert sum(int(str(a["ts"])) > int(str(b["ts"])) for a, b in pairwise(readings)) > 500


def test_no_reading_is_made_twice_without_being_asked_for() -> None:
    readings = sent(batches(PLAN, 20_000))
    assert len({(each["device_id"], each["sensor"], each["ts"]) for each in readings}) == len(readings) == 20_000


def test_at_full_speed_event_time_does_not_overtake_the_clock_nor_stand_still() -> None:
    times, made, elapsed, series = FreeTimes(BEGIN, 3, 1.0), 0, 0.0, 3
    seen: set[tuple[int, int]] = set()
    for _ in range(200):
        elapsed += 0.005
        count = times.due(elapsed, made)
        if count:
            numbers = np.arange(made, made + count)
            ts = times.of(numbers, elapsed)
            assert ts.max() <= BEGIN + elapsed * 1_000
            seen.update(zip((numbers % series).tolist(), ts.tolist(), strict=True))
            made += count
    assert len(seen) == made
    assert made > 2_000


def test_a_steady_rate_makes_what_is_due() -> None:
    times = PacedTimes(BEGIN, 1_000.0, 2.0)
    assert (times.due(1.5, 1_000), times.due(0.5, 1_000)) == (500, 0)
    assert times.of(np.array([0, 500]), 0.0).tolist() == [BEGIN, BEGIN + 1_000]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rate": 5_000.0, "devices": 1, "sensors": 1}, "1,000"),
        ({"readings": 0}, "--readings"),
        ({"late": 0.6, "bad": 0.6}, "more than 1"),
        ({"speed": 2.0}, "--begin"),
    ],
)
def test_a_plan_that_cannot_be_sent_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LoadPlan("d", **({"readings": 10} | wrong))  # type: ignore[arg-type]


def test_draws_are_even_and_differ_by_stream() -> None:
    numbers = np.arange(100_000, dtype=np.int64)
    one, other = draw(1, 0, numbers), draw(1, 1, numbers)
    assert abs(one.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.02
    assert (one >= 0).all()
    assert (one < 1).all()

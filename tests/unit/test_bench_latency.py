"""The latency benchmark's readings and percentiles, by hand."""

from __future__ import annotations

import itertools
import json

import pytest

from bench.dataset import SENSORS
from bench.latency_load import fleet
from bench.latency_sample import sample
from bench.live_posts import BATCH, LiveRequests, PostPlan
from weir.probe.outcome import Failure, Outcome

PLAN = PostPlan("127.0.0.1", 1, "weir.readings", "wr_abc_def", 800, 1.0, 1.0)


def readings(count: int) -> list[dict[str, object]]:
    requests = LiveRequests(PLAN)
    bodies = (json.loads(requests[number].partition(b"\r\n\r\n")[2]) for number in range(count))
    return [record["value"] for record in itertools.chain.from_iterable(body["records"] for body in bodies)]


def test_no_two_readings_of_a_load_share_an_identity_however_fast_they_are_made() -> None:
    made = readings(80)
    assert len(made) == 80 * BATCH
    assert len({(each["device_id"], each["sensor"], each["ts"]) for each in made}) == len(made)


def test_a_load_is_of_the_devices_that_are_registered_for_its_rate_each_sensor_once_a_second() -> None:
    made = readings(PLAN.rate // BATCH)
    series = {(each["device_id"], each["sensor"]) for each in made}
    assert len(series) == PLAN.rate == len(made)
    assert series == set(fleet(PLAN.rate).select("device_id", "sensor").iter_rows())
    assert len(SENSORS) == 4


def test_a_request_names_the_length_of_its_body() -> None:
    head, _, body = LiveRequests(PLAN)[3].partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert head.startswith(b"POST /topics/weir.readings HTTP/1.1\r\n")


def test_a_probe_that_was_not_seen_counts_as_having_taken_the_whole_time() -> None:
    seen = [Outcome(0.0, 0.01, seconds / 10) for seconds in (4, 2, 3, 1)]
    found = sample([*seen, Outcome(0.0, 0.02, failure=Failure("missing", "Not there."))], 30_000.0)
    assert found.latencies_ms == (100.0, 200.0, 300.0, 400.0, 30_000.0)
    assert (found.probes, found.unseen) == (5, 1)
    assert found.p50_ms == pytest.approx(300.0)
    assert found.max_ms == 30_000.0
    assert found.p95_ms == pytest.approx(400.0 + 0.8 * 29_600.0), "linear between the fourth and the fifth of five"
    assert found.acknowledged_p50_ms == pytest.approx(10.0)

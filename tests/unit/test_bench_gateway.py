"""The gateway's benchmark: what it posts, what it makes of what came, and when a target is met."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import fastavro
import pytest

from bench.gateway import TARGETS, GatewayRun, Measured
from bench.gateway_requests import DEVICES, SENSORS, Posts, fleet
from schemas import load_schema
from weir.cli.bench_gateway import to_dict

NOW = 1_700_000_000_000
POSTS = Posts("t.readings", "wr_key", 7)
QUICK = Measured(9_000.0, 90_000.0, 11_000.0, 110_000.0, 3.0, 40.0, 60.0, 0.8, 0.2)


def run(**loads: Measured) -> GatewayRun:
    names = (
        "single JSON",
        "single Avro",
        "batch JSON",
        "batch Avro",
        "single JSON at half",
        "batch JSON at half",
        "floor",
    )
    measured = dict.fromkeys(names, QUICK) | {name.replace("_", " "): load for name, load in loads.items()}
    return GatewayRun(measured, 1_000, 1_000, 0.05, True)


def parsed(request: bytes) -> tuple[dict[str, str], Any]:
    """Headers and body; the announced length must be that of the body."""
    head, _, body = request.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    assert line == "POST /topics/t.readings HTTP/1.1"
    assert int(headers["Content-Length"]) == len(body)
    return headers, json.loads(body)


def test_json_posts_are_new_readings_of_the_registered_fleet() -> None:
    registered = set(fleet().iter_rows())
    requests = [parsed(each) for each in POSTS.render("JSON", 100, NOW)]
    readings = [record["value"] for _, body in requests for record in body["records"]]
    assert len(registered) == DEVICES * len(SENSORS)
    assert {(each["device_id"], each["sensor"]) for each in readings} <= registered
    assert len({(each["device_id"], each["sensor"], each["ts"]) for each in readings}) == len(readings) == 10_000
    assert all(NOW - 1_000 <= each["ts"] <= NOW for each in readings), "none counts as backlog"
    headers, _ = requests[0]
    assert headers["Content-Type"] == "application/vnd.kafka.json.v2+json"
    assert headers["Authorization"] == "Bearer wr_key"


def test_avro_posts_say_the_same_in_avros_json() -> None:
    (plain, avro) = (parsed(POSTS.render(form, 1, NOW)[5])[1] for form in ("JSON", "Avro"))
    assert avro["value_schema_id"] == 7
    schema = fastavro.parse_schema(load_schema("Reading"))
    read: Any
    (read,) = fastavro.json_reader(io.StringIO(json.dumps(avro["records"][0]["value"])), schema)
    read["ts"] = round(read["ts"].timestamp() * 1_000)
    assert {name: value for name, value in read.items() if value is not None} == plain["records"][0]["value"]


def test_targets_are_met_from_the_bound_on_and_latencies_below_it() -> None:
    assert all(each.met(run()) for each in TARGETS)
    slow = replace(QUICK, records_per_second=79_999.0, requests_per_second=7_999.0, p99_ms=50.0)
    missed = [each.met(run(batch_JSON=slow, single_JSON=slow)) for each in TARGETS]
    assert missed == [False, False, True, True]
    late = [each.met(run(batch_JSON_at_half=slow, single_JSON_at_half=slow)) for each in TARGETS]
    assert late == [True, True, False, False]


@pytest.mark.parametrize(
    ("changes", "complete"),
    [
        ({}, True),
        ({"in_kafka": 999}, False),
        ({"in_kafka": 1_001}, False),
        ({"loads": {"single JSON": replace(QUICK, failures={"HTTP/1.1 503 ": 1})}}, False),
    ],
)
def test_a_run_is_whole_when_nothing_failed_and_kafka_has_what_was_acknowledged(
    changes: dict[str, Any], complete: bool
) -> None:
    assert replace(run(), **changes).complete is complete


def test_a_load_without_an_answer_has_no_latency_and_meets_nothing() -> None:
    nothing = replace(QUICK, requests_per_second=0.0, p50_ms=float("nan"), p99_ms=float("nan"))
    told = json.loads(json.dumps(to_dict([run(single_JSON_at_half=nothing)])))
    assert told["loads"]["single JSON at half"]["p99_ms"] is None
    assert told["targets"][3] == {
        "target": "p99 of single requests at half of that, ms",
        "bound": 50.0,
        "value": None,
        "met": False,
    }

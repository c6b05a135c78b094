"""The registry away when a worker starts, and away while a schema comes that the worker has not seen yet."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from connectors.registry import Registry, value_subject
from schemas import load_schema
from tests.fault.patience import group_history, tries
from tests.fault.proxied_servers import proxy_to, through
from tests.fault.scenario import Scenario, scenario_on
from tests.fault.tcp_proxy import PASS, Fault
from tests.sender import framed
from tests.stack_under_test import StackUnderTest
from tests.stored import dead_letters

SEED = 23


def test_registry_away_is_waited_for_at_the_start_and_later_holds_up_only_a_partition_with_a_new_schema(
    stack: StackUnderTest, tmp_path: Path
) -> None:
    with scenario_on(stack, tmp_path, SEED) as scenario, proxy_to(stack.settings.registry.url) as proxy:
        world = scenario.world
        proxy.set(Fault("refuse"))
        worker = world.start_worker(ready=False, WEIR_REGISTRY__URL=through(stack.settings.registry.url, proxy))
        world.wait(lambda: tries(worker), "it asks again")
        assert "schema registry" in worker.log
        scenario.load.send(10)
        proxy.set(PASS)
        worker.wait_ready()
        world.wait(scenario.settled, "everything is stored after the registry came")

        group = group_history(worker)
        proxy.set(Fault("refuse"))
        place = send_with_new_schema(scenario)
        scenario.load.send(10)
        others = [partition for partition in range(4) if partition != place[0]]
        world.wait(lambda: stored_to_the_end(scenario, others), "the other partitions go on")
        assert not stored_to_the_end(scenario, [place[0]]), "the schema was known; the test proves nothing"
        assert place not in {letter.origin for letter in dead_letters(world.settings)}
        proxy.set(PASS)
        result = scenario.outcome("registry away", SEED)
        assert result.differences == [], result.words()
        assert group_history(worker) == group, "the worker lost its place in the group"


def send_with_new_schema(scenario: Scenario) -> tuple[int, int]:
    """A reading whose schema was registered a moment ago; returns where it lies."""
    schema: dict[str, Any] = load_schema("Reading")
    schema = schema | {"fields": [*schema["fields"], {"name": "operator", "type": ["null", "string"], "default": None}]}
    settings, sender = scenario.world.settings, scenario.sender
    with Registry(settings.registry) as registry:
        schema_id = registry.register(value_subject(settings.topics.readings), json.dumps(schema))
    assert schema_id != sender.schema_id
    now = time.time_ns() // 1_000_000
    record = {"device_id": "device-3", "sensor": "a", "ts": now, "value": 3.5}
    written = framed(schema_id, record | {"operator": "night shift"}, schema)
    sender.message(written, "device-3", partition=3, record=record)
    sender.flush()
    return sender.sent[-1].partition, sender.sent[-1].offset


def stored_to_the_end(scenario: Scenario, partitions: list[int]) -> bool:
    """Whether the last reading of each partition is stored."""
    ends = {each.partition: each.offset for each in sorted(scenario.sender.acknowledged, key=lambda each: each.offset)}
    rows = scenario.world.query("SELECT partition, max(offset) FROM raw_readings GROUP BY partition")
    return all(dict(rows).get(partition) == ends[partition] for partition in partitions)

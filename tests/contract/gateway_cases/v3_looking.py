"""Cases of v3: what can be looked at."""

from __future__ import annotations

from typing import Any, Final

from tests.contract.gateway_cases.answers import refusal
from tests.contract.gateway_cases.case import JSON, Case, Group, Some
from tests.contract.gateway_cases.v2_posts import looked_at
from tests.contract.gateway_cases.v3_posts import CLUSTER


def seen(name: str, path: str, **fields: Any) -> Case:
    """A look below the cluster."""
    return looked_at(name, CLUSTER + path, **{"answer_headers": {"content-type": JSON}, **fields})


def kind(name: str, **fields: Any) -> Some:
    """One object of v3 with these fields, among others."""
    shown = ", ".join(f'"{each}": …' for each in ("metadata", *fields))

    def fits(found: Any) -> bool:
        linked = found["kind"] == name and {"self"} <= set(found["metadata"])
        return bool(linked) and all(found[each] == value for each, value in fields.items())

    return Some(f'{{"kind": "{name}", {shown}}}', fits)


def listed(name: str, count: int) -> Some:
    """A list of v3 with that many things in it."""

    def fits(found: Any) -> bool:
        linked = found["kind"] == name and {"self", "next"} <= set(found["metadata"])
        return bool(linked) and len(found["data"]) == count

    return Some(f'{{"kind": "{name}", "metadata": …, "data": […]}}', fits)


OWN: Final = "differs: all topics"
NO_PARTITION: Final = refusal(40402, "Partition not found.")
NO_TOPIC: Final = refusal(40401, "Topic not found.")

LOOKING: Final = Group(
    "v3: what is there",
    (
        looked_at("the clusters", "/v3/clusters", answer=listed("KafkaClusterList", 1)),
        seen("the cluster", "", answer=kind("KafkaCluster")),
        looked_at("another cluster", "/v3/clusters/another", status=404, answer=refusal(404)),
        seen("the brokers", "/brokers", answer=listed("KafkaBrokerList", 1)),
        seen("the topics of the caller", "/topics", answer=listed("KafkaTopicList", 2), confluent=OWN),
        seen("one topic", "/topics/{acme}.notes", answer=kind("KafkaTopic", partitions_count=2, is_internal=False)),
        seen("a topic of another organisation", "/topics/{birch}.notes", status=404, answer=NO_TOPIC),
        seen("its partitions", "/topics/{acme}.notes/partitions", answer=listed("KafkaPartitionList", 2)),
        seen("one partition", "/topics/{acme}.notes/partitions/1", answer=kind("KafkaPartition", partition_id=1)),
        seen("a partition that is not there", "/topics/{acme}.notes/partitions/2", status=404, answer=NO_PARTITION),
    ),
)

"""What REST Proxy v3 and v2 tell of the cluster: the caller's own topics, and nothing of anybody else's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from connectors.kafka.client import kafka_client_config
from tests.gateway_world import GatewayWorld, gateway_world
from tests.stack_under_test import StackUnderTest
from tests.v3_produce import json_value, path, posted
from tests.waiting import patient


@pytest.fixture(scope="module")
def gateway(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    with gateway_world(stack, tmp_path_factory.mktemp("gateway"), {}) as running:
        yield running


def test_an_unknown_cluster_and_a_foreign_topic_do_not_exist(gateway: GatewayWorld) -> None:
    headers = gateway.acme.headers()
    own = gateway.client.post(
        f"/v3/clusters/other/topics/{gateway.acme.topic}/records", json=json_value(1), headers=headers
    )
    assert (own.status_code, own.json()["error_code"]) == (404, 404)
    begun = time.monotonic()
    answers = [
        gateway.client.post(path(gateway, topic), json=json_value(1), headers=headers)
        for topic in (
            gateway.birch.topic,
            f"{gateway.acme.slug}.nothing",
            gateway.settings.topics.alerts,
            "__consumer_offsets",
        )
    ]
    assert time.monotonic() - begun < patient(10)
    assert {(each.status_code, each.text) for each in answers} == {
        (404, '{"error_code":40401,"message":"Topic not found."}')
    }


def test_v3_lists_the_cluster_and_the_callers_topics_only(gateway: GatewayWorld) -> None:
    def get(below: str, **headers: str) -> dict[str, Any]:
        answer = gateway.client.get(f"/v3/clusters{below}", headers=gateway.acme.headers() | headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    origin, cluster = gateway.process.url, f"/{gateway.cluster}"
    [listed] = get("")["data"]
    assert listed == get(cluster)
    assert listed["kind"] == "KafkaCluster"
    assert listed["metadata"] == {
        "self": f"{origin}/v3/clusters{cluster}",
        "resource_name": f"crn:///kafka={gateway.cluster}",
    }
    [broker] = get(f"{cluster}/brokers")["data"]
    assert broker == get(f"{cluster}/brokers/{broker['broker_id']}")
    assert f"{broker['host']}:{broker['port']}" == gateway.settings.kafka.bootstrap_servers
    topics = get(f"{cluster}/topics")["data"]
    assert [each["topic_name"] for each in topics] == sorted([gateway.acme.topic, gateway.settings.topics.readings])
    topic = get(f"{cluster}/topics/{gateway.acme.topic}")
    assert (topic["partitions_count"], topic["replication_factor"], topic["is_internal"]) == (2, 1, False)
    partitions = get(f"{cluster}/topics/{gateway.acme.topic}/partitions")["data"]
    assert [each["partition_id"] for each in partitions] == [0, 1]
    assert partitions[1] == get(f"{cluster}/topics/{gateway.acme.topic}/partitions/1")
    assert get("", Host="evil.example/<script>")["metadata"]["self"] == "/v3/clusters"


@pytest.mark.parametrize(
    ("below", "code"),
    [
        ("/other", 404),
        ("/other/topics", 404),
        ("/{cluster}/brokers/7777", 404),
        ("/{cluster}/brokers/x", 404),
        ("/{cluster}/topics/{birch}", 40401),
        ("/{cluster}/topics/{birch}/partitions", 40401),
        ("/{cluster}/topics/{birch}/partitions/0", 40401),
        ("/{cluster}/topics/{acme}/partitions/9", 40402),
        ("/{cluster}/topics/{acme}/partitions/x", 40402),
    ],
)
def test_what_v3_does_not_know_is_404(gateway: GatewayWorld, below: str, code: int) -> None:
    below = below.format(cluster=gateway.cluster, birch=gateway.birch.topic, acme=gateway.acme.topic)
    answer = gateway.client.get(f"/v3/clusters{below}", headers=gateway.acme.headers())
    assert (answer.status_code, answer.json()["error_code"]) == (404, code)


def test_v2_shows_topics_partitions_offsets_and_brokers(gateway: GatewayWorld) -> None:
    def get(where: str) -> Any:
        answer = gateway.client.get(where, headers=gateway.acme.headers())
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/vnd.kafka.v2+json"
        return answer.json()

    topic = gateway.acme.topic
    assert get("/topics") == sorted([topic, gateway.settings.topics.readings])
    told = get(f"/topics/{topic}")
    assert told["name"] == topic
    assert told["configs"]["cleanup.policy"] == "delete"
    [broker] = get("/brokers")["brokers"]
    replicas = [{"broker": broker, "leader": True, "in_sync": True}]
    assert told["partitions"] == [{"partition": each, "leader": broker, "replicas": replicas} for each in (0, 1)]
    assert get(f"/topics/{topic}/partitions") == told["partitions"]
    assert get(f"/topics/{topic}/partitions/1") == told["partitions"][1]
    before = get(f"/topics/{topic}/partitions/1/offsets")
    posted(gateway, topic, {"partition_id": 1, **json_value(1)})
    after = get(f"/topics/{topic}/partitions/1/offsets")
    assert after == {"beginning_offset": 0, "end_offset": before["end_offset"] + 1}


@pytest.mark.parametrize("where", ["/topics/{birch}", "/topics/{birch}/partitions/0/offsets", "/topics/{acme}.x"])
def test_v2_knows_no_foreign_topic(gateway: GatewayWorld, where: str) -> None:
    where = where.format(birch=gateway.birch.topic, acme=gateway.acme.topic)
    answer = gateway.client.get(where, headers=gateway.acme.headers())
    assert (answer.status_code, answer.json()["error_code"]) == (404, 40401)


def test_a_topic_that_was_just_made_is_found_within_seconds(gateway: GatewayWorld) -> None:
    name = f"{gateway.acme.slug}.fresh"
    answer = gateway.client.get(f"/topics/{name}", headers=gateway.acme.headers())
    assert answer.status_code == 404
    admin = AdminClient(kafka_client_config(gateway.settings.kafka) | {"log_level": 0})
    admin.create_topics([NewTopic(name, num_partitions=1)])[name].result()
    try:
        deadline = time.monotonic() + patient(5)
        while gateway.client.get(f"/topics/{name}", headers=gateway.acme.headers()).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        admin.delete_topics([name])[name].result()

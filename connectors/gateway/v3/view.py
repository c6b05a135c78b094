"""What v3 tells of the cluster, its brokers, topics and partitions: Confluent's resources with their links.

Links to what this gateway does not serve (configs, ACLs, consumer groups) are there because clients expect the fields.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from connectors.gateway.cluster_view import Broker, Partition, Topic
from connectors.gateway.errors import NOT_FOUND, GatewayError
from connectors.gateway.http import Reply, Request, Route, json_reply
from connectors.gateway.v2.view import partition_named
from connectors.gateway.visible_topics import is_visible, topic_not_found

if TYPE_CHECKING:
    from connectors.gateway.parts import Parts

_HOST: Final = re.compile(rb"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
"""A name or address that may stand in a link; a request with any other gets links without a host."""

_BROKER: Final = re.compile(r"[0-9]{1,10}")


def routes(parts: Parts) -> list[Route]:
    """Eight routes, all to read."""
    view = _View(parts)
    cluster = "/v3/clusters/{cluster_id}"
    topic = f"{cluster}/topics/{{topic}}"
    return [
        Route("GET", "/v3/clusters", view.clusters, summary="The Kafka cluster"),
        Route("GET", cluster, view.cluster, summary="The Kafka cluster"),
        Route("GET", f"{cluster}/brokers", view.brokers, summary="Brokers"),
        Route("GET", f"{cluster}/brokers/{{broker_id}}", view.broker, summary="A broker"),
        Route("GET", f"{cluster}/topics", view.topics, summary="Your topics"),
        Route("GET", topic, view.topic, summary="A topic"),
        Route("GET", f"{topic}/partitions", view.partitions, summary="Partitions of a topic"),
        Route("GET", f"{topic}/partitions/{{partition_id}}", view.partition, summary="A partition"),
    ]


class _View:
    def __init__(self, parts: Parts) -> None:
        self._settings = parts.settings
        self._cluster = parts.cluster

    async def clusters(self, request: Request) -> Reply:
        links = self._links(request)
        return _collection("KafkaClusterList", links.to(), [links.cluster(self._cluster.state.controller)])

    async def cluster(self, request: Request) -> Reply:
        return json_reply(200, self._links_here(request).cluster(self._cluster.state.controller))

    async def brokers(self, request: Request) -> Reply:
        links = self._links_here(request)
        brokers = [links.broker(each) for each in self._cluster.state.brokers]
        return _collection("KafkaBrokerList", links.to(links.id, "brokers"), brokers)

    async def broker(self, request: Request) -> Reply:
        links, wanted = self._links_here(request), request.params["broker_id"]
        for each in self._cluster.state.brokers if _BROKER.fullmatch(wanted) else ():
            if each.id == int(wanted):
                return json_reply(200, links.broker(each))
        raise _not_found()

    async def topics(self, request: Request) -> Reply:
        links = self._links_here(request)
        known = sorted(self._cluster.state.topics.items())
        topics = [links.topic(each) for name, each in known if is_visible(self._settings, request.caller, name)]
        return _collection("KafkaTopicList", links.to(links.id, "topics"), topics)

    async def topic(self, request: Request) -> Reply:
        links = self._links_here(request)
        return json_reply(200, links.topic(await self._found(request)))

    async def partitions(self, request: Request) -> Reply:
        links, topic = self._links_here(request), await self._found(request)
        partitions = [links.partition(topic, each) for each in topic.partitions]
        return _collection("KafkaPartitionList", links.to(links.id, "topics", topic.name, "partitions"), partitions)

    async def partition(self, request: Request) -> Reply:
        links, topic = self._links_here(request), await self._found(request)
        return json_reply(200, links.partition(topic, partition_named(topic, request.params["partition_id"])))

    async def _found(self, request: Request) -> Topic:
        name = request.params["topic"]
        if not is_visible(self._settings, request.caller, name):
            raise topic_not_found()
        return await self._cluster.topic(name)

    def _links_here(self, request: Request) -> _Links:
        """Links within the cluster that the path names, which must be ours."""
        if request.params["cluster_id"] != self._cluster.cluster_id:
            raise _not_found()
        return self._links(request)

    def _links(self, request: Request) -> _Links:
        is_secure = self._settings.gateway.tls_certificate is not None
        if self._settings.gateway.trusted_proxies and request.header(b"x-forwarded-proto") == b"https":
            is_secure = True  # whoever forges it gets wrong links, in his own answer
        return _Links(_origin(request.header(b"host"), is_secure), self._cluster.cluster_id)


class _Links:
    """Resources of one cluster as seen by one client. ``origin`` is empty where its Host header is no host."""

    def __init__(self, origin: str, cluster_id: str) -> None:
        self.id = cluster_id
        self._origin = origin

    def to(self, *path: object) -> str:
        return "/".join([f"{self._origin}/v3/clusters", *(quote(str(each), safe="") for each in path)])

    def cluster(self, controller: int | None) -> dict[str, Any]:
        found: dict[str, Any] = {
            "kind": "KafkaCluster",
            "metadata": self._metadata((), ""),
            "cluster_id": self.id,
        }
        if controller is not None:
            found["controller"] = self._related("brokers", controller)
        return found | {
            "acls": self._related("acls"),
            "brokers": self._related("brokers"),
            "broker_configs": self._related("broker-configs"),
            "consumer_groups": self._related("consumer-groups"),
            "topics": self._related("topics"),
            "partition_reassignments": self._related("topics", "-", "partitions", "-", "reassignment"),
        }

    def broker(self, broker: Broker) -> dict[str, Any]:
        path = ("brokers", broker.id)
        return {
            "kind": "KafkaBroker",
            "metadata": self._metadata(path, f"/broker={broker.id}"),
            "cluster_id": self.id,
            "broker_id": broker.id,
            "host": broker.host,
            "port": broker.port,
            "rack": None,
            "configs": self._related(*path, "configs"),
            "partition_replicas": self._related(*path, "partition-replicas"),
        }

    def topic(self, topic: Topic) -> dict[str, Any]:
        path = ("topics", topic.name)
        return {
            "kind": "KafkaTopic",
            "metadata": self._metadata(path, f"/topic={topic.name}"),
            "cluster_id": self.id,
            "topic_name": topic.name,
            "is_internal": topic.is_internal,
            "replication_factor": len(topic.partitions[0].replicas),
            "partitions_count": len(topic.partitions),
            "partitions": self._related(*path, "partitions"),
            "configs": self._related(*path, "configs"),
            "partition_reassignments": self._related(*path, "partitions", "-", "reassignment"),
            "authorized_operations": [],
        }

    def partition(self, topic: Topic, partition: Partition) -> dict[str, Any]:
        path = ("topics", topic.name, "partitions", partition.id)
        found: dict[str, Any] = {
            "kind": "KafkaPartition",
            "metadata": self._metadata(path, f"/topic={topic.name}/partition={partition.id}"),
            "cluster_id": self.id,
            "topic_name": topic.name,
            "partition_id": partition.id,
        }
        if partition.leader >= 0:
            found["leader"] = self._related(*path, "replicas", partition.leader)
        return found | {
            "replicas": self._related(*path, "replicas"),
            "reassignment": self._related(*path, "reassignment"),
        }

    def _metadata(self, path: Sequence[object], name: str) -> dict[str, str]:
        return {"self": self.to(self.id, *path), "resource_name": f"crn:///kafka={self.id}{name}"}

    def _related(self, *path: object) -> dict[str, str]:
        return {"related": self.to(self.id, *path)}


def _collection(kind: str, link: str, found: list[dict[str, Any]]) -> Reply:
    return json_reply(200, {"kind": kind, "metadata": {"self": link, "next": None}, "data": found})


def _origin(host: bytes | None, is_secure: bool) -> str:
    if host is None or not _HOST.fullmatch(host):
        return ""
    return f"{'https' if is_secure else 'http'}://{host.decode()}"


def _not_found() -> GatewayError:
    return GatewayError(NOT_FOUND, "HTTP 404 Not Found")

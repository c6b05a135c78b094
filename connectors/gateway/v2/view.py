"""What v2 tells of topics, partitions and brokers. A topic that is not the caller's is one that does not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from connectors.gateway.cluster_view import Partition, Topic
from connectors.gateway.errors import PARTITION_NOT_FOUND, GatewayError
from connectors.gateway.http import JSON, V2, Reply, Request, Route, json_reply
from connectors.gateway.visible_topics import is_visible, topic_not_found

if TYPE_CHECKING:
    from connectors.gateway.parts import Parts

_ANSWERS: Final = (V2, "application/vnd.kafka+json", JSON)
_MOST_DIGITS: Final = 10


def routes(parts: Parts) -> list[Route]:
    """Six routes, all to read."""
    view = _View(parts)
    partition = "/topics/{topic}/partitions/{partition}"
    return [
        _get("/topics", view.topics, "Names of your topics"),
        _get("/topics/{topic}", view.topic, "A topic with its settings and partitions"),
        _get("/topics/{topic}/partitions", view.partitions, "Partitions of a topic"),
        _get(partition, view.partition, "A partition with its replicas"),
        _get(f"{partition}/offsets", view.offsets, "First and next offset of a partition"),
        _get("/brokers", view.brokers, "Ids of the brokers"),
    ]


def _get(template: str, handler: Any, summary: str) -> Route:
    return Route("GET", template, handler, produces=_ANSWERS, summary=summary)


class _View:
    def __init__(self, parts: Parts) -> None:
        self._settings = parts.settings
        self._cluster = parts.cluster

    async def topics(self, request: Request) -> Reply:
        known = self._cluster.state.topics
        return json_reply(200, sorted(each for each in known if is_visible(self._settings, request.caller, each)), V2)

    async def topic(self, request: Request) -> Reply:
        topic = await self._found(request)
        configs = await self._cluster.configs(topic.name)
        partitions = [_partition(each) for each in topic.partitions]
        return json_reply(200, {"name": topic.name, "configs": configs, "partitions": partitions}, V2)

    async def partitions(self, request: Request) -> Reply:
        topic = await self._found(request)
        return json_reply(200, [_partition(each) for each in topic.partitions], V2)

    async def partition(self, request: Request) -> Reply:
        topic = await self._found(request)
        return json_reply(200, _partition(partition_named(topic, request.params["partition"])), V2)

    async def offsets(self, request: Request) -> Reply:
        topic = await self._found(request)
        partition = partition_named(topic, request.params["partition"])
        first, following = await self._cluster.offsets(topic.name, partition.id)
        return json_reply(200, {"beginning_offset": first, "end_offset": following}, V2)

    async def brokers(self, request: Request) -> Reply:
        return json_reply(200, {"brokers": [each.id for each in self._cluster.state.brokers]}, V2)

    async def _found(self, request: Request) -> Topic:
        name = request.params["topic"]
        if not is_visible(self._settings, request.caller, name):
            raise topic_not_found()
        return await self._cluster.topic(name)


def partition_named(topic: Topic, text: str) -> Partition:
    """The partition whose number a path names. Raises :class:`GatewayError` 40402."""
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
        for each in topic.partitions:
            if each.id == int(text):
                return each
    raise GatewayError(PARTITION_NOT_FOUND, "Partition not found.")


def _partition(partition: Partition) -> dict[str, Any]:
    replicas = [
        {"broker": each, "leader": each == partition.leader, "in_sync": each in partition.in_sync}
        for each in partition.replicas
    ]
    return {"partition": partition.id, "leader": partition.leader, "replicas": replicas}

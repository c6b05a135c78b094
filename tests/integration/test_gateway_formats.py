"""Schemas of topics and the view of the cluster: on the real servers, and while these are away."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from connectors.gateway.cluster_view import ClusterView
from connectors.gateway.content.schemas import Schemas
from connectors.gateway.errors import GatewayError
from connectors.kafka.client import kafka_client_config
from tests.fault.tcp_proxy import PASS, Fault, TcpProxy
from tests.free_ports import free_port
from tests.stack_under_test import StackUnderTest
from tests.waiting import patient
from weir.settings import Settings

NOTE = json.dumps({"type": "record", "name": "Note", "fields": [{"name": "text", "type": "string"}]})
WIDER = json.dumps(
    {
        "type": "record",
        "name": "Note",
        "fields": [{"name": "text", "type": "string"}, {"name": "n", "type": ["null", "int"], "default": None}],
    }
)


@pytest.fixture
def topic(stack: StackUnderTest) -> Iterator[str]:
    """The name of a topic whose subject is dropped at the end."""
    name = f"acme-{uuid.uuid4().hex[:8]}.notes"
    yield name
    for permanent in ("", "?permanent=true"):
        httpx.delete(f"{stack.settings.registry.url}/subjects/{name}-value{permanent}", trust_env=False)


def with_registry(settings: Settings, url: str, timeout_seconds: float = 1.0) -> Settings:
    registry = settings.registry.model_copy(update={"url": url, "timeout_seconds": timeout_seconds})
    return settings.model_copy(update={"registry": registry})


def code_of(error: pytest.ExceptionInfo[GatewayError]) -> int:
    return error.value.code


def test_a_schema_is_found_by_each_of_its_names(stack: StackUnderTest, topic: str) -> None:
    async def run() -> None:
        schemas = Schemas(stack.settings)
        first = await schemas.by_text(topic, False, NOTE)
        second = await schemas.by_text(topic, False, WIDER)
        assert (first.version, second.version) == (1, 2)
        assert schemas.known(topic, False, first.id) is None
        assert (await schemas.by_id(topic, False, first.id)).version == 1
        assert schemas.known(topic, False, first.id) is not None
        assert schemas.known(topic, True, first.id) is None
        assert (await schemas.by_version(topic, False, 2)).id == second.id
        assert (await schemas.latest(topic, False)).id == second.id
        assert (await schemas.by_text(topic, False, json.dumps(json.loads(NOTE), indent=2))).id == first.id
        await schemas.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ({"schema_id": 987_654}, 42207),
        ({"schema_id": -1}, 42207),
        ({"schema_id": 2**40}, 42207),
        ({"text": "int"}, 42205),
        ({}, 400),
        ({"schema_id": 1, "text": NOTE}, 400),
    ],
)
def test_names_that_lead_to_no_schema(stack: StackUnderTest, topic: str, named: dict[str, object], code: int) -> None:
    async def run() -> int:
        schemas = Schemas(stack.settings)
        try:
            with pytest.raises(GatewayError) as refused:
                await schemas.named(topic, False, **named)  # type: ignore[arg-type]
        finally:
            await schemas.close()
        return refused.value.code

    assert asyncio.run(run()) == code


def test_the_text_of_a_schema_is_not_registered_for_readings(stack: StackUnderTest) -> None:
    async def run() -> int:
        schemas = Schemas(stack.settings)
        with pytest.raises(GatewayError) as refused:
            await schemas.by_text(stack.settings.topics.readings, False, NOTE)
        await schemas.close()
        return refused.value.code

    url = f"{stack.settings.registry.url}/subjects/{stack.settings.topics.readings}-value/versions"
    before = httpx.get(url, trust_env=False).text
    assert asyncio.run(run()) == 42205
    assert httpx.get(url, trust_env=False).text == before


def test_a_client_that_makes_a_schema_a_record_is_stopped(
    stack: StackUnderTest, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.gateway.content.schemas.REGISTERED_AN_HOUR", 2)
    now = [0.0]

    async def run() -> None:
        schemas = Schemas(stack.settings, clock=lambda: now[0])
        for name in ("A", "B"):
            await schemas.by_text(topic, False, NOTE.replace("Note", name))
        with pytest.raises(GatewayError) as refused:
            await schemas.by_text(topic, False, NOTE.replace("Note", "C"))
        assert code_of(refused) == 42901
        assert (await schemas.by_text(topic, False, NOTE.replace("Note", "A"))).version == 1
        now[0] += 3_601
        assert (await schemas.by_text(topic, False, NOTE.replace("Note", "C"))).version == 3
        await schemas.close()

    asyncio.run(run())


def test_an_unknown_id_is_one_question_for_many_clients(stack: StackUnderTest, topic: str) -> None:
    url = urlsplit(stack.settings.registry.url)
    with TcpProxy(url.hostname or "", url.port or 80) as proxy:
        settings = with_registry(stack.settings, f"http://127.0.0.1:{proxy.port}{url.path}", 5.0)
        proxy.set(Fault("slow", b"/schemas/ids/98765", bytes_a_second=2_000))

        async def run() -> None:
            schemas = Schemas(settings)
            asked = [schemas.by_id(topic, False, 98_765) for _ in range(50)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert {each.code for each in answers if isinstance(each, GatewayError)} == {42207}
            with pytest.raises(GatewayError):
                await schemas.by_id(topic, False, 98_765)
            await schemas.close()

        asyncio.run(run())
        assert proxy.times_fired == 1


def test_what_is_known_holds_while_the_registry_is_away_and_the_rest_is_503(stack: StackUnderTest, topic: str) -> None:
    url = urlsplit(stack.settings.registry.url)
    now = [0.0]
    with TcpProxy(url.hostname or "", url.port or 80) as proxy:
        settings = with_registry(stack.settings, f"http://127.0.0.1:{proxy.port}{url.path}")

        async def run() -> None:
            schemas = Schemas(settings, clock=lambda: now[0])
            known = await schemas.by_text(topic, False, NOTE)
            await schemas.latest(topic, False)
            for fault in (Fault("refuse"), Fault("hang")):
                proxy.set(fault)
                now[0] += 1_000
                assert (await schemas.by_text(topic, False, NOTE)).id == known.id
                assert (await schemas.latest(topic, False)).id == known.id
                with pytest.raises(GatewayError) as refused:
                    await schemas.by_text(topic, False, WIDER)
                assert (refused.value.code, refused.value.status) == (50003, 503)
                proxy.set(PASS)
            assert (await schemas.by_text(topic, False, WIDER)).version == 2
            await schemas.close()

        asyncio.run(run())


def test_a_view_that_never_had_an_answer_says_try_again(stack: StackUnderTest) -> None:
    kafka = stack.settings.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})

    async def run() -> None:
        view = ClusterView(kafka)
        await view.start()
        assert not view.is_known
        assert view.partitions("any") is None
        with pytest.raises(GatewayError) as refused:
            await view.find("any")
        assert (refused.value.code, refused.value.status) == (50003, 503)
        with pytest.raises(GatewayError):
            _ = view.cluster_id
        await view.stop()

    asyncio.run(run())


def test_the_last_view_holds_over_a_restart_while_kafka_is_away(stack: StackUnderTest, tmp_path: Path) -> None:
    name = f"acme-{uuid.uuid4().hex[:8]}.notes"
    admin = AdminClient(kafka_client_config(stack.settings.kafka) | {"log_level": 0})
    admin.create_topics([NewTopic(name, num_partitions=3)])[name].result()
    away = stack.settings.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})

    async def run() -> None:
        view = ClusterView(stack.settings.kafka, tmp_path)
        await view.start()
        assert await view.find(name) == 3
        cluster_id = view.cluster_id
        await view.stop()
        later = ClusterView(away, tmp_path)
        await later.start()
        assert (later.partitions(name), await later.find(name), later.cluster_id) == (3, 3, cluster_id)
        with pytest.raises(GatewayError) as refused:
            await later.find("acme.unheard-of")
        assert code_of(refused) == 50003
        await later.stop()
        (tmp_path / "cluster.json").write_text("torn")
        torn = ClusterView(away, tmp_path)
        await torn.start()
        assert not torn.is_known
        await torn.stop()

    try:
        asyncio.run(run())
    finally:
        admin.delete_topics([name])[name].result()


def test_unknown_topics_cost_the_brokers_one_question_a_second(stack: StackUnderTest) -> None:
    now = [0.0]

    async def run() -> None:
        view = ClusterView(stack.settings.kafka, clock=lambda: now[0])
        await view.start()
        now[0] += 0.5
        begun = time.perf_counter()
        for number in range(1_000):
            with pytest.raises(GatewayError) as refused:
                await view.find(f"acme.nothing-{number}")
            assert code_of(refused) == 40401
        assert time.perf_counter() - begun < patient(1.0)
        await view.stop()

    asyncio.run(run())

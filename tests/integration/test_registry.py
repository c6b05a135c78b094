from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest

from connectors.registry import NEGATIVE_SECONDS, Registry
from schemas import load_schema, load_schema_text
from tests.free_ports import free_port
from tests.one_server import registered_contracts
from tests.stack_under_test import StackUnderTest
from tests.waiting import patient
from weir.errors import ConfigError, PoisonError, TransientError
from weir.settings import RegistrySettings, Settings


@pytest.fixture(scope="module")
def settings(stack: StackUnderTest) -> Iterator[Settings]:
    """Of a namespace whose contracts are registered, shared by the tests of this file."""
    with registered_contracts(stack) as (_, found):
        yield found


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def schema_named(name: str) -> str:
    return json.dumps({"type": "record", "name": name, "fields": [{"name": "a", "type": "long"}]})


def test_a_registered_schema_comes_back_by_its_id(settings: Settings) -> None:
    subject = f"{settings.topics.readings}-value"
    with Registry(settings.registry) as registry:
        latest = registry.latest(subject)
        assert latest is not None
        assert latest.version == 1
        assert latest.schema == load_schema("Reading")
        assert registry.schema(latest.id) == load_schema("Reading")
        assert registry.register(subject, load_schema_text("Reading")) == latest.id
        assert registry.latest(f"{subject}-nothing") is None


def test_a_schema_that_was_read_once_needs_the_registry_no_more(settings: Settings) -> None:
    registry = Registry(settings.registry)
    latest = registry.latest(f"{settings.topics.aggregates_1m}-value")
    assert latest is not None
    first = registry.schema(latest.id)
    registry.close()
    assert registry.schema(latest.id) is first


def test_an_unknown_id_is_poison_and_is_asked_for_again_after_some_seconds(settings: Settings) -> None:
    clock = FakeClock()
    with Registry(settings.registry, clock) as registry:
        subject = f"{settings.namespace}.later-value"
        newest = registry.register(subject, schema_named("First"))
        coming = newest + 1
        while True:
            try:
                registry.schema(coming)
            except PoisonError as error:
                assert error.reason == "unknown_schema_id"
                assert str(coming) in error.detail
                break
            coming += 1  # somebody else on this registry was quicker
        second = f"{settings.namespace}.second-value"
        given = registry.register(second, schema_named(f"Second{settings.namespace}"))
        if given != coming:
            pytest.fail(f"expected id {coming} for the next schema, the registry gave {given}")
        with pytest.raises(PoisonError):
            registry.schema(coming)
        clock.now += NEGATIVE_SECONDS + 0.1
        assert registry.schema(coming)["name"] == f"Second{settings.namespace}"


def test_schemas_with_maps_and_wide_unions_can_be_read(settings: Settings) -> None:
    schema = {
        "type": "record",
        "name": "Wide",
        "fields": [
            {"name": "tags", "type": {"type": "map", "values": "string"}},
            {"name": "value", "type": ["null", "long", "string"]},
        ],
    }
    with Registry(settings.registry) as registry:
        schema_id = registry.register(f"{settings.namespace}.wide-value", json.dumps(schema))
        assert registry.schema(schema_id) == schema


def test_an_incompatible_schema_is_refused_in_the_registrys_own_words(settings: Settings) -> None:
    subject = f"{settings.topics.readings}-value"
    broken = load_schema("Reading")
    broken["fields"].append({"name": "brand_new", "type": "string"})
    with Registry(settings.registry) as registry:
        assert registry.incompatibilities(subject, load_schema_text("Reading")) == []
        assert registry.incompatibilities(subject, json.dumps(broken))
        with pytest.raises(ConfigError, match=r"\(409\)"):
            registry.register(subject, json.dumps(broken))
        with pytest.raises(ConfigError):
            registry.register(subject, "{not json")


def test_a_compatible_schema_becomes_the_next_version(settings: Settings) -> None:
    subject = f"{settings.topics.alerts}-value"
    grown = load_schema("Alert")
    grown["fields"].append({"name": "extra", "type": ["null", "string"], "default": None, "doc": "More."})
    with Registry(settings.registry) as registry:
        schema_id = registry.register(subject, json.dumps(grown))
        latest = registry.latest(subject)
        assert latest is not None
        assert (latest.id, latest.version) == (schema_id, 2)


def test_threads_may_share_one_registry(settings: Settings) -> None:
    with Registry(settings.registry) as registry:
        latest = registry.latest(f"{settings.topics.readings}-value")
        assert latest is not None
        found: list[object] = []
        threads = [threading.Thread(target=lambda: found.append(registry.schema(latest.id))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [load_schema("Reading")] * 16


def test_a_registry_that_is_away_is_asked_a_few_times_and_then_given_up() -> None:
    began = time.monotonic()
    with (
        Registry(RegistrySettings(url=f"http://127.0.0.1:{free_port()}/apis/ccompat/v7")) as registry,
        pytest.raises(TransientError, match="cannot be reached"),
    ):
        registry.schema(1)
    assert time.monotonic() - began < patient(10)


def test_a_url_that_is_no_registry_is_the_configuration(settings: Settings) -> None:
    with Registry(RegistrySettings(url="not-a-url")) as registry, pytest.raises(ConfigError, match="REGISTRY__URL"):
        registry.latest("x")
    ping = f"{settings.clickhouse.url}/ping?"
    with (
        Registry(RegistrySettings(url=ping)) as registry,
        pytest.raises(ConfigError, match="as a schema registry does"),
    ):
        registry.latest("x")

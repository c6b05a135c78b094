"""Where the parts of a stack answer, and the settings file that says so."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from weir.stack.plan import HOST, StackPlan

SESSION_SECONDS = 5
"""Silence after which a worker of the embedded stack loses its partitions.

A killed worker's successor waits for it, and starts meanwhile: its largest part until it has caught up
(`weir bench recovery`). Heartbeats come from a thread of librdkafka's own, five a session."""

CONNECTION_VARIABLES = (
    "WEIR_KAFKA__BOOTSTRAP_SERVERS",
    "WEIR_KAFKA__SECURITY_PROTOCOL",
    "WEIR_KAFKA__SASL_MECHANISM",
    "WEIR_KAFKA__SASL_USERNAME",
    "WEIR_KAFKA__SASL_PASSWORD",
    "WEIR_KAFKA__SSL_CA_LOCATION",
    "WEIR_REGISTRY__URL",
    "WEIR_REGISTRY__USERNAME",
    "WEIR_REGISTRY__PASSWORD",
    "WEIR_POSTGRES__DSN",
    "WEIR_CLICKHOUSE__URL",
    "WEIR_CLICKHOUSE__USERNAME",
    "WEIR_CLICKHOUSE__PASSWORD",
    "WEIR_WORKER__WEB_HOST",
    "WEIR_WORKER__WEB_PORT",
    "WEIR_WORKER__DATA_DIR",
    "WEIR_API__HOST",
    "WEIR_API__PORT",
    "WEIR_GATEWAY__HOST",
    "WEIR_GATEWAY__PORT",
    "WEIR_GATEWAY__DATA_DIR",
    "WEIR_GATEWAY__TLS_CERTIFICATE",
    "WEIR_GATEWAY__TLS_KEY",
    "WEIR_PROBE__HOST",
    "WEIR_PROBE__PORT",
    "WEIR_PROBE__GATEWAY_URL",
)
"""Variables that would lead a child of the stack to other servers: they win over the settings file."""


@dataclass(frozen=True)
class Endpoints:
    """Address of each part that runs; None for one that does not. ``faust`` is the first worker's web page."""

    kafka: str | None = None
    registry: str | None = None
    postgres: str | None = None
    clickhouse: str | None = None
    api: str | None = None
    gateway: str | None = None
    faust: str | None = None

    @classmethod
    def of(cls, plan: StackPlan) -> Endpoints:
        """The addresses that the parts of ``plan`` answer at."""
        known = every_address(plan)
        return cls(**{part: address for part, address in known.items() if plan.has(part)})

    def to_dict(self) -> dict[str, str]:
        """The parts that run, as ``weir up --json`` prints them."""
        parts = (("kafka", self.kafka), ("registry", self.registry), ("postgres", self.postgres))
        more = (("clickhouse", self.clickhouse), ("api", self.api), ("gateway", self.gateway), ("faust", self.faust))
        return {name: address for name, address in parts + more if address is not None}


def every_address(plan: StackPlan) -> dict[str, str]:
    """The address of each part, whether ``plan`` runs it or not."""
    return {
        "kafka": f"{HOST}:{plan.port('kafka')}",
        "registry": f"http://{HOST}:{plan.port('registry')}/apis/ccompat/v7",
        "postgres": f"postgresql://postgres@{HOST}:{plan.port('postgres')}/weir",
        "clickhouse": f"http://{HOST}:{plan.port('clickhouse')}",
        "api": f"http://{HOST}:{plan.port('api')}",
        "gateway": f"http://{HOST}:{plan.port('gateway')}",
        "faust": f"http://{HOST}:{plan.port('faust')}",
    }


def settings_text(plan: StackPlan) -> str:
    """The TOML that leads :func:`weir.settings.load_settings` to this stack."""
    address = every_address(plan)
    return (
        "# The addresses of this embedded stack, for WEIR_CONFIG. `weir up` rewrites this file.\n"
        f'[kafka]\nbootstrap_servers = "{address["kafka"]}"\n\n'
        f'[registry]\nurl = "{address["registry"]}"\n\n'
        f'[postgres]\ndsn = "{address["postgres"]}"\n\n'
        f'[clickhouse]\nurl = "{address["clickhouse"]}"\n\n'
        f"[stream]\nsession_timeout_seconds = {SESSION_SECONDS}\n\n"
        f"[worker]\nweb_port = {plan.port('faust')}\ndata_dir = {_toml_string(plan.part_dir('worker'))}\n\n"
        f"[api]\nport = {plan.port('api')}\n\n"
        f"[gateway]\nport = {plan.port('gateway')}\ndata_dir = {_toml_string(plan.part_dir('gateway'))}\n\n"
        f"[probe]\nport = {plan.port('probe')}\n"
    )


def _toml_string(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def write_settings(plan: StackPlan) -> Path:
    """Write the settings file of ``plan`` (mode 0600, replaced at once) and return its path."""
    replace_file(plan.settings_file, settings_text(plan))
    return plan.settings_file


def replace_file(path: Path, text: str) -> None:
    """Replace ``path`` by ``text``: a reader sees the old or the new, never a half. Only the owner can read it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def child_environment(plan: StackPlan) -> dict[str, str]:
    """The environment of the stack's children: this one, led to this stack and to no other server."""
    kept = {name: value for name, value in os.environ.items() if name.upper() not in CONNECTION_VARIABLES}
    return {**kept, "WEIR_CONFIG": str(plan.settings_file)}

"""Routes for whoever runs the gateway: is it alive, should clients come, what did it count.

They are open: what they say names no organisation, no device and no topic. A proxy in front need not pass them on.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from connectors.gateway.errors import KAFKA_RETRIABLE, GatewayError
from connectors.gateway.http import JSON, V2, Reply, Request, Route, json_reply
from connectors.gateway.server.metrics import WATCHED

if TYPE_CHECKING:
    from connectors.gateway.parts import Parts

PLAIN: Final = "text/plain"
FULL: Final = 0.95
"""Share of the spool from which it counts as full: what does not fit is refused before the last byte is taken."""


def routes(parts: Parts) -> list[Route]:
    """The four pages; from here on the metrics tell of ``parts``."""
    watch(parts)

    async def alive(_: Request) -> Reply:
        return json_reply(200, {"status": "ok"})

    async def ready(_: Request) -> Reply:
        wrong = complaint(parts)
        if wrong is None:
            return json_reply(200, {"status": "ok"})
        raise GatewayError(KAFKA_RETRIABLE, wrong, retry_after=1.0)

    async def counted(_: Request) -> Reply:
        return Reply(200, generate_latest(), CONTENT_TYPE_LATEST)

    async def root(_: Request) -> Reply:
        return Reply(200, b"{}", V2)

    return [
        Route("GET", "/", root, produces=(V2, JSON), is_open=True, summary="Nothing, as Confluent's proxy says"),
        Route("GET", "/health", alive, is_open=True, summary="The process answers"),
        Route("GET", "/ready", ready, is_open=True, summary="Requests would be taken; 503 says why not"),
        Route("GET", "/metrics", counted, produces=(PLAIN,), is_open=True, summary="Metrics for Prometheus"),
    ]


def complaint(parts: Parts) -> str | None:
    """Why no client should come now; None when requests are taken."""
    if parts.is_draining:
        return "The gateway is being stopped."
    if time.monotonic() >= parts.door.watch.holds_until:
        return "Keys cannot be checked: Postgres is away."
    if not parts.log.is_up and parts.log.spooled_bytes > FULL * parts.settings.gateway.spool_bytes:
        return "Kafka is away and the spool is full."
    return None


def watch(parts: Parts) -> None:
    """Let the metrics read ``parts`` when they are asked for."""
    log, door, away = parts.log, parts.door, parts.settings.gateway.away_seconds
    WATCHED.watch("weir_gateway_in_flight_records", lambda: log.in_flight)
    WATCHED.watch("weir_gateway_kafka_up", lambda: float(log.is_up))
    WATCHED.watch("weir_gateway_stalls_total", lambda: log.stalls)
    WATCHED.watch("weir_gateway_spool_records", lambda: log.spooled_records)
    WATCHED.watch("weir_gateway_spool_bytes", lambda: log.spooled_bytes)
    WATCHED.watch("weir_gateway_spool_replayed_total", lambda: log.replayed_total)
    WATCHED.watch("weir_gateway_spool_refused_total", lambda: log.refused_total)
    WATCHED.watch("weir_gateway_spool_damaged_bytes", lambda: log.damaged_bytes)
    WATCHED.watch("weir_gateway_spool_failed_writes_total", lambda: log.failed_writes)
    WATCHED.watch("weir_gateway_usage_rows", lambda: parts.usage.waiting_rows)
    WATCHED.watch("weir_gateway_keys_cached", lambda: door.identity.known_keys)
    WATCHED.watch("weir_gateway_devices_cached", lambda: door.fleet.known_devices)
    WATCHED.watch("weir_gateway_postgres_age_seconds", lambda: _age(door.watch.holds_until, away))


def _age(holds_until: float, away_seconds: float) -> float | None:
    age = time.monotonic() - (holds_until - away_seconds)
    return max(0.0, age) if age != float("inf") else None  # before the first answer it is not known

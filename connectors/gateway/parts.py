"""Everything that the gateway consists of, opened in the order in which one needs the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from connectors.gateway import openapi, service
from connectors.gateway.app import Gateway
from connectors.gateway.cluster_view import ClusterView
from connectors.gateway.content.reading import Span
from connectors.gateway.content.reading_encoder import ReadingEncoder
from connectors.gateway.content.reading_format import ReadingFormat
from connectors.gateway.content.schemas import Schemas
from connectors.gateway.door.door import Door, open_door
from connectors.gateway.door.fleet import Fleet
from connectors.gateway.door.identity import Identity
from connectors.gateway.http import Route, Router
from connectors.gateway.idempotency import Idempotency
from connectors.gateway.intake import Intake, Readings, Rules
from connectors.gateway.log.broker_log import BrokerLog
from connectors.gateway.quota.dimensions import Dimensions
from connectors.gateway.quota.quotas import Quotas
from connectors.gateway.quota.sampling import Sampler
from connectors.gateway.quota.usage import Usage
from connectors.gateway.server import metrics
from connectors.gateway.server.observation import Observation, open_observation
from connectors.gateway.v2 import produce as v2_produce
from connectors.gateway.v2 import view as v2_view
from connectors.gateway.v3 import records as v3_records
from connectors.gateway.v3 import view as v3_view
from connectors.registry import Registry, value_subject
from weir.errors import ConfigError
from weir.settings import Settings

STOP_SECONDS: Final = 10.0
"""How long what is in flight may take at the end, before it goes to the spool."""


@dataclass(slots=True)
class Parts:
    """What handlers work with. ``is_draining``: the end is near, and whoever asks whether to come should not."""

    settings: Settings
    observation: Observation
    log: BrokerLog
    cluster: ClusterView
    schemas: Schemas
    door: Door
    quotas: Quotas
    dimensions: Dimensions
    usage: Usage
    readings: ReadingFormat
    intake: Intake
    idempotency: Idempotency
    is_draining: bool = False

    @property
    def identity(self) -> Identity:
        """Who calls."""
        return self.door.identity

    @property
    def fleet(self) -> Fleet:
        """Devices and organisations."""
        return self.door.fleet


@asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[Parts]:
    """Open everything, and close it in the opposite order: the log first, so that nothing taken is lost.

    Raises :class:`ConfigError` when the topic of readings has no schema or the spool is another process's,
    :class:`~weir.errors.TransientError` when the registry is away.
    """
    encoder = await asyncio.to_thread(_encoder, settings)
    gateway = settings.gateway
    async with AsyncExitStack() as opened:
        observation = await opened.enter_async_context(open_observation(gateway))
        schemas = Schemas(settings)
        opened.push_async_callback(schemas.close)
        cluster = ClusterView(settings.kafka, gateway.data_dir)
        await cluster.start()
        opened.push_async_callback(cluster.stop)
        door = await opened.enter_async_context(open_door(settings))
        usage = Usage(settings)
        await usage.start()
        opened.push_async_callback(usage.stop)
        dimensions = Dimensions(gateway.data_dir / "dimensions")
        await dimensions.start()
        opened.push_async_callback(dimensions.stop)
        log = BrokerLog(settings, gateway.data_dir / "spool")
        await log.start()
        opened.push_async_callback(log.stop, STOP_SECONDS)
        quotas = Quotas(gateway)
        span = Span(settings.retention.raw_days, settings.stream.future_skew_seconds)
        backlog_ms = round(gateway.backlog_seconds * 1000)
        readings = Readings(settings.topics.readings, encoder.encode, span, backlog_ms, cluster.partitions)
        rules = Rules(door.fleet, quotas, Sampler(), dimensions)
        intake = Intake(readings, rules, log, usage, metrics.RECORDS)
        idempotency = Idempotency(gateway.idempotency_seconds, gateway.idempotency_bytes)
        yield Parts(
            settings,
            observation,
            log,
            cluster,
            schemas,
            door,
            quotas,
            dimensions,
            usage,
            ReadingFormat(gateway.json_depth),
            intake,
            idempotency,
        )


def make_app(parts: Parts) -> Gateway:
    """The application of these parts."""
    return Gateway(parts, Router(routes(parts)))


def routes(parts: Parts) -> list[Route]:
    """Every route there is."""
    found: list[Route] = []
    for each in (v2_produce, v2_view, v3_records, v3_view, service):
        found += each.routes(parts)
    found += openapi.routes(lambda: found)
    return found


def _encoder(settings: Settings) -> ReadingEncoder:
    topic = settings.topics.readings
    with Registry(settings.registry) as registry:
        latest = registry.latest(value_subject(topic))
    if latest is None:
        raise ConfigError(f"The registry has no schema for {topic}; run `weir migrate`.")
    return ReadingEncoder(latest.schema, latest.id)

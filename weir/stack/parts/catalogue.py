"""The parts of a plan, as objects."""

from __future__ import annotations

from pathlib import Path

from weir.stack.parts.api import Api
from weir.stack.parts.clickhouse import ClickHouse
from weir.stack.parts.gateway import Gateway
from weir.stack.parts.kafka import Kafka
from weir.stack.parts.part import Part
from weir.stack.parts.postgres import Postgres
from weir.stack.parts.registry import Registry
from weir.stack.parts.worker import Worker
from weir.stack.plan import StackPlan

SERVERS: tuple[type[Part], ...] = (Kafka, Postgres, Registry, ClickHouse)


def servers(plan: StackPlan, cache: Path) -> list[Part]:
    """The servers of ``plan``, in start order."""
    made = [kind(plan, cache) for kind in SERVERS]
    return [part for part in made if plan.has(part.name)]


def programs(plan: StackPlan, cache: Path) -> list[Part]:
    """The programs of ours in ``plan``, which start once the servers are migrated: API, gateway and workers."""
    single: list[Part] = [kind(plan, cache) for kind in (Api, Gateway) if plan.has(kind.name)]
    return single + [Worker(plan, cache, number) for number in range(plan.workers) if plan.has("faust")]

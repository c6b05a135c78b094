"""How each process of a stack is: asked of the part itself, and of the system."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil

from weir.stack.artifacts import cache_dir
from weir.stack.parts.catalogue import programs, servers
from weir.stack.parts.part import Part
from weir.stack.state import ProcessRecord, StackState


@dataclass(frozen=True)
class PartReport:
    """One part: ``pid``, ``uptime_seconds`` and ``memory_bytes`` (resident, its children's too) while it runs."""

    name: str
    port: int
    address: str
    healthy: bool
    pid: int | None = None
    uptime_seconds: float | None = None
    memory_bytes: int | None = None


def examine(state: StackState) -> list[PartReport]:
    """Ask every part of the stack at once; takes as long as the slowest answer, a few seconds at most."""
    parts = [*servers(state.plan, cache_dir()), *programs(state.plan, cache_dir())]
    records = {record.name: record for record in state.children}
    with ThreadPoolExecutor(max(len(parts), 1)) as pool:
        return list(pool.map(lambda part: _examine(part, records.get(part.name)), parts))


def _examine(part: Part, record: ProcessRecord | None) -> PartReport:
    process = record.process() if record else None
    if process is None:
        return PartReport(part.name, part.port, part.address, healthy=False)
    try:
        family = [process, *process.children(recursive=True)]
        memory = sum(member.memory_info().rss for member in family)
        uptime = time.time() - process.create_time()
    except psutil.Error:
        return PartReport(part.name, part.port, part.address, healthy=False)
    return PartReport(part.name, part.port, part.address, part.healthy(), process.pid, uptime, memory)

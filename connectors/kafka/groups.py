"""Consumer groups of the stages: how long a silent worker keeps its partitions.

With KIP-848 that time is the group's, kept by the brokers: a client cannot send it, so a migration sets it.
"""

from __future__ import annotations

from typing import Final

from connectors.kafka.cluster import Cluster
from weir.change import Change
from weir.settings import Settings

HEARTBEATS_A_SESSION: Final = 5
SLOWEST_HEARTBEAT_MS: Final = 5_000


def apply_groups(settings: Settings, dry_run: bool = False) -> list[Change]:
    """Set session time-out and heartbeat interval of every stage's group; a dry run only says so. Blocks.

    Raises :class:`ConfigError` when the brokers allow no such time-out, :class:`TransientError` when they are away.
    """
    cluster = Cluster(settings.kafka)
    session_ms = round(settings.stream.session_timeout_seconds * 1000)
    wanted = {
        "consumer.session.timeout.ms": str(session_ms),
        "consumer.heartbeat.interval.ms": str(min(SLOWEST_HEARTBEAT_MS, session_ms // HEARTBEATS_A_SESSION)),
    }
    changes = []
    for name, config in cluster.group_configs(list(settings.groups.all)).items():
        drift = {key: value for key, value in wanted.items() if config.get(key) != value}
        if drift and not dry_run:
            cluster.alter_group(name, drift)
        told = ", ".join(f"{key} {config.get(key)} → {value}" for key, value in drift.items())
        changes.append(Change("kafka", f"group {name}", "alter" if drift else "unchanged", told))
    return changes

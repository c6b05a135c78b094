"""Tables on a cluster: each as a replicated table on every shard, and a Distributed one over them under its own name.

The Distributed table has the name that the table has on a single server, so whoever writes or reads needs no other
words. What chooses a row's shard is computed from its identity alone: a resend, a revision and a block that is sent
again under its token meet what they repeat in the shard where it lies. docs/scale.md says what that rests on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sinks.clickhouse.relation import Table
from weir.settings import Settings

LOCAL: Final = "_local"
"""End of the name of the table that holds a shard's rows."""

_BY_DEVICE: Final = "kafkaMurmurHash(device_id) % {partitions}"
"""The partition that Kafka's default partitioner gives to a device. A block comes from one partition, so it goes to one
shard whole: as many inserts and parts as without a cluster, not as many again for every shard."""

SHARDING: Final[dict[str, str]] = {
    "raw_readings": _BY_DEVICE,
    "agg_1m": _BY_DEVICE,
    "agg_1h": _BY_DEVICE,
    "alerts": _BY_DEVICE,
    "events": _BY_DEVICE,
    "dead_letters": "partition",
    "usage": "cityHash64(toString(org_id))",
    "metric_definitions": "cityHash64(name)",
}
"""What chooses the shard of each table's rows: columns of its ORDER BY only, or rows would never meet."""

_SECONDS_A_DAY: Final = 86_400


def sharded(tables: Sequence[Table], settings: Settings) -> list[Table]:
    """``tables`` as they are, or, with a cluster in the settings, both tables that make up each, the local one first.

    Rows are written to, altered in and read through the second; an alteration must reach the first before it.
    """
    if settings.clickhouse.cluster is None:
        return list(tables)
    return [made for table in tables for made in (_local(table, settings), _distributed(table, settings))]


def _local(table: Table, settings: Settings) -> Table:
    name = table.name + LOCAL
    kind, _, arguments = table.engine.partition("(")
    path = f"'/clickhouse/tables/{{shard}}/{settings.clickhouse.database}/{name}', '{{replica}}'"
    remembered = {
        "replicated_deduplication_window": str(settings.clickhouse.dedup_window_blocks),
        # a token is asked for again for as long as Kafka keeps what it stands for; the server's default is an hour
        "replicated_deduplication_window_seconds": str(settings.retention.topic_days * _SECONDS_A_DAY),
    }
    own = {name: value for name, value in table.settings.items() if name != "non_replicated_deduplication_window"}
    return replace(
        table,
        name=name,
        comment=f"Rows of this shard; read and write {table.name}.",
        engine=f"Replicated{kind}({path}{', ' + arguments if arguments else ')'}",
        settings=own | remembered,
        cluster=settings.clickhouse.cluster or "",
    )


def _distributed(table: Table, settings: Settings) -> Table:
    where = settings.clickhouse
    key = SHARDING[table.name].format(partitions=settings.kafka.partitions)
    return Table(
        name=table.name,
        comment=table.comment,
        columns=tuple(replace(column, codec="") for column in table.columns),
        engine=f"Distributed('{where.cluster}', '{where.database}', '{table.name}{LOCAL}', {key})",
        partition_by="",
        order_by="",
        cluster=where.cluster or "",
    )

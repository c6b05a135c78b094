"""What Weir asks of a ClickHouse cluster: of each of its sessions, and of the servers before anything is made on them.

docs/scale.md says what each of these keeps of the promise.
"""

from __future__ import annotations

from typing import Any, Final

from clickhouse_connect.driver import Client

from weir.errors import ConfigError
from weir.settings import ClickHouseSettings

MACROS: Final = ("replica", "shard")
"""What names a server's place: they fill the paths in Keeper."""

_SHARDS: Final = """
SELECT shard_num, count(), min(internal_replication) FROM system.clusters
WHERE cluster = {cluster:String} GROUP BY shard_num ORDER BY shard_num
"""

_PLACES: Final = """
SELECT hostName(), groupArray((macro, substitution)) FROM clusterAllReplicas({cluster:String}, system.macros)
WHERE macro IN ('replica', 'shard') GROUP BY hostName()
"""

_POLICIES: Final = """
SELECT count() FROM clusterAllReplicas({cluster:String}, system.storage_policies)
WHERE policy_name = {policy:String} AND volume_name = 'cold'
"""

_ON_EVERY_SERVER: Final = """
SELECT name FROM (
    SELECT name FROM clusterAllReplicas({cluster:String}, system.databases) WHERE name = {database:String}
    UNION ALL
    SELECT name FROM clusterAllReplicas({cluster:String}, system.tables) WHERE database = {database:String}
) GROUP BY name HAVING count() = (SELECT count() FROM system.clusters WHERE cluster = {cluster:String})
"""


def session_settings(settings: ClickHouseSettings) -> dict[str, Any]:
    """What every session of Weir's on a cluster says; nothing without one."""
    if settings.cluster is None:
        return {}
    return {
        "distributed_foreground_insert": 1,  # else a block counts as stored while it lies in one server's outbox
        "insert_quorum": settings.insert_quorum,  # what is acknowledged outlives the loss of one server
        "insert_quorum_parallel": 0,  # without which the next line has no effect
        "select_sequential_consistency": 1,  # a correction reads what was stored a moment before, never less
        "insert_quorum_timeout": max(1, round(settings.timeout_seconds * 900)),  # ms: answered while we still listen
        "load_balancing": "in_order",  # read from the replica that was written to: it is never behind itself
        "prefer_localhost_replica": 0,  # whichever server was asked
        "distributed_product_mode": "global",  # a subquery means the rows of all shards
        "skip_unavailable_shards": 0,  # a shard that is away is no shard without rows
    }


def check_cluster(client: Client, settings: ClickHouseSettings) -> None:
    """See that the servers form the cluster that the tables need; nothing to see without one.

    Raises :class:`~weir.errors.ConfigError` that says what to do in the servers' configuration.
    """
    cluster = settings.cluster
    if cluster is None:
        return
    shards = client.query(_SHARDS, {"cluster": cluster}).result_rows
    if not shards:
        raise ConfigError(
            f"ClickHouse knows no cluster {cluster}; define it under remote_servers on every server, "
            "or see WEIR_CLICKHOUSE__CLUSTER."
        )
    if not all(internal for _, _, internal in shards):
        raise ConfigError(f"Shards of the cluster {cluster} lack internal_replication; set it, the tables replicate.")
    fewest = min(int(replicas) for _, replicas, _ in shards)
    wanted = 2 if settings.insert_quorum == "auto" else int(settings.insert_quorum)
    if fewest < wanted:
        raise ConfigError(
            f"A shard of the cluster {cluster} has {fewest} of the {wanted} replicas that an insert needs; "
            "add replicas, or set WEIR_CLICKHOUSE__INSERT_QUORUM."
        )
    _check_macros(client, cluster, sum(int(replicas) for _, replicas, _ in shards), len(shards))
    _check_policy(client, settings, sum(int(replicas) for _, replicas, _ in shards))


def _check_macros(client: Client, cluster: str, servers: int, shards: int) -> None:
    places = [dict(pairs) for _, pairs in client.query(_PLACES, {"cluster": cluster}).result_rows]
    whole = [(each["shard"], each["replica"]) for each in places if set(each) == set(MACROS)]
    if len(set(whole)) < servers or len({shard for shard, _ in whole}) != shards:
        raise ConfigError(
            f"The servers of the cluster {cluster} need the macros shard and replica: one shard for all replicas of "
            "a shard, and each replica a name of its own in it."
        )


def _check_policy(client: Client, settings: ClickHouseSettings, servers: int) -> None:
    policy = settings.storage_policy
    if not policy:
        return
    ((having,),) = client.query(_POLICIES, {"cluster": settings.cluster, "policy": policy}).result_rows
    if having < servers:
        raise ConfigError(f"Not every server of the cluster has the storage policy {policy} with a volume named cold.")


def on_every_server(client: Client, settings: ClickHouseSettings) -> set[str]:
    """Names of what every server of the cluster has: the database, its tables and views. A new replica lacks some."""
    asked = {"cluster": settings.cluster, "database": settings.database}
    return {str(name) for (name,) in client.query(_ON_EVERY_SERVER, asked).result_rows}


def check_form(client: Client, settings: ClickHouseSettings) -> None:
    """See that tables which exist are of the form that the settings name: one server's, or a cluster's.

    Raises :class:`~weir.errors.ConfigError`: writing to a cluster's tables as if they were one server's would call
    stored what is not.
    """
    query = "SELECT engine FROM system.tables WHERE database = {database:String} AND name = 'raw_readings'"
    engine = next((row[0] for row in client.query(query, {"database": settings.database}).result_rows), None)
    if engine == "Distributed" and settings.cluster is None:
        raise ConfigError(
            f"The tables of ClickHouse's database {settings.database} belong to a cluster; "
            "set WEIR_CLICKHOUSE__CLUSTER to its name."
        )
    if engine not in (None, "Distributed") and settings.cluster is not None:
        raise ConfigError(
            f"The tables of ClickHouse's database {settings.database} are one server's; "
            f"docs/scale.md says how their rows come to the cluster {settings.cluster}."
        )

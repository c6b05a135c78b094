"""The tables of a cluster in one ClickHouse engine, with Keeper in memory; prints what was seen as JSON.

``python -m tests.clustered_engine FOLDER``: a process of its own, because an engine has one path and one configuration.
The engine makes replicated and Distributed tables, but it is no server: nothing reaches another one, and ON CLUSTER is
parsed and then left out. What a Distributed insert does (cut a block by the sharding key, pass each shard its rows with
the block's token) is done here by hand, on two databases that stand for two shards.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import chdb
from chdb.state.sqlitelike import Connection
from clickhouse_connect.driver import Client
from confluent_kafka import murmur2

from sinks.clickhouse import ddl
from sinks.clickhouse.relation import quoted
from sinks.clickhouse.sharded import SHARDING
from sinks.clickhouse.tables import tables
from weir.settings import ClickHouseSettings, RetentionSettings, Settings

CONFIGURATION = """
<clickhouse>
  <zookeeper><implementation>testkeeper</implementation></zookeeper>
  <macros><shard>01</shard><replica>one</replica></macros>
  <remote_servers><lab><shard>
    <internal_replication>true</internal_replication><replica><host>127.0.0.1</host><port>1</port></replica>
  </shard></lab></remote_servers>
</clickhouse>
"""

PARTITIONS = 12
SHARD = SHARDING["raw_readings"].format(partitions=PARTITIONS)


class FakeCluster:
    """A client of the engine as if it were all servers of the cluster ``lab``."""

    def __init__(self, engine: Connection) -> None:
        """Ask ``engine``."""
        self._engine = engine

    def query(self, sql: str, parameters: dict[str, Any] | None = None) -> SimpleNamespace:
        """What every server would be asked, this one answers."""
        here = sql.replace("clusterAllReplicas({cluster:String}, system.", "(SELECT * FROM system.")
        result = self._engine.query(here, "JSONCompactEachRow", params=parameters or {})
        rows = [json.loads(line) for line in result.bytes().decode().splitlines()]
        return SimpleNamespace(result_rows=rows)

    def command(self, sql: str) -> None:
        """Check that the engine understands the statement as it is, and carry it out on this server."""
        assert "ON CLUSTER `lab`" in sql
        for check in (f"EXPLAIN AST {sql}", f"SELECT formatQuery({quoted(sql)})"):
            self._engine.query(check)
        self._engine.query(sql.replace(" ON CLUSTER `lab`", ""))


def main() -> None:
    """Migrate twice, plan a third migration, then send blocks to two shards."""
    folder = Path(sys.argv[1])
    configuration = folder / "cluster.xml"
    configuration.write_text(CONFIGURATION)
    engine = chdb.connect(f"{folder}/engine?config-file={configuration}")
    status = 1
    try:
        print(json.dumps({"migrations": _migrations(engine), "shards": _shards(engine)}), flush=True)
        status = 0
    except Exception:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)  # an engine that holds replicated tables and no server around it does not end in order


def _migrations(engine: Connection) -> list[dict[str, str]]:
    client = cast("Client", FakeCluster(engine))
    of_one = ClickHouseSettings(cluster="lab", insert_quorum="1")
    first, later = Settings(clickhouse=of_one), Settings(clickhouse=of_one, retention=RetentionSettings(raw_days=9))
    return [
        {change.name: f"{change.action} {change.detail}".strip() for change in ddl.apply(client, settings, dry_run)}
        # without a server around it the engine's replicated tables stay read-only: it can make them, not alter them
        for settings, dry_run in ((first, False), (first, False), (later, True))
    ]


def _shards(engine: Connection) -> dict[str, Any]:
    raw = next(table for table in tables(Settings()) if table.name == "raw_readings")
    for database in ("block", "shard0", "shard1", "shard2"):
        engine.query(f"CREATE DATABASE {database}")
        engine.query(raw.create(database))
    seen: dict[str, Any] = {}
    _fill(engine, first=0, value=1)
    _send(engine, "a")
    _send(engine, "a")
    seen["sent twice"] = _count(engine)
    seen["in each shard"] = [_number(engine, f"SELECT count() FROM shard{n}.raw_readings") for n in (0, 1)]
    _fill(engine, first=1_000, value=2)
    _send(engine, "b", to=[0])  # the other shard was away
    _send(engine, "b")
    seen["resent, one shard late"] = _count(engine)
    seen["newest"] = _number(engine, "SELECT countIf(value = 2) FROM ({})")
    _send(engine, "b", shards=3)
    seen["sent again to another number of shards"] = _count(engine, shards=3)
    devices = [f"acme-esp32-{n}" for n in range(500)] + ["gerät", ""]
    partition = f"SELECT {SHARD} FROM (SELECT {{device:String}} AS device_id)"
    theirs = [_number(engine, partition, device=device) for device in devices]
    seen["like Kafka's partitioner"] = theirs == [murmur2(device.encode(), PARTITIONS) for device in devices]
    return seen


def _fill(engine: Connection, first: int, value: int) -> None:
    engine.query("TRUNCATE TABLE block.raw_readings")
    engine.query(
        "INSERT INTO block.raw_readings (org_id, device_id, sensor, ts, value, is_number, offset) SELECT 'o', "
        f"concat('d', toString(number)), 's', toStartOfDay(now()), {value}, true, number + {first} FROM numbers(100)"
    )


def _send(engine: Connection, token: str, shards: int = 2, to: list[int] | None = None) -> None:
    for shard in range(shards) if to is None else to:
        engine.query(
            f"INSERT INTO shard{shard}.raw_readings SETTINGS insert_deduplication_token = '{token}' "
            f"SELECT * FROM block.raw_readings WHERE ({SHARD}) % {shards} = {shard}"
        )


def _count(engine: Connection, shards: int = 2) -> list[int]:
    """Rows as they lie, and rows as FINAL on each shard shows them."""
    lying = sum(_number(engine, f"SELECT count() FROM shard{n}.raw_readings") for n in range(shards))
    return [lying, _number(engine, "SELECT count() FROM ({})", shards)]


def _number(engine: Connection, query: str, shards: int = 2, **parameters: str) -> int:
    final = " UNION ALL ".join(f"SELECT * FROM shard{n}.raw_readings FINAL" for n in range(shards))
    result = engine.query(query.replace("{}", final), "TSV", params=parameters)
    return int(result.bytes())


if __name__ == "__main__":
    main()

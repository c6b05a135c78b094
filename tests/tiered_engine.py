"""The raw table in a ClickHouse engine with a hot and a cold disk; prints what became of two rows as JSON.

``python -m tests.tiered_engine FOLDER``: a process of its own, because an engine has one path and one configuration.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import chdb
from chdb.state.sqlitelike import Connection

from sinks.clickhouse.tables import tables
from tests.waiting import patient
from weir.settings import ClickHouseSettings, Settings

CONFIGURATION = """
<clickhouse><storage_configuration>
  <disks><hot><path>{folder}/hot/</path></hot><cold><path>{folder}/cold/</path></cold></disks>
  <policies><tiered><volumes>
    <hot><disk>hot</disk></hot><cold><disk>cold</disk></cold>
  </volumes></tiered></policies>
</storage_configuration></clickhouse>
"""


def main() -> None:
    """Make the table, store a row of ten days ago and one of now, and print where they lie."""
    folder = Path(sys.argv[1])
    (folder / "hot").mkdir()
    (folder / "cold").mkdir()
    configuration = folder / "tiered.xml"
    configuration.write_text(CONFIGURATION.format(folder=folder))
    engine = chdb.connect(f"{folder}/engine?config-file={configuration}")
    raw = next(table for table in tables(Settings(clickhouse=ClickHouseSettings(storage_policy="tiered"))))
    engine.query("CREATE DATABASE weir")
    engine.query(raw.create("weir"))
    engine.query(
        "INSERT INTO weir.raw_readings (org_id, device_id, ts) VALUES ('o', 'old', now() - INTERVAL 10 DAY), "
        "('o', 'new', now())"
    )
    query = "SELECT disk_name FROM system.parts WHERE active AND table = 'raw_readings' ORDER BY min_time, partition"
    deadline = time.monotonic() + patient(20)
    while (disks := _column(engine, query)) != ["cold", "hot"] and time.monotonic() < deadline:
        time.sleep(0.2)
    told = _column(engine, "SELECT engine_full FROM system.tables WHERE name = 'raw_readings'")[0]
    engine.close()
    print(json.dumps({"disks": disks, "ttl": told.split(" TTL ")[1].split(" SETTINGS ")[0], "wanted": raw.ttl}))


def _column(engine: Connection, query: str) -> list[str]:
    lines = engine.query(query, "JSONCompactEachRow").bytes().decode().splitlines()
    return [json.loads(line)[0] for line in lines]


if __name__ == "__main__":
    main()

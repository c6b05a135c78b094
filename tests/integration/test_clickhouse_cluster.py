"""What can be seen of a cluster without one: its statements in a real engine, and blocks cut by the sharding key."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from sinks.clickhouse.client import connect
from sinks.clickhouse.tables import tables, views
from tests.one_server import nowhere
from tests.stack_under_test import StackUnderTest, environment_of, plain_environment
from tests.waiting import patient
from tests.weir_command import weir
from weir.settings import Settings


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("cluster")
    command = [sys.executable, "-m", "tests.clustered_engine", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=patient(60), check=False)
    assert ended.returncode == 0, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout)
    return result


def test_the_engine_makes_every_table_and_view_and_the_second_migration_changes_nothing(seen: dict[str, Any]) -> None:
    first, second, _ = seen["migrations"]
    names = [table.name for table in tables(Settings())]
    whole = {"weir", *names, *(f"{name}_local" for name in names), *(view.name for view in views(Settings()))}
    assert set(first) == whole
    assert {change.partition(" ")[0] for change in first.values()} == {"create"}
    assert set(second.values()) == {"unchanged"}, "else every migration would alter the tables again"


def test_another_retention_would_alter_the_default_of_both_tables_in_place(seen: dict[str, Any]) -> None:
    _, _, third = seen["migrations"]
    altered = {name: change for name, change in third.items() if change != "unchanged"}
    assert altered.pop("raw_readings_local") == altered.pop("raw_readings") == "alter column retention_days"
    assert set(altered) == {"dead_letters_local"}, "its TTL is its own"


def test_a_block_that_is_sent_again_is_stored_once_in_every_shard(seen: dict[str, Any]) -> None:
    assert seen["shards"]["sent twice"] == [100, 100]
    assert all(rows > 20 for rows in seen["shards"]["in each shard"]), "one shard would prove nothing"


def test_a_resend_meets_what_it_replaces_also_when_one_shard_was_away(seen: dict[str, Any]) -> None:
    assert seen["shards"]["resent, one shard late"] == [200, 100]
    assert seen["shards"]["newest"] == 100


def test_another_number_of_shards_doubles_what_is_sent_again(seen: dict[str, Any]) -> None:
    """Why the number of shards is chosen once: the positive control of the two tests above."""
    lying, shown = seen["shards"]["sent again to another number of shards"]
    assert shown > 100
    assert lying > 200


def test_a_block_of_one_partition_goes_to_one_shard(seen: dict[str, Any]) -> None:
    assert seen["shards"]["like Kafka's partitioner"] is True


def test_a_dry_run_prints_the_statements_and_a_server_without_the_cluster_is_told(stack: StackUnderTest) -> None:
    ended = weir(plain_environment() | environment_of(nowhere(stack)), "migrate", "--dry-run", "--cluster", "nowhere")
    assert ended.out.count(" ON CLUSTER `nowhere`") == 1 + 2 * len(tables(Settings())) + len(views(Settings()))
    assert ended.code == 2
    assert "knows no cluster nowhere" in ended.err


def test_every_session_on_a_cluster_says_how_it_reads_and_writes(stack: StackUnderTest) -> None:
    here = stack.settings.clickhouse
    query = "SELECT getSetting('insert_quorum')::String, getSetting('distributed_foreground_insert')::Bool"
    for cluster, answer in ((None, ("0", False)), ("lab", ("auto", True))):
        client = connect(here.model_copy(update={"cluster": cluster}), database=False)
        try:
            assert tuple(client.query(query).result_rows[0]) == answer
        finally:
            client.close()

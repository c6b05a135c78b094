"""clickhouse-connect against ClickHouse's HTTP interface: everything our sink and our analysts use of it."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import clickhouse_connect
import pandas as pd
import pyarrow as pa
import pytest
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError
from clickhouse_connect.driver.external import ExternalData

NOON = dt.datetime(2026, 1, 2, 12, 0, 0, 123000, tzinfo=dt.UTC)
COLUMNS = ["a", "b", "at", "value"]
ROWS = [[number, f"name {number % 3}", NOON + dt.timedelta(seconds=number), number / 4] for number in range(1000)]


def connected(url: str, **options: object) -> Client:
    place = urlsplit(url)
    return clickhouse_connect.get_client(host=place.hostname, port=place.port, **options)  # type: ignore[arg-type]


@pytest.fixture
def client(clickhouse_url: str, database: str) -> Iterator[Client]:
    with connected(clickhouse_url, database=database) as opened:
        yield opened


@pytest.fixture
def table(client: Client) -> str:
    client.command(
        "CREATE TABLE t (a Int32, b LowCardinality(String), at DateTime64(3, 'UTC'), value Float64) "
        "ENGINE = ReplacingMergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100"
    )
    return "t"


def test_the_client_knows_version_and_zone(client: Client) -> None:
    assert client.min_version("24.8")
    assert str(client.server_tz) == "UTC"
    assert client.ping()


def test_rows_come_back_as_they_were_inserted(client: Client, table: str) -> None:
    assert client.insert(table, ROWS, column_names=COLUMNS).written_rows == 1000
    result = client.query("SELECT a, b, at, value FROM t WHERE a < 2 ORDER BY a", tz_mode="aware")
    assert result.column_names == ("a", "b", "at", "value")
    assert [list(row) for row in result.result_rows] == ROWS[:2]
    assert int(result.summary["read_rows"]) == 1000


def test_parameters_are_bound_by_the_server(client: Client, table: str) -> None:
    client.insert(table, ROWS, column_names=COLUMNS)
    sql = "SELECT count() FROM t WHERE a < {limit:Int32} AND at >= {since:DateTime64(3, 'UTC')} AND b != {name:String}"
    parameters = {"limit": 10, "since": NOON + dt.timedelta(seconds=4), "name": "it's\ta \\ name"}
    assert client.query(sql, parameters=parameters).first_row == (6,)


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", True, False])
def test_every_compression_carries_inserts_and_results(
    clickhouse_url: str, database: str, client: Client, table: str, compress: str | bool
) -> None:
    with connected(clickhouse_url, database=database, compress=compress) as other:
        other.insert(table, ROWS, column_names=COLUMNS)
        assert len(other.query("SELECT * FROM t").result_rows) == 1000
        with other.query_row_block_stream("SELECT number FROM numbers(300000)") as stream:
            assert sum(len(block) for block in stream) == 300_000


def test_frames_and_arrow_tables_go_both_ways(client: Client, table: str) -> None:
    frame = pd.DataFrame(ROWS, columns=COLUMNS).astype({"a": "int32"})
    client.insert_df(table, frame)
    assert client.query_df("SELECT sum(value) AS s FROM t")["s"].tolist() == [124_875.0]
    arrow = pa.table(
        {
            "a": pa.array([5000, 5001], pa.int32()),
            "b": pa.array(["x", "y"]).dictionary_encode(),
            "at": pa.array([NOON, NOON], pa.timestamp("ms", "UTC")),
            "value": [0.5, 0.25],
        }
    )
    client.insert_arrow(table, arrow)
    back = client.query_arrow("SELECT a, b, at, value FROM t WHERE a >= 5000 ORDER BY a", use_strings=True)
    assert back["value"].to_pylist() == [0.5, 0.25]
    assert back["b"].to_pylist() == ["x", "y"]
    with client.query_arrow_stream("SELECT number FROM numbers(200000)") as stream:
        assert sum(batch.num_rows for batch in stream) == 200_000


def test_raw_data_goes_both_ways(client: Client, table: str) -> None:
    client.raw_insert(table, ["a", "b"], b"1,x\n2,y\n", fmt="CSV")
    sink = pa.BufferOutputStream()
    arrow = pa.table({"a": pa.array([3], pa.int32()), "b": ["z"]})
    with pa.ipc.new_stream(sink, arrow.schema) as writer:
        writer.write_table(arrow)
    summary = client.raw_insert(table, ["a", "b"], sink.getvalue().to_pybytes(), fmt="ArrowStream")
    assert summary.written_rows == 1
    assert client.raw_query("SELECT a, b FROM t ORDER BY a", fmt="CSV") == b'1,"x"\n2,"y"\n3,"z"\n'
    with client.raw_stream("SELECT a FROM t ORDER BY a", fmt="TSV") as stream:
        assert b"".join(stream) == b"1\n2\n3\n"


def test_a_repeated_block_is_stored_once_by_its_token(client: Client, table: str) -> None:
    settings = {"insert_deduplication_token": "weir.readings:0:0-999", "async_insert": 0, "max_threads": 1}
    for _ in range(3):
        client.insert(table, ROWS, column_names=COLUMNS, settings=settings)
    assert client.query("SELECT count() FROM t").first_row == (1000,)


def test_settings_reach_the_query(client: Client) -> None:
    assert client.query("SELECT getSetting('max_threads')", settings={"max_threads": 3}).first_row == (3,)
    client.set_client_setting("max_threads", 4)
    assert client.command("SELECT getSetting('max_threads')") == 4


def test_a_session_keeps_its_temporary_table(client: Client) -> None:
    client.command("CREATE TEMPORARY TABLE mine (a Int32)")
    client.insert("mine", [[1], [2]], column_names=["a"])
    assert client.query("SELECT sum(a) FROM mine").first_row == (3,)


def test_external_data_joins_a_query(client: Client, clickhouse_url: str) -> None:
    external = ExternalData(file_name="ext.csv", data=b"1,a\n2,b\n", fmt="CSV", structure=["id UInt32", "n String"])
    sql = "SELECT n FROM ext WHERE id = {id:UInt32}"
    assert client.query(sql, parameters={"id": 2}, external_data=external).result_rows == [("b",)]
    with connected(clickhouse_url, form_encode_query_params=True) as by_form:
        assert by_form.query(sql, parameters={"id": 1}, external_data=external).result_rows == [("a",)]
        assert by_form.query("SELECT {s:String}", parameters={"s": "tab\tbreak\n"}).first_row == ("tab\tbreak\n",)


def test_columns_of_an_empty_result_are_known(client: Client, table: str) -> None:
    assert client.query("SELECT * FROM t LIMIT 0").column_names == tuple(COLUMNS)
    assert client.query("SELECT * FROM t").result_rows == []
    assert list(client.query_df("SELECT a, b FROM t").columns) in ([], ["a", "b"])


def test_column_comments_are_readable(client: Client, table: str) -> None:
    client.command("ALTER TABLE t COMMENT COLUMN value 'in the unit of its metric'")
    sql = "SELECT comment FROM system.columns WHERE database = currentDatabase() AND table = 't' AND name = 'value'"
    assert client.command(sql) == "in the unit of its metric"


def test_the_highest_revision_wins_in_a_final_query(client: Client) -> None:
    client.command(
        "CREATE TABLE r (k Int32, day Date, v Int32, revision UInt64) ENGINE = ReplacingMergeTree(revision) "
        "PARTITION BY day ORDER BY k"
    )
    for value, revision in ((10, 1), (30, 3), (20, 2)):
        client.insert("r", [[1, dt.date(2026, 1, 1), value, revision]], column_names=["k", "day", "v", "revision"])
    settings = {"do_not_merge_across_partitions_select_final": 1}
    assert client.query("SELECT v FROM r FINAL", settings=settings).result_rows == [(30,)]


def test_errors_carry_the_code_of_the_server(client: Client) -> None:
    with pytest.raises(DatabaseError) as caught:
        client.query("SELECT * FROM no_such_table")
    assert caught.value.code == 60
    with pytest.raises(DatabaseError, match="AUTHENTICATION_FAILED|Authentication failed"):
        connected(client.uri, username="mallory", password=str(uuid.uuid4()))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_error_in_the_middle_of_a_stream_is_raised_with_its_text(client: Client) -> None:
    sql = "SELECT number, throwIf(number = 900000, 'too far') FROM numbers(1000000)"
    with (
        pytest.raises(StreamFailureError, match="too far"),
        client.query_row_block_stream(sql, settings={"max_block_size": 10_000, "max_threads": 1}) as stream,
    ):
        assert sum(len(block) for block in stream) < 1_000_000

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from sinks.clickhouse.client import connect
from tests.free_ports import free_port
from tests.stack_under_test import StackUnderTest
from tests.weir_command import weir
from tests.world import World, world_on

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


@pytest.fixture(scope="module")
def shared(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three readings, one of them sent twice, and a minute that was corrected."""
    with world_on(stack, tmp_path_factory.mktemp("query")) as fresh:
        client = connect(fresh.settings.clickhouse)
        columns = ["org_id", "device_id", "sensor", "ts", "value", "offset"]
        for rows in (
            [["acme", "d1", "t", NOON, 1.5, 10], ["acme", "d1", "t", NOON + timedelta(seconds=1), 2.5, 11]],
            [["acme", "d1", "t", NOON, 9.5, 12], ["bio", "d2", "t", NOON, -3.0, 13]],
        ):
            client.insert("raw_readings", rows, column_names=columns)
        columns = ["org_id", "device_id", "sensor", "window_start", "count", "avg", "revision"]
        for row in (["acme", "d1", "t", NOON, 2, 5.0, 7], ["acme", "d1", "t", NOON, 3, 6.0, 9]):
            client.insert("agg_1m", [row], column_names=columns)
        client.insert("agg_1m", [["acme", "d1", "t", NOON, 1, 1.0, 8]], column_names=columns)
        client.close()
        yield fresh


def test_a_resend_is_seen_once_and_the_later_offset_holds(shared: World) -> None:
    ended = weir(
        shared.environment, "query", "-f", "csv", "SELECT device_id, value FROM readings ORDER BY device_id, ts"
    )
    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == ['"device_id","value"', '"d1",9.5', '"d1",2.5', '"d2",-3']


def test_only_the_highest_revision_of_a_window_is_seen(shared: World) -> None:
    ended = weir(shared.environment, "query", "-f", "jsonl", "SELECT count, avg FROM aggregates_1m")
    assert ended.out == '{"count":3,"avg":6}\n'


def test_the_table_shows_names_times_in_utc_and_numbers_at_the_right(shared: World) -> None:
    ended = weir(shared.environment, "query", "SELECT ts, value FROM readings WHERE org_id = 'acme' ORDER BY ts")
    lines = [line.rstrip() for line in ended.out.splitlines()]
    assert lines[0].split() == ["ts", "value"]
    assert lines[2] == f"{NOON:%Y-%m-%d} 12:00:00.000     9.5"
    assert lines[3] == f"{NOON:%Y-%m-%d} 12:00:01.000     2.5"
    assert ended.err.startswith("2 rows in ")


def test_times_without_a_zone_are_utc_too(shared: World) -> None:
    ended = weir(shared.environment, "query", "-f", "tsv", "SELECT timezone(), toDateTime(0)")
    assert ended.out.splitlines()[1] == "UTC\t1970-01-01 00:00:00"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("csv", '"a","b"\n1,"x"\n'),
        ("tsv", "a\tb\n1\tx\n"),
        ("jsonl", '{"a":1,"b":"x"}\n'),
        ("markdown", "| a | b |\n|-:|:-|\n| 1 | x |\n"),
        ("TabSeparatedRaw", "1\tx\n"),
    ],
)
def test_every_format_is_passed_on_as_clickhouse_writes_it(shared: World, name: str, expected: str) -> None:
    ended = weir(shared.environment, "query", "--format", name, "SELECT 1 AS a, 'x' AS b")
    assert (ended.code, ended.out) == (0, expected)


def test_json_has_the_rows_and_their_types(shared: World) -> None:
    ended = weir(shared.environment, "query", "-f", "json", "SELECT 1 AS a, nan AS n")
    assert ended.json()["data"] == [{"a": 1, "n": "nan"}]
    assert ended.json()["meta"][0] == {"name": "a", "type": "UInt8"}


def test_a_format_clause_in_the_sql_wins(shared: World) -> None:
    assert weir(shared.environment, "query", "SELECT 1, 2 FORMAT CSV").out == "1,2\n"


def test_parameters_are_values_and_never_sql(shared: World) -> None:
    sql = "SELECT {d:String} AS d, {n:UInt8} + 1 AS n"
    ended = weir(shared.environment, "query", "-f", "tsv", "-p", "d=x' OR 1=1 --", "-p", "n=4", sql)
    assert ended.out.splitlines()[1] == "x\\' OR 1=1 --\t5"


def test_the_sql_may_come_from_stdin_or_a_file(shared: World) -> None:
    ended = weir(shared.environment, "query", "-f", "csv", "--file", "-", stdin="SELECT\n 7 AS seven -- lucky\n")
    assert ended.out == '"seven"\n7\n'


def test_no_rows_say_so_and_are_no_error(shared: World) -> None:
    ended = weir(shared.environment, "query", "SELECT * FROM readings WHERE org_id = 'nobody'")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.startswith("No rows in ")


def test_a_long_answer_is_cut_on_the_screen_and_says_so(shared: World) -> None:
    ended = weir(shared.environment, "query", "SELECT number FROM numbers(5000)")
    assert len(ended.out.splitlines()) == 2 + 1000
    assert "there are more" in ended.err
    whole = weir(shared.environment, "query", "-f", "csv", "SELECT number FROM numbers(5000)")
    assert len(whole.out.splitlines()) == 1 + 5000


def test_a_format_clause_gets_every_row(shared: World) -> None:
    ended = weir(shared.environment, "query", "SELECT number FROM numbers(5000) FORMAT TSV")
    assert len(ended.out.splitlines()) == 5000


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count() FROM (SELECT number FROM numbers(5000))",
        "WITH big AS (SELECT number FROM numbers(5000)) SELECT count() FROM big",
        "SELECT count() FROM numbers(5000) WHERE number IN (SELECT number FROM numbers(5000))",
        "SELECT (SELECT count() FROM (SELECT number FROM numbers(2500) UNION ALL SELECT number FROM numbers(2500)))",
    ],
)
def test_only_the_rows_on_the_screen_are_cut_and_never_what_is_counted(shared: World, sql: str) -> None:
    assert weir(shared.environment, "query", sql).out.split()[-1] == "5000"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO usage (org_id) VALUES ('x')",
        "DROP TABLE raw_readings",
        "ALTER TABLE agg_1m DELETE WHERE 1",
        "SELECT 1 SETTINGS readonly = 0",
    ],
)
def test_nothing_can_be_changed_without_write(shared: World, statement: str) -> None:
    ended = weir(shared.environment, "query", statement)
    assert ended.code == 1
    assert ended.out == ""
    assert "code 164" in ended.sentence()
    assert shared.value("SELECT count() FROM raw_readings") > 0


def test_with_write_a_statement_changes_data(shared: World) -> None:
    insert = "INSERT INTO usage (org_id, minute, accepted) VALUES ('acme', now(), 5)"
    ended = weir(shared.environment, "query", "--write", insert)
    assert ended.code == 0, ended.err
    assert "1 written" in ended.err
    assert shared.value("SELECT sum(accepted) FROM usage") == 5


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELEC 1", "code 62"),
        ("SELECT * FROM no_such_table", "code 60"),
        ("SELECT no_such_column FROM readings", "code 47"),
        ("SELECT throwIf(number = 200000) FROM numbers(300000)", "code 395"),
        ("SELECT {missing:String}", "code 456"),
    ],
)
def test_a_refused_query_is_one_sentence_with_the_code(shared: World, sql: str, words: str) -> None:
    ended = weir(shared.environment, "query", "-f", "csv", sql)
    assert (ended.code, ended.out) == (1, "")
    assert ended.sentence().startswith("weir: ClickHouse refused the query")
    assert words in ended.sentence()
    assert "version" not in ended.sentence()


def test_wrong_usage_exits_with_two(shared: World) -> None:
    assert weir(shared.environment, "query").code == 2
    assert weir(shared.environment, "query", "  ").code == 2
    assert weir(shared.environment, "query", "-p", "novalue", "SELECT 1").code == 2
    assert weir(shared.environment, "query", "SELECT 1", "--file", "-").code == 2


def test_a_server_that_is_away_is_one_sentence(shared: World) -> None:
    away = shared.environment | {"WEIR_CLICKHOUSE__URL": f"http://127.0.0.1:{free_port()}"}
    ended = weir(away, "query", "SELECT 1")
    assert ended.code == 1
    assert "cannot be reached: Connection refused" in ended.sentence()


def test_a_database_that_does_not_exist_says_to_migrate(shared: World) -> None:
    ended = weir(shared.environment | {"WEIR_CLICKHOUSE__DATABASE": "nowhere"}, "query", "SELECT 1")
    assert ended.code == 2
    assert "weir migrate" in ended.sentence()

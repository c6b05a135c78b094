"""Where a ClickHouse statement ends and its data begins."""

from __future__ import annotations

import pytest

from weir.stack.clickhouse import statement
from weir.stack.clickhouse.exceptions import ClickHouseError


@pytest.mark.parametrize(
    ("sql", "head", "name", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2\n", b"INSERT INTO t ", "CSV", b"1,2\n"),
        (b"insert into t format CSV \t\r\n1,2", b"insert into t ", "CSV", b"1,2"),
        (b"INSERT INTO t FORMAT RowBinary\n\n\t", b"INSERT INTO t ", "RowBinary", b"\n\t"),
        (b"INSERT INTO t VALUES (1, 'FORMAT CSV')", b"INSERT INTO t ", "Values", b" (1, 'FORMAT CSV')"),
        (b"INSERT INTO db.values (a) VALUES (1)", b"INSERT INTO db.values (a) ", "Values", b" (1)"),
        (b"INSERT INTO format FORMAT TSV\n1", b"INSERT INTO format ", "TSV", b"1"),
        (b'INSERT INTO t (`values`, "FORMAT") FORMAT TSV\n1', b'INSERT INTO t (`values`, "FORMAT") ', "TSV", b"1"),
        (b"/* VALUES */ INSERT INTO t -- FORMAT CSV\n SETTINGS a = 'VALUES' FORMAT TSV\n1", None, "TSV", b"1"),
        (b"INSERT INTO FUNCTION null('a Int8') FORMAT TSV\n1", b"INSERT INTO FUNCTION null('a Int8') ", "TSV", b"1"),
        (b"INSERT INTO t FORMAT Native\n\xff\x00'\"", b"INSERT INTO t ", "Native", b"\xff\x00'\""),
    ],
)
def test_an_insert_is_divided_from_its_data(sql: bytes, head: bytes | None, name: str, data: bytes) -> None:
    found = statement.insert_head(sql)
    assert found is not None
    assert (found.format, sql[found.data_start :], found.selects) == (name, data, False)
    assert head is None or found.sql == head


@pytest.mark.parametrize(
    "sql",
    [
        b"",
        b"SELECT 1 FORMAT CSV",
        b"INSERT INTO t SELECT 1",
        b"SELECT 'INSERT INTO t VALUES (1)'",
        b"-- INSERT",
        b"/* x",
    ],
)
def test_a_statement_without_data_has_no_insert_head(sql: bytes) -> None:
    assert statement.insert_head(sql) is None


def test_an_insert_select_with_data_is_told_from_a_plain_insert() -> None:
    sql = b"INSERT INTO t SELECT a FROM input('a Int8, b String') FORMAT CSV\n1,x"
    found = statement.insert_head(sql)
    assert found is not None
    assert (found.selects, found.format, sql[found.data_start :]) == (True, "CSV", b"1,x")
    call = statement.input_call(found.sql)
    assert call is not None
    assert (found.sql[call[0] : call[1]], call[2]) == (b"input('a Int8, b String')", b"a Int8, b String")


def test_files_of_the_server_are_out_of_reach() -> None:
    with pytest.raises(ClickHouseError, match="INFILE"):
        statement.insert_head(b"INSERT INTO t FROM INFILE 'x' FORMAT CSV")
    with pytest.raises(ClickHouseError, match="OUTFILE"):
        statement.output_format(b"SELECT 1 INTO OUTFILE 'x' FORMAT CSV")


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"SELECT 1 format json ;", "json"),
        (b"SELECT 1 FORMAT Native SETTINGS max_threads = 1", "Native"),
        (b"SELECT 'FORMAT JSON' -- FORMAT CSV", None),
        (b"SELECT format('{}', 1), (SELECT 1) AS `FORMAT x`", None),
        (b"SELECT 1", None),
    ],
)
def test_the_format_of_a_result_is_the_one_outside_brackets_and_quotes(sql: bytes, name: str | None) -> None:
    assert statement.output_format(sql) == name


@pytest.mark.parametrize(
    ("sql", "changes"),
    [
        (b"SET a = 1", True),
        (b"use db", True),
        (b"CREATE TEMPORARY TABLE t (a Int8)", True),
        (b"CREATE OR REPLACE TEMPORARY TABLE t (a Int8)", True),
        (b"CREATE TABLE t (a Int8) ENGINE = Memory", False),
        (b"SELECT 1", False),
        (b"", False),
    ],
)
def test_only_statements_that_change_a_session_say_so(sql: bytes, changes: bool) -> None:
    assert statement.changes_session(sql) is changes


def test_the_first_word_is_found_behind_comments_and_brackets() -> None:
    assert statement.first_keyword(b"/* a */ -- b\n ((select 1))") == "SELECT"
    assert statement.first_keyword(b" -- nothing\n") == ""

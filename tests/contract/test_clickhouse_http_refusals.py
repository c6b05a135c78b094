"""ClickHouse's HTTP interface: an INSERT that could not be written is refused, and one that was is written once."""

from __future__ import annotations

import io
import json

import httpx
import pyarrow as pa
import pytest


def ok(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return response.text


def arrow(**columns: list[int]) -> bytes:
    table = pa.table({name: pa.array(values, pa.int64()) for name, values in columns.items()})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def insert(http: httpx.Client, into: str, data: bytes, form: str = "ArrowStream", **settings: str) -> httpx.Response:
    return http.post("/", params={"query": f"INSERT INTO {into} FORMAT {form}", **settings}, content=data)


def assert_refused(response: httpx.Response, code: str, text: str) -> None:
    assert response.status_code == 500
    assert response.headers["X-ClickHouse-Exception-Code"] == code
    assert text in response.text


REFUSALS = {
    "constraint": ("a Int64, CONSTRAINT small CHECK a < 500", "tuple()", "", "469", "small"),
    "partitions": ("a Int64", "a", "", "252", "Too many partitions"),
    "materialized": ("a Int64, b UInt8 MATERIALIZED throwIf(a = 700, 'no 700')", "tuple()", "", "395", "no 700"),
    "default": ("a Int64, b UInt8 DEFAULT throwIf(a = 700, 'no 700')", "tuple()", "(a)", "395", "no 700"),
}


@pytest.mark.parametrize("case", REFUSALS)
@pytest.mark.parametrize("form", ["ArrowStream", "JSONEachRow"])
def test_rows_that_cannot_be_written_are_refused(http: httpx.Client, database: str, case: str, form: str) -> None:
    columns, partition, names, code, text = REFUSALS[case]
    ok(
        http.post(
            "/",
            content=f"CREATE TABLE {database}.t ({columns}) ENGINE = MergeTree PARTITION BY {partition} ORDER BY a"
            " SETTINGS non_replicated_deduplication_window = 100",
        )
    )
    into, token = f"{database}.t {names}", {"insert_deduplication_token": "x"}
    many, few = list(range(1000)), [1, 2, 3]
    data = arrow(a=many) if form == "ArrowStream" else b"".join(b'{"a":%d}\n' % value for value in many)
    assert_refused(insert(http, into, data, form, **token), code, text)
    assert ok(http.post("/", content=f"SELECT count() FROM {database}.t")) == "0\n"
    ok(insert(http, into, arrow(a=few), **token))  # a refused block does not use up its token
    assert ok(http.post("/", content=f"SELECT count(), sum(a) FROM {database}.t")) == "3\t6\n"


def test_a_default_that_throws_while_rows_are_read_is_refused(http: httpx.Client, database: str) -> None:
    columns = "a Int64, b UInt8 DEFAULT throwIf(a = 2, 'no 2')"
    ok(http.post("/", content=f"CREATE TABLE {database}.t ({columns}) ENGINE = MergeTree ORDER BY a"))
    response = insert(http, f"{database}.t", b'{"a":1}{"a":2}', "JSONEachRow")
    assert response.status_code == 500
    assert int(response.headers["X-ClickHouse-Exception-Code"]) > 0
    assert ok(http.post("/", content=f"SELECT count() FROM {database}.t")) == "0\n"


@pytest.mark.parametrize("token", [{}, {"insert_deduplication_token": "one"}])
def test_a_block_with_a_column_list_is_stored_once(http: httpx.Client, database: str, token: dict[str, str]) -> None:
    columns = "a Int64, b Int64, c Int64 DEFAULT a * 10, d Int64 MATERIALIZED a + 1, e Int64 ALIAS a + 2"
    ok(
        http.post(
            "/",
            content=f"CREATE TABLE {database}.t ({columns}) ENGINE = MergeTree ORDER BY a"
            " SETTINGS non_replicated_deduplication_window = 100",
        )
    )
    rows = list(range(100_000))
    data = arrow(b=rows, a=rows)
    for _ in range(3):
        response = insert(http, f"{database}.t (b, a)", data, **token)
        ok(response)
        assert json.loads(response.headers["X-ClickHouse-Summary"])["written_rows"] == "100000"
    if token:
        ok(insert(http, f"{database}.t (b, a)", arrow(b=[1], a=[1]), **token))
        ok(insert(http, f"{database}.t (b, a)", data, insert_deduplication_token="two"))
    total, times = 4_999_950_000, 2 if token else 1
    answer = ok(http.post("/", content=f"SELECT count(), sum(a), sum(b), sum(c), sum(d), sum(e) FROM {database}.t"))
    sums = [100_000, total, total, total * 10, total + 100_000, total + 200_000]
    assert answer == "\t".join(str(value * times) for value in sums) + "\n"


def test_a_column_list_may_exclude_and_settings_may_follow(http: httpx.Client, database: str) -> None:
    columns = "a Int64, `b``c` Int64 DEFAULT a + 5, x Int64 EPHEMERAL, y Int64 DEFAULT x * 2"
    ok(http.post("/", content=f"CREATE TABLE {database}.t ({columns}) ENGINE = MergeTree ORDER BY a"))
    ok(insert(http, f"{database}.t (* EXCEPT (`b``c`, y)) SETTINGS async_insert = 0", b"1\n", "CSV"))
    ok(insert(http, f"TABLE {database}.`t` (a, x, `b``c`)", b"2,3,4\n", "CSV"))
    ok(insert(http, f"{database}.t", b'{"a":3}', "JSONEachRow"))
    answer = ok(http.post("/", content=f"SELECT a, `b``c`, y FROM {database}.t ORDER BY a"))
    assert answer == "1\t6\t0\n2\t4\t6\n3\t8\t0\n"

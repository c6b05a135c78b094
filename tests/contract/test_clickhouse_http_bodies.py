"""ClickHouse's HTTP interface: formats, compression and streams in both directions."""

from __future__ import annotations

import gzip
import io
import json
import threading
import zlib
from collections.abc import Callable, Iterator

import httpx
import lz4.frame  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.waiting import patient

COLUMNS = "SELECT toInt32(number) AS a, concat('s', toString(number)) AS b FROM numbers(2)"
TABLE = pa.table({"a": pa.array([0, 1], pa.int32()), "b": ["s0", "s1"]})


def ok(response: httpx.Response) -> httpx.Response:
    assert response.status_code == 200, response.text
    return response


def arrow_stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def arrow_file(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


NATIVE = b"\x02\x02\x01a\x05Int32\0\0\0\0\x01\0\0\0\x01b\x06String\x02s0\x02s1"
ROW_BINARY = b"\0\0\0\0\x02s0\x01\0\0\0\x02s1"

EXACT = {
    "TabSeparated": (b"0\ts0\n1\ts1\n", "text/tab-separated-values; charset=UTF-8"),
    "TSVWithNames": (b"a\tb\n0\ts0\n1\ts1\n", "text/tab-separated-values; charset=UTF-8"),
    "TSVWithNamesAndTypes": (b"a\tb\nInt32\tString\n0\ts0\n1\ts1\n", "text/tab-separated-values; charset=UTF-8"),
    "CSV": (b'0,"s0"\n1,"s1"\n', "text/csv; charset=UTF-8; header=absent"),
    "CSVWithNames": (b'"a","b"\n0,"s0"\n1,"s1"\n', "text/csv; charset=UTF-8; header=present"),
    "JSONEachRow": (b'{"a":0,"b":"s0"}\n{"a":1,"b":"s1"}\n', "application/x-ndjson; charset=UTF-8"),
    "Values": (b"(0,'s0'),(1,'s1')", "text/plain; charset=UTF-8"),
    "RowBinary": (ROW_BINARY, "application/octet-stream"),
    "RowBinaryWithNamesAndTypes": (b"\x02\x01a\x01b\x05Int32\x06String" + ROW_BINARY, "application/octet-stream"),
    "Native": (NATIVE, "application/octet-stream"),
    "Null": (b"", "text/plain; charset=UTF-8"),
}


@pytest.mark.parametrize("name", EXACT)
def test_a_result_comes_in_the_format_asked_for(http: httpx.Client, name: str) -> None:
    body, kind = EXACT[name]
    inline = ok(http.post("/", content=f"{COLUMNS} FORMAT {name}"))
    by_url = ok(http.post("/", params={"default_format": name}, content=COLUMNS))
    by_header = ok(http.post("/", headers={"X-ClickHouse-Format": name}, content=COLUMNS))
    for response in (inline, by_url, by_header):
        assert response.content == body
        assert response.headers["Content-Type"] == kind
        assert response.headers["X-ClickHouse-Format"] == name


JOINED = ("TabSeparated", "CSV", "JSONEachRow", "RowBinary", "Native", "Values")
HEADED = ("TSVWithNames", "CSVWithNames", "RowBinaryWithNamesAndTypes", "JSONCompactEachRowWithNames")


@pytest.mark.parametrize("name", JOINED + HEADED)
def test_blocks_of_a_result_form_one_document(http: httpx.Client, database: str, name: str) -> None:
    sql = 'SELECT number AS a, toString(number) AS `b"\n` FROM numbers(50000)'
    http.post("/", content=f'CREATE TABLE {database}.t (a UInt64, `b"\n` String) ENGINE = MergeTree ORDER BY a')
    whole = ok(http.post("/", params={"max_block_size": "1000"}, content=f"{sql} FORMAT {name}"))
    ok(http.post("/", params={"query": f"INSERT INTO {database}.t FORMAT {name}"}, content=whole.content))
    count = ok(http.post("/", content=f'SELECT count(), sum(a), sum(length(`b"\n`)) FROM {database}.t'))
    digits = sum(len(str(number)) for number in range(50_000))
    assert count.text == f"50000\t1249975000\t{digits}\n"


@pytest.mark.parametrize("name", ["CSVWithNames", "TSVWithNamesAndTypes", "RowBinaryWithNames", "ArrowStream", "JSON"])
def test_an_empty_result_keeps_its_head(http: httpx.Client, name: str) -> None:
    full = ok(http.post("/", content=f"{COLUMNS} FORMAT {name}")).content
    empty = ok(http.post("/", content=f"{COLUMNS} WHERE number > 5 FORMAT {name}")).content
    assert 0 < len(empty) < len(full)


def test_json_documents_are_whole(http: httpx.Client) -> None:
    document = ok(
        http.post("/", params={"max_block_size": "100"}, content="SELECT number AS n FROM numbers(1000) FORMAT JSON")
    ).json()
    assert document["rows"] == 1000
    assert document["meta"] == [{"name": "n", "type": "UInt64"}]
    assert [int(row["n"]) for row in document["data"]] == list(range(1000))
    compact = ok(http.post("/", content=f"{COLUMNS} FORMAT JSONCompact"))
    assert compact.json()["data"] == [[0, "s0"], [1, "s1"]]
    assert compact.headers["Content-Type"] == "application/json; charset=UTF-8"


def test_arrow_and_parquet_documents_are_whole(http: httpx.Client) -> None:
    sql = "SELECT number AS n, toLowCardinality(toString(number % 5)) AS s FROM numbers(100000)"
    for name in ("Arrow", "ArrowStream", "Parquet"):
        content = ok(http.post("/", params={"max_block_size": "9999"}, content=f"{sql} FORMAT {name}")).content
        if name == "Parquet":
            table = pq.read_table(io.BytesIO(content))
        else:
            reader = pa.ipc.open_file(content) if name == "Arrow" else pa.ipc.open_stream(content)
            table = reader.read_all()
        assert table.num_rows == 100_000
        assert sorted(table["n"].to_numpy()) == list(range(100_000))


def test_pretty_output_is_for_people(http: httpx.Client) -> None:
    response = ok(http.post("/", content=f"{COLUMNS} FORMAT PrettyCompactNoEscapes"))
    assert "│ 0 │ s0 │" in response.text


def test_totals_follow_the_rows(http: httpx.Client) -> None:
    sql = "SELECT number % 2 AS k, count() FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k FORMAT CSV"
    assert ok(http.post("/", content=sql)).text == "0,5\n1,5\n\n0,10\n"


INPUTS: dict[str, bytes] = {
    "TabSeparated": b"0\ts0\n1\ts1\n",
    "TSV": b"0\ts0\n1\ts1",
    "CSV": b"0,s0\n1,s1\n",
    "CSVWithNames": b"b,a\ns0,0\ns1,1\n",
    "JSONEachRow": b'{"a":0,"b":"s0"}{"a":1,"b":"s1"}',
    "Values": b"(0,'s0'),(0+1,concat('s','1'))",
    "RowBinary": ROW_BINARY,
    "Native": NATIVE,
    "Arrow": arrow_file(TABLE),
    "ArrowStream": arrow_stream(TABLE),
    "Parquet": parquet(TABLE),
}


@pytest.fixture
def table(http: httpx.Client, database: str) -> str:
    name = f"{database}.t"
    ok(http.post("/", content=f"CREATE TABLE {name} (a Int32, b String) ENGINE = MergeTree ORDER BY a"))
    return name


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("place", ["url", "body", "chunks"])
def test_data_is_inserted_from_every_format(http: httpx.Client, table: str, name: str, place: str) -> None:
    data, sql = INPUTS[name], f"INSERT INTO {table} (a, b) FORMAT {name}"
    if place == "url":
        response = http.post("/", params={"query": sql}, content=data)
    elif place == "body":
        response = http.post("/", content=sql.encode() + b"\n" + data)
    else:
        response = http.post("/", params={"query": sql}, content=(data[i : i + 7] for i in range(0, len(data), 7)))
    assert json.loads(ok(response).headers["X-ClickHouse-Summary"])["written_rows"] == "2"
    assert ok(http.post("/", content=f"SELECT * FROM {table} ORDER BY a")).text == "0\ts0\n1\ts1\n"


def test_dictionary_columns_fill_low_cardinality_columns(http: httpx.Client, database: str) -> None:
    name = f"{database}.t"
    ok(http.post("/", content=f"CREATE TABLE {name} (a Int32, b LowCardinality(String)) ENGINE = MergeTree ORDER BY a"))
    data = TABLE.set_column(1, "b", TABLE["b"].dictionary_encode())
    ok(http.post("/", params={"query": f"INSERT INTO {name} FORMAT ArrowStream"}, content=arrow_stream(data)))
    assert ok(http.post("/", content=f"SELECT * FROM {name} ORDER BY a")).text == "0\ts0\n1\ts1\n"


def test_a_bad_row_inserts_none_of_its_request(http: httpx.Client, table: str) -> None:
    response = http.post("/", params={"query": f"INSERT INTO {table} FORMAT CSV"}, content=b"1,x\n2,y\nthree,z\n")
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (400, "27")
    assert ok(http.post("/", content=f"SELECT count() FROM {table}")).text == "0\n"


def test_a_truncated_binary_body_inserts_nothing(http: httpx.Client, table: str) -> None:
    response = http.post("/", params={"query": f"INSERT INTO {table} FORMAT Native"}, content=NATIVE[:-3])
    assert response.headers["X-ClickHouse-Exception-Code"] == "33"
    assert ok(http.post("/", content=f"SELECT count() FROM {table}")).text == "0\n"


def test_an_insert_may_select_from_its_own_data(http: httpx.Client, table: str) -> None:
    sql = f"INSERT INTO {table} SELECT a * 2, b || '\\'' FROM input('a Int32, b String') WHERE a > 1 FORMAT CSV"
    ok(http.post("/", params={"query": sql}, content=b"1,x\n2,y\n3,z\n"))
    assert ok(http.post("/", content=f"SELECT * FROM {table} ORDER BY a")).text == "4\ty\\'\n6\tz\\'\n"


def test_values_with_the_words_of_other_clauses_are_data(http: httpx.Client, table: str) -> None:
    ok(http.post("/", content=f"INSERT INTO {table} VALUES (1, 'FORMAT CSV'), (2, '; SELECT')"))
    assert ok(http.post("/", content=f"SELECT b FROM {table} ORDER BY a")).text == "FORMAT CSV\n; SELECT\n"


def test_a_deduplication_token_stores_a_block_once(http: httpx.Client, database: str) -> None:
    name = f"{database}.t"
    settings = "SETTINGS non_replicated_deduplication_window = 100"
    ok(http.post("/", content=f"CREATE TABLE {name} (a Int32) ENGINE = MergeTree ORDER BY a {settings}"))
    for token, value in (("one", 1), ("one", 2), ("two", 1)):
        parameters = {
            "query": f"INSERT INTO {name} FORMAT TSV",
            "insert_deduplication_token": token,
            "async_insert": "0",
        }
        ok(http.post("/", params=parameters, content=f"{value}\n"))
    assert ok(http.post("/", content=f"SELECT count(), sum(a) FROM {name}")).text == "2\t2\n"


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstandard.compress,
}
DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "lz4": lz4.frame.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


def in_pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


@pytest.mark.parametrize("encoding", COMPRESS)
def test_compressed_bodies_are_read(http: httpx.Client, table: str, encoding: str) -> None:
    data = b"".join(b"%d\tvalue %d\n" % (number, number * 7919 % 1000) for number in range(20_000))
    packed = COMPRESS[encoding](data)
    parameters = {"query": f"INSERT INTO {table} FORMAT TSV"}
    ok(http.post("/", params=parameters, headers={"Content-Encoding": encoding}, content=in_pieces(packed)))
    whole = COMPRESS[encoding](f"INSERT INTO {table} FORMAT TSV\n".encode() + data)
    ok(http.post("/", headers={"Content-Encoding": encoding}, content=whole))
    assert ok(http.post("/", content=f"SELECT count(), sum(a) FROM {table}")).text == "40000\t399980000\n"


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_truncated_compressed_body_inserts_nothing(http: httpx.Client, table: str, encoding: str) -> None:
    packed = COMPRESS[encoding](b"1\tx\n" * 1000)
    parameters = {"query": f"INSERT INTO {table} FORMAT TSV"}
    response = http.post("/", params=parameters, headers={"Content-Encoding": encoding}, content=packed[:-5])
    assert response.status_code >= 400
    assert ok(http.post("/", content=f"SELECT count() FROM {table}")).text == "0\n"


def test_an_unknown_content_encoding_is_refused(http: httpx.Client) -> None:
    response = http.post("/", headers={"Content-Encoding": "snail"}, content=b"SELECT 1")
    assert response.status_code >= 400
    assert "Unknown compression method" in response.text


def raw(http: httpx.Client, sql: str, accept: str, **parameters: str) -> tuple[str | None, bytes]:
    with http.stream("POST", "/", params=parameters, headers={"Accept-Encoding": accept}, content=sql) as response:
        assert response.status_code == 200
        return response.headers.get("Content-Encoding"), b"".join(response.iter_raw())


@pytest.mark.parametrize("encoding", DECOMPRESS)
@pytest.mark.parametrize("count", [10, 500_000])
def test_answers_are_compressed_when_asked_for(http: httpx.Client, encoding: str, count: int) -> None:
    used, data = raw(http, f"SELECT number FROM numbers({count})", encoding, enable_http_compression="1")
    assert used == encoding
    assert DECOMPRESS[encoding](data) == b"".join(b"%d\n" % number for number in range(count))


def test_answers_are_not_compressed_unless_enabled(http: httpx.Client) -> None:
    assert raw(http, "SELECT 1", "gzip, zstd") == (None, b"1\n")
    assert raw(http, "SELECT 1", "snail", enable_http_compression="1") == (None, b"1\n")


def test_a_long_result_arrives_before_its_query_ends(http: httpx.Client) -> None:
    sql = "SELECT number, sleepEachRow(0.00001) FROM numbers(10000000000)"
    with http.stream("POST", "/", params={"max_block_size": "100000", "max_threads": "1"}, content=sql) as response:
        first = next(response.iter_bytes())
    assert first.startswith(b"0\t0\n1\t0\n")


def test_an_error_after_the_first_bytes_breaks_the_answer(http: httpx.Client) -> None:
    sql = "SELECT number, throwIf(number = 900000, 'too far') FROM numbers(1000000)"
    received, parameters = b"", {"max_block_size": "10000", "max_threads": "1"}
    with (
        pytest.raises(httpx.RemoteProtocolError),
        http.stream("POST", "/", params=parameters, content=sql) as response,
    ):
        assert response.status_code == 200
        tag = response.headers["X-ClickHouse-Exception-Tag"]
        for chunk in response.iter_bytes():
            received += chunk
    head, frame = received.split(b"__exception__\r\n" + tag.encode() + b"\r\n", 1)
    assert head.startswith(b"0\t0\n1\t0\n")
    assert b"Code: 395. DB::Exception: too far" in frame
    assert frame.rstrip().endswith(tag.encode() + b"\r\n__exception__")


def test_waiting_for_the_end_gives_a_late_error_its_status(http: httpx.Client) -> None:
    sql = "SELECT number, throwIf(number = 900000, 'too far') FROM numbers(1000000)"
    response = http.post("/", params={"max_block_size": "10000", "wait_end_of_query": "1"}, content=sql)
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (500, "395")


def test_queries_are_answered_while_long_and_short_inserts_run(clickhouse_url: str, table: str) -> None:
    def insert(rows_each: int, times: int) -> None:
        with httpx.Client(base_url=clickhouse_url, timeout=patient(30)) as client:
            for _ in range(times):
                data = b"".join(b"%d\tx\n" % number for number in range(rows_each))
                ok(client.post("/", params={"query": f"INSERT INTO {table} FORMAT TSV"}, content=in_pieces(data)))

    writers = [threading.Thread(target=insert, args=plan) for plan in [(200_000, 1), (200_000, 1), *[(1, 10)] * 6]]
    for writer in writers:
        writer.start()
    answered = 0
    with httpx.Client(base_url=clickhouse_url, timeout=patient(30)) as client:
        while any(writer.is_alive() for writer in writers):
            assert ok(client.post("/", content="SELECT 1")).text == "1\n"
            answered += 1
        count = ok(client.post("/", content=f"SELECT count() FROM {table}")).text
    assert answered > 0
    assert count == "400060\n"

"""What an HTTP request asks ClickHouse for."""

from __future__ import annotations

import base64

import pytest

from weir.stack.clickhouse.exceptions import ClickHouseError, from_engine
from weir.stack.clickhouse.multipart import parse_form
from weir.stack.clickhouse.request import QueryRequest, query_request, split_types, url_parameters


def request(
    query_string: bytes = b"",
    headers: dict[str, str] | None = None,
    files: dict[str, bytes] | None = None,
    method: str = "POST",
) -> QueryRequest:
    return query_request(method, url_parameters(query_string), headers or {}, files or {})


def test_parameters_are_sorted_into_what_they_are() -> None:
    asked = request(
        b"query=SELECT+%7Ba%3AInt8%7D&param_a=1&max_threads=2&database=db&query_id=q&session_id=s&session_check=1"
    )
    assert asked.query == b"SELECT {a:Int8}"
    assert dict(asked.parameters) == {"a": "1"}
    assert dict(asked.settings) == {"max_threads": "2"}
    assert (asked.database, asked.query_id) == ("db", "q")
    assert asked.session is not None
    assert (asked.session.id, asked.session.timeout_seconds, asked.session.check) == ("s", 60, True)


def test_bytes_that_are_no_text_survive_the_url() -> None:
    assert request(b"query=SELECT+'%FF%C3%A9'").query == b"SELECT '\xff\xc3\xa9'"


@pytest.mark.parametrize(
    ("method", "setting", "level"),
    [("GET", "", 2), ("POST", "", 0), ("GET", "1", 1), ("POST", "2", 2), ("HEAD", "", 2)],
)
def test_anything_but_post_is_read_only(method: str, setting: str, level: int) -> None:
    query_string = f"readonly={setting}".encode() if setting else b""
    assert request(query_string, method=method).readonly == level


def test_settings_with_names_that_are_no_names_are_unknown() -> None:
    with pytest.raises(ClickHouseError) as caught:
        request(b"a%3D1%2C+b=2")
    assert caught.value.code == 115


@pytest.mark.parametrize(
    ("headers", "query_string", "accepted"),
    [
        ({}, b"", True),
        ({"x-clickhouse-user": "default"}, b"", True),
        ({"authorization": "Basic " + base64.b64encode(b"default:").decode()}, b"", True),
        ({"authorization": "Basic " + base64.b64encode(b"default:x").decode()}, b"", False),
        ({"authorization": "Basic ***"}, b"", False),
        ({"authorization": "Bearer token"}, b"", False),
        ({"x-clickhouse-user": "default"}, b"user=default", False),
        ({}, b"user=other", False),
        ({}, b"password=x", False),
    ],
)
def test_only_the_default_user_is_let_in(headers: dict[str, str], query_string: bytes, accepted: bool) -> None:
    if accepted:
        request(query_string, headers)
        return
    with pytest.raises(ClickHouseError) as caught:
        request(query_string, headers)
    assert (caught.value.code, caught.value.status) == (516, 403)


def test_an_external_table_takes_its_parameters_out_of_the_settings() -> None:
    asked = request(b"ext_types=UInt8,Decimal(9,+2)&ext_format=CSV&max_threads=1", files={"ext": b"1,2\n"})
    (table,) = asked.external
    assert (table.name, table.format, table.data) == ("ext", "CSV", b"1,2\n")
    assert table.structure == "_1 UInt8, _2 Decimal(9, 2)"
    assert dict(asked.settings) == {"max_threads": "1"}


def test_types_are_split_outside_brackets() -> None:
    assert split_types("Int8, Map(String, Array(Int8)),String") == ["Int8", "Map(String, Array(Int8))", "String"]


FORM = (
    b'--xyz\r\nContent-Disposition: form-data; name="query"\r\n\r\nSELECT 1\r\n'
    b'--xyz\r\nContent-Disposition: form-data; name="ext"; filename="a b.csv"\r\nContent-Type: text/csv\r\n\r\n'
    b"1\r\n--xy\r\n\xff\r\n--xyz--\r\n"
)


def test_a_form_gives_back_fields_and_files_byte_for_byte() -> None:
    fields, files = parse_form('multipart/form-data; boundary="xyz"', FORM)
    assert fields == {"query": "SELECT 1"}
    assert files == {"ext": b"1\r\n--xy\r\n\xff"}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=xyz", FORM[:-10]),
        ("multipart/form-data", FORM),
        ("multipart/form-data; boundary=xyz", b"--xyz\r\n\r\nnameless\r\n--xyz--\r\n"),
    ],
)
def test_a_broken_form_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(ClickHouseError) as caught:
        parse_form(content_type, body)
    assert caught.value.code == 36


@pytest.mark.parametrize(
    ("text", "code", "name", "message"),
    [
        ("Code: 60. DB::Exception: Unknown table 't'. (UNKNOWN_TABLE)", 60, "UNKNOWN_TABLE", "Unknown table 't'."),
        (
            "Code: 73. DB::Exception: Code: 73. DB::Exception: Unknown format X. (UNKNOWN_FORMAT) (version 26.9.2.1). "
            "(UNKNOWN_FORMAT)",
            73, "UNKNOWN_FORMAT", "Unknown format X.",
        ),
        (
            "Code: 1. DB::Exception: f(x) (see (a)). (BAD) (version 1.2 (official build))",
            1, "BAD", "f(x) (see (a)).",
        ),
        ("send_insert does not support this", 1001, "STD_EXCEPTION", "send_insert does not support this"),
    ],
)  # fmt: skip
def test_an_error_of_the_engine_is_read_through_its_layers(text: str, code: int, name: str, message: str) -> None:
    error = from_engine(text)
    assert (error.code, error.name, error.message) == (code, name, message)


def test_an_error_is_written_as_the_server_writes_it() -> None:
    error = from_engine("Code: 60. DB::Exception: No t. (UNKNOWN_TABLE)")
    assert error.status == 404
    assert error.text("26.9") == "Code: 60. DB::Exception: No t. (UNKNOWN_TABLE) (version 26.9 (official build))"

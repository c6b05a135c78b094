"""ClickHouse's HTTP interface: where a query may stand, what goes with it, and how errors come back."""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid

import httpx
import pytest


def rows(http: httpx.Client, sql: str, **parameters: str) -> str:
    response = http.post("/", params=parameters, content=sql)
    assert response.status_code == 200, response.text
    return response.text


@pytest.mark.parametrize("path", ["/ping", "/", "/replicas_status"])
def test_health_checks_say_ok(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    assert (response.status_code, response.text) == (200, "Ok.\n")


def test_an_unknown_path_is_not_found(http: httpx.Client) -> None:
    assert http.get("/no/such/handle").status_code == 404


def test_a_query_in_the_url_is_answered(http: httpx.Client) -> None:
    assert http.get("/", params={"query": "SELECT 1 + 1"}).text == "2\n"
    assert http.post("/", params={"query": "SELECT 1 + 1"}).text == "2\n"


def test_a_query_in_the_body_is_answered(http: httpx.Client) -> None:
    assert rows(http, "SELECT 40 + 2") == "42\n"


def test_url_and_body_are_joined_by_a_line_break(http: httpx.Client) -> None:
    assert rows(http, "1 + 2", query="SELECT") == "3\n"
    broken = http.post("/", params={"query": "SEL"}, content="ECT 1")
    assert (broken.status_code, broken.headers["X-ClickHouse-Exception-Code"]) == (400, "62")


@pytest.mark.parametrize("sql", ["CREATE TABLE t (a Int8) ENGINE = Memory", "INSERT INTO t VALUES (1)", "DROP TABLE t"])
def test_a_get_request_cannot_write(http: httpx.Client, database: str, sql: str) -> None:
    rows(http, "CREATE TABLE t (a Int8) ENGINE = Memory", database=database)
    response = http.get("/", params={"query": sql, "database": database})
    assert response.headers["X-ClickHouse-Exception-Code"] == "164"
    assert "READONLY" in response.text
    assert rows(http, "SELECT count() FROM t", database=database) == "0\n"


def test_the_readonly_setting_refuses_writes_by_post(http: httpx.Client, database: str) -> None:
    response = http.post(
        "/", params={"readonly": "1", "database": database}, content="CREATE TABLE t (a Int8) ENGINE = Memory"
    )
    assert response.headers["X-ClickHouse-Exception-Code"] == "164"


def test_several_statements_in_one_request_are_refused(http: httpx.Client, database: str) -> None:
    response = http.post("/", content=f"CREATE TABLE {database}.t (a Int8) ENGINE = Memory; SELECT 1")
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (400, "62")
    assert rows(http, f"EXISTS {database}.t") == "0\n"


def test_an_empty_query_is_a_syntax_error(http: httpx.Client) -> None:
    response = http.post("/", content="")
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (400, "62")


def test_a_trailing_semicolon_and_comments_are_ignored(http: httpx.Client) -> None:
    assert rows(http, "/* a ; b */ SELECT ';' -- ; SELECT 2\n;\n") == ";\n"


def test_a_bare_expression_is_no_query(http: httpx.Client) -> None:
    assert http.post("/", content="1 + 1").headers["X-ClickHouse-Exception-Code"] == "62"


def test_a_request_without_length_is_refused(http: httpx.Client) -> None:
    request = http.build_request("POST", "/", params={"query": "SELECT 1"})
    del request.headers["content-length"]
    response = http.send(request)
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (411, "381")


def test_the_database_may_stand_in_url_or_header(http: httpx.Client, database: str) -> None:
    assert rows(http, "SELECT currentDatabase()", database=database) == f"{database}\n"
    response = http.post("/", headers={"X-ClickHouse-Database": database}, content="SELECT currentDatabase()")
    assert response.text == f"{database}\n"
    assert rows(http, "SELECT currentDatabase()") == "default\n"


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("Int32", "-7", "-7"),
        ("String", "it's a \\\\ and a tab\\t.", "it\\'s a \\\\ and a tab\\t."),
        ("Array(String)", "['a','b\\'c']", "['a','b\\'c']"),
        ("DateTime64(3, 'UTC')", "2026-01-02 03:04:05.678", "2026-01-02 03:04:05.678"),
        ("Nullable(String)", "\\N", "\\N"),
        ("String", "ünïcode; SELECT 2", "ünïcode; SELECT 2"),
    ],
)
def test_typed_parameters_are_substituted(http: httpx.Client, kind: str, text: str, expected: str) -> None:
    assert rows(http, f"SELECT {{p:{kind}}}", param_p=text) == expected + "\n"


def test_an_identifier_parameter_names_a_table(http: httpx.Client, database: str) -> None:
    rows(http, "CREATE TABLE t (a Int8) ENGINE = Memory", database=database)
    rows(http, "(5)", query="INSERT INTO {db:Identifier}.{t:Identifier} VALUES", param_db=database, param_t="t")
    assert rows(http, "SELECT a FROM {db:Identifier}.t", param_db=database) == "5\n"


def test_a_missing_or_bad_parameter_is_an_error(http: httpx.Client) -> None:
    assert http.post("/", content="SELECT {p:Int8}").headers["X-ClickHouse-Exception-Code"] == "456"
    bad = http.post("/", params={"param_p": "x"}, content="SELECT {p:Int8}")
    assert bad.headers["X-ClickHouse-Exception-Code"] == "457"


def test_settings_in_the_url_hold_for_this_query_alone(http: httpx.Client) -> None:
    sql = "SELECT getSetting('max_threads'), getSetting('log_comment')"
    assert rows(http, sql, max_threads="3", log_comment="it's; x") == "3\tit\\'s; x\n"
    assert not rows(http, sql).endswith("x\n")


def test_an_unknown_setting_is_refused(http: httpx.Client) -> None:
    response = http.post("/", params={"no_such_setting": "1"}, content="SELECT 1")
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (404, "115")
    assert "UNKNOWN_SETTING" in response.text


def test_limits_in_the_url_stop_a_query(http: httpx.Client) -> None:
    response = http.post(
        "/", params={"max_rows_to_read": "10"}, content="SELECT count() FROM numbers(1000) WHERE number > 1"
    )
    assert response.headers["X-ClickHouse-Exception-Code"] == "158"


@pytest.mark.parametrize(
    ("sql", "status", "code", "name"),
    [
        ("SELECT * FROM no_such_table", 404, "60", "UNKNOWN_TABLE"),
        ("SELECT * FROM no_such_database.t", 404, "81", "UNKNOWN_DATABASE"),
        ("SELECT no_such_column FROM system.one", 404, "47", "UNKNOWN_IDENTIFIER"),
        ("SELECT noSuchFunction()", 404, "46", "UNKNOWN_FUNCTION"),
        ("SELECT 1 FORMAT NoSuchFormat", 404, "73", "UNKNOWN_FORMAT"),
        ("SELEC 1", 400, "62", "SYNTAX_ERROR"),
        ("SELECT throwIf(1)", 500, "395", "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("SELECT 1 INTO OUTFILE 'x'", 500, "358", "INTO_OUTFILE_NOT_ALLOWED"),
    ],
)
def test_errors_carry_status_code_and_name(http: httpx.Client, sql: str, status: int, code: str, name: str) -> None:
    response = http.post("/", content=sql)
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (status, code)
    assert response.text.startswith(f"Code: {code}. DB::Exception: ")
    assert response.text.count("DB::Exception") == 1
    assert f"({name}) (version " in response.text


def test_an_error_leaves_nothing_behind_for_the_next_query(http: httpx.Client) -> None:
    for _ in range(5):
        failed = http.post("/", content="SELECT throwIf(number = 3) FROM numbers(10) SETTINGS max_block_size = 1")
        assert failed.status_code == 500
        assert rows(http, "SELECT 'clean'") == "clean\n"


def test_only_the_right_credentials_are_let_in(http: httpx.Client) -> None:
    basic = base64.b64encode(b"default:").decode()
    for headers in ({"Authorization": f"Basic {basic}"}, {"X-ClickHouse-User": "default", "X-ClickHouse-Key": ""}):
        assert http.post("/", headers=headers, content="SELECT 1").text == "1\n"
    assert rows(http, "SELECT currentUser()", user="default", password="") == "default\n"
    wrong = base64.b64encode(b"default:no-such-password").decode()
    refused = [
        http.post("/", headers={"Authorization": f"Basic {wrong}"}, content="SELECT 1"),
        http.post("/", headers={"X-ClickHouse-User": "mallory"}, content="SELECT 1"),
        http.post("/", params={"user": "default", "password": "no-such-password"}, content="SELECT 1"),
    ]
    for response in refused:
        assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (403, "516")
        assert "AUTHENTICATION_FAILED" in response.text


def test_headers_describe_the_answer(http: httpx.Client) -> None:
    identity = str(uuid.uuid4())
    response = http.post("/", params={"query_id": identity}, content="SELECT timezone()")
    assert response.headers["X-ClickHouse-Query-Id"] == identity
    assert response.headers["X-ClickHouse-Timezone"] == response.text.strip()
    assert response.headers["X-ClickHouse-Format"] == "TabSeparated"
    assert response.headers["X-ClickHouse-Server-Display-Name"]
    again = http.post("/", content="SELECT 1").headers["X-ClickHouse-Query-Id"]
    assert uuid.UUID(again) != uuid.UUID(identity)


def test_statements_without_a_result_name_no_format(http: httpx.Client, database: str) -> None:
    response = http.post("/", content=f"CREATE TABLE {database}.t (a Int8) ENGINE = Memory")
    assert (response.status_code, response.text) == (200, "")
    assert "X-ClickHouse-Format" not in response.headers


def test_the_summary_counts_what_was_read_and_written(http: httpx.Client, database: str) -> None:
    rows(http, f"CREATE TABLE {database}.t (a UInt64) ENGINE = MergeTree ORDER BY a")
    written = http.post(
        "/", params={"wait_end_of_query": "1"}, content=f"INSERT INTO {database}.t SELECT number FROM numbers(1000)"
    )
    summary = json.loads(written.headers["X-ClickHouse-Summary"])
    assert (summary["written_rows"], summary["written_bytes"]) == ("1000", "8000")
    read = http.post("/", params={"wait_end_of_query": "1"}, content=f"SELECT sum(a) FROM {database}.t")
    summary = json.loads(read.headers["X-ClickHouse-Summary"])
    assert (summary["read_rows"], summary["read_bytes"], read.text) == ("1000", "8000", "499500\n")
    assert int(summary["elapsed_ns"]) > 0
    assert all(isinstance(value, str) for value in summary.values())


def test_a_session_keeps_temporary_tables_settings_and_database(http: httpx.Client, database: str) -> None:
    session = {"session_id": str(uuid.uuid4())}
    rows(http, "CREATE TEMPORARY TABLE t (a Int32)", **session)
    rows(http, "INSERT INTO t VALUES (1), (2)", **session)
    rows(http, "SET max_threads = 3", **session)
    rows(http, f"USE {database}", **session)
    assert (
        rows(http, "SELECT sum(a), getSetting('max_threads'), currentDatabase() FROM t", **session)
        == f"3\t3\t{database}\n"
    )
    elsewhere = http.post("/", content="SELECT sum(a) FROM t")
    assert elsewhere.headers["X-ClickHouse-Exception-Code"] == "60"


def test_url_settings_do_not_stay_in_the_session(http: httpx.Client, database: str) -> None:
    session = {"session_id": str(uuid.uuid4())}
    rows(http, "SET max_threads = 3, log_comment = 'kept'", **session)
    sql = "SELECT getSetting('max_threads'), getSetting('log_comment'), currentDatabase()"
    assert (
        rows(http, sql, max_threads="5", log_comment="once", database=database, **session) == f"5\tonce\t{database}\n"
    )
    assert rows(http, sql, **session) == "3\tkept\tdefault\n"


def test_an_error_in_a_session_leaves_it_usable(http: httpx.Client) -> None:
    session = {"session_id": str(uuid.uuid4())}
    rows(http, "CREATE TEMPORARY TABLE t (a Int32)", **session)
    failed = http.post(
        "/", params=session, content="SELECT throwIf(number = 3) FROM numbers(10) SETTINGS max_block_size = 1"
    )
    assert failed.status_code == 500
    assert rows(http, "SELECT count() FROM t", **session) == "0\n"


def test_a_get_request_cannot_write_in_a_session_either(http: httpx.Client, database: str) -> None:
    session = {"session_id": str(uuid.uuid4())}
    rows(http, "SET max_threads = 3", **session)
    refused = http.get("/", params={"query": f"CREATE TABLE {database}.t (a Int8) ENGINE = Memory", **session})
    assert refused.headers["X-ClickHouse-Exception-Code"] == "164"
    assert rows(http, f"CREATE TABLE {database}.t (a Int8) ENGINE = Memory", **session) == ""


def test_an_unknown_session_is_refused_when_it_must_exist(http: httpx.Client) -> None:
    response = http.post("/", params={"session_id": str(uuid.uuid4()), "session_check": "1"}, content="SELECT 1")
    assert response.headers["X-ClickHouse-Exception-Code"] == "372"


def test_a_session_times_out(http: httpx.Client) -> None:
    session = {"session_id": str(uuid.uuid4()), "session_timeout": "1"}
    rows(http, "SET max_threads = 3", **session)
    time.sleep(2.5)
    response = http.post("/", params={**session, "session_check": "1"}, content="SELECT 1")
    assert response.headers["X-ClickHouse-Exception-Code"] == "372"


@pytest.mark.parametrize("timeout", ["-1", "soon", "999999999"])
def test_a_session_timeout_out_of_range_is_refused(http: httpx.Client, timeout: str) -> None:
    response = http.post("/", params={"session_id": "s", "session_timeout": timeout}, content="SELECT 1")
    assert response.headers["X-ClickHouse-Exception-Code"] == "374"


def test_a_busy_session_refuses_a_second_query(http: httpx.Client) -> None:
    session = {"session_id": str(uuid.uuid4())}
    slow = threading.Thread(target=rows, args=(http, "SELECT sleep(1.5)"), kwargs=session)
    slow.start()
    time.sleep(0.5)
    response = http.post("/", params=session, content="SELECT 1")
    assert response.headers["X-ClickHouse-Exception-Code"] == "373"
    slow.join()
    assert rows(http, "SELECT 1", **session) == "1\n"


def test_external_tables_come_with_a_form(http: httpx.Client) -> None:
    files = {"ext": ("ext.csv", b'1,"a\r\nb"\n2,c\n'), "more": ("more.tsv", b"2\n")}
    parameters = {
        "query": "SELECT n FROM ext WHERE id IN (SELECT _1 FROM more)",
        "ext_format": "CSV",
        "ext_structure": "id UInt32, n String",
        "more_types": "UInt32",
    }
    assert http.post("/", params=parameters, files=files).text == "c\n"
    parameters["query"] = "SELECT length(n) FROM ext WHERE id = 1"
    assert http.post("/", params=parameters, files=files).text == "4\n"


def test_query_and_parameters_may_come_as_form_fields(http: httpx.Client) -> None:
    fields = {"query": (None, "SELECT {a:String} || {b:String}"), "param_a": (None, "x\\ty"), "param_b": (None, "é")}
    assert http.post("/", files=fields).text == "x\\tyé\n"


def test_an_external_table_without_structure_is_refused(http: httpx.Client) -> None:
    response = http.post("/", params={"query": "SELECT * FROM ext"}, files={"ext": ("ext.tsv", b"1\n")})
    assert response.headers["X-ClickHouse-Exception-Code"] == "36"

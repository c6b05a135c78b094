"""The embedded ClickHouse process: what survives its end, and who may start it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.contract.conftest import ClickHouseProcess
from tests.waiting import patient, wait_until

CREATE = "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100"
INSERT = "INSERT INTO t FORMAT RowBinary"


def block(first: int, count: int) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in range(first, first + count))


def post(server: ClickHouseProcess, sql: str, data: bytes = b"", **parameters: str) -> str:
    response = httpx.post(server.url, params=parameters, content=sql.encode() + b"\n" + data, timeout=patient(30))
    assert response.status_code == 200, response.text
    return response.text


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[ClickHouseProcess]]:
    started: list[ClickHouseProcess] = []
    yield started
    for server in started:
        if server.process.poll() is None:
            server.kill()


def test_an_acknowledged_insert_survives_a_kill(tmp_path: Path, servers: list[ClickHouseProcess]) -> None:
    servers.append(ClickHouseProcess(tmp_path / "data"))
    post(servers[-1], CREATE)
    for turn in range(3):
        post(servers[-1], INSERT, block(turn * 1000, 1000), insert_deduplication_token=f"turn {turn}")
        servers[-1].kill()
        servers.append(ClickHouseProcess(tmp_path / "data"))
        assert post(servers[-1], "SELECT count() FROM t") == f"{(turn + 1) * 1000}\n"
        post(servers[-1], INSERT, block(turn * 1000, 1000), insert_deduplication_token=f"turn {turn}")
        assert post(servers[-1], "SELECT count() FROM t") == f"{(turn + 1) * 1000}\n"


def test_a_signal_lets_running_inserts_finish(tmp_path: Path, servers: list[ClickHouseProcess]) -> None:
    servers.append(ClickHouseProcess(tmp_path / "data"))
    post(servers[0], CREATE)
    acknowledged = threading.Event()

    def slow_body() -> Iterator[bytes]:
        for turn in range(20):
            yield block(turn * 10_000, 10_000)
            time.sleep(0.05)

    def insert() -> None:
        response = httpx.post(servers[0].url, params={"query": INSERT}, content=slow_body(), timeout=patient(30))
        if response.status_code == 200:
            acknowledged.set()

    writer = threading.Thread(target=insert)
    writer.start()
    time.sleep(0.3)
    assert servers[0].stop() == 0
    writer.join()
    assert acknowledged.is_set()
    servers.append(ClickHouseProcess(tmp_path / "data"))
    assert post(servers[1], "SELECT count() FROM t") == "200000\n"
    assert servers[1].stop() == 0


def test_an_insert_whose_client_goes_away_stores_nothing(tmp_path: Path, servers: list[ClickHouseProcess]) -> None:
    servers.append(ClickHouseProcess(tmp_path / "data"))
    post(servers[0], CREATE)

    def broken_body() -> Iterator[bytes]:
        yield block(0, 300_000)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        httpx.post(servers[0].url, params={"query": INSERT}, content=broken_body(), timeout=patient(30))
    post(servers[0], INSERT, block(7, 1))
    assert post(servers[0], "SELECT groupArray(a) FROM t") == "[7]\n"


def test_a_select_stops_when_its_reader_goes_away(tmp_path: Path, servers: list[ClickHouseProcess]) -> None:
    servers.append(ClickHouseProcess(tmp_path / "data"))
    sql = "SELECT number FROM system.numbers SETTINGS max_threads = 1"
    running = (
        "SELECT count() FROM system.processes WHERE query LIKE '%system.numbers%' AND query NOT LIKE '%processes%'"
    )
    with httpx.stream("POST", servers[0].url, content=sql, timeout=patient(30)) as response:
        chunks = response.iter_bytes()  # httpx closes the response with the last reference to this
        next(chunks)
        assert post(servers[0], running) == "1\n"
    wait_until(lambda: post(servers[0], running) == "0\n", "the abandoned query has stopped", seconds=10)


def test_one_token_inserted_from_many_sides_at_once_is_stored_once(
    tmp_path: Path, servers: list[ClickHouseProcess]
) -> None:
    servers.append(ClickHouseProcess(tmp_path / "data"))
    post(servers[0], CREATE)
    for token in range(5):
        barrier = threading.Barrier(6)

        def insert(token: int = token, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            post(servers[0], INSERT, block(token * 1000, 1000), insert_deduplication_token=str(token))

        writers = [threading.Thread(target=insert) for _ in range(6)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    assert post(servers[0], "SELECT count(), uniqExact(a) FROM t") == "5000\t5000\n"


def test_rows_move_to_the_cold_volume_of_the_tiered_policy(tmp_path: Path, servers: list[ClickHouseProcess]) -> None:
    servers.append(ClickHouseProcess(tmp_path / "data"))
    post(
        servers[0],
        "CREATE TABLE aged (at DateTime) ENGINE = MergeTree ORDER BY at "
        "TTL at + INTERVAL 1 DAY TO VOLUME 'cold', at + INTERVAL 30 DAY DELETE SETTINGS storage_policy = 'tiered'",
    )
    post(servers[0], "INSERT INTO aged VALUES (now() - INTERVAL 2 DAY)")
    disk = "SELECT disk_name FROM system.parts WHERE table = 'aged' AND active"
    wait_until(lambda: post(servers[0], disk) == "cold\n", "the row is on the cold volume", seconds=20)
    assert list((tmp_path / "data" / "cold").rglob("*.bin"))


def test_the_engine_answers_in_utc_whatever_the_zone_of_the_machine(
    tmp_path: Path, servers: list[ClickHouseProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    servers.append(ClickHouseProcess(tmp_path / "data"))
    assert post(servers[0], "SELECT timezone(), toDateTime(0)") == "UTC\t1970-01-01 00:00:00\n"


def test_too_many_queries_at_once_are_told_to_come_back(tmp_path: Path, servers: list[ClickHouseProcess]) -> None:
    servers.append(ClickHouseProcess(tmp_path / "data", "--max-running", "1", "--max-waiting", "1"))
    slow = [threading.Thread(target=post, args=(servers[0], "SELECT sleep(1)")) for _ in range(2)]
    for query in slow:
        query.start()
    time.sleep(0.5)
    refused = httpx.post(servers[0].url, content="SELECT 1")
    assert (refused.status_code, refused.headers["X-ClickHouse-Exception-Code"]) == (503, "202")
    assert httpx.get(f"{servers[0].url}/ping").text == "Ok.\n"
    for query in slow:
        query.join()
    assert post(servers[0], "SELECT 1") == "1\n"


def test_a_query_without_end_does_not_hold_up_the_stop(tmp_path: Path, servers: list[ClickHouseProcess]) -> None:
    servers.append(ClickHouseProcess(tmp_path / "data", "--grace-seconds", "1"))
    post(servers[0], CREATE)
    post(servers[0], INSERT, block(0, 10))
    endless = "SELECT count() FROM system.numbers WHERE NOT ignore(sipHash64(number)) SETTINGS max_threads = 1"

    statuses: list[int] = []

    def ask() -> None:
        statuses.append(httpx.post(servers[0].url, content=endless, timeout=patient(30)).status_code)

    reader = threading.Thread(target=ask)
    reader.start()
    wait_until(lambda: post(servers[0], "SELECT count() FROM system.processes") == "2\n", "the query runs")
    started = time.monotonic()
    assert servers[0].stop() == 0
    assert time.monotonic() - started < patient(10)
    reader.join()
    assert statuses == [500]
    servers.append(ClickHouseProcess(tmp_path / "data"))
    assert post(servers[1], "SELECT count() FROM t") == "10\n"


def second_start(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "weir.stack.clickhouse", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=patient(30), check=False)


def test_a_second_process_on_one_directory_is_refused(tmp_path: Path, servers: list[ClickHouseProcess]) -> None:
    servers.append(ClickHouseProcess(tmp_path / "data"))
    refused = second_start("--path", str(tmp_path / "data"), "--port", "0")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert f"already serves {tmp_path / 'data'} (process {servers[0].process.pid})" in refused.stderr


def test_a_taken_port_is_refused(tmp_path: Path, servers: list[ClickHouseProcess]) -> None:
    servers.append(ClickHouseProcess(tmp_path / "data"))
    refused = second_start("--path", str(tmp_path / "other"), "--port", servers[0].url.rpartition(":")[2])
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "cannot listen on 127.0.0.1" in refused.stderr


def test_a_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused = second_start("--path", str(tmp_path / "file"), "--port", "0")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "cannot be used" in refused.stderr

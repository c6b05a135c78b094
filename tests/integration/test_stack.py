"""The embedded stack as a person runs it: real servers, started, stopped, killed, and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import clickhouse_connect
import httpx
import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.waiting import patient
from weir.stack.state import StackState, read_state

WEIR = (sys.executable, "-m", "weir")
SERVERS = "kafka,postgres,registry,clickhouse"
PORT_BASE = 21100
NO_NETWORK = {"WEIR_MAVEN_URL": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"}
SCHEMA = '{"type": "record", "name": "Kept", "fields": [{"name": "value", "type": "long"}]}'


@dataclass(frozen=True)
class Site:
    """A folder and a block of ports for one stack."""

    folder: Path
    port_base: int
    only: str = SERVERS

    def weir(self, command: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        arguments = [*WEIR, command, "--data-dir", str(self.folder), *options]
        inherited = {name: value for name, value in os.environ.items() if name != "WEIR_CONFIG"}
        return subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            timeout=patient(120),
            env={**inherited, **environment},
            check=False,
        )

    def up(self, **environment: str) -> subprocess.CompletedProcess[str]:
        options = ("--port-base", str(self.port_base), "--only", self.only, "--detach", "--json")
        return self.weir("up", *options, **environment)

    def running(self) -> dict[str, str]:
        """Addresses of the stack, started first unless it runs."""
        if self.weir("status").returncode != 0:
            started = self.up()
            assert started.returncode == 0, started.stderr
        addresses: dict[str, str] = json.loads(self.weir("status", "--json").stdout)
        return addresses

    def state(self) -> StackState:
        state = read_state(self.folder)
        assert state is not None
        return state

    def child(self, name: str) -> psutil.Process:
        (process,) = (child.process() for child in self.state().children if child.name == name)
        assert process is not None
        return process

    def listening(self) -> list[int]:
        return [port for port in range(self.port_base, self.port_base + 16) if accepts(port)]

    def processes(self) -> list[str]:
        """Command lines of all processes that work on the folder."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            line = " ".join(process.info["cmdline"] or ())
            if str(self.folder) in line and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(line)
        return found

    def nothing_runs(self) -> bool:
        return not self.processes() and not self.listening()


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def eventually(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + patient(seconds)
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One stack of all servers, shared by the tests that do not care what happened before."""
    shared = Site(tmp_path_factory.mktemp("stack"), PORT_BASE)
    yield shared
    shared.weir("down")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Site]:
    """A stack of Postgres alone, which starts in a second."""
    alone = Site(tmp_path / "small", PORT_BASE + 100, only="postgres")
    yield alone
    alone.weir("down")


def store(addresses: dict[str, str]) -> None:
    admin = AdminClient({"bootstrap.servers": addresses["kafka"]})
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(patient(10))
    producer = Producer({"bootstrap.servers": addresses["kafka"], "acks": "all"})
    producer.produce("kept", value=b"a message", key=b"device-1")
    assert producer.flush(10) == 0
    with psycopg.connect(addresses["postgres"]) as connection:
        connection.execute("CREATE TABLE kept (value int)")
        connection.execute("INSERT INTO kept VALUES (41), (42)")
    registered = httpx.post(f"{addresses['registry']}/subjects/kept-value/versions", json={"schema": SCHEMA})
    assert registered.status_code == 200, registered.text
    with clickhouse_connect.get_client(dsn=addresses["clickhouse"]) as client:
        client.command("CREATE TABLE default.kept (value UInt64) ENGINE = MergeTree ORDER BY value")
        client.insert("default.kept", [[7], [8]], column_names=["value"])


def stored(addresses: dict[str, str]) -> tuple[bytes | None, list[tuple[int, ...]], object, list[tuple[int, ...]]]:
    consumer = Consumer(
        {"bootstrap.servers": addresses["kafka"], "group.id": "reader", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["kept"])
    try:
        message = consumer.poll(20)
    finally:
        consumer.close()
    with psycopg.connect(addresses["postgres"]) as connection:
        rows = connection.execute("SELECT value FROM kept ORDER BY value").fetchall()
    schema = httpx.get(f"{addresses['registry']}/subjects/kept-value/versions/latest").json()["schema"]
    with clickhouse_connect.get_client(dsn=addresses["clickhouse"]) as client:
        readings = list(client.query("SELECT value FROM default.kept ORDER BY value").result_rows)
    assert message is not None
    return message.value(), rows, json.loads(schema), [tuple(row) for row in readings]


KEPT = (b"a message", [(41,), (42,)], json.loads(SCHEMA), [(7,), (8,)])


def test_data_survives_down_and_up_and_the_second_start_needs_no_network(site: Site) -> None:
    store(site.running())
    seconds: list[float] = []
    while not seconds or (min(seconds) >= 20.0 and len(seconds) < 3):  # a busy machine gets another try
        assert site.weir("down").returncode == 0
        assert site.nothing_runs()
        begun = time.monotonic()
        again = site.up(**NO_NETWORK)
        assert again.returncode == 0, again.stderr
        seconds.append(time.monotonic() - begun)
    assert min(seconds) < patient(20.0)
    assert again.stdout.count("\n") == 1, "exactly one line for a script to read"
    assert stored(json.loads(again.stdout)) == KEPT


def test_status_tells_a_script_the_addresses_and_a_person_the_rest(site: Site) -> None:
    addresses = site.running()
    assert list(addresses) == ["kafka", "registry", "postgres", "clickhouse"]
    assert addresses["kafka"] == f"127.0.0.1:{PORT_BASE}"
    shown = site.weir("status", COLUMNS="200")
    assert shown.returncode == 0
    kafka = next(line for line in shown.stdout.splitlines() if " kafka " in line)
    assert "healthy" in kafka and str(PORT_BASE) in kafka and str(site.child("kafka").pid) in kafka and "MB" in kafka


def test_every_part_listens_on_the_loopback_address_only(site: Site) -> None:
    site.running()
    family = [site.child(child.name) for child in site.state().children]
    connections = [each for process in family for each in process.net_connections(kind="inet")]
    listening = {(each.laddr.ip, each.laddr.port) for each in connections if each.status == psutil.CONN_LISTEN}
    assert {ip.removeprefix("::ffff:") for ip, _ in listening} == {"127.0.0.1"}
    assert {port for _, port in listening} == {PORT_BASE + offset for offset in (0, 1, 2, 3, 4, 6)}


def test_a_second_up_on_the_same_folder_names_the_first(site: Site) -> None:
    site.running()
    second = site.up()
    assert second.returncode == 1
    assert f"already runs on {site.folder} (pid {site.state().supervisor.pid})" in second.stderr
    assert second.stderr.count("weir: ") == 1 and "Traceback" not in second.stderr
    assert site.weir("status").returncode == 0, "the first one is not disturbed"


def test_a_taken_port_is_named_with_its_holder(site: Site, tmp_path: Path) -> None:
    site.running()
    other = Site(tmp_path / "other", PORT_BASE)
    refused = other.up()
    assert refused.returncode == 1
    assert f"Port {PORT_BASE}, which kafka needs, is taken by java (pid {site.child('kafka').pid})" in refused.stderr
    assert "--port-base" in refused.stderr
    assert other.processes() == []


def test_a_killed_supervisor_leaves_nothing_and_loses_nothing(site: Site) -> None:
    with psycopg.connect(site.running()["postgres"]) as connection:
        connection.execute("CREATE TABLE acknowledged AS SELECT 43 AS value")
    os.kill(site.state().supervisor.pid, signal.SIGKILL)
    assert eventually(site.nothing_runs, 15.0), (site.processes(), site.listening())
    assert site.weir("status").returncode == 3
    with psycopg.connect(site.running()["postgres"]) as connection:
        assert connection.execute("SELECT value FROM acknowledged").fetchall() == [(43,)]


def test_a_dead_part_takes_all_down_and_the_sentence_stays(site: Site) -> None:
    site.running()
    site.child("registry").kill()
    assert eventually(site.nothing_runs, 20.0), (site.processes(), site.listening())
    shown = site.weir("status")
    assert shown.returncode == 3
    assert "registry was killed by signal 9, so everything was taken down; the last lines of" in shown.stdout
    assert "registry.log" in shown.stdout


def test_a_killed_supervisor_and_tether_leave_no_database(small: Site) -> None:
    small.running()
    tether = small.child("postgres").parent()
    assert tether is not None
    os.kill(small.state().supervisor.pid, signal.SIGKILL)
    tether.kill()
    assert eventually(small.nothing_runs, 10.0), (small.processes(), small.listening())
    assert small.running()["postgres"], "it starts again on what a crash left"


def test_a_foreground_stack_goes_down_on_ctrl_c_and_says_so(small: Site) -> None:
    options = ["--data-dir", str(small.folder), "--port-base", str(small.port_base), "--only", "postgres", "--json"]
    with subprocess.Popen(
        [*WEIR, "up", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert json.loads(process.stdout.readline()) == {
            "postgres": f"postgresql://postgres@127.0.0.1:{small.port_base + 3}/weir"
        }
        process.send_signal(signal.SIGINT)
        assert process.wait(patient(20)) == 0
        assert "The stack is down." in process.stderr.read()
    assert small.nothing_runs()


def test_a_start_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    early = Site(tmp_path / "early", PORT_BASE + 200)
    options = ["--data-dir", str(early.folder), "--port-base", str(early.port_base), "--only", SERVERS, "--detach"]
    with subprocess.Popen([*WEIR, "up", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert eventually(lambda: any("kafka.Kafka" in line for line in early.processes()), 20.0)
        process.send_signal(signal.SIGINT)
        assert process.wait(patient(30)) == 130
    assert early.nothing_runs()
    assert early.weir("status").returncode == 3


def test_down_where_nothing_runs_is_no_error(tmp_path: Path) -> None:
    idle = Site(tmp_path, PORT_BASE + 200)
    done = idle.weir("down")
    assert (done.returncode, done.stdout) == (0, f"No stack runs on {tmp_path}.\n")
    asked = idle.weir("status", "--json")
    assert (asked.returncode, asked.stdout) == (3, "{}\n")


def test_the_orphans_of_a_killed_supervisor_are_awaited_by_the_next_up(small: Site) -> None:
    small.running()
    os.kill(small.state().supervisor.pid, signal.SIGKILL)
    assert small.up().returncode == 0, "its ports were still taken when it was asked for"
    assert small.weir("status").returncode == 0


def test_a_part_that_cannot_start_is_told_with_its_last_words(small: Site) -> None:
    small.running()
    assert small.weir("down").returncode == 0
    (small.folder / "postgres" / "data" / "PG_VERSION").write_text("9\n")
    refused = small.up()
    assert refused.returncode == 1
    assert "postgres ended with exit code 1, so nothing runs; the last lines of" in refused.stderr
    assert "initialized by PostgreSQL version 9" in refused.stderr
    assert small.nothing_runs()

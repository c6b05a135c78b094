"""`weir api` as a process: waiting devices, slow clients, a full house, and its end."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg
import pytest

from connectors.api.command_watch import LOOK_SECONDS
from connectors.postgres.migrate import apply as migrate
from tests.api_world import Tenant, two_tenants
from tests.free_ports import free_block, free_port
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest, plain_environment
from tests.waiting import patient, wait_until


@dataclass(frozen=True)
class Program:
    """A running `weir api`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    dsn: str
    acme: Tenant

    @property
    def commands(self) -> str:
        return f"http://127.0.0.1:{self.port}/devices/{quote(self.acme.spare, safe='')}/commands"

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/ready").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def program(dsn: str, acme: Tenant, folder: Path, **variables: str) -> Iterator[Program]:
    """`weir api` on a free port, stopped at the end."""
    port, log = free_port(), folder / "api.log"
    environment = plain_environment() | {"WEIR_POSTGRES__DSN": dsn} | variables
    with log.open("wb") as output:
        command = [sys.executable, "-m", "weir", "api", "--port", str(port)]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    running = Program(process, port, log, dsn, acme)
    try:
        wait_until(running.answers, "the API is ready", 60)
        yield running
    finally:
        process.terminate()
        process.wait(patient(30))


@pytest.fixture(scope="module")
def filled(stack: StackUnderTest) -> Iterator[tuple[str, Tenant]]:
    with postgres_database(stack) as dsn:
        yield dsn, two_tenants(dsn)[0]


@pytest.fixture(scope="module")
def api(filled: tuple[str, Tenant], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    limits = {"WEIR_API__BODY_SECONDS": "1", "WEIR_API__MOST_CONNECTIONS": "60"}
    with program(filled[0], filled[1], tmp_path_factory.mktemp("api"), **limits) as running:
        yield running


def connections(dsn: str) -> int:
    """Connections to the database besides the one that asks."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_device_that_waits_hears_of_a_command_at_once(api: Program) -> None:
    heard: list[tuple[float, httpx.Response]] = []

    def wait() -> None:
        response = httpx.get(
            api.commands, params={"wait": 20}, headers=api.acme.headers("gateway"), timeout=patient(30)
        )
        heard.append((time.monotonic(), response))

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(3 * LOOK_SECONDS)
    assert not heard
    sent = httpx.post(
        api.commands, json={"command": "restart"}, headers=api.acme.headers("editor"), timeout=patient(30)
    )
    at = time.monotonic()
    waiting.join(patient(30))
    assert [each["id"] for each in heard[0][1].json()] == [sent.json()["id"]]
    assert heard[0][0] - at < 10 * LOOK_SECONDS, "a second or so, five on a busy machine, but not the whole wait"
    httpx.post(f"{api.commands}/{sent.json()['id']}/answer", json={"answer": {}}, headers=api.acme.headers("gateway"))


def test_devices_that_wait_hold_no_connection_of_their_own(api: Program) -> None:
    headers, most = api.acme.headers("gateway"), []
    with httpx.Client(limits=httpx.Limits(max_connections=40), timeout=patient(30)) as client:
        devices = [
            threading.Thread(
                target=client.get, args=(api.commands,), kwargs={"params": {"wait": 6}, "headers": headers}
            )
            for _ in range(30)
        ]
        for device in devices:
            device.start()
        time.sleep(4)
        for _ in range(10):
            most.append(connections(api.dsn))
            time.sleep(0.05)
        assert sum(device.is_alive() for device in devices) == 30
        for device in devices:
            device.join()
    assert max(most) <= 1, f"30 wait, and the database sees {most} connections"


def test_a_body_that_does_not_come_is_given_up(api: Program) -> None:
    with socket.create_connection(("127.0.0.1", api.port)) as slow:
        key = api.acme.keys["editor"]
        slow.sendall(
            f"POST /projects HTTP/1.1\r\nHost: api\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n"
            "Content-Length: 50\r\n\r\n{".encode()
        )
        slow.settimeout(patient(10))
        begun = time.monotonic()
        answer = slow.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408"), answer
        assert 0.9 < time.monotonic() - begun < patient(8)
        while answer := slow.recv(65536):
            pass  # the rest, and then the end: the server closes


def test_without_credentials_the_body_is_not_waited_for(api: Program) -> None:
    with socket.create_connection(("127.0.0.1", api.port)) as stranger:
        stranger.sendall(b"POST /projects HTTP/1.1\r\nHost: api\r\nContent-Length: 1000000000\r\n\r\n")
        stranger.settimeout(patient(10))
        assert stranger.recv(65536).startswith(b"HTTP/1.1 401")


def test_more_clients_than_it_takes_are_told_to_come_back(api: Program) -> None:
    crowd = [socket.create_connection(("127.0.0.1", api.port)) for _ in range(70)]
    try:
        for each in crowd:
            each.sendall(b"GET /health HTTP/1.1\r\nHost: api\r\n")  # and no end of the headers
        last = httpx.get(f"http://127.0.0.1:{api.port}/health", timeout=patient(10))
        assert last.status_code == 503
    finally:
        for each in crowd:
            each.close()
    wait_until(api.answers, "the API answers again", 20)


def test_every_request_leaves_one_line_that_says_who_and_no_secret(api: Program) -> None:
    httpx.get(f"http://127.0.0.1:{api.port}/projects/hidden", headers=api.acme.headers("viewer"))
    prefix = api.acme.keys["viewer"].split("_")[1]
    line = rf"GET /projects/\{{key\}} 404 \d+ ms organisation=acme actor=key:{prefix}$"
    wait_until(lambda: re.search(line, api.log.read_text(), re.MULTILINE), "the line is in the log", 10)
    log = api.log.read_text()
    assert not [key for key in api.acme.keys.values() if key.split("_")[2] in log]
    assert "hidden" not in log, "a path may hold anything; the route is logged"


def test_it_ends_in_order_while_devices_wait(filled: tuple[str, Tenant], tmp_path: Path) -> None:
    with program(*filled, tmp_path) as api:
        heard: list[httpx.Response] = []

        def wait() -> None:
            heard.append(
                httpx.get(api.commands, params={"wait": 30}, headers=api.acme.headers("gateway"), timeout=patient(40))
            )

        waiting = threading.Thread(target=wait)
        waiting.start()
        metrics = f"http://127.0.0.1:{api.port}/prometheus"
        wait_until(
            lambda: "weir_api_waiting 1.0" in httpx.get(metrics, timeout=patient(10)).text, "the device waits", 30
        )
        api.process.send_signal(signal.SIGTERM)
        assert api.process.wait(patient(20)) == 0, api.log.read_text()
        waiting.join(patient(10))
        assert (heard[0].status_code, heard[0].json()) == (200, [])


def test_a_taken_port_is_said_in_one_sentence(filled: tuple[str, Tenant]) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = str(taken.getsockname()[1])
        environment = plain_environment() | {"WEIR_POSTGRES__DSN": filled[0]}
        ended = subprocess.run(
            [sys.executable, "-m", "weir", "api", "--port", port],
            env=environment,
            capture_output=True,
            text=True,
            timeout=patient(60),
            check=False,
        )
    assert ended.returncode == 2
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_stack_runs_it_beside_its_database(tmp_path: Path) -> None:
    base = free_block()
    weir = [sys.executable, "-m", "weir"]
    folder = ("--data-dir", str(tmp_path / "stack"))
    up = [*weir, "up", "--detach", "--json", "--only", "postgres,api", "--port-base", str(base), *folder]
    try:
        started = subprocess.run(
            up, env=plain_environment(), capture_output=True, text=True, timeout=patient(120), check=False
        )
        assert started.returncode == 0, started.stderr
        address = json.loads(started.stdout)["api"]
        assert httpx.get(f"{address}/health").json() == {"status": "ok"}
        ready = httpx.get(f"{address}/ready")
        assert (ready.status_code, ready.json()["error_code"]) == (503, "unavailable"), "nothing is migrated yet"
        migrate(json.loads(started.stdout)["postgres"])
        assert httpx.get(f"{address}/ready").status_code == 200
    finally:
        subprocess.run(
            [*weir, "down", *folder], env=plain_environment(), capture_output=True, timeout=patient(60), check=False
        )

"""The servers that the contract suites run against."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.free_ports import free_port
from tests.gateway_world import GatewayWorld, gateway_world
from tests.stack_under_test import StackUnderTest
from tests.waiting import patient


class ClickHouseProcess:
    """The embedded server as a child process on ``path``."""

    def __init__(self, path: Path, *options: str) -> None:
        """Start it with more command line ``options`` and wait until it answers."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "weir.stack.clickhouse", "--path", str(path), "--port", str(port), *options]
        self.log = path.parent / f"{path.name}-{uuid.uuid4().hex}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + patient(30)
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/ping").text == "Ok.\n":
                    return
            except httpx.TransportError:
                time.sleep(0.05)
            if self.process.poll() is not None:
                break
        raise RuntimeError(f"ClickHouse did not start: {self.log.read_text()}")

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.terminate()
        return self.process.wait(timeout=patient(40))

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(timeout=patient(10))


@pytest.fixture(scope="session")
def clickhouse_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of WEIR_TEST_CLICKHOUSE_URL, or of an embedded server that lives as long as the test run."""
    external = os.environ.get("WEIR_TEST_CLICKHOUSE_URL")
    if external:
        yield external.rstrip("/")
        return
    server = ClickHouseProcess(tmp_path_factory.mktemp("clickhouse") / "data")
    try:
        yield server.url
    finally:
        assert server.stop() == 0


@pytest.fixture
def http(clickhouse_url: str) -> Iterator[httpx.Client]:
    """A plain HTTP client of the server."""
    with httpx.Client(base_url=clickhouse_url, timeout=patient(30)) as client:
        yield client


@pytest.fixture
def database(http: httpx.Client) -> Iterator[str]:
    """An empty database of the test's own."""
    name = f"contract_{uuid.uuid4().hex}"
    assert http.post("/", content=f"CREATE DATABASE {name}").status_code == 200
    yield name
    assert http.post("/", content=f"DROP DATABASE {name} SYNC").status_code == 200


@pytest.fixture(scope="session")
def gateway(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    """A gateway with small limits, and the organisations that post to it."""
    with gateway_world(stack, tmp_path_factory.mktemp("gateway")) as running:
        yield running

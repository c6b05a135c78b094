"""`weir gateway` as a process: its beginning, its log, its metrics, TLS, and its end."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from connectors.gateway.server.certificate import Certificate
from tests.free_ports import free_port
from tests.gateway_world import GatewayProcess, GatewayWorld, gateway_world
from tests.stack_under_test import StackUnderTest, plain_environment
from tests.waiting import patient, wait_until
from weir.errors import ConfigError


@pytest.fixture(scope="module")
def gateway(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    settings = {"trusted_proxies": "127.0.0.1"}
    with gateway_world(stack, tmp_path_factory.mktemp("gateway"), settings) as running:
        yield running


def post(gateway: GatewayWorld, device: str, **headers: str) -> httpx.Response:
    record = {"device_id": device, "sensor": "t", "ts": time.time_ns() // 1_000_000, "value": 21.5}
    return gateway.client.post(
        f"/topics/{gateway.settings.topics.readings}",
        json={"records": [{"value": record}]},
        headers={"Content-Type": "application/vnd.kafka.json.v2+json", **headers},
    )


def test_every_request_leaves_one_line_that_says_who_and_no_secret(gateway: GatewayWorld) -> None:
    acme = gateway.acme
    assert post(gateway, acme.device, **acme.headers("device")).status_code == 200
    gateway.client.get("/topics/hidden.away", headers=acme.headers())
    gateway.client.get("/nothing/hidden?key=secret")
    prefix = acme.keys["device"].split("_")[1]
    size, number = r"bytes=[1-9]\d+", r"[\d.]+"
    own = rf"actor=key:{prefix} device={acme.device}"
    lines = (
        rf"POST /topics/{{topic}} 200 {number} ms organisation={acme.slug} {own} records=1 refused=0 {size} client=127",
        rf"GET /topics/{{topic}} 404 {number} ms organisation={acme.slug} actor=key:\w+ records=0 refused=0 bytes=0 ",
        rf"GET \(none\) 404 {number} ms organisation=- actor=- records=0 refused=0 bytes=0 client=127.0.0.1$",
    )
    for line in lines:
        wait_until(lambda line=line: re.search(line, gateway.process.log, re.MULTILINE), f"{line} in the log", 10)  # type: ignore[misc]
    log = gateway.process.log
    secrets = [parts[2] for key in acme.keys.values() if len(parts := key.split("_", 2)) == 3]
    assert len(secrets) > 3
    assert not [secret for secret in secrets if secret in log]
    assert "hidden" not in log and "secret" not in log, "a path may hold anything; the route is logged"


def test_the_log_names_the_client_that_a_trusted_proxy_saw(gateway: GatewayWorld) -> None:
    gateway.client.get("/topics", headers={"X-Forwarded-For": "203.0.113.9, 198.51.100.23"})
    wait_until(lambda: "client=198.51.100.23" in gateway.process.log, "the client in the log", 10)
    assert "203.0.113.9" not in gateway.process.log, "whoever sent that to the proxy can write what he likes"


def test_the_metrics_count_and_name_nobody(gateway: GatewayWorld) -> None:
    def value(name: str) -> float:
        text = gateway.client.get("/metrics").text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    posts = 'weir_gateway_requests_total{method="POST",route="/topics/{topic}",status="200"}'
    accepted = 'weir_gateway_records_total{outcome="accepted"}'
    before = value(posts), value(accepted)
    for _ in range(3):
        assert post(gateway, gateway.acme.device, **gateway.acme.headers()).status_code == 200
    assert (value(posts), value(accepted)) == (before[0] + 3, before[1] + 3)
    assert value("weir_gateway_kafka_up") == 1
    assert value("weir_gateway_connections") >= 1
    assert 0 <= value("weir_gateway_postgres_age_seconds") < 30
    text = gateway.client.get("/metrics").text
    for tenant in gateway.tenants.values():
        assert tenant.slug not in text and tenant.topic not in text
    assert gateway.settings.topics.readings not in text


def test_the_pages_for_operators_need_no_key(gateway: GatewayWorld) -> None:
    assert gateway.client.get("/health").json() == {"status": "ok"}
    assert gateway.client.get("/ready").status_code == 200
    assert gateway.client.get("/").json() == {}
    assert (
        gateway.client.get("/metrics", headers={"Accept": "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}).status_code
        == 200
    )


def weir_gateway(gateway: GatewayWorld, **settings: str) -> subprocess.CompletedProcess[str]:
    """A second one with other settings, which is expected to end by itself."""
    variables = {f"WEIR_GATEWAY__{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "weir", "gateway"],
        env=gateway.world.environment | variables,
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )


def test_what_it_cannot_start_with_is_said_in_one_sentence(gateway: GatewayWorld, tmp_path: Path) -> None:
    port, missing = str(free_port()), str(tmp_path / "missing.pem")
    own = {"port": port, "data_dir": str(tmp_path / "data")}
    cases = {
        str(gateway.process.port): {"data_dir": own["data_dir"]},
        str(gateway.settings.gateway.data_dir): {"port": port},
        "TLS_CERTIFICATE": own | {"tls_certificate": missing, "tls_key": missing},
        "or neither": own | {"tls_certificate": missing},
        "TRUSTED_PROXIES": own | {"trusted_proxies": "proxy"},
    }
    for said, settings in cases.items():
        ended = weir_gateway(gateway, **settings)
        assert ended.returncode == 2, f"{said}: {ended.stderr}"
        assert said in ended.stderr
        assert "Traceback" not in ended.stderr, said


def test_sigterm_under_load_answers_what_is_there_and_exits_0(gateway: GatewayWorld, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "second.log"
    variables = {"WEIR_GATEWAY__PORT": str(port), "WEIR_GATEWAY__DATA_DIR": str(tmp_path / "data")}
    environment = gateway.world.environment | variables
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "weir", "gateway"], env=environment, stderr=output)
    url, answers, stop = f"http://127.0.0.1:{port}", [], threading.Event()

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(f"{url}/ready", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def load() -> None:
        while not stop.is_set():
            try:
                with httpx.Client(base_url=url, trust_env=False, timeout=patient(10)) as client:
                    while True:
                        record = {"device_id": gateway.acme.device, "sensor": "t", "ts": time.time_ns() // 1_000_000}
                        answers.append(
                            client.post(
                                f"/topics/{gateway.settings.topics.readings}",
                                content=json.dumps({"records": [{"value": {**record, "value": 1.0}}]}),
                                headers={"Content-Type": "application/vnd.kafka.json.v2+json"} | gateway.acme.headers(),
                            ).status_code
                        )
            except httpx.TransportError:
                return

    wait_until(is_ready, "the second gateway is ready", 60)
    clients = [threading.Thread(target=load) for _ in range(4)]
    for each in clients:
        each.start()
    wait_until(lambda: len(answers) > 20, "the load flows")
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(patient(30)) == 0, log.read_text()
    finally:
        stop.set()
        process.kill()
        for each in clients:
            each.join()
    assert set(answers) == {200}
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs of files, ``old`` and ``new``, for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("old", "new"):
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
            ]
            + ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
            + ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")],
            check=True,
            capture_output=True,
        )
    return folder


def test_over_tls_it_answers_https_and_nothing_else(certificates: Path, tmp_path: Path) -> None:
    port = free_port()
    variables = {
        "WEIR_GATEWAY__TLS_CERTIFICATE": str(certificates / "old.pem"),
        "WEIR_GATEWAY__TLS_KEY": str(certificates / "old.key"),
        "WEIR_GATEWAY__HEADER_SECONDS": "1",
    }
    with (tmp_path / "door.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.constant_door", str(port)],
            env=plain_environment() | variables,
            stdout=output,
            stderr=output,
        )
    trust = ssl.create_default_context(cafile=str(certificates / "old.pem"))

    def answers() -> bool:
        try:
            return httpx.get(f"https://127.0.0.1:{port}/", verify=trust, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, "the door answers over TLS", 60)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trust, trust_env=False) as client:
            assert client.post("/", content=bytes(1_000_000)).text == "1000000"
            assert client.get("/", headers={"a": "x" * 20_000}).status_code == 431
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(b"\x16\x03\x01")  # and no more of the handshake
            slow.settimeout(patient(10))
            begun = time.monotonic()
            assert slow.recv(1) == b""
            assert time.monotonic() - begun < patient(4)
    finally:
        process.terminate()
        assert process.wait(patient(30)) == 0


def test_a_renewed_certificate_is_taken_and_a_broken_one_is_not(certificates: Path, tmp_path: Path) -> None:
    pem, key = tmp_path / "own.pem", tmp_path / "own.key"

    def put(name: str) -> None:
        pem.write_bytes((certificates / f"{name}.pem").read_bytes())
        key.write_bytes((certificates / f"{name}.key").read_bytes())

    put("old")
    served = Certificate(pem, key)
    assert served.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert served_name(served) == "old"
    put("new")
    served.renew()
    assert served_name(served) == "new"
    key.write_text("torn")
    served.renew()
    assert served_name(served) == "new"
    with pytest.raises(ConfigError, match="belong together"):
        Certificate(certificates / "old.pem", certificates / "new.key")


def served_name(certificate: Certificate) -> str:
    """The common name that a client of the context sees."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server)
    there = certificate.context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (here, there):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    found = here.getpeercert(binary_form=True)
    assert found is not None
    return "new" if b"new" in found else "old"


def test_a_killed_gateway_leaves_its_folder_to_the_next(gateway: GatewayWorld) -> None:
    psutil.Process(gateway.process.pid).kill()
    gateway.process.stop()
    following = GatewayProcess(gateway.world, 2)
    try:
        wait_until(following.is_ready, "the next one is ready", 60)
        assert post(gateway, gateway.acme.device, **gateway.acme.headers("device")).status_code == 200
    finally:
        following.stop()

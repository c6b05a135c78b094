"""The gateway's server against clients that send what they should not, or too slowly, or nothing."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.free_ports import free_port
from tests.raw_http import RawConnection, chunked, exchange, raw_connection, rendered
from tests.stack_under_test import plain_environment
from tests.waiting import patient, wait_until

HEADER_SECONDS, BODY_SECONDS = 1.0, 1.5
SLACK = patient(1.5)
"""What a busy machine and the rhythm of the server may add to a limit."""
MOST_BYTES, MOST_HEADERS, MOST_HEADER_BYTES = 100_000, 32, 4_096


@dataclass(frozen=True)
class Door:
    """A running :mod:`tests.constant_door`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def door(folder: Path, **gateway: object) -> Iterator[Door]:
    port, log = free_port(), folder / f"door-{time.monotonic_ns()}.log"
    limits = {
        "header_seconds": HEADER_SECONDS,
        "body_seconds": BODY_SECONDS,
        "body_bytes": MOST_BYTES,
        "headers": MOST_HEADERS,
        "header_bytes": MOST_HEADER_BYTES,
    }
    variables = {f"WEIR_GATEWAY__{name.upper()}": str(value) for name, value in {**limits, **gateway}.items()}
    with log.open("wb") as output:
        command = [sys.executable, "-m", "tests.constant_door", str(port)]
        process = subprocess.Popen(
            command, env=plain_environment() | variables, stdout=output, stderr=subprocess.STDOUT
        )
    running = Door(process, port, log)
    try:
        wait_until(running.answers, "the door answers", 60)
        yield running
    finally:
        process.terminate()
        process.wait(patient(30))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with door(tmp_path_factory.mktemp("door")) as running:
        yield running
        assert "Traceback" not in running.log.read_text()


def ends_after(connection: RawConnection) -> float:
    begun = time.monotonic()
    assert connection.is_closed()
    return time.monotonic() - begun


@pytest.mark.parametrize("drop", [b"a", b"X-A: b\r\n", b"\r\n"], ids=["bytes", "headers", "empty lines"])
def test_headers_that_come_drop_by_drop_are_cut_at_their_time(shared: Door, drop: bytes) -> None:
    with raw_connection(shared.port) as slow:
        begun, ended = time.monotonic(), threading.Event()

        def drip() -> None:
            slow.send(b"" if drop == b"\r\n" else b"GET / HTTP/1.1\r\n")
            while not ended.wait(0.1):
                slow.send(drop)

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            if drop == b"\r\n":
                assert slow.is_closed()
            else:
                assert slow.receive().status == 408
        finally:
            ended.set()
            dripping.join()
        assert HEADER_SECONDS - 0.1 < time.monotonic() - begun < HEADER_SECONDS + SLACK


def test_who_connects_and_says_nothing_is_cut(shared: Door) -> None:
    with raw_connection(shared.port) as silent:
        assert HEADER_SECONDS - 0.1 < ends_after(silent) < HEADER_SECONDS + SLACK


def test_the_second_request_of_a_connection_has_the_same_limit(shared: Door) -> None:
    with raw_connection(shared.port) as client:
        client.send(rendered("GET", "/", {}))
        assert client.receive("GET").status == 200
        client.send(b"GET / HTTP/1.1\r\nX-A: ")
        begun = time.monotonic()
        assert client.receive("GET").status == 408
        assert HEADER_SECONDS - 0.1 < time.monotonic() - begun < HEADER_SECONDS + SLACK


@pytest.mark.parametrize("length", ["Content-Length: 10\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n"])
def test_a_body_that_does_not_come_is_given_up(shared: Door, length: str) -> None:
    with raw_connection(shared.port) as slow:
        slow.send(f"POST / HTTP/1.1\r\nHost: door\r\n{length}".encode())
        begun = time.monotonic()
        assert slow.receive().status == 408
        assert BODY_SECONDS - 0.1 < time.monotonic() - begun < BODY_SECONDS + SLACK
        assert slow.is_closed()


FITTING = (
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"a%d: b\r\n" % number for number in range(MOST_HEADERS - 1)) + b"\r\n"
)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (FITTING, 200),
        (FITTING[:-2] + b"one: more\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\na: " + b"x" * (MOST_HEADER_BYTES - 20) + b"\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: a\r\na: " + b"x" * MOST_HEADER_BYTES + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\na: " + b"x" * 300_000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x" * 300_000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 50_000, 431),
        (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"x" * 300_000, 414),
        (b"x" * 300_000, 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: " + b"x" * 300_000, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 300_000, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 50_000, 431),
    ],
)
def test_headers_have_a_limit_whether_they_end_or_not(shared: Door, sent: bytes, status: int) -> None:
    for size in (len(sent), 1_400):
        with raw_connection(shared.port) as client:
            for at in range(0, len(sent), size):
                client.send(sent[at : at + size])
            assert client.receive("GET").status == status, f"in pieces of {size}"


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\na\x00b: c\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT kafka:9092 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET /\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 40_000,
    ],
)
def test_what_is_no_http_is_answered_400_and_closed(shared: Door, sent: bytes) -> None:
    with raw_connection(shared.port) as client:
        client.send(sent)
        answer = client.receive("GET")
        assert answer.status == 400
        assert b'"error_code":400' in answer.body
        assert client.is_closed()


def test_a_request_before_one_that_is_no_http_gets_its_own_answer(shared: Door) -> None:
    with raw_connection(shared.port) as client:
        client.send(rendered("POST", "/", {}, b"abc") + b"NONSENSE\r\n\r\n")
        answer = client.receive()
        assert (answer.status, answer.body) == (200, b"3")
        assert client.is_closed()


def test_whoever_sends_without_waiting_is_answered_in_order_and_up_to_a_limit(shared: Door) -> None:
    with raw_connection(shared.port) as client:
        client.send(b"".join(rendered("POST", "/", {}, b"a" * number) for number in range(90)))
        assert [client.receive().body for _ in range(90)] == [b"%d" % number for number in range(90)]
        client.send(rendered("GET", "/", {}) * 10_000)
        answered = 0
        with suppress(ConnectionError):
            while client.receive("GET").status == 200:
                answered += 1
        assert 50 < answered < 150


def test_what_comes_after_a_chunked_body_changes_nothing(shared: Door) -> None:
    sent = rendered(
        "POST", "/", {"Transfer-Encoding": "chunked"}, chunked(b"abc")[:-2] + b"content-encoding: gzip\r\n\r\n"
    )
    with raw_connection(shared.port) as client:
        for _ in range(2):
            client.send(sent)
            assert client.receive().body == b"3"


@pytest.mark.parametrize("framing", ["Content-Length", "chunked"])
def test_whoever_sends_too_much_reads_why_and_may_go_on(shared: Door, framing: str) -> None:
    body = bytes(MOST_BYTES * 5)
    sent = (
        rendered("POST", "/", {}, body)
        if framing == "Content-Length"
        else rendered("POST", "/", {"Transfer-Encoding": "chunked"}, chunked(*[body[:10_000]] * 50))
    )
    with raw_connection(shared.port) as client:
        client.send(sent)
        assert client.receive().status == 413
        client.send(rendered("POST", "/", {}, b"abc"))
        assert client.receive().body == b"3"


def test_whoever_goes_on_sending_too_much_is_cut(shared: Door) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), timeout=patient(20)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 413")
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < 100_000_000:
                sent += client.send(bytes(1 << 16))


def test_a_client_that_does_not_read_its_answer_is_cut(shared: Door) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(("127.0.0.1", shared.port))
        client.sendall(rendered("GET", "/large", {}))
        time.sleep(BODY_SECONDS + SLACK)
        client.settimeout(patient(10))
        got = 0
        with suppress(ConnectionResetError):
            while piece := client.recv(1 << 20):
                got += len(piece)
        assert got < 64_000_000


def test_more_clients_than_it_takes_are_told_to_come_back(tmp_path: Path) -> None:
    with door(tmp_path, most_connections=50, header_seconds=30) as small, ExitStack() as held:
        crowd = [held.enter_context(raw_connection(small.port)) for _ in range(60)]
        answer = exchange(small.port, rendered("GET", "/", {}), "GET")
        assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (503, "2", "close")
        assert b'"error_code":50003' in answer.body
        early, late = crowd[0], crowd[-1]
        early.send(rendered("GET", "/", {}))
        assert early.receive("GET").status == 200, "who is in stays in"
        assert late.is_closed(), "one too many has little time"
        for each in crowd:
            each.close()
        wait_until(small.answers, "there is room again", 20)


def test_a_crowd_beyond_all_measure_costs_no_more_than_its_connections(tmp_path: Path) -> None:
    with door(tmp_path, most_connections=20, header_seconds=30) as small, ExitStack() as held:
        crowd = [held.enter_context(raw_connection(small.port)) for _ in range(600)]
        assert ends_after(crowd[-1]) < 1.0, "at once, not when its time for headers is over"
        crowd[0].send(rendered("GET", "/", {}))
        assert crowd[0].receive("GET").status == 200


def test_the_end_is_in_order_for_everybody(tmp_path: Path) -> None:
    with door(tmp_path, body_seconds=60, header_seconds=60) as ending, ExitStack() as held:
        idle, whole, stream, never = (held.enter_context(raw_connection(ending.port)) for _ in range(4))
        idle.send(rendered("GET", "/", {}))
        assert idle.receive("GET").status == 200
        whole.send(b"POST / HTTP/1.1\r\nHost: door\r\nContent-Length: 10\r\n\r\nabc")
        stream.send(b"POST /stream HTTP/1.1\r\nHost: door\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        never.send(rendered("GET", "/never", {}))
        assert stream.receive_until(b"3 ", 1)
        begun = time.monotonic()
        ending.process.send_signal(signal.SIGTERM)
        assert idle.is_closed()
        assert time.monotonic() - begun < 4, "who is between two requests is not waited for"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", ending.port))
        assert whole.receive().status == 503
        assert stream.receive_until(b"end", 1), "a stream ends where it is"
        assert 4 < time.monotonic() - begun < 5 + patient(3)
        assert ending.process.wait(patient(20)) == 0, ending.log.read_text()
        assert 9 < time.monotonic() - begun < 10 + patient(4), "who is never answered is cut"
        assert re.search("stopping\n.*closed\n", ending.log.read_text(), re.DOTALL)


def test_the_end_waits_for_a_body_that_is_on_its_way(tmp_path: Path) -> None:
    with door(tmp_path) as ending, raw_connection(ending.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: door\r\nContent-Length: 6\r\n\r\nabc")
        time.sleep(0.2)
        ending.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        client.send(b"def")
        answer = client.receive()
        assert (answer.status, answer.body, answer.headers["connection"]) == (200, b"6", "close")
        assert ending.process.wait(patient(20)) == 0


OFFER = "POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_an_offer_of_another_protocol_is_passed_over_with_its_body_and_what_follows(shared: Door, size: int) -> None:
    sent = [
        OFFER + "Content-Length: 5\r\n\r\nfirst",
        OFFER + "Transfer-Encoding: chunked\r\n\r\n3\r\nsec\r\n3\r\nond\r\n0\r\n\r\n",
        OFFER + "Content-Length: 0\r\n\r\n",
        OFFER.replace("POST", "GET") + "\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nplain",
        OFFER + "Content-Length: 5\r\n\r\nfifth",
    ]
    whole = "".join(sent).encode()
    with raw_connection(shared.port) as client:
        for place in range(0, len(whole), size):
            client.send(whole[place : place + size])
        lengths = [client.receive().body for _ in sent]
    assert lengths == [b"5", b"6", b"0", b"0", b"5", b"5"]


def half_closed(port: int, sent: bytes) -> bytes:
    """All that comes back to a client that ends its own side first."""
    with socket.create_connection(("127.0.0.1", port), timeout=patient(10)) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while piece := client.recv(65_536):
            received += piece
        return received


def test_a_client_that_ends_its_own_side_gets_the_answers_to_what_it_sent_whole(shared: Door) -> None:
    whole = rendered("POST", "/", {}, b"abc")
    begun = time.monotonic()
    for _ in range(10):
        received = half_closed(shared.port, whole)
        assert received.startswith(b"HTTP/1.1 200")
        assert received.endswith(b"3")
    assert half_closed(shared.port, whole * 5).count(b"HTTP/1.1 200") == 5
    stream = rendered("POST", "/stream", {"Transfer-Encoding": "chunked"}, chunked(b"abc"))
    assert half_closed(shared.port, stream).endswith(b"end\r\n0\r\n\r\n")
    assert half_closed(shared.port, whole[:-1]) == b"", "half a request has no answer"
    assert time.monotonic() - begun < patient(5), "and the connection ends with them"

"""The load of the gateway's benchmark against servers that a test made: it counts what a client would have waited."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from bench.http_load import Load, run_load

GOOD = b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"error_code":null}'
REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def server(answer: Callable[[int], list[bytes]]) -> Iterator[int]:
    """A port whose server sends these pieces for request number so-and-so (over all connections); none: hang up."""
    listener = socket.create_server(("127.0.0.1", 0))
    numbers = iter(range(10**9))
    lock = threading.Lock()

    def serve(client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client, suppress(OSError):
            while client.recv(4_096):
                with lock:
                    number = next(numbers)
                pieces = answer(number)
                if not pieces:
                    return
                for piece in pieces:
                    client.sendall(piece)
                    time.sleep(0.002 if len(pieces) > 1 else 0)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def load(port: int, **changes: object) -> Load:
    values: dict[str, object] = {"connections": 4, "seconds": 1.0, "warm_up": 0.2, "records": 1}
    return Load("127.0.0.1", port, [REQUEST], mark=b'"error_code":null', **(values | changes))  # type: ignore[arg-type]


def test_every_good_answer_is_counted_once() -> None:
    answered: list[int] = []

    def answer(number: int) -> list[bytes]:
        answered.append(number)
        return [GOOD]

    with server(answer) as port:
        outcome = run_load(load(port))
    assert outcome.good_in_all == len(answered) > 100
    assert outcome.good_in_all > outcome.requests > 50, "the warm-up does not count"
    assert outcome.failures == {}
    assert 0 < outcome.p50_ms <= outcome.p99_ms <= outcome.worst_ms


def test_a_stall_is_waited_for_by_everything_that_was_due_meanwhile() -> None:
    """A client that sends its next request when the last is answered sees one slow answer; half of these are slow."""
    began = time.monotonic()
    stalled = threading.Event()

    def answer(number: int) -> list[bytes]:
        if time.monotonic() - began > 0.6 and not stalled.is_set():
            stalled.set()
            time.sleep(0.5)
        return [GOOD]

    with server(answer) as port:
        outcome = run_load(load(port, connections=1, rate=200.0))
    assert abs(outcome.requests - 200) <= 2, "what was due is sent, however late"
    assert outcome.worst_ms > 400
    assert outcome.p99_ms > 400
    stalled.clear()
    began = time.monotonic()
    with server(answer) as port:
        blind = run_load(load(port, connections=1))
    assert blind.worst_ms > 400
    assert blind.p99_ms < 100, "as fast as answered, one answer in thousands does not show"


def test_refusals_lost_connections_and_refused_records_are_failures() -> None:
    refusal = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"
    record = GOOD.replace(b"null", b"4290")

    def answer(number: int) -> list[bytes]:
        return [[refusal], [record], [], [GOOD]][number % 4]

    with server(answer) as port:
        outcome = run_load(load(port, connections=2, seconds=0.5))
    assert outcome.failures.keys() == {"HTTP/1.1 429 Too Many Requests", "HTTP/1.1 200 OK", "connection lost"}
    assert outcome.requests > 0


def test_an_answer_in_pieces_is_one_answer() -> None:
    with server(lambda _: [GOOD[:9], GOOD[9:30], GOOD[30:45], GOOD[45:]]) as port:
        outcome = run_load(load(port, seconds=0.5))
    assert outcome.requests > 10
    assert outcome.failures == {}


def test_a_server_that_never_answers_ends_with_failures_and_no_latency() -> None:
    silent = threading.Event()

    def answer(number: int) -> list[bytes]:
        silent.wait(30.0)
        return []

    with server(answer) as port:
        outcome = run_load(load(port, connections=2, seconds=0.3))
        silent.set()
    assert outcome.requests == 0
    assert outcome.failures == {"not answered": 2}

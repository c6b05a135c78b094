"""The proxy between a worker and its servers leaves nothing open, whatever it is told to do."""

from __future__ import annotations

import gc
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.fault.tcp_proxy import PASS, Fault, TcpProxy

CLIENTS = 6
ROUNDS = 20


@contextmanager
def listening() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    taken: list[socket.socket] = []

    def take() -> None:
        with suppress(OSError):  # closed
            while True:
                taken.append(server.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=take)
        thread.start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for each in taken:
        each.close()


@contextmanager
def clients(port_of: dict[str, int]) -> Iterator[None]:
    """Clients that connect and ask all the time, to whatever port they are told."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port_of["proxy"]), timeout=1) as client:
                client.sendall(b"question")
                client.settimeout(0.01)
                client.recv(10)
            time.sleep(0.0005)

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    yield
    ended.set()
    for thread in threads:
        thread.join()


def test_a_proxy_that_ends_while_clients_connect_leaves_no_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: left.append(found.exc_value))
    dice, port_of = random.Random(3), {"proxy": 1}
    with listening() as port, clients(port_of):
        for number in range(ROUNDS):
            with TcpProxy("127.0.0.1", port) as proxy:
                port_of["proxy"] = proxy.port
                time.sleep(dice.uniform(0.0, 0.02))
                if number % 2:
                    proxy.set(Fault("refuse" if number % 4 == 1 else "hang"))
                    time.sleep(dice.uniform(0.0, 0.02))
                    proxy.set(PASS)
        gc.collect()
    assert left == []

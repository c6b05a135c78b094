"""Clients that send a byte now and then, for as long as they are let: ``python -m tests.fault.slow_senders``.

Arguments: port, how many, the seconds in which they come one after the other, and a key. Half of them never come to
the end of their headers, half (with the key) never to that of their body. Whoever is cut comes again. A line is printed
once all have come. They go when standard input ends, but not before as many as they are were cut, and what became of
them is printed as JSON. A thousand take a few hundredths of a core.
"""

from __future__ import annotations

import json
import select
import selectors
import socket
import sys
import time
from collections import Counter, deque

PAUSE_SECONDS = 1.0
"""Between two bytes of one client."""
TICK_SECONDS = 0.01
LONGEST_SECONDS = 60.0
"""That they wait to be cut; who is never cut fails the test by what is printed."""


class Slow:
    """One client."""

    def __init__(self, number: int, port: int, key: str) -> None:
        """Connect and begin a request."""
        self.kind = "headers" if number % 2 else "body"
        self.number = number
        self.begun = time.monotonic()
        self.next_byte = self.begun + PAUSE_SECONDS
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(opening(self.kind, key))

    def cut(self, seen: Counter[str]) -> None:
        """Note how it was cut, and after how long."""
        try:
            status = self.socket.recv(65_536)[9:12].decode() or "closed"
        except ConnectionError:
            status = "reset"
        seen[f"{self.kind} {status}"] += 1
        lasted = round(1000 * (time.monotonic() - self.begun))
        seen[f"{self.kind} most milliseconds"] = max(seen[f"{self.kind} most milliseconds"], lasted)


def opening(kind: str, key: str) -> bytes:
    """What a client begins with."""
    if kind == "headers":
        return b"POST /topics/any HTTP/1.1\r\nHost: gateway\r\nX-Slow: "
    head = f"POST /topics/any HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\n"
    return f'{head}Content-Type: application/vnd.kafka.json.v2+json\r\nContent-Length: 1000\r\n\r\n{{"'.encode()


class Crowd:
    """All of them; ``seen`` counts what became of them."""

    def __init__(self, port: int, count: int, coming: float, key: str) -> None:
        """Nobody has come yet."""
        self.seen: Counter[str] = Counter()
        self.all_came = False
        self._port, self._key = port, key
        begun = time.monotonic()
        self._waiting = deque((begun + coming * number / count, number) for number in range(count))
        self._clients: deque[Slow] = deque()
        self._selector = selectors.DefaultSelector()
        self._turn = begun

    def turn(self) -> None:
        """Whoever is due comes, sends a byte, or is gone; takes about :data:`TICK_SECONDS`."""
        now = time.monotonic()
        self._most("most milliseconds between turns", round(1000 * (now - self._turn)))
        self._turn = now
        while self._waiting and self._waiting[0][0] <= now:
            client = Slow(self._waiting.popleft()[1], self._port, self._key)
            self._clients.append(client)
            self._selector.register(client.socket, selectors.EVENT_READ, client)
        self.all_came = self.all_came or not self._waiting
        self._most("most at a time", len(self._selector.get_map()))
        while self._clients and self._clients[0].next_byte <= now:
            client = self._clients.popleft()
            if drip(client):
                self._clients.append(client)
        for each, _ in self._selector.select(TICK_SECONDS):
            each.data.cut(self.seen)
            self.seen["cut"] += 1
            self._selector.unregister(each.fileobj)
            each.data.socket.close()
            self._waiting.appendleft((now, each.data.number))
        time.sleep(TICK_SECONDS)

    def _most(self, name: str, value: int) -> None:
        self.seen[name] = max(self.seen[name], value)


def main(port: int, count: int, coming: float, key: str) -> None:
    """Until nobody listens any more and all were cut."""
    crowd = Crowd(port, count, coming, key)
    while not crowd.all_came:
        crowd.turn()
    print("all have come", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        crowd.turn()
    latest = time.monotonic() + LONGEST_SECONDS
    while crowd.seen["cut"] < count and time.monotonic() < latest:
        crowd.turn()
    print(json.dumps(crowd.seen))


def drip(client: Slow) -> bool:
    """Send a byte; whether the connection is still there."""
    client.next_byte += PAUSE_SECONDS
    try:
        client.socket.send(b"a")
    except OSError:  # cut, or closed by us once it was
        return False
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])

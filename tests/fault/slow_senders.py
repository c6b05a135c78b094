"""Clients that send a byte now and then, for as long as they are let: ``python -m tests.fault.slow_senders``.

Arguments: port, how many, the seconds in which they come one after the other, seconds in all, and a key. Half of them
never come to the end of their headers, half (with the key) never to that of their body. Whoever is cut comes again.
What became of them is printed as JSON at the end. A thousand take a few hundredths of a core.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections import Counter, deque

PAUSE_SECONDS = 1.0
"""Between two bytes of one client."""
TICK_SECONDS = 0.01


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


def main(port: int, count: int, coming: float, seconds: float, key: str) -> None:
    """All of them."""
    seen: Counter[str] = Counter()
    begun = time.monotonic()
    waiting = deque((begun + coming * number / count, number) for number in range(count))
    clients: deque[Slow] = deque()
    with selectors.DefaultSelector() as selector:
        while (now := time.monotonic()) < begun + seconds:
            while waiting and waiting[0][0] <= now:
                client = Slow(waiting.popleft()[1], port, key)
                clients.append(client)
                selector.register(client.socket, selectors.EVENT_READ, client)
            seen["most at a time"] = max(seen["most at a time"], len(selector.get_map()))
            while clients and clients[0].next_byte <= now:
                client = clients.popleft()
                if drip(client):
                    clients.append(client)
            for each, _ in selector.select(TICK_SECONDS):
                each.data.cut(seen)
                selector.unregister(each.fileobj)
                each.data.socket.close()
                waiting.appendleft((now, each.data.number))
            time.sleep(TICK_SECONDS)
    print(json.dumps(seen))


def drip(client: Slow) -> bool:
    """Send a byte; whether the connection is still there."""
    client.next_byte += PAUSE_SECONDS
    try:
        client.socket.send(b"a")
    except OSError:  # cut, or closed by us once it was
        return False
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]), sys.argv[5])

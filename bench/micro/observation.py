"""What it costs to write a request of the gateway down: ``python -m bench.micro.observation [requests]``.

The access log's line and the counters, and next to them what logging and prometheus_client would take for the same.
"""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram

from connectors.gateway.records import Caller
from connectors.gateway.server.access_log import AccessLog
from connectors.gateway.server.client_address import TrustedProxies
from connectors.gateway.server.metrics import BUCKETS, REQUESTS
from connectors.gateway.server.observation import Observation

ROUTE = "/topics/{topic}"
CALLER = Caller("abcdefghijkl", "acme", "device", "dev-000001")
SCOPE = {"method": "POST", "client": ("192.0.2.7", 40_000), "headers": []}
COUNTS = {"records": 100, "refused": 0}


def measure(name: str, count: int, work: Callable[[], object]) -> None:
    """Print the CPU of one call."""
    begun = time.process_time()
    for _ in range(count):
        work()
    print(f"{name:44} {(time.process_time() - begun) / count * 1e6:6.2f} µs")


def usual(count: int) -> None:
    """The same with a handler of logging, and with metrics of prometheus_client."""
    logger = logging.getLogger("bench")
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    said = "%s %s %d %.1f ms organisation=%s actor=key:%s device=%s records=%d refused=%d bytes=%d client=%s"
    values = ("POST", ROUTE, 200, 3.1, "acme", "abcdefghijkl", "dev-000001", 100, 0, 12_000, "192.0.2.7")
    measure("a line with a handler of logging", count, lambda: logger.info(said, *values))
    registry = CollectorRegistry()
    requests = Counter("requests", "Requests.", ["route", "method", "status"], registry=registry)
    seconds = Histogram("seconds", "Seconds.", ["route"], buckets=BUCKETS, registry=registry)

    def told() -> None:
        requests.labels(ROUTE, "POST", "200").inc()
        seconds.labels(ROUTE).observe(0.003)

    measure("counters of prometheus_client", count, told)


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    log = AccessLog(write=io.StringIO().write)
    observation = Observation(log, TrustedProxies(""))
    measure("our counters", size, lambda: REQUESTS.add(ROUTE, "POST", 200, 0.003))
    measure("a line of the access log", size, lambda: log.add("POST", ROUTE, 200, 3e-3, CALLER, "::1", COUNTS, 12_000))
    log = AccessLog(write=io.StringIO().write)
    observation = Observation(log, TrustedProxies(""))
    measure("all of it", size, lambda: observation.tell(SCOPE, ROUTE, 200, 3e-3, CALLER, COUNTS, 12_000))
    usual(size)

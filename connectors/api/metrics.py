"""Every metric of the API, declared once with its meaning."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

REQUESTS: Final = Counter("weir_api_requests", "Requests to the API.", ["method", "route", "status"])
SECONDS: Final = Histogram(
    "weir_api_seconds",
    "Time from a request to the API until its answer was sent; waiting for commands counts.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
REFUSALS: Final = Counter(
    "weir_api_refusals", "Requests of a known caller that were refused, by whether an event was written.", ["written"]
)
WAITING: Final = Gauge("weir_api_waiting", "Requests that wait for a command to their device.")

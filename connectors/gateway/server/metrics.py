"""Every metric of the gateway, declared once with its meaning.

What each request counts is a whole number in a dictionary, turned into Prometheus' families when they are asked for:
a labelled counter and a histogram of prometheus_client cost 4.6 µs a request, these 0.4
(`python -m bench.micro.observation`).
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import REGISTRY, Counter, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

_log = logging.getLogger(__name__)

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

CONNECTIONS_REFUSED: Final = Counter(
    "weir_gateway_connections_refused", "Connections that were cut or turned away before a request, by why.", ["reason"]
)
READ_WHEN_ASKED: Final = {
    "weir_gateway_connections": "Clients that are connected.",
    "weir_gateway_in_flight_records": "Records handed to Kafka and not answered yet.",
    "weir_gateway_kafka_up": "1 while Kafka takes records, 0 while they go to the spool.",
    "weir_gateway_stalls_total": "How often Kafka went away.",
    "weir_gateway_spool_records": "Records that wait on disk for Kafka.",
    "weir_gateway_spool_bytes": "Bytes of records that wait on disk for Kafka.",
    "weir_gateway_spool_replayed_total": "Records that came from disk to Kafka.",
    "weir_gateway_spool_refused_total": "Spooled records that Kafka refused for good; they are kept in refused/.",
    "weir_gateway_spool_damaged_bytes": "Bytes of the spool that were no whole records; .corrupt files keep them.",
    "weir_gateway_spool_failed_writes_total": "Writes to the spool that the disk refused.",
    "weir_gateway_usage_rows": "Rows of usage that are not in ClickHouse yet.",
    "weir_gateway_keys_cached": "Keys that are known without asking Postgres.",
    "weir_gateway_devices_cached": "Devices that are known without asking Postgres.",
    "weir_gateway_postgres_age_seconds": "Seconds since keys and devices were last known to be current.",
    "weir_gateway_log_lines_lost_total": "Lines of the access log that nobody took in time.",
}
"""Gauges, and counters by their ending, whose values others keep."""


class _Requests:
    """What is known of the requests of one route, method and status."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0


class Requests(Collector):
    """``weir_gateway_requests_total`` and ``weir_gateway_seconds``."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self._known: dict[tuple[str, str, int], _Requests] = {}

    def add(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one; labels are the caller's to bound: templates of routes and known methods."""
        known = self._known.get((route, method, status))
        if known is None:
            known = self._known[route, method, status] = _Requests()
        known.buckets[bisect_left(BUCKETS, seconds)] += 1
        known.seconds += seconds

    def collect(self) -> Iterator[Metric]:
        """Both families."""
        counts = CounterMetricFamily(
            "weir_gateway_requests", "Requests to the gateway.", labels=["route", "method", "status"]
        )
        times = HistogramMetricFamily(
            "weir_gateway_seconds", "Time from a request's headers until its answer was sent.", labels=["route"]
        )
        routes: dict[str, _Requests] = {}
        for (route, method, status), known in self._known.items():
            counts.add_metric([route, method, str(status)], sum(known.buckets))
            whole = routes.setdefault(route, _Requests())
            whole.buckets = [one + other for one, other in zip(whole.buckets, known.buckets, strict=True)]
            whole.seconds += known.seconds
        for route, whole in routes.items():
            times.add_metric([route], _cumulative(whole.buckets), whole.seconds)
        yield counts
        yield times


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    total, rows = 0, []
    for bound, count in zip((*BUCKETS, "+Inf"), buckets, strict=True):
        total += count
        rows.append((str(bound), float(total)))
    return rows


class Records(Collector):
    """``weir_gateway_records_total``: what became of records."""

    def __init__(self) -> None:
        """None came yet."""
        self.accepted = 0
        self.sampled_out = 0
        self.rejected = 0
        self.spooled = 0

    def add(self, *, accepted: int = 0, sampled_out: int = 0, rejected: int = 0, spooled: int = 0) -> None:
        """Count those of one request. ``accepted`` ones are in Kafka, ``spooled`` ones on disk."""
        self.accepted += accepted
        self.sampled_out += sampled_out
        self.rejected += rejected
        self.spooled += spooled

    def collect(self) -> Iterator[Metric]:
        """The family."""
        family = CounterMetricFamily(
            "weir_gateway_records", "Records that came, by what became of them.", labels=["outcome"]
        )
        for outcome in ("accepted", "sampled_out", "rejected", "spooled"):
            family.add_metric([outcome], getattr(self, outcome))
        yield family


class Watched(Collector):
    """Those of :data:`READ_WHEN_ASKED`."""

    def __init__(self) -> None:
        """Nothing is watched yet."""
        self._watched: dict[str, Callable[[], float | None]] = {}

    def watch(self, name: str, read: Callable[[], float | None]) -> None:
        """Ask ``read``, which must not block, for the value of ``name``; None: not known. Raises KeyError."""
        READ_WHEN_ASKED[name]
        self._watched[name] = read

    def collect(self) -> Iterator[Metric]:
        """All of them; without a value those that nobody knows."""
        for name, meaning in READ_WHEN_ASKED.items():
            family: GaugeMetricFamily | CounterMetricFamily
            if name.endswith("_total"):
                family = CounterMetricFamily(name, meaning, labels=[])
            else:
                family = GaugeMetricFamily(name, meaning, labels=[])
            read = self._watched.get(name)
            value = _value(read) if read else None
            if value is not None:
                family.add_metric([], value)
            yield family


def _value(read: Callable[[], float | None]) -> float | None:
    """What a part says of itself; one that cannot say it must not hide what all others say."""
    try:
        value = read()
        return None if value is None else float(value)
    except Exception:
        _log.exception("A metric of the gateway cannot be read.")
        return None


REQUESTS: Final = Requests()
RECORDS: Final = Records()
WATCHED: Final = Watched()
for _collector in (REQUESTS, RECORDS, WATCHED):
    REGISTRY.register(_collector)

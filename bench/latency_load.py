"""The load under which latency is measured: posted to the gateway, or written straight into Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal, NamedTuple, Protocol

import polars as pl

from bench.dataset import SENSORS, Dataset
from bench.live_load import LiveLoad, LoadPlan, live_load
from bench.live_posts import BATCH, LivePosts, PostPlan, live_posts
from bench.testbed import Testbed
from weir.errors import StackError
from weir.settings import Settings

Through = Literal["gateway", "kafka"]

WARM_SECONDS: Final = 5.0
"""Of load before what is measured begins."""

PREPARING_MS: Final = 8_000
PREPARING_MS_PER_READING: Final = 0.01
"""Until the readings for Kafka are encoded and the first may be sent at its own time: 10 s a million, at most."""

MOST_PREPARED: Final = 32_000_000
"""Readings that are encoded beforehand, 30 bytes of memory each; of more, each is when it is sent."""


class Sent(NamedTuple):
    """What was acknowledged: identities in all, and how many messages a second between two times of ``time.time()``."""

    distinct: int
    readings_per_second: float
    began: float
    ended: float
    failures: dict[str, int]


class RunningLoad(Protocol):
    """A load in a process of its own."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def finish(self, check: Callable[[], object]) -> Sent:
        """Block until the measured seconds are over and all is acknowledged; ``check`` is called now and then."""


SPARE_SECONDS: Final = 5.0
"""The load is stopped when its time is over; one that ended just then would be taken for one that failed."""


def fleet(rate: int) -> pl.DataFrame:
    """The sensors that send ``rate`` readings a second, each once, for :func:`connectors.postgres.devices.register`."""
    return Dataset(LoadPlan(max(rate, len(SENSORS)), 0, 1.0).live()).sensors()


@contextmanager
def running_load(
    testbed: Testbed, settings: Settings, through: Through, rate: int, seconds: float, key: str, devices: int
) -> Iterator[RunningLoad]:
    """Send ``rate`` readings a second for :data:`WARM_SECONDS` and then ``seconds``; it ends with the block.

    Into Kafka so many ``devices`` send them; with 0, and at the gateway, as many as send one a second and sensor.
    """
    if through == "gateway":
        where = settings.gateway.host, settings.gateway.port, settings.topics.readings
        with live_posts(testbed, settings, PostPlan(*where, key, rate, seconds, WARM_SECONDS)) as posts:
            yield _Posted(posts)
        return
    seconds_in_all = WARM_SECONDS + seconds + SPARE_SECONDS
    ready_ms = PREPARING_MS + round(PREPARING_MS_PER_READING * rate * seconds_in_all)
    begin_ms = time.time_ns() // 1_000_000 + ready_ms
    prepared = rate * seconds_in_all <= MOST_PREPARED
    plan = LoadPlan(rate, begin_ms, seconds_in_all, devices=devices, prepared=prepared)
    with live_load(testbed, settings, plan) as load:
        yield _Written(load, seconds)


class _Posted:
    """Through the gateway."""

    def __init__(self, posts: LivePosts) -> None:
        self._posts = posts
        self.pid = posts.child.pid

    def finish(self, check: Callable[[], object]) -> Sent:
        outcome = self._posts.wait(check)
        rate = outcome.per_second * BATCH
        ended = outcome.began + outcome.seconds
        return Sent(outcome.good_in_all * BATCH, rate, outcome.began, ended, outcome.failures)


class _Written:
    """Straight into Kafka."""

    def __init__(self, load: LiveLoad, seconds: float) -> None:
        self._load, self._seconds = load, seconds
        self.pid = load.child.pid

    def finish(self, check: Callable[[], object]) -> Sent:
        live = self._load.wait_live(check)
        began = live + WARM_SECONDS
        ended = began + self._seconds
        while time.time() < ended:
            check()
            if self._load.child.exit_code() not in (None, 0):
                raise StackError(f"The load failed; see {self._load.child.log}.")
            time.sleep(0.1)
        sent = self._load.stop()
        return Sent(sent.distinct, sent.messages / sent.seconds, began, ended, {})

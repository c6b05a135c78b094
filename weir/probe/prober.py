"""The prober: posts a reading in every interval and asks ClickHouse until a query shows it.

Three parts go on beside each other, so that a slow one holds up none: the schedule, which sends what is due; a few
threads that post; one thread that asks for all probes that wait, in one query.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from random import Random
from types import TracebackType
from typing import Final, Protocol, Self

from weir.errors import WeirError
from weir.probe.conditions import Conditions
from weir.probe.due import DueTimes
from weir.probe.outcome import Failure, Outcome
from weir.settings import ProbeSettings

ASK_SECONDS: Final = 0.02
"""Between two questions; a latency is too long by half of it in the mean."""

ASK_SHARE: Final = 0.05
"""The pause grows to this part of the age of the newest probe: what is slow is measured less finely, and cheaper."""

AWAY_SECONDS: Final = 0.25
"""The pause after a question that was not answered."""

POSTERS: Final = 32
"""Posts under way at the same time; later ones wait, and their latency counts from when they were due."""


class Posting(Protocol):
    """What posts: :class:`weir.probe.posting.Poster`."""

    def post(self, ts_ms: int, value: float) -> Failure | None:
        """None when the reading was taken."""


class Asking(Protocol):
    """What asks: :class:`weir.probe.sight.Sight`."""

    def visible(self, ts_ms: list[int]) -> set[int]:
        """Which of these readings a query shows."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A probe that was acknowledged; ``due`` is of the monotonic clock, ``due_at`` of the wall clock."""

    ts_ms: int
    due: float
    due_at: float
    acknowledged_seconds: float


class Prober:
    """Sends probes from the start of the ``with`` block to its end; probes that wait then are given up.

    ``tell`` hears what became of each, from several threads.
    """

    def __init__(
        self,
        settings: ProbeSettings,
        posting: Posting,
        asking: Asking,
        conditions: Conditions,
        tell: Callable[[Outcome], object],
    ) -> None:
        """Nothing is sent yet."""
        self._settings, self._posting, self._asking = settings, posting, asking
        self._conditions, self._tell = conditions, tell
        self._posters = ThreadPoolExecutor(POSTERS, "probe-post")
        self._threads = [
            threading.Thread(target=self._guarded, args=(each,), name=name, daemon=True)
            for name, each in (("probe-schedule", self._send), ("probe-ask", self._ask))
        ]
        self._crash: BaseException | None = None
        self._enough, self._stopping = threading.Event(), threading.Event()
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._last_ts_ms = 0
        self._last_ms = 0.0

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; blocks until posts and the question under way are answered."""
        self._enough.set()
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._posters.shutdown(cancel_futures=True)

    def finish(self) -> None:
        """Send no more, and block until it was told what became of each probe."""
        self._enough.set()
        self._threads[0].join()
        self._posters.shutdown()
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._crash is not None)
        self.check()

    def check(self) -> None:
        """Raise what it crashed with: a prober that stands still must not look like one that has nothing to say."""
        if self._crash is not None:
            raise self._crash

    def _guarded(self, part: Callable[[], None]) -> None:
        try:
            part()
        except BaseException as error:
            with self._changed:
                self._crash = error
                self._changed.notify_all()

    def _send(self) -> None:
        begin = time.monotonic()
        due_times = DueTimes(begin, self._settings.interval_seconds, Random())  # noqa: S311 - no secret
        while not self._enough.wait(max(0.0, due_times.next - time.monotonic())):
            now = time.monotonic()
            due, left_out = due_times.take(now, now - self._settings.timeout_seconds)
            if left_out:
                self._stood_still(left_out)
            for each in due:
                probe = partial(self._post, each, time.time() - (now - each), self._new_ts_ms())
                self._posters.submit(self._guarded, probe)

    def _stood_still(self, probes: int) -> None:
        why = f"The prober stood still longer than {self._settings.timeout_seconds:g} s: {probes} probes are not sent."
        failure = Failure("late", why)
        self._conditions.note("posting", failure)
        for _ in range(probes):
            self._tell(Outcome(time.time(), failure=failure))

    def _new_ts_ms(self) -> int:
        """Now, and another one for each probe, also where the clock is set back: it is the reading's identity."""
        self._last_ts_ms = max(self._last_ts_ms + 1, time.time_ns() // 1_000_000)
        return self._last_ts_ms

    def _post(self, due: float, due_at: float, ts_ms: int) -> None:
        failure = self._posting.post(ts_ms, round(self._last_ms, 1))
        acknowledged = time.monotonic() - due
        self._conditions.note("posting", failure)
        if failure is not None:
            self._tell(Outcome(due_at, failure=failure))
            return
        with self._changed:
            self._waiting.append(_Waiting(ts_ms, due, due_at, acknowledged))
            self._changed.notify_all()

    def _ask(self) -> None:
        while not self._stopping.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping.is_set())
                waiting = list(self._waiting)
            if waiting:
                answered = self._settle(waiting)
                youngest = time.monotonic() - max(each.due for each in waiting)
                self._stopping.wait(max(ASK_SECONDS, ASK_SHARE * youngest) if answered else AWAY_SECONDS)

    def _settle(self, waiting: list[_Waiting]) -> bool:
        """Ask once, and tell of every probe that is seen or whose time is over; whether ClickHouse answered."""
        failure, seen = None, set[int]()
        try:
            seen = self._asking.visible([each.ts_ms for each in waiting])
        except WeirError as error:
            failure = Failure("clickhouse", str(error))
        now = time.monotonic()
        self._conditions.note("asking", failure)
        for each in waiting:
            if each.ts_ms in seen:
                self._seen(each, now - each.due)
            elif now - each.due > self._settings.timeout_seconds:
                self._gone(each, failure or missing(self._settings))
        with self._changed:
            self._waiting = [
                each
                for each in self._waiting
                if each.ts_ms not in seen and now - each.due <= self._settings.timeout_seconds
            ]
            self._changed.notify_all()
        return failure is None

    def _seen(self, probe: _Waiting, seconds: float) -> None:
        self._last_ms = seconds * 1_000
        self._conditions.note("arriving", None)
        self._tell(Outcome(probe.due_at, probe.acknowledged_seconds, seconds))

    def _gone(self, probe: _Waiting, failure: Failure) -> None:
        if failure.reason == "missing":
            self._conditions.note("arriving", failure)
        self._tell(Outcome(probe.due_at, probe.acknowledged_seconds, failure=failure))


def missing(settings: ProbeSettings) -> Failure:
    """What to say of a reading that was taken and does not show."""
    return Failure(
        "missing",
        f"A probe that the gateway took is not queryable after {settings.timeout_seconds:g} s; see that workers run "
        f"(weir_lag_messages), that the organisation of {settings.device} is {settings.organisation}, and "
        "`weir dlq list`.",
    )

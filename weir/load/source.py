"""The messages of a load in the order of their sending: good readings with their faults, and bad records."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
import numpy as np

from weir.demo.bad_records import BadRecords
from weir.demo.reading import Framing, Reading
from weir.load.draws import Float64s, Int64s, draw
from weir.load.entries import Bad, Readings, steps
from weir.load.event_time import EventTimes
from weir.load.plan import MINUTE_MS, LoadPlan

DELAY_SECONDS: Final = 3.0
"""How much later a reading out of order, a resend or a conflict comes at most; windows wait five seconds."""

LEAST_DELAY: Final = 200
"""Readings that pass meanwhile, where a second has few."""

LIMIT: Final = 1_000_000.0
"""Bounds of every sensor, both ways; a bad record lies outside."""

_VALUE, _FAULT, _DELAY, _LATE = range(4)
"""Streams of chance."""


class Message(NamedTuple):
    """What goes to Kafka, under its number in the ledger; ``bad``: it is made to be refused.

    ``packed`` are the numbers of all of its readings when it is a batch.
    """

    number: int
    key: str
    value: bytes | None
    bad: bool = False
    packed: tuple[int, ...] = ()


class _Good(NamedTuple):
    """One sending of a reading; ``place`` orders them: its number in the fleet's sequence, or later when delayed."""

    place: float
    series: int
    ts: int
    value: float | None
    text: str | None


class _Refused(NamedTuple):
    place: float
    key: str
    payload: bytes | None
    kind: str
    reason: str


@dataclass
class Batch:
    """Messages that belong together: their intents go into the ledger first."""

    readings: Readings | None
    bad: Bad | None
    messages: list[Message] = field(default_factory=list)


class Source:
    """Makes the messages of a plan."""

    def __init__(
        self, plan: LoadPlan, times: EventTimes, readings: Framing, alerts: Framing, batches: Framing | None = None
    ) -> None:
        """All framings write Avro; alerts are valid Avro of the wrong type. Only a packed plan needs ``batches``."""
        self._plan = plan
        self._times = times
        self._names = plan.names()
        self._bad = BadRecords(readings, alerts)
        self._encode: Callable[[dict[str, object]], bytes] = msgspec.json.encode if plan.json_values else readings.frame
        self._batches = batches
        self._delay = max(LEAST_DELAY, int(plan.rate * DELAY_SECONDS))
        self._delayed: list[_Good] = []
        self._numbers = 0
        self.made = 0
        """Readings made so far; resends and conflicts are not counted."""

    def take(self, count: int, elapsed: float) -> Batch:
        """The next ``count`` readings, ``elapsed`` seconds after the start, and what comes again between them."""
        numbers = np.arange(self.made, self.made + count, dtype=np.int64)
        self.made += count
        goods, bads = self._fresh(numbers, self._times.of(numbers, elapsed))
        while self._delayed and self._delayed[0].place < self.made:
            goods.append(heapq.heappop(self._delayed))
        goods.sort()
        return self._batch(goods, bads)

    def rest(self) -> Batch:
        """What still waits to come again, or late."""
        goods = sorted(self._delayed)
        self._delayed.clear()
        return self._batch(goods, [])

    def _fresh(self, numbers: Int64s, ts: Int64s) -> tuple[list[_Good], list[_Refused]]:
        plan = self._plan
        late_ms = 1 + draw(plan.seed, _LATE, numbers) * plan.late_minutes * MINUTE_MS
        faults = self._faults(numbers)
        ts = np.where(faults == _LATE_FAULT, ts - late_ms.astype(np.int64), ts)
        values = np.round(draw(plan.seed, _VALUE, numbers) * 200.0 - 100.0, 3)
        series = numbers % plan.series
        goods = list(map(_Good, numbers.tolist(), series.tolist(), ts.tolist(), values.tolist(), [None] * len(numbers)))
        special = np.flatnonzero((faults != _NO_FAULT) & (faults != _LATE_FAULT))
        if not len(special):
            return goods, []
        later = numbers[special] + 0.5 + np.floor(draw(plan.seed, _DELAY, numbers[special]) * self._delay)
        return self._spoil(goods, special.tolist(), faults[special].tolist(), later.tolist())

    def _faults(self, numbers: Int64s) -> Int64s:
        """One of the faults for each number, by the shares of the plan."""
        plan = self._plan
        shares = (plan.bad, plan.late, plan.disorder, plan.resends, plan.conflicts, plan.texts)
        chance: Float64s = draw(plan.seed, _FAULT, numbers)
        return np.searchsorted(np.cumsum(shares), chance, side="right").astype(np.int64)

    def _spoil(
        self, goods: list[_Good], at: list[int], faults: list[int], later: list[float]
    ) -> tuple[list[_Good], list[_Refused]]:
        gone: set[int] = set()
        bads: list[_Refused] = []
        for index, fault, place in zip(at, faults, later, strict=True):
            good = goods[index]
            if fault == _BAD_FAULT:
                bads += self._refused(good)
                gone.add(index)
            elif fault == _DISORDER_FAULT:
                heapq.heappush(self._delayed, good._replace(place=place))
                gone.add(index)
            elif fault == _TEXT_FAULT:
                goods[index] = good._replace(value=None, text=f"state {good.ts % 7}")
            else:
                value = (good.value or 0.0) + 1_000.0 if fault == _CONFLICT_FAULT else good.value
                heapq.heappush(self._delayed, good._replace(place=place, value=value))
        return [good for index, good in enumerate(goods) if index not in gone], bads

    def _refused(self, good: _Good) -> list[_Refused]:
        device, sensor = self._names[good.series]
        made = self._bad.next(Reading(device, sensor, good.ts, value=good.value))
        return [_Refused(good.place, each.key, each.value, each.kind, each.reason) for each in made]

    def _batch(self, goods: list[_Good], bads: list[_Refused]) -> Batch:
        first, first_bad = self._numbers, self._numbers + len(goods)
        self._numbers = first_bad + len(bads)
        batch = Batch(_readings(first, goods) if goods else None, None)
        placed: list[tuple[float, Message]] = (
            [(good.place, self._message(number, good)) for number, good in enumerate(goods, start=first)]
            if self._batches is None
            else list(self._packed(first, goods, self._batches))
        )
        if bads:
            batch.bad = Bad(first_bad, [each.kind for each in bads], [each.reason for each in bads])
            placed += [
                (each.place, Message(number, each.key, each.payload, bad=True))
                for number, each in enumerate(bads, first_bad)
            ]
            placed.sort(key=lambda pair: pair[0])
        batch.messages = [message for _, message in placed]
        return batch

    def _message(self, number: int, good: _Good) -> Message:
        device = self._names[good.series][0]
        return Message(number, device, self._encode({"device_id": device, **self._record(good)}))

    def _record(self, good: _Good) -> dict[str, object]:
        record: dict[str, object] = {"sensor": self._names[good.series][1], "ts": good.ts, "source": "weir-load"}
        record["value" if good.text is None else "str_value"] = good.value if good.text is None else good.text
        return record

    def _packed(self, first: int, goods: list[_Good], batches: Framing) -> Iterator[tuple[float, Message]]:
        """Batches, each where its last reading stands, so that those of a device stay in order."""
        waiting: dict[str, list[tuple[int, _Good]]] = {}
        for number, good in enumerate(goods, start=first):
            device = self._names[good.series][0]
            held = waiting.setdefault(device, [])
            held.append((number, good))
            if len(held) == self._plan.packed:
                yield self._batch_of(device, waiting.pop(device), batches)
        for device, held in waiting.items():
            yield self._batch_of(device, held, batches)

    def _batch_of(self, device: str, held: list[tuple[int, _Good]], batches: Framing) -> tuple[float, Message]:
        value = batches.frame({"device_id": device, "readings": [self._record(good) for _, good in held]})
        numbers = tuple(number for number, _ in held)
        return held[-1][1].place, Message(numbers[0], device, value, packed=numbers)


_BAD_FAULT, _LATE_FAULT, _DISORDER_FAULT, _RESEND_FAULT, _CONFLICT_FAULT, _TEXT_FAULT, _NO_FAULT = range(7)
"""In the order of the shares in ``_faults``."""


def _readings(first: int, goods: list[_Good]) -> Readings:
    return Readings(
        first,
        [good.series for good in goods],
        steps([good.ts for good in goods]),
        [good.value for good in goods],
        {place: good.text for place, good in enumerate(goods) if good.text is not None},
    )

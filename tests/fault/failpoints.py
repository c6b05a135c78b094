"""Named points of a flush at which a worker dies on order. Test-only: Weir itself has no switches.

=================== ========================================================================================
failpoint           the worker is gone …
=================== ========================================================================================
before_plan         with rows taken in and nothing of them committed
after_plan          with the plan committed and nothing inserted
after_insert        with one partition's block inserted and nothing published
after_dead_letters  with the dead letters written and no window published
mid_publish         with half of a window's records acknowledged
after_publish       with one partition's windows published and no later commit
after_correct       with one partition's corrections published and no later commit
mid_fetch           with a block delivered and decoded, and nothing of it taken in
=================== ========================================================================================

An order is text: ``kill after_plan 3`` is "the third time that this point is passed with something to lose";
``kill after_plan 3 aggregates_1m`` counts in that stage only; ``stop`` instead of ``kill`` sends SIGSTOP.
"""

from __future__ import annotations

import inspect
import os
import signal
import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

from streams.engine.outcome import Outcome
from streams.engine.partition_state import Pending
from streams.engine.producer import AcknowledgedProducer, Record
from streams.engine.stage import Stage

ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Place(NamedTuple):
    """A method of the real worker, and whether the point lies before or after it."""

    owner: type
    method: str
    after: bool


FAILPOINTS = {
    "before_plan": Place(Stage, "_plan", after=False),
    "after_plan": Place(Stage, "_plan", after=True),
    "after_insert": Place(Stage, "_insert", after=True),
    "after_dead_letters": Place(Stage, "_refuse", after=True),
    "mid_publish": Place(AcknowledgedProducer, "write", after=False),
    "after_publish": Place(Stage, "_publish", after=True),
    "after_correct": Place(Stage, "_correct", after=True),
    "mid_fetch": Place(Stage, "accept", after=False),
}


class Order(NamedTuple):
    """What to do, where, at which passing, in which stage (any when empty)."""

    action: str
    failpoint: str
    passing: int
    stage: str = ""

    @classmethod
    def parse(cls, text: str) -> Order:
        """Read ``kill after_plan 3 aggregates_1m``; raises ValueError for what is no order."""
        action, failpoint, passing, *stage = text.split()
        if action not in ACTIONS or failpoint not in FAILPOINTS:
            raise ValueError(f"{text!r} is no order: {sorted(ACTIONS)} at one of {sorted(FAILPOINTS)}.")
        return cls(action, failpoint, int(passing), *stage)

    def obey(self) -> None:
        """Do it to this process."""
        os.kill(os.getpid(), ACTIONS[self.action])

    def __str__(self) -> str:
        """Write what :meth:`parse` reads."""
        return " ".join(map(str, self)).strip()


class OrderFile:
    """Where a worker finds its order, and says that it obeyed: it renames the file before it dies."""

    def __init__(self, path: Path) -> None:
        """Nothing is ordered while ``path`` does not exist."""
        self.path = path
        self._fired = path.with_suffix(".fired")
        self._passed = 0
        self._lock = threading.Lock()  # the stages flush in threads of their own

    def give(self, order: Order) -> None:
        """Order the worker that holds this file to fail."""
        self._fired.unlink(missing_ok=True)
        waiting = self.path.with_suffix(".new")
        waiting.write_text(str(order), encoding="utf-8")
        waiting.replace(self.path)

    @property
    def words(self) -> str:
        """The order that waits; empty when there is none."""
        return self.path.read_text(encoding="utf-8") if self.path.exists() else ""

    @property
    def obeyed(self) -> bool:
        """Whether the last order was carried out."""
        return self._fired.exists()

    def pass_by(self, failpoint: str, stage: str) -> None:
        """In the worker: count this passing, and die when it is the one that was ordered."""
        order = self.claim(failpoint, stage)
        if order is not None:
            order.obey()

    def claim(self, failpoint: str, stage: str) -> Order | None:
        """In the worker: count this passing; when it is the one that was ordered, give the order to whoever asked."""
        with self._lock:
            order = Order.parse(self.words) if self.words else None
            if order is None or order.failpoint != failpoint or not stage.endswith(order.stage):
                return None
            self._passed += 1
            if self._passed < order.passing:
                return None
            self._passed = 0
            self.path.replace(self._fired)
            return order


def install(orders: OrderFile) -> None:
    """Put every failpoint into the classes of this process. Raises LookupError when a method to wrap is gone."""
    for name, place in FAILPOINTS.items():
        original = _method(place.owner, place.method)
        wrap = _half_written if name == "mid_publish" else _passing
        setattr(place.owner, place.method, wrap(original, name, place, orders))


def _method(owner: type, name: str) -> Callable[..., Any]:
    try:
        method: Callable[..., Any] = vars(owner)[name]
    except KeyError:
        raise LookupError(f"{owner.__name__} has no method {name}: tests/fault/failpoints.py must follow.") from None
    return method


def _passing(original: Callable[..., Any], name: str, place: Place, orders: OrderFile) -> Callable[..., Any]:
    """Pass by the failpoint before or after ``original``, when the call has something to lose."""

    def pass_by(stage: Stage, matters: bool) -> None:
        if matters:
            orders.pass_by(name, stage.options.name)

    @wraps(original)
    def call(self: Stage, *arguments: Any) -> Any:
        matters = loses_something(place.method, arguments)
        if not place.after:
            pass_by(self, matters)
        answer = original(self, *arguments)
        if place.after:
            pass_by(self, matters)
        return answer

    @wraps(original)
    async def call_async(self: Stage, *arguments: Any) -> Any:
        matters = loses_something(place.method, arguments)
        if not place.after:
            pass_by(self, matters)
        answer = await original(self, *arguments)
        if place.after:
            pass_by(self, matters)
        return answer

    return call_async if inspect.iscoroutinefunction(original) else call


def _half_written(
    original: Callable[..., Any], name: str, place: Place, orders: OrderFile
) -> Callable[[AcknowledgedProducer, list[Record]], None]:
    """Write half of a window's records, wait for their acknowledgement, and pass by the failpoint."""

    @wraps(original)
    def write(self: AcknowledgedProducer, records: list[Record]) -> None:
        half = len(records) // 2
        order = orders.claim(name, records[0].topic) if half and ".aggregates." in records[0].topic else None
        if order is not None:
            original(self, records[:half])
            order.obey()
            records = records[half:]  # it was stopped, not killed, and goes on
        original(self, records)

    return write


def loses_something(method: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a call has rows to store, letters to write or windows to publish; a flush may have none."""
    if method == "_refuse":
        return any(arguments)
    if method == "_correct":
        return any(pending.late for pending in arguments if isinstance(pending, Pending))
    if method == "_publish":
        return any(each for each in arguments if isinstance(each, list))
    return _holds_rows(arguments)


def _holds_rows(value: object) -> bool:
    if isinstance(value, Pending):
        return any(len(frame) for frame in value.rows)
    if isinstance(value, Outcome):
        return len(value.rows) > 0
    return isinstance(value, list | tuple) and any(map(_holds_rows, value))

"""Which letters go back, and why the others stay; pure, so that a dry run says what a replay does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.telemetry.letter import Letter, Origin
from weir.dlq.receipts import Receipts

PUT_BACK_BEFORE, TOO_OFTEN, NO_VALUE, NO_ORIGIN = "put_back_before", "too_often", "no_value", "no_origin"
GONE, TOO_LARGE = "gone", "too_large"

WHY_LEFT: Final = {
    PUT_BACK_BEFORE: "put back before (--again puts them back once more)",
    TOO_OFTEN: "refused again after --max-replays",
    NO_VALUE: "without a value, which no retry will mend",
    NO_ORIGIN: "without headers that name a topic and partition of this Weir",
    GONE: "cut, and their topic no longer has them whole",
    TOO_LARGE: "too large for their topic with the headers of a replay",
}
"""What keeps a letter where it is: a stable word, and how a person is told."""


@dataclass(frozen=True, slots=True)
class Rules:
    """``partitions`` counts those of each topic that letters may go back to; ``limit`` None is no limit."""

    partitions: Mapping[str, int]
    max_replays: int
    again: bool = False
    limit: int | None = None


class Chosen(NamedTuple):
    """One letter that goes back; letters sort by time."""

    append_ms: int
    partition: int
    offset: int
    origin: Origin
    reason: str
    is_cut: bool


@dataclass(slots=True)
class ReplayPlan:
    """The letters that go back, oldest first, and how many are left out, by the words of :data:`WHY_LEFT`."""

    chosen: list[Chosen] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)


def plan_replay(letters: Iterable[Letter], receipts: Receipts, rules: Rules) -> ReplayPlan:
    """Choose among ``letters``.

    A record goes back once for each time it was refused: what a receipt covers stays, and of two letters of one
    refusal, which a crash of a worker makes, one goes.
    """
    plan = ReplayPlan()
    chosen: dict[Origin, Chosen] = {}
    for letter in letters:
        why = _why_left(letter, receipts, rules)
        if why is not None:
            plan.left[why] += 1
        elif letter.origin is not None:
            where = (letter.append_ms, letter.partition, letter.offset)
            chosen[letter.origin] = Chosen(*where, letter.origin, letter.reason, letter.is_cut)
    plan.chosen = sorted(chosen.values())[: rules.limit]
    return plan


def _why_left(letter: Letter, receipts: Receipts, rules: Rules) -> str | None:
    origin = letter.origin
    if origin is None or origin.partition >= rules.partitions.get(origin.topic, 0):
        return NO_ORIGIN
    if not letter.value:
        return NO_VALUE
    if not rules.again and receipts.cover(letter):
        return PUT_BACK_BEFORE
    return TOO_OFTEN if letter.replay_count >= rules.max_replays else None

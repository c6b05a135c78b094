"""What the door remembers and how it asks: bounded, together, and not more often than needed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping

import pytest
from argon2 import PasswordHasher

from connectors.entities.passwords import Passwords
from connectors.gateway.door import secret_checks
from connectors.gateway.door.gathered import Gathered
from connectors.gateway.door.recently_used import RecentlyUsed
from connectors.gateway.door.secret_checks import MOST_WRONG, WINDOW_SECONDS, SecretChecks
from weir.errors import TransientError

QUICK = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
SECRET = "b" * 32


class FakeClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_used_stays_and_what_is_not_goes() -> None:
    held: RecentlyUsed[int, str] = RecentlyUsed(100)
    held.put(-1, "used")
    for number in range(1_000):
        held.put(number, "once")
        assert held.get(-1) == "used"
        assert len(held) <= 100
    assert held.get(999) == "once" and held.get(950) == "once"
    assert held.get(1) is None


def test_what_is_dropped_is_in_no_generation() -> None:
    held: RecentlyUsed[str, int] = RecentlyUsed(4)
    for number, key in enumerate("abc"):
        held.put(key, number)
    held.put("a", 10)  # it was in the older one
    held.drop("a")
    assert held.get("a") is None
    assert sorted(held.values()) == [1, 2]
    held.clear()
    assert len(held) == 0


def test_what_is_wanted_while_a_question_is_under_way_is_asked_for_in_one() -> None:
    asked: list[list[str]] = []

    async def scenario() -> list[dict[str, str]]:
        answered = asyncio.Event()

        async def question(names: Collection[str]) -> Mapping[str, str]:
            asked.append(list(names))
            await answered.wait()
            return {each: each.upper() for each in names if each != "nobody"}

        gathered = Gathered(question)
        first = asyncio.create_task(gathered.ask(["a"]))
        while not asked:
            await asyncio.sleep(0)
        others = [asyncio.create_task(gathered.ask(each)) for each in (["a"], ["b", "nobody"], ["a", "b", "c"])]
        await asyncio.sleep(0)
        answered.set()
        return [await first, *[await each for each in others]]

    assert asyncio.run(scenario()) == [{"a": "A"}, {"a": "A"}, {"b": "B"}, {"a": "A", "b": "B", "c": "C"}]
    assert asked == [["a"], ["b", "nobody", "c"]]


def test_a_question_that_fails_fails_for_all_who_wait_and_the_next_is_asked_anew() -> None:
    answers: Iterator[TransientError | dict[str, int]] = iter([TransientError("away"), {"a": 1}])

    async def question(names: Collection[str]) -> Mapping[str, int]:
        await asyncio.sleep(0)
        answer = next(answers)
        if isinstance(answer, TransientError):
            raise answer
        return answer

    async def scenario() -> None:
        gathered = Gathered(question)
        both = await asyncio.gather(gathered.ask(["a"]), gathered.ask(["a"]), return_exceptions=True)
        assert [type(each) for each in both] == [TransientError, TransientError]
        assert await gathered.ask(["a"]) == {"a": 1}

    asyncio.run(scenario())


def test_a_caller_that_leaves_ends_no_question_of_others() -> None:
    async def scenario() -> None:
        answered = asyncio.Event()

        async def question(names: Collection[str]) -> Mapping[str, int]:
            await answered.wait()
            return dict.fromkeys(names, 1)

        gathered = Gathered(question)
        leaver, stayer = (asyncio.create_task(gathered.ask(["a"])) for _ in range(2))
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.sleep(0)
        answered.set()
        assert await stayer == {"a": 1}

    asyncio.run(scenario())


def test_a_prefix_is_tried_so_often_a_minute_and_right_secrets_do_not_count() -> None:
    clock = FakeClock()
    checks = SecretChecks(clock, QUICK)
    for _ in range(MOST_WRONG * 2):
        assert checks.allows("prefix")
        checks.forgive("prefix")
    assert [checks.allows("prefix") for _ in range(MOST_WRONG + 5)] == [True] * MOST_WRONG + [False] * 5
    assert checks.allows("another")
    clock.now += WINDOW_SECONDS
    assert checks.allows("prefix")
    checks.close()


def test_a_secret_is_checked_and_nobodys_secret_fits_nothing() -> None:
    async def scenario() -> list[bool]:
        checks = SecretChecks(passwords=QUICK)
        await checks.start()
        kept = QUICK.hash(SECRET)
        try:
            return [await checks.fits(*each) for each in ((kept, SECRET), (kept, "c" * 32), (None, SECRET), (None, ""))]
        finally:
            checks.close()

    assert asyncio.run(scenario()) == [True, False, False, False]


def test_when_too_many_wait_the_next_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_checks, "MOST_WAITING", 2)

    async def scenario() -> list[object]:
        checks = SecretChecks(passwords=QUICK)
        kept = QUICK.hash(SECRET)
        try:
            return await asyncio.gather(*(checks.fits(kept, SECRET) for _ in range(4)), return_exceptions=True)
        finally:
            checks.close()

    first, second, *others = asyncio.run(scenario())
    assert (first, second) == (True, True)
    assert [type(each) for each in others] == [TransientError] * 2

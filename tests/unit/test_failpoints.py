"""The failpoints of the fault tests: an order is obeyed once, where it says, and nothing is wrapped in vain."""

import os
import signal
from pathlib import Path

import pytest

from streams.engine.stage import Stage
from tests.fault import broken_orders, failpoints
from tests.fault.failpoints import FAILPOINTS, Order, OrderFile


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What would have been sent to whom."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    return sent


def test_the_worker_dies_at_the_passing_that_was_ordered_and_not_before(
    tmp_path: Path, signals: list[tuple[int, int]]
) -> None:
    orders = OrderFile(tmp_path / "orders")
    orders.give(Order("kill", "after_plan", 2))
    orders.pass_by("after_insert", "weir.readings")
    orders.pass_by("after_plan", "weir.readings")
    assert (signals, orders.obeyed) == ([], False)
    orders.pass_by("after_plan", "weir.readings")
    assert (signals, orders.obeyed) == ([(os.getpid(), signal.SIGKILL)], True)
    orders.pass_by("after_plan", "weir.readings")
    assert len(signals) == 1, "an order is obeyed once"


def test_an_order_for_one_stage_lets_the_others_pass(tmp_path: Path, signals: list[tuple[int, int]]) -> None:
    orders = OrderFile(tmp_path / "orders")
    orders.give(Order("stop", "after_insert", 1, "aggregates_1m"))
    orders.pass_by("after_insert", "weir.readings")
    assert not signals
    orders.pass_by("after_insert", "weir.aggregates_1m")
    assert signals == [(os.getpid(), signal.SIGSTOP)]


def test_a_new_order_takes_the_place_of_the_one_that_was_obeyed(tmp_path: Path, signals: list[tuple[int, int]]) -> None:
    orders = OrderFile(tmp_path / "orders")
    for passings in (1, 2):
        orders.give(Order("kill", "mid_fetch", 1))
        assert not orders.obeyed
        orders.pass_by("mid_fetch", "weir.readings")
        assert len(signals) == passings


@pytest.mark.parametrize("text", ["kill nowhere 1", "tickle after_plan 1", "kill after_plan soon"])
def test_what_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no order|invalid literal"):
        Order.parse(text)


def test_an_order_survives_its_file() -> None:
    order = Order("kill", "mid_publish", 3, "readings")
    assert Order.parse(str(order)) == order


def test_every_failpoint_and_broken_order_names_a_method_that_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in FAILPOINTS.values():  # so that this test leaves the classes as they were
        monkeypatch.setattr(place.owner, place.method, vars(place.owner)[place.method])
    monkeypatch.setattr(Stage, "_token", vars(Stage)["_token"])
    for broken in broken_orders.BROKEN.values():
        broken()
    failpoints.install(OrderFile(tmp_path / "orders"))


def test_a_method_that_is_gone_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = failpoints.Place(Stage, "_no_such_step", after=True)
    monkeypatch.setattr(failpoints, "FAILPOINTS", {"after_plan": gone})
    with pytest.raises(LookupError, match="Stage has no method _no_such_step"):
        failpoints.install(OrderFile(tmp_path / "orders"))

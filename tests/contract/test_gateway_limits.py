"""Every case of keys, limits and HTTP itself; the table in docs/gateway.md; and what no single request shows."""

from __future__ import annotations

import re

import pytest

from connectors.gateway import errors
from tests.contract.gateway_cases import DOOR_GROUPS, GROUPS
from tests.contract.gateway_cases.case import Case
from tests.contract.gateway_cases.table import PAGE, with_tables
from tests.contract.gateway_contract import exchanges, hold, still_healthy
from tests.gateway_world import GatewayWorld
from tests.raw_http import raw_connection, rendered


@pytest.mark.parametrize(("case", "via"), exchanges(DOOR_GROUPS))
def test_the_door_answers_as_the_table_says(gateway: GatewayWorld, case: Case, via: str) -> None:
    hold(gateway, case, via)


def test_the_table_in_the_docs_is_that_of_the_cases() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_tables(page), "stale: run python -m tests.contract.gateway_cases"


def test_every_code_is_explained_with_its_status() -> None:
    page = PAGE.read_text(encoding="utf-8")
    codes = {code for name, code in vars(errors).items() if name.isupper() and isinstance(code, int)}
    assert len(codes) > 20
    for code in codes:
        status = errors.GatewayError(code, "").status
        assert re.search(rf"^\| [\d, ]*\b{status}\b[\d, ]* \| [\d, ]*\b{code}\b", page, re.MULTILINE), (status, code)


def test_no_two_cases_of_a_group_have_one_name() -> None:
    for group in GROUPS:
        names = [case.name for case in group.cases]
        assert len(names) == len(set(names)), group.title


def test_requests_sent_without_waiting_are_answered_in_their_order(gateway: GatewayWorld) -> None:
    paths = ["/brokers", "/topics/absent", "/topics", "/nothing", f"/topics/{gateway.acme.topic}/partitions/1"] * 4
    headers = gateway.acme.headers("editor")
    with raw_connection(gateway.process.port) as connection:
        connection.send(b"".join(rendered("GET", path, headers) for path in paths))
        statuses = [connection.receive("GET").status for _ in paths]
    assert statuses == [200, 404, 200, 404, 200] * 4


def test_after_all_of_this_the_gateway_is_healthy_and_wrote_no_traceback(gateway: GatewayWorld) -> None:
    with still_healthy(gateway):
        pass

"""The gateway's usage ledger against a real ClickHouse: counted once, whatever becomes of answers and processes."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver import Client

from connectors.gateway.quota.usage import Usage
from connectors.gateway.quota.usage_ledger import UsageLedger
from tests.fault.proxied_servers import proxy_to, through
from tests.fault.tcp_proxy import PASS, Fault, TcpProxy
from tests.one_server import clickhouse_database
from tests.stack_under_test import StackUnderTest, settings_from
from tests.waiting import patient
from weir.settings import Settings

NOON = int(time.time()) // 86_400 * 86_400 - 43_200
INSERT = rb"INSERT"


@pytest.fixture
def database(stack: StackUnderTest) -> Iterator[tuple[Client, Settings]]:
    with clickhouse_database(stack) as fresh:
        yield fresh


@pytest.fixture
def client(database: tuple[Client, Settings]) -> Client:
    return database[0]


@pytest.fixture
def settings(database: tuple[Client, Settings], tmp_path: Path) -> Settings:
    values: dict[str, Any] = database[1].model_dump()
    values["gateway"] |= {"data_dir": tmp_path, "usage_seconds": 0.1}
    return settings_from(values)


@pytest.fixture
def proxy(settings: Settings) -> Iterator[TcpProxy]:
    with proxy_to(settings.clickhouse.url) as running:
        yield running


def by_way_of(proxy: TcpProxy, settings: Settings) -> Settings:
    values: dict[str, Any] = settings.model_dump()
    values["clickhouse"]["url"] = through(settings.clickhouse.url, proxy)
    return settings_from(values)


@asynccontextmanager
async def running(settings: Settings, at: float = NOON) -> AsyncIterator[Usage]:
    usage = Usage(settings, lambda: at)
    await usage.start()
    try:
        yield usage
    finally:
        await usage.stop()


def stored(client: Client) -> set[tuple[Any, ...]]:
    """Organisation, seconds after noon, reason, accepted, sampled out, rejected."""
    query = f"""SELECT org_id, toInt64(toUnixTimestamp(minute)) - {NOON}, reason,
        toInt64(sum(accepted)), toInt64(sum(sampled_out)), toInt64(sum(rejected)) FROM usage GROUP BY ALL"""
    return {tuple(row) for row in client.query(query).result_rows}


async def until(ask: Callable[[], object]) -> None:
    async with asyncio.timeout(patient(20.0)):
        while not ask():
            await asyncio.sleep(0.02)


async def written(usage: Usage) -> None:
    await until(lambda: usage.waiting_rows == 0)


def test_every_count_is_in_clickhouse_by_organisation_minute_and_reason(client: Client, settings: Settings) -> None:
    async def counting() -> None:
        async with running(settings, NOON + 61.5) as usage:
            usage.count("acme", accepted=5, sampled_out=2)
            usage.count("acme", rejected=1, reason="over_quota")
            usage.count("globex", rejected=1, reason="invalid")
            await written(usage)
            usage.count("acme", accepted=3)  # a later flush of the same minute
            usage.count("acme", rejected=2, reason="over_quota")
            usage.count("", rejected=9, reason="unauthorised")

    asyncio.run(counting())
    assert stored(client) == {
        ("acme", 60, "", 8, 0, 0),
        ("acme", 60, "sampling", 0, 2, 0),
        ("acme", 60, "over_quota", 0, 0, 3),
        ("globex", 60, "invalid", 0, 0, 1),
    }


def test_what_the_page_tells_an_owner_to_ask_answers_with_what_was_counted(client: Client, settings: Settings) -> None:
    page = (Path(__file__).parents[2] / "docs" / "quotas.md").read_text(encoding="utf-8")
    by_hour, by_reason = re.findall(r'^weir query "(.*)"$', page, re.MULTILINE)
    now = time.time()

    async def counting() -> None:
        async with running(settings, now) as usage:
            usage.count("acme-research-labs", accepted=5, sampled_out=2)
            usage.count("acme-research-labs", rejected=1, reason="invalid")
            usage.count("acme-research-labs", rejected=3, reason="over_quota")
            usage.count("globex", accepted=9, rejected=9, reason="invalid")

    asyncio.run(counting())
    ((_, *counts),) = client.query(by_hour).result_rows
    assert counts == [5, 2, 4]
    assert client.query(by_reason).result_rows == [("over_quota", 3), ("invalid", 1)]


def test_a_lost_answer_does_not_count_twice(client: Client, settings: Settings, proxy: TcpProxy) -> None:
    async def counting() -> None:
        async with running(by_way_of(proxy, settings)) as usage:
            usage.count("acme", accepted=1)
            await written(usage)  # connected
            proxy.set(Fault("forget", INSERT))
            usage.count("acme", accepted=10)
            await asyncio.to_thread(proxy.wait_fired, 4)  # the client itself tries twice
            usage.count("acme", accepted=100)  # not part of the batch whose answer was lost
            proxy.set(PASS)
            await written(usage)

    asyncio.run(counting())
    assert stored(client) == {("acme", 0, "", 111, 0, 0)}
    assert client.query("SELECT count() FROM usage").result_rows[0][0] <= 3


def test_what_clickhouse_did_not_take_is_written_once_by_the_next_process(
    client: Client, settings: Settings, proxy: TcpProxy, caplog: pytest.LogCaptureFixture
) -> None:
    async def lose_the_answer_to_the_last_words() -> None:
        async with running(by_way_of(proxy, settings)) as usage:
            proxy.set(Fault("forget", INSERT))
            usage.count("acme", accepted=10)
            await asyncio.to_thread(proxy.wait_fired)
            usage.count("acme", accepted=100, rejected=1, reason="invalid")

    async def start_and_stop() -> None:
        async with running(settings):
            pass

    with caplog.at_level(logging.ERROR):
        asyncio.run(lose_the_answer_to_the_last_words())
    assert "Usage is not written" in caplog.text
    asyncio.run(start_and_stop())
    asyncio.run(start_and_stop())
    assert stored(client) == {("acme", 0, "", 110, 0, 0), ("acme", 0, "invalid", 0, 0, 1)}


def test_a_crash_while_clickhouse_is_away_loses_nothing_that_was_saved(
    client: Client, settings: Settings, proxy: TcpProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = tmp_path / "left"

    async def crash() -> None:
        async with running(by_way_of(proxy, settings)) as usage:
            proxy.set(Fault("refuse"))
            for _ in range(5):
                usage.count("acme", accepted=1)
                await asyncio.sleep(0.1)
            await until(lambda: saved(settings.gateway.data_dir) == 5)
            shutil.copytree(settings.gateway.data_dir / "usage", left / "usage")

    async def go_on() -> None:
        values: dict[str, Any] = settings.model_dump()
        values["gateway"]["data_dir"] = left
        async with running(settings_from(values)) as usage:
            await written(usage)

    asyncio.run(crash())
    assert caplog.text.count("Usage is not written") == 1, "one line, not one a flush"
    asyncio.run(go_on())
    assert stored(client) == {("acme", 0, "", 5, 0, 0)}


def saved(data_dir: Path) -> int:
    ledger = UsageLedger(data_dir / "usage")
    ledger.load()
    accepted = 0
    while (batch := ledger.next_batch()) is not None:
        accepted += sum(row.accepted for row in batch.rows)
        ledger.stored()
    return accepted


def test_a_missing_table_stops_no_gateway_and_its_counts_come_later(client: Client, settings: Settings) -> None:
    client.command("RENAME TABLE usage TO usage_away")

    async def counting() -> None:
        async with running(settings) as usage:
            usage.count("acme", accepted=7)
            await until(lambda: saved(settings.gateway.data_dir) == 7)
            client.command("RENAME TABLE usage_away TO usage")
            await written(usage)

    asyncio.run(counting())
    assert stored(client) == {("acme", 0, "", 7, 0, 0)}

"""What is written down of a request: its line, its counts, and whose address it came from."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import Any

import pytest

from connectors.gateway.records import Caller
from connectors.gateway.server.access_log import FLUSH_SECONDS, MOST_LINES, AccessLog
from connectors.gateway.server.client_address import TrustedProxies
from connectors.gateway.server.metrics import BUCKETS, Records, Requests, Watched
from connectors.gateway.server.observation import Observation
from weir.errors import ConfigError

NOON = 1_790_000_000.123456
PATTERN = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,123 INFO connectors\.gateway (?P<method>\S+) (?P<route>\S+) (?P<status>\d+) "
    r"(?P<ms>[\d.]+) ms organisation=(?P<organisation>\S+) actor=(?P<actor>\S+)( device=(?P<device>.+))? "
    r"records=(?P<records>\d+) refused=(?P<refused>\d+) bytes=(?P<bytes>\d+) client=(?P<client>\S+)\n"
)


def written(*callers: Caller | None, client: str = "192.0.2.7") -> list[str]:
    """The lines of one request of each caller."""
    pieces: list[str] = []
    log = AccessLog(pieces.append, lambda: NOON)
    for caller in callers:
        log.add("POST", "/topics/{topic}", 200, 0.0042, caller, client, {"records": 100, "refused": 2}, 11_873)
    asyncio.run(log.stop())
    return "".join(pieces).splitlines(keepends=True)


def test_a_line_says_who_what_and_how_long() -> None:
    (line,) = written(Caller("4fQ7hW2mZkT9", "acme", "device", "acme-1"))
    found = PATTERN.fullmatch(line)
    assert found is not None, line
    assert found.groupdict() == {
        "method": "POST",
        "route": "/topics/{topic}",
        "status": "200",
        "ms": "4.2",
        "organisation": "acme",
        "actor": "key:4fQ7hW2mZkT9",
        "device": "acme-1",
        "records": "100",
        "refused": "2",
        "bytes": "11873",
        "client": "192.0.2.7",
    }


def test_who_has_no_key_has_no_name() -> None:
    (line,) = written(None)
    assert " organisation=- actor=- records=" in line


@pytest.mark.parametrize(
    "device",
    ["a\nb", "a\r", "a b", "a=b", 'a"b', "a\x1b[2J", "", "\u2028", "a organisation=birch", "Gerät"],
)
def test_no_name_can_look_like_another_field_or_line(device: str) -> None:
    (line,) = written(Caller("p", "acme", "device", device))
    assert line.count("\n") == 1 and line.endswith("\n")
    assert line.isascii() and line[:-1].isprintable()
    assert len(re.findall(r" organisation=", re.sub(r'"(\\.|[^"\\])*"', "", line))) == 1


def test_a_key_that_changes_hands_is_not_written_with_the_old_name() -> None:
    lines = written(Caller("p", "acme", "editor"), Caller("p", "birch", "editor"))
    assert ["acme" in line for line in lines] == [True, False]


def test_lines_are_written_soon_and_in_order() -> None:
    pieces: list[str] = []

    async def serve() -> list[str]:
        log = AccessLog(pieces.append)
        await log.start()
        for status in (200, 201):
            log.add("GET", "/", status, 0.0, None, "::1", {}, 0)
        await asyncio.sleep(3 * FLUSH_SECONDS)
        early = list(pieces)
        log.add("GET", "/", 202, 0.0, None, "::1", {}, 0)
        await log.stop()
        return early

    early = asyncio.run(serve())
    assert re.findall(r"/ (\d+)", "".join(early)) == ["200", "201"]
    assert re.findall(r"/ (\d+)", "".join(pieces)) == ["200", "201", "202"]


def test_nobody_waits_for_a_reader_that_does_not_read() -> None:
    stuck = threading.Event()

    async def serve() -> int:
        log = AccessLog(lambda _: stuck.wait(20))
        await log.start()
        log.add("GET", "/", 200, 0.0, None, "::1", {}, 0)
        await asyncio.sleep(2 * FLUSH_SECONDS)
        for _ in range(MOST_LINES + 5):
            log.add("GET", "/", 200, 0.0, None, "::1", {}, 0)
        lost = log.lost
        stuck.set()
        await log.stop()
        return lost

    assert asyncio.run(serve()) == 5


def test_a_closed_pipe_ends_nothing() -> None:
    def closed(_: str) -> None:
        raise BrokenPipeError

    log = AccessLog(closed)
    log.add("GET", "/", 200, 0.0, None, "::1", {}, 0)
    asyncio.run(log.stop())
    assert log.lost == 1


FORWARDED = "x-forwarded-for"


@pytest.mark.parametrize(
    ("trusted", "peer", "said", "client"),
    [
        ("", "192.0.2.7", ["198.51.100.1"], "192.0.2.7"),
        ("10.0.0.0/8", "192.0.2.7", ["198.51.100.1"], "192.0.2.7"),
        ("10.0.0.0/8", "10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.0/8", "10.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.0/8", "10.0.0.1", ["203.0.113.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.0/8", "10.0.0.1", ["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.0/8", "10.0.0.1", ["10.0.0.3"], "10.0.0.3"),
        ("10.0.0.0/8", "10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1", ["", "  , "], "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1", ["1.2.3.4\n forged", "x" * 5_000], "10.0.0.1"),
        ("10.0.0.1, ::1", "::1", ["2001:db8::5"], "2001:db8::5"),
        ("::1", "::1", ["[2001:DB8::5]:4711"], "2001:db8::5"),
        ("::1", "::1", ["198.51.100.1:4711"], "198.51.100.1"),
    ],
)
def test_only_a_trusted_proxy_says_whose_address_it_is(trusted: str, peer: str, said: list[str], client: str) -> None:
    headers = [(FORWARDED.encode(), each.encode()) for each in said]
    assert TrustedProxies(trusted).client(peer, headers) == client


def test_the_scope_of_an_address_which_may_be_any_text_is_left_out() -> None:
    said = [(b"x-forwarded-for", b"fe80::1%x 200 organisation=evil")]
    assert TrustedProxies("10.0.0.1").client("10.0.0.1", said) == "fe80::1"


@pytest.mark.parametrize("text", ["proxy", "10.0.0.0/99", "10.0.0.1;10.0.0.2", "10.0.0.1/ 8"])
def test_a_proxy_that_is_no_address_is_refused_at_start(text: str) -> None:
    with pytest.raises(ConfigError, match="TRUSTED_PROXIES"):
        TrustedProxies(text)


def test_requests_are_counted_by_route_method_and_status_and_timed_by_route() -> None:
    requests = Requests()
    for status, seconds in ((200, 0.0001), (200, 0.02), (404, 60.0)):
        requests.add("/a", "GET", status, seconds)
    requests.add("/b", "POST", 200, BUCKETS[0])
    counts, times = requests.collect()
    assert {(each.labels["route"], each.labels["status"]): each.value for each in counts.samples} == {
        ("/a", "200"): 2,
        ("/a", "404"): 1,
        ("/b", "200"): 1,
    }
    rows = {(each.name, each.labels["route"], each.labels.get("le")): each.value for each in times.samples}
    assert [
        rows["weir_gateway_seconds_bucket", "/a", bound] for bound in ("0.001", "0.01", "0.025", "30.0", "+Inf")
    ] == [
        1,
        1,
        2,
        2,
        3,
    ]
    assert rows["weir_gateway_seconds_bucket", "/b", "0.001"] == 1, "a bound belongs to its bucket"
    assert rows["weir_gateway_seconds_sum", "/a", None] == pytest.approx(60.0201)
    assert rows["weir_gateway_seconds_count", "/a", None] == 3


def test_records_are_counted_by_what_became_of_them() -> None:
    records = Records()
    records.add(accepted=3, spooled=1)
    records.add(accepted=2, rejected=4, sampled_out=5)
    (family,) = records.collect()
    found = {each.labels["outcome"]: each.value for each in family.samples}
    assert found == {"accepted": 5, "sampled_out": 5, "rejected": 4, "spooled": 1}


def test_what_is_not_known_has_no_value_rather_than_a_wrong_one() -> None:
    watched = Watched()
    watched.watch("weir_gateway_kafka_up", lambda: 0.0)
    watched.watch("weir_gateway_postgres_age_seconds", lambda: None)
    values = {each.name: [sample.value for sample in each.samples] for each in watched.collect()}
    assert values["weir_gateway_kafka_up"] == [0.0]
    assert values["weir_gateway_postgres_age_seconds"] == values["weir_gateway_connections"] == []
    with pytest.raises(KeyError):
        watched.watch("weir_gateway_unheard_of", lambda: 0.0)


def test_a_method_that_a_client_made_up_is_no_label() -> None:
    pieces: list[str] = []
    log = AccessLog(pieces.append)
    scope: dict[str, Any] = {"method": "MAKEUP", "client": None, "headers": []}
    Observation(log, TrustedProxies("")).tell(scope, "(none)", 405, 0.0, None, {}, 0)
    asyncio.run(log.stop())
    assert "OTHER (none) 405" in pieces[0]
    assert "client=-\n" in pieces[0]

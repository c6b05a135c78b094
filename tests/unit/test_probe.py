"""The prober without servers: when it sends, what it says, what it makes of answers, and that nothing holds it up."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import httpx
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

import weir.probe.metrics
from tests.stack_under_test import settings_from
from tests.waiting import wait_until
from weir.errors import ConfigError, TransientError
from weir.probe.conditions import Conditions
from weir.probe.due import DueTimes
from weir.probe.once import probe_once
from weir.probe.outcome import REASONS, Failure, Outcome
from weir.probe.posting import Poster, gateway_url
from weir.probe.prober import Prober
from weir.settings import ProbeSettings, Settings

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
AWAY = Failure("gateway", "The gateway is away.")


def probing(**values: object) -> Settings:
    return settings_from({"probe": {"key": "wr_abc_def", **values}})


def test_one_probe_is_due_in_every_interval_at_a_moment_that_varies() -> None:
    times = DueTimes(100.0, 2.0, Random(7))
    due, left_out = times.take(200.0, 0.0)
    assert left_out == 0
    assert [int((each - 100) // 2) for each in due] == list(range(len(due)))
    assert len(due) >= 49
    assert len({round((each - 100) % 2, 3) for each in due}) > 40


def test_what_is_due_is_due_at_its_time_however_late_it_is_taken() -> None:
    times = DueTimes(100.0, 1.0)
    assert times.next == 100.0
    assert times.take(99.9, 0.0) == ([], 0)
    assert times.take(100.0, 0.0) == ([100.0], 0)
    assert times.take(103.5, 0.0) == ([101.0, 102.0, 103.0], 0)
    assert times.next == 104.0


def test_probes_of_an_hour_of_standstill_are_counted_and_not_sent_at_once() -> None:
    times = DueTimes(0.0, 1.0)
    times.take(0.0, 0.0)
    due, left_out = times.take(3_600.5, 3_570.5)
    assert left_out == 3_569
    assert due == [float(each) for each in range(3_570, 3_601)]


def test_a_failure_is_told_when_it_begins_when_it_changes_and_when_it_is_over() -> None:
    said: list[str] = []
    conditions = Conditions(lambda text: said.append(f"bad: {text}"), lambda text: said.append(f"good: {text}"))
    locked = Failure("key", "Another key is needed.")
    for failure in (None, None, AWAY, AWAY, AWAY, locked, locked, None, None):
        conditions.note("posting", failure)
    conditions.note("asking", None)
    assert said == [
        "good: The gateway takes probes.",
        "bad: The gateway is away.",
        "bad: Another key is needed.",
        "good: The gateway takes probes.",
        "good: ClickHouse answers.",
    ]


class FakePosting:
    """Takes everything, or fails; ``held`` posts wait until they are let go."""

    def __init__(self) -> None:
        self.posted: list[int] = []
        self.values: list[float] = []
        self.failure: Failure | None = None
        self.hold: set[int] = set()
        self.let_go = threading.Event()

    def post(self, ts_ms: int, value: float) -> Failure | None:
        self.posted.append(ts_ms)
        self.values.append(value)
        if len(self.posted) in self.hold:
            self.let_go.wait(20.0)
        return self.failure


class FakeAsking:
    """Sees all but what is hidden; ``away`` is raised instead."""

    def __init__(self) -> None:
        self.away: Exception | None = None
        self.hide = False
        self.asked: list[list[int]] = []

    def visible(self, ts_ms: list[int]) -> set[int]:
        self.asked.append(ts_ms)
        if self.away is not None:
            raise self.away
        return set() if self.hide else set(ts_ms)


class Bench:
    """A prober on fakes, and all that it told."""

    def __init__(self, **values: object) -> None:
        self.posting, self.asking = FakePosting(), FakeAsking()
        self.outcomes: list[Outcome] = []
        self.said: list[str] = []
        settings = probing(**({"interval_seconds": 0.05, "timeout_seconds": 0.5} | values)).probe
        conditions = Conditions(self.said.append, self.said.append)
        self.prober = Prober(settings, self.posting, self.asking, conditions, self.outcomes.append)

    def reasons(self) -> set[str]:
        return {each.failure.reason for each in self.outcomes if each.failure is not None}


def test_a_post_that_hangs_holds_up_no_other_and_counts_from_when_it_was_due() -> None:
    bench = Bench(timeout_seconds=30.0)
    bench.posting.hold = {2}
    with bench.prober:
        wait_until(lambda: len(bench.outcomes) >= 8, "eight probes are seen", 10.0, 0.01)
        held_for = time.time()
        bench.posting.let_go.set()
        bench.prober.finish()
    slowest = max(bench.outcomes, key=lambda each: each.queryable_seconds or 0.0)
    assert slowest.queryable_seconds is not None
    assert slowest.queryable_seconds >= held_for - slowest.due
    assert len(bench.outcomes) == len(bench.posting.posted) == len(set(bench.posting.posted))


def test_readings_that_never_show_are_told_as_missing_and_one_sentence_says_so() -> None:
    bench = Bench()
    bench.asking.hide = True
    with bench.prober:
        wait_until(lambda: len(bench.outcomes) >= 5, "five probes have failed", 10.0, 0.01)
        assert bench.reasons() == {"missing"}
        assert all(each.acknowledged_seconds is not None for each in bench.outcomes)
        bench.asking.hide = False
        wait_until(lambda: bench.said[-1] == "Probes are queryable.", "it is told that it is over", 10.0, 0.01)
    assert [each for each in bench.said if "not queryable after 0.5 s" in each] == bench.said[2:3]


def test_an_unreachable_clickhouse_is_told_at_once_and_probes_fail_when_their_time_is_over() -> None:
    bench = Bench()
    bench.asking.away = TransientError("ClickHouse is away.")
    with bench.prober:
        wait_until(lambda: "ClickHouse is away." in bench.said, "it is told", 10.0, 0.01)
        wait_until(lambda: len(bench.outcomes) >= 3, "probes have failed", 10.0, 0.01)
        assert bench.reasons() == {"clickhouse"}
        bench.asking.away = None
        wait_until(lambda: bench.said[-1] == "Probes are queryable.", "probes are seen again", 10.0, 0.01)
    assert bench.said.count("ClickHouse is away.") == 1
    assert bench.said.count("ClickHouse answers.") == 1


def test_a_prober_that_stood_still_says_so_and_counts_what_it_did_not_send(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    asleep = threading.Event()
    real = time.monotonic
    monkeypatch.setattr("weir.probe.prober.time.monotonic", lambda: real() + (10.0 if asleep.is_set() else 0.0))
    with bench.prober:
        wait_until(lambda: bench.outcomes, "a probe is seen", 10.0, 0.01)
        asleep.set()
        wait_until(lambda: "late" in bench.reasons(), "it is told", 10.0, 0.01)
    late = [each for each in bench.outcomes if each.failure is not None and each.failure.reason == "late"]
    assert len(late) >= 180, "ten seconds of probes, less the half second that may be made up for"
    assert len([each for each in bench.said if "stood still" in each]) == 1


def test_an_error_of_its_own_ends_the_prober_instead_of_leaving_it_silent() -> None:
    bench = Bench()
    bench.asking.away = ZeroDivisionError()
    with bench.prober, pytest.raises(ZeroDivisionError):
        wait_until(lambda: bench.prober.check(), "it crashes", 10.0, 0.01)


def test_a_probe_carries_the_latency_of_the_one_before_so_that_its_aggregates_are_a_history() -> None:
    bench = Bench()
    with bench.prober:
        wait_until(lambda: len(bench.outcomes) >= 3, "three probes are seen", 10.0, 0.01)
    assert bench.posting.values[0] == 0.0
    assert 0.0 < bench.posting.values[-1] < 10_000.0


def test_all_probes_that_wait_are_asked_for_in_one_question() -> None:
    bench = Bench(timeout_seconds=30.0)
    bench.asking.hide = True
    with bench.prober:
        wait_until(lambda: any(len(each) >= 4 for each in bench.asking.asked), "four wait", 10.0, 0.01)


def test_a_single_probe_says_what_it_failed_of() -> None:
    settings = ProbeSettings(timeout_seconds=0.1)
    posting, asking = FakePosting(), FakeAsking()
    seen = probe_once(settings, posting, asking)
    assert seen.failure is None
    assert seen.queryable_seconds is not None
    asking.hide = True
    assert _reason(probe_once(settings, posting, asking)) == "missing"
    asking.away = TransientError("ClickHouse is away.")
    assert _reason(probe_once(settings, posting, asking)) == "clickhouse"
    posting.failure = AWAY
    assert _reason(probe_once(settings, posting, asking)) == "gateway"


def _reason(outcome: Outcome) -> str | None:
    return None if outcome.failure is None else outcome.failure.reason


TAKEN = '{"offsets": [{"partition": 1, "offset": 7, "error_code": null, "error": null}]}'
SPOOLED = '{"offsets": [{"partition": null, "offset": -1, "error_code": null, "error": null}]}'
SAMPLED = '{"offsets": [{"partition": null, "offset": -2, "error_code": null, "error": null}]}'
UNKNOWN = (
    '{"error_code": 40301, "message": "m", "offsets": '
    '[{"partition": null, "offset": null, "error_code": 40301, "error": "May not write."}]}'
)


@pytest.mark.parametrize(
    ("status", "content", "reason", "words"),
    [
        (200, TAKEN, None, ""),
        (200, SPOOLED, None, ""),
        (200, SAMPLED, "refused", "sampling policy"),
        (401, '{"error_code": 40101, "message": "No."}', "key", "WEIR_PROBE__KEY"),
        (403, UNKNOWN, "refused", "weir devices add weir-probe --org weir-probe"),
        (422, '{"error_code": 42203, "message": "Bad ts."}', "refused", "code 42203: Bad ts"),
        (429, '{"error_code": 42901, "message": "Slower."}', "gateway", "status 429: Slower"),
        (503, "<html>", "gateway", "status 503"),
        (200, "<html>", "refused", "no answer of a gateway"),
    ],
)
def test_every_answer_of_a_gateway_has_a_reason_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, status: int, content: str, reason: str | None, words: str
) -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(status, text=content)

    failure = _posted(monkeypatch, answer)
    assert (None if failure is None else failure.reason) == reason
    assert words in ("" if failure is None else failure.why)
    assert "wr_abc_def" not in ("" if failure is None else failure.why)
    assert str(sent[0].url) == "http://127.0.0.1:29405/topics/weir.readings"
    assert sent[0].headers["Authorization"] == "Bearer wr_abc_def"


def test_a_gateway_that_does_not_answer_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("", request=request)

    failure = _posted(monkeypatch, hang)
    assert failure is not None
    assert failure.reason == "gateway"
    assert "http://127.0.0.1:29405 does not answer (ReadTimeout)" in failure.why


def _posted(monkeypatch: pytest.MonkeyPatch, answer: Callable[[httpx.Request], httpx.Response]) -> Failure | None:
    client = httpx.Client

    def without_sockets(**options: object) -> httpx.Client:
        return client(transport=httpx.MockTransport(answer), headers=options["headers"])  # type: ignore[arg-type]

    monkeypatch.setattr(httpx, "Client", without_sockets)
    poster = Poster(probing())
    try:
        return poster.post(1_790_000_000_000, 1.0)
    finally:
        poster.close()


@pytest.mark.parametrize("key", [None, "", "hidden\nkey"])
def test_without_a_key_it_says_how_to_register_and_never_the_key(key: str | None) -> None:
    with pytest.raises(ConfigError, match="WEIR_PROBE__KEY.*weir keys add --device weir-probe") as caught:
        Poster(settings_from({"probe": {"key": key}}))
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, "http://127.0.0.1:29405"),
        ({"gateway": {"host": "0.0.0.0", "port": 1234}}, "http://127.0.0.1:1234"),  # noqa: S104 - no bind
        ({"gateway": {"tls_certificate": "a.pem"}}, "https://127.0.0.1:29405"),
        ({"gateway": {"host": "::1"}}, "http://[::1]:29405"),
        ({"probe": {"gateway_url": "https://in.example.org/weir/"}}, "https://in.example.org/weir"),
    ],
)
def test_it_posts_to_the_gateway_of_the_settings(values: dict[str, object], url: str) -> None:
    assert gateway_url(settings_from(values)) == url


@pytest.mark.parametrize("url", ["example.org", "ftp://example.org", "http://me@example.org", "http://a/?b"])
def test_an_address_that_is_none_is_refused_at_start(url: str) -> None:
    with pytest.raises(ConfigError, match="WEIR_PROBE__GATEWAY_URL"):
        gateway_url(settings_from({"probe": {"gateway_url": url}}))


def test_a_key_is_masked_where_settings_are_printed() -> None:
    assert isinstance(probing().probe.key, SecretStr)
    assert "wr_abc_def" not in repr(probing())


def test_every_metric_and_reason_is_explained_in_its_own_words() -> None:
    named = [family for family in REGISTRY.collect() if family.name.startswith("weir_probe")]
    assert len(named) == 3, weir.probe.metrics.__name__
    for family in named:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        row = rf"^\| `{name}` \| [^|]* \| {re.escape(family.documentation)} \|$"
        assert re.search(row, OPERATIONS, re.MULTILINE), f"docs/operations.md lacks {name}: {family.documentation}"
    for reason, meaning in REASONS.items():
        assert f"| `{reason}` | {meaning} |" in OPERATIONS

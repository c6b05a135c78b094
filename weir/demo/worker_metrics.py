"""What the workers say of themselves on their metrics pages, added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families

from weir.settings import Settings

TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class WorkerMetrics:
    """Counts of the readings stage since its workers started, and the messages that wait for it."""

    messages: int = 0
    stored: int = 0
    windows: int = 0
    corrections: int = 0
    lag: int = 0
    dead_letters: dict[str, int] = field(default_factory=dict)

    def since(self, before: WorkerMetrics) -> WorkerMetrics:
        """What came after ``before``; the lag stays the present one."""
        letters = Counter(self.dead_letters)
        letters.subtract(before.dead_letters)
        return WorkerMetrics(
            self.messages - before.messages,
            self.stored - before.stored,
            self.windows - before.windows,
            self.corrections - before.corrections,
            self.lag,
            {reason: count for reason, count in letters.most_common() if count > 0},
        )


class MetricsPages:
    """The metrics pages of all workers of a stack."""

    def __init__(self, urls: Sequence[str], settings: Settings) -> None:
        """``urls`` are the workers' web pages."""
        self._urls = [f"{url}/metrics" for url in urls]
        self._stream = f"{settings.namespace}.readings"
        self._topic = settings.topics.readings
        # the workers are on this machine, behind no proxy
        self._http = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False, follow_redirects=True)

    def close(self) -> None:
        """Close connections."""
        self._http.close()

    def read(self) -> WorkerMetrics | None:
        """Ask every worker; None while one does not answer. Blocks at most a few seconds."""
        values: Counter[str] = Counter()
        letters: Counter[str] = Counter()
        for url in self._urls:
            try:
                answer = self._http.get(url).raise_for_status()
            except httpx.HTTPError:
                return None
            self._add(answer.text, values, letters)
        return WorkerMetrics(
            values["weir_messages_total"],
            values["weir_rows_stored_total"],
            values["weir_window_rows_published_total"],
            values["weir_corrections_published_total"],
            values["weir_lag_messages"],
            dict(letters),
        )

    def _add(self, page: str, values: Counter[str], letters: Counter[str]) -> None:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if self._stream != sample.labels.get("stream") and self._topic != sample.labels.get("topic"):
                    continue
                if sample.name == "weir_dead_letters_total":
                    letters[sample.labels["reason"]] += int(sample.value)
                elif "le" not in sample.labels:
                    values[sample.name] += int(sample.value)

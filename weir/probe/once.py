"""One probe, for a script or a person."""

from __future__ import annotations

import time

from weir.errors import WeirError
from weir.probe.outcome import Failure, Outcome
from weir.probe.prober import ASK_SECONDS, Asking, Posting, missing
from weir.settings import ProbeSettings


def probe_once(settings: ProbeSettings, posting: Posting, asking: Asking) -> Outcome:
    """Post one reading and ask until it shows; blocks, ``timeout_seconds`` at most and the last answer."""
    due, began = time.time(), time.monotonic()
    ts_ms = int(due * 1_000)
    refused = posting.post(ts_ms, 0.0)
    if refused is not None:
        return Outcome(due, failure=refused)
    acknowledged = time.monotonic() - began
    while time.monotonic() - began <= settings.timeout_seconds:
        try:
            seen = asking.visible([ts_ms])
        except WeirError as error:
            return Outcome(due, acknowledged, failure=Failure("clickhouse", str(error)))
        if seen:
            return Outcome(due, acknowledged, time.monotonic() - began)
        time.sleep(ASK_SECONDS)
    return Outcome(due, acknowledged, failure=missing(settings))

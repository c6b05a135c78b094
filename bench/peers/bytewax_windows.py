"""Bytewax: ``fold_window`` over tumbling windows of event time, one worker.

Tuned after its guide's page on performance: ``batch_size=5000`` on the source, and ``ordered=False``, since no measure
here needs the order of time. No recovery store, as by default.

Left out against Weir: validation, registry and enrichment; resends are counted twice; no raw rows; closed windows are
handed to a function and not published; no 1-hour windows; late readings are dropped; nothing survives a crash.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as windowing
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.run import cli_main

from bench.peers.program import GRACE_MS, WINDOW_MS, Account, Job, Window, decoder, read_job

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _ClosedWindows(StatelessSinkPartition[Any]):
    def __init__(self, account: Account) -> None:
        self._account = account

    def write_batch(self, items: list[Any]) -> None:
        for series, (number, aggregate) in items:
            self._account.window(series, number * WINDOW_MS, Window(*aggregate))


class _Output(DynamicSink[Any]):
    def __init__(self, account: Account) -> None:
        self._account = account

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _ClosedWindows:
        return _ClosedWindows(self._account)


def flow(job: Job, account: Account) -> Dataflow:
    """The dataflow."""
    decode = decoder(job)

    def keyed(message: Any) -> tuple[str, tuple[datetime, float]]:
        reading = decode(message.value)
        account.message()
        at = datetime.fromtimestamp(reading["ts"] / 1_000, UTC)
        return f"{reading['device_id']}/{reading['sensor']}", (at, reading["value"])

    dataflow = Dataflow("windows")
    config = {"queued.min.messages": "100000", "fetch.queue.backoff.ms": "5"}
    source = KafkaSource([job.broker], [job.topic], tail=False, add_config=config, batch_size=5_000)
    readings = op.map("decode", op.input("readings", dataflow, source), keyed)
    closed = windowing.fold_window(
        "minutes",
        readings,
        windowing.EventClock(lambda reading: reading[0], timedelta(milliseconds=GRACE_MS)),
        windowing.TumblingWindower(length=timedelta(milliseconds=WINDOW_MS), align_to=EPOCH),
        builder=list,
        folder=_add,
        merger=_merge,
        ordered=False,
    )
    op.output("closed", closed.down, _Output(account))
    return dataflow


def _add(so_far: list[Any], reading: tuple[datetime, float]) -> list[Any]:
    value = reading[1]
    if not so_far:
        return [1, value, value, value]
    so_far[0] += 1
    so_far[1] += value
    if value < so_far[2]:
        so_far[2] = value
    if value > so_far[3]:
        so_far[3] = value
    return so_far


def _merge(one: list[Any], other: list[Any]) -> list[Any]:
    return [one[0] + other[0], one[1] + other[1], min(one[2], other[2]), max(one[3], other[3])]


def main() -> None:
    """Run the job that the command line names."""
    job = read_job()
    account = Account(job)
    cli_main(flow(job, account), workers_per_process=1)
    account.finish()


if __name__ == "__main__":
    main()

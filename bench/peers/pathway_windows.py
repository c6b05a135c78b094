"""Pathway: ``windowby(tumbling)`` and ``reduce`` on a stream, one thread.

Its Kafka connector reads JSON in Rust, but Avro only as raw bytes, which one deterministic, annotated function of
Python decodes in batches, as its best practices ask. Tuned: commits every 1.5 s as by default, and a bound of readings
waiting, as it advises for a backlog. No ``behavior``: a watermark over all four partitions together would
drop what the slower ones read, so windows are given out again and again as they grow, and never forgotten.

Left out against Weir: validation, registry and enrichment; resends are counted twice; no raw rows; windows are handed
to a function and not published; no 1-hour windows; nothing survives a crash.
"""

from __future__ import annotations

import os
from typing import Any

import pathway as pw

from bench.peers.program import WINDOW_MS, Account, Job, Window, decoder, read_job

BACKLOG = 200_000
"""Its advice is a few tens of thousands. Of 400,000 readings, 50,000 gave 31,000 to 34,000/s at 27 CPU s a million,
this 42,000/s at 22.6, no bound 38,000/s at 21.7."""


def build(job: Job, account: Account) -> None:
    """Put the computation into Pathway's graph."""
    read = decoder(job)

    @pw.udf(deterministic=True, max_batch_size=1_024)
    def decode(values: list[bytes]) -> list[tuple[str, int, float]]:
        found = []
        for value in values:
            reading = read(value)
            account.message()
            found.append((f"{reading['device_id']}/{reading['sensor']}", reading["ts"], reading["value"]))
        return found

    settings = {
        "bootstrap.servers": job.broker,
        "group.id": f"{job.topic}.pathway",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": "true",
        "queued.min.messages": "100000",
        "fetch.queue.backoff.ms": "5",
    }
    raw = pw.io.kafka.read(
        settings, job.topic, format="raw", autogenerate_key=True, autocommit_duration_ms=1_500, max_backlog_size=BACKLOG
    )
    decoded = raw.select(reading=decode(pw.this.data))
    readings = decoded.select(
        series=pw.this.reading[0],
        ts=pw.this.reading[1],
        value=pw.this.reading[2],
    )
    windows = readings.windowby(
        readings.ts, window=pw.temporal.tumbling(duration=WINDOW_MS, origin=0), instance=readings.series
    ).reduce(
        series=pw.this._pw_instance,
        start=pw.this._pw_window_start,
        count=pw.reducers.count(),
        total=pw.reducers.sum(pw.this.value),
        lowest=pw.reducers.min(pw.this.value),
        highest=pw.reducers.max(pw.this.value),
    )

    def changed(key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        if is_addition:
            window = Window(row["count"], row["total"], row["lowest"], row["highest"])
            account.window(row["series"], row["start"], window)

    def settled(time: int) -> None:
        if account.complete and account.readings_in_windows >= job.messages - job.closing:
            account.finish()
            os._exit(0)  # a stream of Pathway has no end

    pw.io.subscribe(windows, on_change=changed, on_time_end=settled)


def main() -> None:
    """Run the job that the command line names."""
    job = read_job()
    build(job, Account(job))
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)


if __name__ == "__main__":
    main()

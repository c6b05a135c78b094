"""Quix Streams: ``tumbling_window().reduce().final()`` with RocksDB state.

Windows go by message key, which is the device; a device's four sensors share one window's state, which spares Quix the
repartition topic that ``group_by`` would write. Tuned: deep consumer queues; state, its changelog and checkpoints
every 5 s as by default, which are what a Quix program has.

Left out against Weir: validation, registry and enrichment; resends are counted twice; no raw rows; closed windows are
handed to a function and not published; no 1-hour windows; a reading after its window's grace is dropped; at least once.
"""

from __future__ import annotations

from typing import Any

from quixstreams import Application
from quixstreams.models.serializers import Deserializer

from bench.peers.program import GRACE_MS, WINDOW_MS, Account, Job, Window, decoder, read_job


class _ReadingDeserializer(Deserializer):
    def __init__(self, job: Job) -> None:
        super().__init__()
        self._decode = decoder(job)

    def __call__(self, value: bytes, ctx: Any) -> Any:
        return self._decode(value)


def main() -> None:
    """Run the job that the command line names."""
    job = read_job()
    account = Account(job)

    def processed(_topic: str, _partition: int, _offset: int) -> None:
        if account.message():
            app.stop()

    app = Application(
        broker_address=job.broker,
        consumer_group=f"{job.topic}.quix",
        auto_offset_reset="earliest",
        state_dir=f"{job.folder}/state",
        loglevel="ERROR",
        on_message_processed=processed,
        consumer_extra_config={"queued.min.messages": 100_000, "fetch.queue.backoff.ms": 5},
    )
    topic = app.topic(
        job.topic,
        value_deserializer=_ReadingDeserializer(job),
        timestamp_extractor=lambda value, *_: value["ts"],
    )
    windows = app.dataframe(topic).tumbling_window(WINDOW_MS, grace_ms=GRACE_MS).reduce(_add, _first).final()

    def closed(window: dict[str, Any], key: bytes, *_: object) -> None:
        for sensor, aggregate in window["value"].items():
            account.window(f"{key!r}/{sensor}", window["start"], Window(*aggregate))

    windows.update(closed, metadata=True)
    app.run()
    account.finish()


def _first(reading: dict[str, Any]) -> dict[str, Any]:
    return _add({}, reading)


def _add(sensors: dict[str, Any], reading: dict[str, Any]) -> dict[str, Any]:
    value, so_far = reading["value"], sensors.get(reading["sensor"])
    if so_far is None:
        sensors[reading["sensor"]] = [1, value, value, value]
    else:
        so_far[0] += 1
        so_far[1] += value
        if value < so_far[2]:
            so_far[2] = value
        if value > so_far[3]:
            so_far[3] = value
    return sensors


if __name__ == "__main__":
    main()

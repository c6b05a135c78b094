"""Plain Faust, an event at a time: an agent that updates a tumbling table.

Tuned: no web server, no redirected output, no waiting for an empty buffer, larger buffers than by default, a table in
memory. The changelog of the table stays on, which is what makes it a table.

Left out against Weir: validation, registry and enrichment; resends are counted twice; no raw rows; windows are
looked up at the end and not published when they close (``on_window_close`` has open bugs); no 1-hour windows; after a
crash events may count twice.
"""

from __future__ import annotations

import os
import time
from typing import Any

import faust
from faust.serializers import codecs

from bench.peers.program import WINDOW_MS, Account, Job, Window, decoder, read_job


class _ReadingCodec(codecs.Codec):
    def __init__(self, job: Job) -> None:
        super().__init__()
        self._decode = decoder(job)

    def _loads(self, s: bytes) -> Any:
        return self._decode(s)


def main() -> None:
    """Run the job that the command line names."""
    job = read_job()
    account = Account(job)
    codecs.register("reading", _ReadingCodec(job))
    app = faust.App(
        f"{job.topic}.faust",
        broker=f"kafka://{job.broker}",
        store="memory://",
        datadir=job.folder,
        topic_partitions=job.partitions,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
        stream_wait_empty=False,
        stream_buffer_maxsize=32_768,
        broker_max_poll_records=5_000,
        producer_linger=0.05,
    )
    topic = app.topic(job.topic, value_serializer="reading")
    windows: Any = app.Table("minutes", default=list, partitions=job.partitions).tumbling(WINDOW_MS / 1_000)
    table = windows.relative_to(_event_seconds)

    @app.agent(topic)
    async def aggregate(stream: Any) -> None:
        async for reading in stream:
            key, value = f"{reading['device_id']}/{reading['sensor']}", reading["value"]
            so_far = table[key].value()
            if so_far:
                count, total, lowest, highest = so_far
                table[key] = (count + 1, total + value, min(lowest, value), max(highest, value))
            else:
                table[key] = (1, value, value, value)
            if account.message():
                end = time.time()
                for (series, (start, _)), window in table.table.data.items():
                    account.window(series, int(start * 1_000), Window(*window))
                account.finish(end)
                os._exit(0)  # what stopping in order takes is nobody's concern here

    faust.Worker(app, loglevel="error").execute_from_commandline()


def _event_seconds(event: Any) -> float:
    return float(event.value["ts"] / 1_000)


if __name__ == "__main__":
    main()

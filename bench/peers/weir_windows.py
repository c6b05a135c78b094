"""Weir's own engine doing what its peers do and no more: 1-minute windows of every sensor, from the same topic.

The agent, the channel of blocks, the decoder and the windows are those of a worker. Left out: validation, registry and
enrichment, raw rows, publishing, 1-hour windows, checkpoints. It still does more than its peers: resends are removed,
and a window has nine measures.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Final

import faust
import numpy as np
import polars as pl
from faust.types import StreamT

from bench.peers.program import GRACE_MS, WINDOW_MS, Job, read_job, write_report
from schemas import load_schema
from streams.engine.batch_topic import BatchTopic
from streams.engine.block import Block
from streams.engine.codec import Codec
from streams.engine.consumer import ConsumerOptions, consumer_config
from streams.engine.key_index import KeyIndex
from streams.engine.reduce import reduce_points
from streams.engine.watermark import Watermark
from streams.engine.windows import TumblingWindows, window_starts
from weir.garbage import collect_rarely
from weir.settings import StreamSettings

SUMMED: Final = {"readings": "count", "total": "sum", "lowest": "min", "highest": "max"}
"""Names of the report and of the measures."""


class _OneSchema:
    """Every message is a Reading: the registry is not asked."""

    def schema(self, schema_id: int) -> dict[str, Any]:
        return load_schema("Reading")


class Minutes:
    """Windows of all partitions, and the sums of what they gave."""

    def __init__(self, closing_ms: int) -> None:
        """Windows from ``closing_ms`` on are not counted."""
        self._closing_ms = closing_ms
        self._series = KeyIndex("device_id", "sensor")
        self._open: dict[int, tuple[TumblingWindows, Watermark]] = {}
        self.windows = self.messages = 0
        self.sums = dict.fromkeys(SUMMED, 0.0)

    def add(self, block: Block) -> None:
        """Take in one block and close what ends before its watermark."""
        frame, partition = block.frame, block.lease.partition
        windows, watermark = self._open.setdefault(partition, (TumblingWindows(WINDOW_MS), Watermark(GRACE_MS)))
        ts = frame["ts"].to_numpy()
        starts = window_starts(ts, WINDOW_MS)
        watermark.observe(ts, block.append_ts, starts + WINDOW_MS, block.offsets)
        points = pl.DataFrame(
            [
                pl.Series("series", self._series.encode(frame)),
                frame["ts"],
                frame["value"].fill_null(float("nan")),
                pl.Series("append_ts", block.append_ts),
                pl.Series("offset", block.offsets),
            ]
        )
        windows.add(points, starts, block.offsets)
        self.messages += len(block.messages)
        self._close(windows, watermark.value)

    def finish(self) -> None:
        """Close what is open."""
        for windows, _ in self._open.values():
            self._close(windows, self._closing_ms)

    def _close(self, windows: TumblingWindows, until: int) -> None:
        for closed in windows.close(until):
            if closed.start < self._closing_ms:
                rows = reduce_points(pl.concat(closed.chunks)).rows
                self.windows += len(rows)
                for name, measure in SUMMED.items():
                    self.sums[name] += float(np.sum(rows[measure].to_numpy()))


def main() -> None:
    """Run the job that the command line names."""
    job = read_job()
    app = faust.App(
        f"{job.topic}.weir",
        broker=f"kafka://{job.broker}",
        store="memory://",
        datadir=job.folder,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    blocks = BatchTopic.connect(app, job.topic, Codec(load_schema("Reading"), _OneSchema()), *_reading(job))
    add_agents(app, job, blocks)
    faust.Worker(app, loglevel="error").execute_from_commandline()


def _reading(job: Job) -> tuple[dict[str, object], ConsumerOptions]:
    stream = StreamSettings()
    options = ConsumerOptions(
        fetch_messages=stream.fetch_messages,
        queue_messages=stream.queue_messages,
        idle_seconds=stream.idle_seconds,
        session_timeout_seconds=stream.session_timeout_seconds,
    )
    return consumer_config({"bootstrap.servers": job.broker}, f"{job.topic}.blocks", options), options


def add_agents(app: faust.App, job: Job, blocks: BatchTopic) -> None:
    """The agent that aggregates, and one on a topic that is always empty: Faust starts with an ordinary one only."""

    @app.agent(app.topic(f"{job.topic}.empty", partitions=1, internal=True))
    async def nothing(stream: StreamT[bytes]) -> None:
        async for _ in stream:
            pass

    @app.agent(blocks)
    async def aggregate(stream: StreamT[Block]) -> None:
        collect_rarely()
        minutes, begin = Minutes(job.closing_ms), 0.0
        try:
            async for block in stream:
                if block.silent:
                    continue
                begin = begin or time.time()
                minutes.add(block)
                blocks.processed(block)
                if minutes.messages == job.messages:
                    break
            minutes.finish()
        except Exception as error:  # Faust would start the agent again, behind the block
            print(error, file=sys.stderr)
            os._exit(1)
        write_report(job, minutes.messages, begin, time.time(), minutes.windows, minutes.sums)
        os._exit(0)  # what stopping in order takes is nobody's concern here


if __name__ == "__main__":
    main()

"""A stage stores what an agent made of its blocks and moves the checkpoint, in the one order that loses nothing.

For the rows of a partition from offset *a* up to, not including, *b*::

    1. commit   {stored: a, planned: b}             synchronously, refused when the partition is no longer ours
    2. insert   token stream:topic:partition:a-b    ClickHouse drops the block if it was there before a crash
    3. refuse   the block's dead letters, and then  acknowledged by the broker
                what else the agent announces of it
    4. publish  windows it closed, corrections      acknowledged by the broker
    5. settle   the next commit says {stored: b}    together with the next plan, or alone when there is nothing to plan

A crash after any step repeats the steps from 1 with the same cut, the same token and the same revisions. A worker that
slept through its expulsion fails at step 1, or can only insert the very block that was planned.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import polars as pl

from streams.engine import metrics
from streams.engine.block import Block
from streams.engine.checkpoint import NO_WATERMARK, Checkpoint, insert_token
from streams.engine.dead_letters import DeadLetter, to_record
from streams.engine.fetch import Lease
from streams.engine.flush_schedule import FlushSchedule
from streams.engine.outcome import Outcome
from streams.engine.partition_state import Part, PartitionState, Pending
from streams.engine.producer import AcknowledgedProducer, Record
from streams.engine.refusals import NO_LIMIT, RefusalLimit
from streams.engine.retrying import patiently
from streams.engine.windows import ClosedWindow
from weir.errors import WeirError

USAGE_TABLE: Final = "usage"

FLUSH_BYTES: Final = 134_217_728
"""Bytes of rows that force a flush, however few rows they are: readings may carry long texts."""


SHARED_ROWS: Final = 20_000
"""Rows of a partition that is behind, in a flush that others share whose readings are of now: one flush is everybody's
latency, and 87,000 rows of a day's backlog took 2.7 s to insert (``weir bench late``)."""


CLOSING_POINTS: Final = 250_000
"""Points of closing windows that one flush takes, or twice the rows that force a flush if that is more; what is beyond
closes with the next, one window at least. All series close in the same second, and what comes meanwhile must not wait
until the last of 200,000 is published."""


ENCODED_ROWS: Final = 5_000
"""Aggregate rows that are encoded at once: much of it is single calls that keep the interpreter from the event loop for
as long as they last, 400 ms and more with 200,000 rows and 10 with these. Fewer rows cost more each."""


CORRECTED_WINDOWS: Final = 5_000
"""Windows with late readings that are read back in one query: what they hold is in memory together."""


INSERTS_AT_ONCE: Final = 4
"""Partitions of one flush that are stored at the same time: one waits for the disk while another is sorted."""


WRITTEN_RECORDS: Final = 20_000
"""Records that are written before their acknowledgement is waited for."""


MOST_LAST_FLUSHES: Final = 100
"""A stop is over long before: what is left then is replayed."""


class Sink(Protocol):
    """Where rows go."""

    def insert(self, table: str, rows: pl.DataFrame, token: str) -> None:
        """Store ``rows`` in ``table`` once, however often it is called with this ``token``.

        Blocks. Raises :class:`~weir.errors.TransientError` when the server is away or busy.
        """


class Closing(NamedTuple):
    """Aggregate rows to publish, and ``usage`` rows of the conflicts among their points, one an owner and minute."""

    rows: pl.DataFrame
    conflicts: pl.DataFrame


class Rollup(Protocol):
    """What a stage derives from its windows."""

    @property
    def size_ms(self) -> int:
        """Length of a window in milliseconds."""

    def close(self, start: int, points: pl.DataFrame) -> Closing:
        """Reduce all points of the window that begins at ``start`` (ms) to one row a series."""

    def close_stored(self, start: int, points: pl.DataFrame | None, partition: int) -> Closing:
        """The same from what is stored of the window, because the points at hand, if any, differ from that.

        Blocks. Raises :class:`~weir.errors.TransientError` when the storage is away or busy.
        """

    def recompute(self, late: pl.DataFrame, since: int) -> Closing:
        """Aggregate closed windows again from storage: ``late`` has ``series`` and ``start`` (ms), no row twice.

        Conflicts count from offset ``since`` on: those before were counted when they came. Blocks. Raises
        :class:`~weir.errors.TransientError` when the storage is away or busy.
        """

    def records(self, rows: pl.DataFrame, partition: int) -> list[Record]:
        """Return the records that announce ``rows``; they go to the partition of the same number."""


class Commit(Protocol):
    """Commits checkpoints in one request and says which leases' commit counts."""

    def __call__(self, commits: Mapping[Lease, Checkpoint]) -> Awaitable[set[Lease]]:
        """Commit now."""


Flushed = tuple[PartitionState, Pending]
"""A partition and what one flush takes of it."""


@dataclass(frozen=True, slots=True)
class StageOptions:
    """Name of the stream (part of every insert token), its table, and when it flushes."""

    name: str
    table: str
    dead_letter_topic: str
    flush_rows: int
    flush_seconds: float
    behind_flush_seconds: float
    lateness_ms: int
    idle_ms: int | None = None
    refusal_limit: RefusalLimit = NO_LIMIT


class Stage:
    """Pending rows and open windows of every partition this worker holds, and the flush that stores them."""

    def __init__(
        self,
        options: StageOptions,
        commit: Commit,
        sink: Sink,
        producer: AcknowledgedProducer,
        rollup: Rollup | None = None,
    ) -> None:
        """Wire a stage; nothing runs until the first block."""
        self.options = options
        self._commit = patiently(commit)
        self._sink = sink
        self._producer = producer
        self._rollup = rollup
        self._states: dict[Lease, PartitionState] = {}
        self._inserting = ThreadPoolExecutor(INSERTS_AT_ONCE, thread_name_prefix=f"insert-{options.name}")
        self._flushing: asyncio.Task[None] | None = None
        self._timer: asyncio.Task[None] | None = None
        self._schedule = FlushSchedule(options.flush_seconds, options.behind_flush_seconds)
        self._came = asyncio.Event()
        self._failed = asyncio.Event()
        self._failure: BaseException | None = None

    # -- what the agent calls ------------------------------------------------------------------------------------

    async def accept(self, block: Block, outcome: Outcome) -> None:
        """Take in one block's outcome; waits while more than two flushes' worth of rows is pending.

        Raises whatever made a flush fail, and :class:`~streams.engine.refusals.RefusalLimitError`: let it crash the
        worker.
        """
        state = self._state_of(block)
        if state is None:
            return
        metrics.MESSAGES.labels(self.options.name).inc(len(block.messages))
        begin, append_ms = block.first, _append_ms(block)
        while state.reaches_over_cut(block.end):
            head, outcome = outcome.split(state.cut)
            state.add(head, Part(begin, state.cut, append_ms), self.options.refusal_limit)
            begin = state.cut
            await self._drain()
            if not block.lease.active:
                return
        state.add(outcome, Part(begin, block.end, append_ms), self.options.refusal_limit)
        state.behind = block.behind
        if self._schedule.came(block.behind):
            self._came.set()
        if self._too_much():
            await self._idle()
        if not self._busy and (self._enough() or self._schedule.rows_are_due):
            self._begin_flush()

    async def silent(self, block: Block, event_time: int | None, announced: Sequence[Record] = ()) -> None:
        """Take note that a partition is caught up; its windows that end by ``event_time`` (ms) close.

        ``announced`` is written by the next flush.
        """
        state = self._state_of(block)
        if state is not None:
            state.silent(event_time, announced)

    def stored(self, block: Block) -> int | None:
        """The next offset of the block's partition that is not known to be stored; None while nothing is known of it.

        Raises whatever made a flush fail.
        """
        state = self._state_of(block)
        return None if state is None else state.stored

    async def failed(self) -> BaseException:
        """Wait until a flush fails, and give what it failed with: let it crash the worker, which stores no more."""
        await self._failed.wait()
        return self._failure or RuntimeError("a flush failed")

    async def stop(self) -> None:
        """Store what is pending as far as it is still ours, then stop; a failure leaves it to the next start."""
        if self._timer is not None:
            self._timer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._timer
        with contextlib.suppress(WeirError):
            for _ in range(MOST_LAST_FLUSHES):
                if not await self._drain():
                    break

    # -- state ---------------------------------------------------------------------------------------------------

    def _state_of(self, block: Block) -> PartitionState | None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().create_task(self._flush_by_age())
            self._timer.add_done_callback(self._ended)
        if self._flushing is not None and self._flushing.done():
            self._flushing.result()  # raises what a flush failed with
        if not block.lease.active:
            return None
        state = self._states.get(block.lease)
        if state is None and (not block.silent or _nothing_to_replay(block.lease)):
            size_ms = self._rollup.size_ms if self._rollup is not None else None
            first = block.lease.checkpoint.replay if block.silent and block.lease.checkpoint else block.first
            options = self.options
            state = PartitionState(block.lease, first, options.lateness_ms, size_ms, options.idle_ms)
            self._states[block.lease] = state
        return state

    def _enough(self, flushes: int = 1) -> bool:
        """Whether so many flushes' worth of rows or bytes is pending."""
        rows = sum(state.pending_rows for state in self._states.values())
        size = sum(state.pending_bytes for state in self._states.values())
        return rows >= flushes * self.options.flush_rows or size >= flushes * FLUSH_BYTES

    def _too_much(self) -> bool:
        return self._busy and self._enough(flushes=2)

    @property
    def _busy(self) -> bool:
        return self._flushing is not None and not self._flushing.done()

    # -- flushing ------------------------------------------------------------------------------------------------

    async def _flush_by_age(self) -> None:
        """Flush when the pending rows are old enough; close windows and settle while nothing comes."""
        while True:
            await self._due()
            if self._flushing is not None and self._flushing.exception() is not None:
                return  # the next block, or stop(), raises it
            self._begin_flush()

    async def _due(self) -> None:
        """Wait until no flush runs and one should begin."""
        while self._busy or self._schedule.wait_seconds > 0:
            if self._busy and self._flushing is not None:
                await asyncio.wait({self._flushing})
                continue
            self._came.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    self._schedule.wait_seconds
                ):  # wait_for may swallow that stop() cancels this
                    await self._came.wait()

    async def _idle(self) -> None:
        """Wait until no flush runs; raise what the last one failed with.

        Asks again after waiting: whoever else waited may have begun the next one, and two at once would commit past
        rows that are not stored.
        """
        while self._busy and self._flushing is not None:
            await asyncio.wait({self._flushing})  # not the task itself: whoever is cancelled here must not cancel it
        if self._flushing is not None:
            self._flushing.result()

    async def _drain(self) -> bool:
        """Flush what may be flushed and wait for it; say whether there was anything, as more may have come of it."""
        await self._idle()
        began = self._begin_flush()
        await self._idle()
        return began

    def _begin_flush(self) -> bool:
        if self._busy:
            raise RuntimeError("a flush began while another ran")
        for lease in [lease for lease in self._states if not lease.active]:
            self._forget(lease)
        taken = self._take()
        if taken:
            self._flushing = asyncio.get_running_loop().create_task(self._flush(taken))
            self._flushing.add_done_callback(self._ended)
        return bool(taken)

    def _ended(self, flush: asyncio.Task[None]) -> None:
        if not flush.cancelled() and flush.exception() is not None:
            self._failure = flush.exception()
            self._failed.set()

    def _take(self) -> list[Flushed]:
        """What the next flush stores: everything, but of a backlog only so much that others need not wait for it.

        Windows close where they have waited longest, as many as are soon published.
        """
        flushable = sorted((state for state in self._states.values() if state.flushable), key=_published)
        live = any(state.pending_offsets and not state.behind for state in flushable)
        self._schedule.begun(stores=any(state.pending_offsets for state in flushable))
        most_points = max(CLOSING_POINTS, 2 * self.options.flush_rows)
        taken, left = [], False
        for state in flushable:
            whole = state.take(SHARED_ROWS if live and state.behind else None)
            pending, points = state.closing(whole, most_points)
            most_points -= points
            left |= state.pending_offsets > 0 or pending.watermark < whole.watermark
            taken.append((state, pending))
        if left:
            self._schedule.left()
        return sorted(taken, key=lambda each: each[1].end - each[1].first)

    async def _flush(self, taken: list[Flushed]) -> None:
        began = time.monotonic()
        kept = await self._plan(taken)
        closed = [(state, pending, state.close(pending.watermark)) for state, pending in kept]
        await self._insert_all(kept)
        await asyncio.to_thread(self._tell, closed)
        self._settle(kept)
        metrics.FLUSH_SECONDS.labels(self.options.name).observe(time.monotonic() - began)

    async def _plan(self, taken: list[Flushed]) -> list[Flushed]:
        """Step 1, for all partitions in one request; gives those that are still ours."""
        checkpoints = {state.lease: state.checkpoint(planned=pending) for state, pending in taken}
        ours = await self._commit(checkpoints)
        for state, _ in taken:
            if state.lease in ours:
                state.committed(checkpoints[state.lease])
            else:
                self._forget(state.lease)
        return [(state, pending) for state, pending in taken if state.lease in ours]

    def _forget(self, lease: Lease) -> None:
        """Drop a partition whose commit does not count; if it comes back, it is replayed from its checkpoint."""
        lease.active = False
        self._states.pop(lease, None)
        for gauge in (metrics.WATERMARK, metrics.OPEN_POINTS):
            with contextlib.suppress(KeyError):
                gauge.remove(self.options.name, str(lease.partition))

    async def _insert_all(self, kept: list[Flushed]) -> None:
        """Step 2, a few partitions at once: each waits for its server. Ends when all have ended, also if one fails."""
        run = asyncio.get_running_loop().run_in_executor
        inserts = [run(self._inserting, self._insert, state.lease, pending) for state, pending in kept]
        if inserts:
            await asyncio.wait(inserts)
        for insert in inserts:
            insert.result()

    def _tell(self, closed: list[tuple[PartitionState, Pending, list[ClosedWindow]]]) -> None:
        """Steps 3 and 4, in a thread: each waits for its server."""
        self._refuse([letter for _, pending, _ in closed for letter in pending.dead_letters])
        self._write([record for _, pending, _ in closed for record in pending.announced])
        for state, _, windows in closed:
            self._publish(state.lease, windows)
        for state, pending, _ in closed:
            self._correct(state.lease, pending)

    def _insert(self, lease: Lease, pending: Pending) -> None:
        rows = [frame for frame in pending.rows if len(frame)]
        if not rows:
            return
        frame = pl.concat(rows)
        patiently(self._sink.insert)(self.options.table, frame, self._token(lease, pending))
        metrics.ROWS.labels(self.options.name).inc(len(frame))

    def _token(self, lease: Lease, pending: Pending) -> str:
        return insert_token(self.options.name, lease.topic, lease.partition, pending.first, pending.end, pending.kept)

    def _refuse(self, letters: list[DeadLetter]) -> None:
        self._write([to_record(letter, self.options.dead_letter_topic) for letter in letters])
        for letter in letters:
            metrics.DEAD_LETTERS.labels(self.options.name, letter.reason).inc()

    def _publish(self, lease: Lease, closed: list[ClosedWindow]) -> None:
        if self._rollup is not None and closed:
            self._announce(self._rollup, self._closings(self._rollup, lease, closed), lease.partition)

    def _closings(self, rollup: Rollup, lease: Lease, closed: list[ClosedWindow]) -> Iterator[pl.DataFrame]:
        for window in closed:
            closing = self._close(rollup, window, lease.partition)
            self._count_conflicts(closing.conflicts, f"{self.options.name}:{lease}:window:{window.start}")
            metrics.WINDOWS.labels(self.options.name).inc(len(closing.rows))
            yield closing.rows

    def _announce(self, rollup: Rollup, frames: Iterable[pl.DataFrame], partition: int) -> None:
        """Write aggregate rows, a few at a time; blocks until all are acknowledged."""
        waiting: list[Record] = []
        for rows in frames:
            for some in rows.iter_slices(ENCODED_ROWS) if len(rows) else ():
                waiting += rollup.records(some, partition)
                if len(waiting) >= WRITTEN_RECORDS:
                    self._write(waiting)
                    waiting = []
        self._write(waiting)

    def _correct(self, lease: Lease, pending: Pending) -> None:
        if self._rollup is None or not pending.late:
            return
        windows = pl.concat(pending.late).unique().sort("start")
        conflicts = []
        for some in windows.iter_slices(CORRECTED_WINDOWS):
            corrected = patiently(self._rollup.recompute)(some, pending.first)
            self._announce(self._rollup, [corrected.rows], lease.partition)
            conflicts.append(corrected.conflicts)
            metrics.LATE.labels(self.options.name).inc(len(some))
            metrics.CORRECTIONS.labels(self.options.name).inc(len(corrected.rows))
        self._count_conflicts(pl.concat(conflicts), f"{self._token(lease, pending)}:late")

    def _close(self, rollup: Rollup, window: ClosedWindow, partition: int) -> Closing:
        points = pl.concat(window.chunks) if window.chunks else None
        if points is None or not window.trusted:
            return patiently(rollup.close_stored)(window.start, points, partition)
        return rollup.close(window.start, points)

    def _count_conflicts(self, conflicts: pl.DataFrame, token: str) -> None:
        """A window closes once and a block is stored once, so their tokens count each conflict once."""
        if len(conflicts):
            patiently(self._sink.insert)(USAGE_TABLE, conflicts, token)
            metrics.CONFLICTS.labels(self.options.name).inc(int(conflicts["conflicts"].sum()))

    def _settle(self, kept: list[Flushed]) -> None:
        """Step 5: from now on a checkpoint says that this is stored."""
        for state, pending in kept:
            state.flushed(pending)
            self._observe(state)

    def _write(self, records: list[Record]) -> None:
        patiently(self._producer.write)(records)

    def _observe(self, state: PartitionState) -> None:
        if state.windows is None or state.published == NO_WATERMARK:
            return
        labels = (self.options.name, str(state.lease.partition))
        metrics.WATERMARK.labels(*labels).set(state.published / 1000)
        metrics.OPEN_POINTS.labels(*labels).set(state.windows.points)


def _published(state: PartitionState) -> int:
    return state.published


def _nothing_to_replay(lease: Lease) -> bool:
    """Whether a partition that says nothing has nothing open: its watermark goes on, so that hours close."""
    return lease.checkpoint is not None and lease.checkpoint.replay == lease.checkpoint.planned


def _append_ms(block: Block) -> int:
    """When the last record of a block was appended."""
    return int(block.append_ts[-1]) if len(block.append_ts) else block.messages[-1].timestamp()[1]

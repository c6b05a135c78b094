"""``BatchTopic``: a Faust channel whose values are blocks of one partition instead of single events.

Faust agents read channels, and ``faust.Topic`` is one kind of channel. This is another: a thread with a librdkafka
consumer reads, a service on the event loop decodes, and ``@app.agent(readings)`` receives DataFrames. Per-event cost is
Faust's own stream machinery (6,200 events/s with an agent that does nothing); a block pays it once for thousands.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import faust
from faust.channels import Channel
from mode import Service
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from streams.engine.block import Block, Decoder, decode_block
from streams.engine.checkpoint import Checkpoint
from streams.engine.consumer import ConsumerOptions, ConsumerThread
from streams.engine.fetch import Fetch, Lease
from streams.engine.joining_queue import JoiningQueue
from streams.engine.retrying import STOPPING, endlessly
from weir.errors import TransientError

logger = logging.getLogger(__name__)

STOP_SECONDS = 15.0
"""How long a stopping worker goes on storing what is pending; the rest is replayed at the next start."""

BLOCK_MESSAGES = 20_000
"""Messages of one block at most: while the agent is behind, waiting fetches of a partition are joined up to here.

A block of 20,000 costs 900 ns a reading less in calls of Python and Polars than one of 5,000; 40,000 fall out of the
cache. Small fetches are cheaper for librdkafka, so it is here that they grow.
"""

BLOCK_BYTES = 3_145_728
"""Payload bytes of one block at most: about as many readings in packed messages as the above allows single ones."""

BLOCKS_AHEAD = 2
"""Decoded blocks that wait for the agent: enough that decoding overlaps with its work, few enough to stay in memory."""


class BatchTopic(Channel[Block]):
    """A channel of :class:`~streams.engine.block.Block`, fed by a consumer group of its own.

    It is not a Faust topic: Faust neither acknowledges nor rebalances it. Progress is what the agent's stage commits
    through :meth:`commit`.
    """

    def __init__(self, app: faust.App, **channel: Any) -> None:
        """Take Faust's own channel arguments; use :meth:`connect` to say what to read."""
        super().__init__(app, **channel)
        self._feed: _Feed

    @classmethod
    def connect(
        cls, app: faust.App, topic: str, codec: Decoder, config: Mapping[str, object], options: ConsumerOptions
    ) -> BatchTopic:
        """Make the channel of ``topic``: ``config`` is librdkafka's, with the group in it."""
        channel = cls(app)
        channel._feed = _Feed(app, channel, topic, codec, dict(config), options)
        app.service(channel._feed)  # type: ignore[arg-type]  # it takes instances, too
        return channel

    @property
    def queue(self) -> ThrowableQueue[Block]:
        """The queue between decoding and the agent; Faust's own is emptied whenever Faust rebalances."""
        if self._queue is None:
            always_open = FlowControlEvent(initially_suspended=False)
            self._queue = ThrowableQueue(maxsize=BLOCKS_AHEAD, flow_control=always_open, clear_on_resume=False)
        return self._queue

    def _clone_args(self) -> Mapping[str, Any]:
        return {key: value for key, value in super()._clone_args().items() if key != "schema"}

    async def commit(self, commits: Mapping[Lease, Checkpoint]) -> set[Lease]:
        """Commit checkpoints in one request; return the leases whose commit counts (see ``ConsumerThread.commit``)."""
        return await asyncio.wrap_future(self._feed.thread.commit(commits))

    def before_leaving(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call ``callback`` when the worker stops, while partitions are still ours."""
        self._feed.before_leaving.append(callback)

    def holds(self, partition: int) -> bool:
        """Say whether this worker holds ``partition`` now; also of a silent one, once it has been read to its end."""
        lease = self._feed.leases.get(partition)
        return lease is not None and lease.active

    def abandon(self) -> None:
        """Commit nothing any more: what was read is not going to be stored by this worker."""
        self._feed.thread.abandon()

    def processed(self, block: Block) -> None:
        """Make room for more: the agent is done with ``block``."""
        self._feed.thread.taken(len(block.messages), block.size)


class _Feed(Service):
    """Runs the consumer thread and decodes what it delivers, in order."""

    def __init__(
        self,
        app: faust.App,
        channel: BatchTopic,
        topic: str,
        codec: Decoder,
        config: dict[str, object],
        options: ConsumerOptions,
    ) -> None:
        super().__init__()
        self._app = app
        self._channel = channel
        self._codec = codec
        self._reading = (config, topic, options)
        self._fetches = JoiningQueue(BLOCK_MESSAGES, BLOCK_BYTES)
        self._held: dict[Lease, asyncio.Task[None]] = {}
        self._passes: dict[Lease, int] = {}
        self._topic = topic
        self.leases: dict[int, Lease] = {}
        self.before_leaving: list[Callable[[], Awaitable[None]]] = []

    @property
    def label(self) -> str:
        """Name shown in Faust's logs."""
        return f"Feed: {self._topic}"

    async def on_start(self) -> None:
        """Start reading."""
        self._running_loop = asyncio.get_running_loop()
        self.thread = ConsumerThread(*self._reading, self._deliver, self._fail)
        self.thread.start()

    async def on_stop(self) -> None:
        """Store what is pending, leave the group, wait until the thread has closed its consumer."""
        try:
            for callback in self.before_leaving:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(callback(), STOP_SECONDS)
        finally:
            STOPPING.set()
            for waiting in list(self._held.values()):
                waiting.cancel()
            self.thread.stop()
            await asyncio.to_thread(self.thread.join, STOP_SECONDS)

    def _deliver(self, fetch: Fetch) -> None:
        self.leases[fetch.lease.partition] = fetch.lease
        self._running_loop.call_soon_threadsafe(self._fetches.put, fetch)

    def _fail(self, error: BaseException) -> None:
        self._running_loop.call_soon_threadsafe(asyncio.ensure_future, self._app.crash(error))

    @Service.task
    async def _decode_all(self) -> None:
        while not self.should_stop:
            fetch = await self._fetches.get()
            if self._stale(fetch):
                self.thread.taken(len(fetch.messages), fetch.size)
                continue
            try:
                await self._put(await asyncio.to_thread(decode_block, fetch, self._codec))
            except TransientError as error:
                self._hold(fetch, error)
            except Exception as error:  # a worker that cannot decode must not go on: nothing of this is committed
                await self._app.crash(error)
                return

    async def _put(self, block: Block) -> None:
        await self._channel.put(block)  # type: ignore[arg-type]  # values may be put without an Event around them

    def _stale(self, fetch: Fetch) -> bool:
        lease = fetch.lease
        return not lease.active or lease in self._held or fetch.pass_ < self._passes.get(lease, 0)

    def _hold(self, fetch: Fetch, error: TransientError) -> None:
        """Stop reading a partition whose schema cannot be fetched now; the others go on."""
        logger.warning("%s waits from offset %s on: %s", fetch.lease, fetch.messages[0].offset(), error)
        self.thread.hold(fetch.lease)
        self.thread.taken(len(fetch.messages), fetch.size)  # what waits here must not keep the others waiting
        for lease in [lease for lease in self._passes if not lease.active]:
            del self._passes[lease]
        self._held[fetch.lease] = asyncio.get_running_loop().create_task(self._take_up(fetch))

    async def _take_up(self, fetch: Fetch) -> None:
        try:
            block = await self._decode_at_last(fetch)
            if block is not None:
                self.thread.taken(-len(fetch.messages), -fetch.size)
                await self._put(block)
                self._passes[fetch.lease] = fetch.pass_ + 1
                self.thread.go_on(fetch.lease, fetch.end)
                logger.info("%s goes on at offset %d", fetch.lease, fetch.end)
        except Exception as error:
            if not STOPPING.is_set():
                await self._app.crash(error)
        finally:
            del self._held[fetch.lease]

    @endlessly
    async def _decode_at_last(self, fetch: Fetch) -> Block | None:
        """The block, or None when the partition is no longer ours."""
        return None if not fetch.lease.active else await asyncio.to_thread(decode_block, fetch, self._codec)

"""Several connections to a gateway, each with a thread: a device's records keep their order, because they share one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar
from zlib import crc32

from weir.load.gateway_door import Door, DoorConnection, Fate, Form, Locked, Silent

LANES: Final = 4

BATCH: Final = 500
"""Records of one post, at the most: 100 kB of JSON."""

Tag = TypeVar("Tag")


class Post(NamedTuple, Generic[Tag]):
    """One record on its way; ``tag`` is the caller's own. ``alone``: nothing else is in its request."""

    tag: Tag
    key: str
    form: Form
    value: bytes | None
    alone: bool = False


class GatewayLanes(Generic[Tag]):
    """Posts what is handed over; tells of each record what became of it, from the threads of the lanes.

    ``settle`` must take calls from several threads.
    """

    def __init__(
        self, door: Door, topic: str, patience_seconds: float, settle: Callable[[Tag, Fate], None], lanes: int = LANES
    ) -> None:
        """Nothing starts before the first record."""
        self._lanes = [_Lane(DoorConnection(door, topic, patience_seconds), settle) for _ in range(lanes)]

    def put(self, post: Post[Tag]) -> None:
        """Hand one record over; does not block. Raises :class:`Locked` when the gateway does not take the key."""
        lane = self._lanes[crc32(post.key.encode()) % len(self._lanes)]
        if lane.failure is not None:
            raise lane.failure
        lane.put(post)

    def check(self) -> None:
        """Raise what went wrong in a thread."""
        for lane in self._lanes:
            if lane.failure is not None:
                raise lane.failure

    def close(self) -> None:
        """End: what has no answer is told as :class:`Silent`. Blocks until the threads have ended."""
        for lane in self._lanes:
            lane.abandon()
        for lane in self._lanes:
            if lane.ident is not None:
                lane.join()


class _Lane(threading.Thread, Generic[Tag]):
    """One connection, with one request under way at a time."""

    def __init__(self, connection: DoorConnection, settle: Callable[[Tag, Fate], None]) -> None:
        super().__init__(name="gateway-lane", daemon=True)
        self.failure: BaseException | None = None
        self._connection = connection
        self._settle = settle
        self._waiting: deque[Post[Tag]] = deque()
        self._changed = threading.Condition()
        self._ending = self._ended = False

    def put(self, post: Post[Tag]) -> None:
        with self._changed:
            if not (self._ended or self._ending):
                self._waiting.append(post)
                self._changed.notify()
                if self.ident is None:
                    self.start()
                return
        self._settle(post.tag, Silent("not sent"))

    def abandon(self) -> None:
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._connection.abandon()

    def run(self) -> None:
        try:
            while posts := self._take():
                self._send(posts)
        except BaseException as error:
            self.failure = error
        finally:
            self._connection.close()
            with self._changed:
                self._ended = True
            for post in self._waiting:
                self._settle(post.tag, Silent("not sent"))

    def _take(self) -> list[Post[Tag]]:
        """What waits and may go together, in order; nothing at the end."""
        with self._changed:
            while not self._waiting and not self._ending:
                self._changed.wait()
            if self._ending:
                return []
            posts = [self._waiting.popleft()]
            while self._waiting and len(posts) < BATCH and _together(posts[0], self._waiting[0]):
                posts.append(self._waiting.popleft())
            return posts

    def _send(self, posts: list[Post[Tag]]) -> None:
        try:
            fates = self._connection.post(posts[0].form, [post.value for post in posts])
        except Locked as error:
            for post in posts:
                self._settle(post.tag, Silent(str(error)))
            raise
        for post, fate in zip(posts, fates, strict=True):
            self._settle(post.tag, fate)


def _together(first: Post[Tag], other: Post[Tag]) -> bool:
    return first.form == other.form and not first.alone and not other.alone

"""How a stream waits for a server that is away: with jitter, bounded; then the worker crashes."""

from __future__ import annotations

import logging
import threading
from typing import Final

from tenacity import (
    RetryCallState,
    retry,
    retry_if_exception_type,
    stop_after_delay,
    stop_when_event_set,
    wait_random_exponential,
)

from weir.errors import TransientError

logger = logging.getLogger(__name__)

GIVE_UP_SECONDS: Final = 300
"""Longer than a broker or a ClickHouse server takes to restart; after that a supervisor should see a dead worker."""

STOPPING: Final = threading.Event()
"""Set when the worker stops: nobody waits any longer, what is not stored is replayed at the next start."""


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    logger.warning("%s Trying again (attempt %d).", error, state.attempt_number + 1)


patiently = retry(
    retry=retry_if_exception_type(TransientError),
    wait=wait_random_exponential(multiplier=0.2, max=10.0),
    stop=stop_after_delay(GIVE_UP_SECONDS) | stop_when_event_set(STOPPING),
    before_sleep=_say,
    reraise=True,
)
"""Decorator for functions and coroutines that raise :class:`~weir.errors.TransientError`."""

endlessly = retry(
    retry=retry_if_exception_type(TransientError),
    wait=wait_random_exponential(multiplier=0.2, max=10.0),
    stop=stop_when_event_set(STOPPING),
    before_sleep=_say,
    reraise=True,
)
"""The same for what holds up one partition only: a crash would hold up the others, too."""

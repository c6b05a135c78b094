"""A Faust app whose agents may not fail quietly."""

from __future__ import annotations

import logging

import faust
from faust.types import AgentT

from weir.errors import WeirError

logger = logging.getLogger(__name__)


class CrashingApp(faust.App):
    """Takes the whole worker down when an agent raises, with nothing committed.

    Faust would acknowledge the block and restart the agent; what it had not stored would be lost. It restarts it even
    while the app is crashing, so an agent that has something to lose must not raise but crash the app and stay.
    """

    async def crash(self, reason: BaseException) -> None:
        """Say why in one sentence, where there is one, before Faust tells where."""
        if isinstance(reason, WeirError):
            logger.critical("This worker stops: %s", reason)
        await super().crash(reason)

    async def _on_agent_error(self, agent: AgentT[object], exc: BaseException) -> None:
        await self.crash(exc)

"""A Faust app whose agents may not fail quietly."""

from __future__ import annotations

import faust
from faust.types import AgentT


class CrashingApp(faust.App):
    """Takes the whole worker down when an agent raises, with nothing committed.

    Faust would acknowledge the block and restart the agent; what it had not stored would be lost.
    """

    async def _on_agent_error(self, agent: AgentT[object], exc: BaseException) -> None:
        await self.crash(exc)

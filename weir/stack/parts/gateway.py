"""The door for devices: ``weir gateway``, started once topics, schemas and tables are there."""

from __future__ import annotations

from weir.stack.child import Command
from weir.stack.parts.part import Part, http_answers, python
from weir.stack.plan import NEEDS


class Gateway(Part):
    """The one process of the gateway."""

    name = "gateway"

    @property
    def ports(self) -> dict[str, int]:
        """The one port."""
        return {"gateway": self.plan.port("gateway")}

    @property
    def needs(self) -> tuple[str, ...]:
        """Where records go, who may send them, how they are written, and where they are counted."""
        return NEEDS["gateway"]

    def command(self) -> Command:
        """The gateway, which finds its port and folder in the settings file.

        Its grace outlasts answers (10 s), what is on its way to Kafka (10 s) and the last counts.
        """
        return Command(python("-m", "weir", "gateway"), grace_seconds=30.0)

    def healthy(self) -> bool:
        """Whether it answers; whether it would take records is for ``/ready`` to say."""
        return http_answers(self.port, "/health")

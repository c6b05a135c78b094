"""The HTTP API of metadata: ``weir api``, started once its tables are there."""

from __future__ import annotations

from weir.stack.child import Command
from weir.stack.parts.part import Part, http_answers, python
from weir.stack.plan import NEEDS


class Api(Part):
    """The one process of the API."""

    name = "api"

    @property
    def ports(self) -> dict[str, int]:
        """The one port."""
        return {"api": self.plan.port("api")}

    @property
    def needs(self) -> tuple[str, ...]:
        """The database that it answers from."""
        return NEEDS["api"]

    def command(self) -> Command:
        """The API, which finds its port in the settings file. Its grace outlasts whoever waits for commands."""
        return Command(python("-m", "weir", "api"), grace_seconds=15.0)

    def healthy(self) -> bool:
        """Whether it answers; whether its tables are there is for ``/ready`` to say."""
        return http_answers(self.port, "/health")

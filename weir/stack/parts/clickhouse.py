"""The ClickHouse engine behind ClickHouse's HTTP interface, a process of ours (:mod:`weir.stack.clickhouse`)."""

from __future__ import annotations

from weir.stack.child import Command
from weir.stack.parts.part import Part, http_answers, python
from weir.stack.plan import HOST


class ClickHouse(Part):
    """The database of readings."""

    name = "clickhouse"

    @property
    def ports(self) -> dict[str, int]:
        """The HTTP interface."""
        return {"clickhouse": self.plan.port("clickhouse")}

    def command(self) -> Command:
        """Our server on its own folder; it finishes running queries, for up to 30 s, before it stops."""
        place = ("--path", str(self.plan.part_dir("clickhouse")), "--host", HOST, "--port", str(self.port))
        return Command(python("-m", "weir.stack.clickhouse", *place), grace_seconds=40.0)

    def healthy(self) -> bool:
        """Whether ``/ping`` says Ok."""
        return http_answers(self.port, "/ping", b"Ok.")

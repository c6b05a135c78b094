"""A Faust worker: ``weir worker`` with its own web port and folder."""

from __future__ import annotations

from pathlib import Path

from weir.stack.child import Command
from weir.stack.parts.part import Part, Run, http_answers, python
from weir.stack.plan import NEEDS, StackPlan


class Worker(Part):
    """Worker ``number`` of the stack, from 0."""

    def __init__(self, plan: StackPlan, cache: Path, number: int) -> None:
        """``number`` decides its port and folder."""
        super().__init__(plan, cache)
        self.number = number

    @property
    def name(self) -> str:
        """``faust-1`` is the first."""
        return f"faust-{self.number + 1}"

    @property
    def ports(self) -> dict[str, int]:
        """Its web pages."""
        return {self.name: self.plan.port("faust") + self.number}

    @property
    def needs(self) -> tuple[str, ...]:
        """All servers."""
        return NEEDS["faust"]

    @property
    def _folder(self) -> Path:
        return self.plan.part_dir("worker") / str(self.number + 1)

    def prepare(self, run: Run) -> None:
        """Make its folder; Faust makes only the last folder of a path."""
        self._folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> Command:
        """The worker, from this environment."""
        environment = {
            "WEIR_WORKER__WEB_PORT": str(self.port),
            "WEIR_WORKER__DATA_DIR": str(self._folder),
            "POLARS_MAX_THREADS": "1",  # workers scale by processes; Polars reads this when it is imported
        }
        return Command(python("-m", "weir", "worker"), environment=environment, grace_seconds=20.0)

    def healthy(self) -> bool:
        """Whether its web page answers."""
        return http_answers(self.port, "/")

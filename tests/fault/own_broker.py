"""A Kafka broker of a test's own, which may be stopped or killed and started again on the same folder and ports."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Self

from rich.console import Console

from tests.free_ports import free_block
from tests.stack_under_test import StackUnderTest
from weir.stack.downloads import ensure_artifacts
from weir.stack.plan import StackPlan
from weir.stack.state import read_state
from weir.stack.supervisor import Stack


class OwnBroker:
    """One broker; a context manager that takes it down."""

    def __init__(self, folder: Path) -> None:
        """Keep its data in ``folder``."""
        self._plan = StackPlan(folder, free_block(), workers=0, only=("kafka",))
        self._cache = ensure_artifacts(Console(stderr=True))
        self._stack: Stack | None = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, if it runs."""
        self.stop()

    def before(self, stack: StackUnderTest) -> StackUnderTest:
        """The same servers, but this broker instead of theirs."""
        address = f"127.0.0.1:{self._plan.port('kafka')}"
        kafka = stack.settings.kafka.model_copy(update={"bootstrap_servers": address})
        return StackUnderTest(stack.settings.model_copy(update={"kafka": kafka}))

    def start(self) -> None:
        """Start it, unless it runs, and wait until it answers."""
        if self._stack is not None:
            return
        self._stack = Stack(self._plan, self._cache)
        self._stack.start()

    def stop(self) -> None:
        """SIGTERM: it writes clean segments and leaves its groups in order."""
        if self._stack is not None:
            self._stack.stop()
            self._stack = None

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)
        self.stop()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the broker's process: SIGSTOP makes it hang with its connections open."""
        state = read_state(self._plan.data_dir)
        assert state is not None, "the broker does not run"
        (broker,) = (child for child in state.children if child.name == "kafka")
        os.kill(broker.pid, number)

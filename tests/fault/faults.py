"""Every fault that ``make soak`` runs, by name.

A fault is a context manager: it prepares what its iterations share (usually one world), and gives the function that
runs one iteration with a seed and returns its :class:`~tests.fault.result.Result`. A fault whose iterations each need a
world of their own is made of a plain function by :func:`a_world_each`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fault import server_faults, worker_faults
from tests.fault.result import Result
from tests.fault.worker_faults import Fault, Iterate
from tests.stack_under_test import StackUnderTest


def a_world_each(run: Callable[[StackUnderTest, Path, int], Result]) -> Fault:
    """Make a fault of ``run``, which makes a world on the stack, in a folder of its own, for every seed."""

    @contextmanager
    def prepared(stack: StackUnderTest, folder: Path) -> Iterator[Iterate]:
        def iterate(seed: int) -> Result:
            own = folder / str(seed)
            own.mkdir(parents=True)
            return run(stack, own, seed)

        yield iterate

    return prepared


FAULTS: dict[str, Fault] = {**worker_faults.FAULTS, **server_faults.FAULTS}

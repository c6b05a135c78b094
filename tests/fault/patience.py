"""What a worker's log tells of its patience: that it asked again, and that it kept its place in its groups."""

from __future__ import annotations

from tests.worker_process import WorkerProcess


def tries(worker: WorkerProcess) -> int:
    """How often it has asked a server again."""
    return worker.log.count("Trying again")


def group_history(worker: WorkerProcess) -> list[str]:
    """Every word of its log about partitions that came or went."""
    words = (": assigned", ": gave up", ": reading partition")
    return [line for line in worker.log.splitlines() if any(word in line for word in words)]

"""Where a figure comes from: the machine, what is installed on it, the commit, and the day."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import psutil

from weir.errors import StackError
from weir.stack.artifacts import read_lock

ROOT: Final = Path(__file__).parents[1]

PACKAGES: Final = {
    "clickhouse": "chdb-core",
    "confluent-kafka": "confluent-kafka",
    "faust": "faust-streaming",
    "numpy": "numpy",
    "polars": "polars",
    "pyarrow": "pyarrow",
}
"""Name → the package whose version it is."""

UNKNOWN: Final = "unknown"


def provenance(benchmark: str, parameters: dict[str, object]) -> dict[str, object]:
    """What every benchmark's JSON begins with; asks git, which takes some milliseconds."""
    return {
        "benchmark": benchmark,
        "parameters": parameters,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
    }


def machine() -> dict[str, object]:
    """Processor, its cores, memory in GB, kernel and Python."""
    return {
        "cpu": _processor(Path("/proc/cpuinfo")) or platform.processor() or platform.machine(),
        "cores": psutil.cpu_count() or 1,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _processor(cpuinfo: Path) -> str:
    """The model that the kernel names; nothing where it names none."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def versions() -> dict[str, str]:
    """Versions of the servers that the embedded stack runs and of what the worker stands on."""
    found = {"kafka": _kafka()}
    for name, package in PACKAGES.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            found[name] = UNKNOWN
    return found


def _kafka() -> str:
    try:
        return next(each.version for each in read_lock().kafka if each.name.startswith("kafka_"))
    except (StackError, StopIteration):
        return UNKNOWN


def commit(root: Path = ROOT) -> str:
    """``git describe`` of the checkout, with ``-dirty`` when code differs from it; "unknown" outside of one.

    What the harness itself writes into docs/ makes nothing dirty.
    """
    described = _git(root, "describe", "--always", "--tags") if (root / ".git").exists() else None
    if not described:
        return UNKNOWN
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    return f"{described}-dirty" if changed else described


def _git(root: Path, *arguments: str) -> str | None:
    try:
        ended = subprocess.run(  # noqa: S603 - fixed words
            ["git", "-C", str(root), *arguments],  # noqa: S607 - the git of whoever measures
            capture_output=True,
            text=True,
            check=False,
            timeout=10.0,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout.strip() if ended.returncode == 0 else None

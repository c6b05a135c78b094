"""What one embedded stack consists of: its folder, its ports, its parts."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from weir.errors import UsageError
from weir.settings import PORT_BASE, PORT_OFFSETS

HOST = "127.0.0.1"
"""The only address an embedded part listens on."""

PARTS = ("kafka", "postgres", "registry", "clickhouse", "api", "gateway", "faust")
"""The parts, in start order; ``faust`` stands for all workers."""

NEEDS: dict[str, tuple[str, ...]] = {
    "kafka": (),
    "postgres": (),
    "registry": ("postgres",),
    "clickhouse": (),
    "api": ("postgres",),
    "gateway": ("kafka", "postgres", "registry", "clickhouse"),
    "faust": ("kafka", "postgres", "registry", "clickhouse"),
}
"""Which parts must be healthy before a part can start."""

MIGRATED = frozenset({"gateway", "faust"})
"""Parts that find their topics, schemas and tables made; the stack makes them first."""

MAX_WORKERS = 64
LAST_PORT = 65535


def default_data_dir() -> Path:
    """``WEIR_DATA_DIR``, or ``.weir`` under the current folder; absolute."""
    return Path(os.environ.get("WEIR_DATA_DIR") or ".weir").absolute()


@dataclass(frozen=True)
class StackPlan:
    """One stack: where it keeps its data, which block of ports it takes, which parts it has.

    Raises :class:`~weir.errors.UsageError` for an unknown part, for a part without one that it needs, and for ports
    outside 1024–65535.
    """

    data_dir: Path
    port_base: int = PORT_BASE
    workers: int = 1
    only: tuple[str, ...] = PARTS

    def __post_init__(self) -> None:
        """Check what a person may have typed."""
        unknown = [name for name in self.only if name not in PARTS]
        if unknown:
            raise UsageError(f"There is no part named {unknown[0]}; the parts are {', '.join(PARTS)}.")
        for name in self.only:
            missing = [need for need in NEEDS[name] if need not in self.only]
            if missing and not (name == "faust" and self.workers == 0):
                raise UsageError(f"The part {name} needs {', '.join(missing)} too; add it to --only.")
        if not 0 <= self.workers <= MAX_WORKERS:
            raise UsageError(f"--workers takes 0 to {MAX_WORKERS}, not {self.workers}.")
        highest = LAST_PORT - max(PORT_OFFSETS.values()) - MAX_WORKERS
        if not 1024 <= self.port_base <= highest:
            raise UsageError(f"--port-base takes 1024 to {highest}, not {self.port_base}.")

    def has(self, part: str) -> bool:
        """Whether this stack runs ``part``."""
        return part in self.only and (part != "faust" or self.workers > 0)

    def port(self, name: str) -> int:
        """The port of ``name``, a key of :data:`~weir.settings.PORT_OFFSETS`."""
        return self.port_base + PORT_OFFSETS[name]

    @property
    def settings_file(self) -> Path:
        """The file that ``WEIR_CONFIG`` names to use this stack."""
        return self.data_dir / "weir.toml"

    def part_dir(self, part: str) -> Path:
        """Where ``part`` keeps its data."""
        return self.data_dir / part

    def log_file(self, process: str) -> Path:
        """Where the output of ``process`` goes."""
        return self.data_dir / "logs" / f"{process}.log"

    def to_dict(self) -> dict[str, object]:
        """As plain values, for the state file and the detached supervisor."""
        return {**asdict(self), "data_dir": str(self.data_dir), "only": list(self.only)}

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> StackPlan:
        """The inverse of :meth:`to_dict`."""
        only = values["only"]
        if not isinstance(only, list):
            raise UsageError(f"A plan's parts must be a list, not {only!r}.")
        return cls(
            data_dir=Path(str(values["data_dir"])),
            port_base=int(str(values["port_base"])),
            workers=int(str(values["workers"])),
            only=tuple(str(name) for name in only),
        )

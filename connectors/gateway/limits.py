"""What metadata says of organisations and devices that matters at the door."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import inf
from typing import Final, Literal

Policy = Literal["all", "every", "dead_band", "on_change"]


@dataclass(frozen=True, slots=True)
class Rates:
    """How much may come in a second. A bucket holds ``burst_seconds`` of its rate; ``inf`` is no limit.

    ``backlog_records_per_second`` is for readings that were measured a while ago: a device that was away does not eat
    up what it may send live.
    """

    records_per_second: float = inf
    bytes_per_second: float = inf
    backlog_records_per_second: float = inf
    burst_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which readings of a series are worth storing.

    ``every``: one in ``seconds``; ``dead_band``: those that differ by ``width`` or more from the last one kept;
    ``on_change``: those that differ at all. ``at_most_seconds`` after the last one kept, one is kept anyway; 0: never.
    """

    policy: Policy = "all"
    seconds: float = 0.0
    width: float = 0.0
    at_most_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Organisation:
    """A tenant; ``device_rates`` hold for each of its devices that has none of its own.

    ``new_values_a_day`` bounds sensors nobody registered and new units, sources and firmware versions.
    ``register_prefix``: readings of unknown devices whose ids begin so are let in, and the stream registers them.
    """

    slug: str
    rates: Rates = Rates()
    device_rates: Rates = Rates()
    sampling: Sampling | None = None
    new_values_a_day: int = 10_000
    register_prefix: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Device:
    """A device, as it was known at one time; ``organisation`` is empty for an id that is nobody's.

    ``rates`` None: its organisation's.
    """

    id: str
    organisation: str
    sensors: AbstractSet[str] = frozenset()
    rates: Rates | None = None
    sampling: Sampling | None = None


NO_LIMIT: Final = Rates()

"""What a load is made of."""

from __future__ import annotations

from dataclasses import dataclass

from weir.errors import UsageError

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True)
class LoadPlan:
    """Size, pace and faults of a load; the same plan gives the same readings, apart from the clock.

    ``readings`` and ``seconds`` end it, whichever comes first; 0 is no limit. ``rate`` is readings a second, 0 as fast
    as they are acknowledged. The shares are parts of the readings: ``disorder`` come up to three seconds after later
    ones, ``resends`` come twice, ``conflicts`` come again with another value, ``late`` were measured up to
    ``late_minutes`` earlier, ``texts`` are no numbers, ``bad`` must be refused. ``begin_ms`` is the first event time,
    None for now; event time runs ``speed`` times as fast as the clock. ``packed`` is how many good readings of a device
    go in one message at most, 0 for one each.
    """

    prefix: str
    devices: int = 100
    sensors: int = 4
    rate: float = 1_000.0
    readings: int = 0
    seconds: float = 0.0
    seed: int = 1
    disorder: float = 0.0
    resends: float = 0.0
    conflicts: float = 0.0
    late: float = 0.0
    late_minutes: float = 10.0
    texts: float = 0.0
    bad: float = 0.0
    begin_ms: int | None = None
    speed: float = 1.0
    json_values: bool = False
    packed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be sent."""
        if not self.readings and not self.seconds:
            raise UsageError("Say when to end: --readings, --seconds, or both.")
        if self.rate > self.fastest:
            raise UsageError(
                f"{self.series} sensors give at most {self.fastest:,.0f} readings/s, one a millisecond of event time "
                f"each, not {self.rate:,.0f}; give more --devices."
            )
        if self.disorder + self.late + self.texts + self.bad + self.resends + self.conflicts > 1.0:
            raise UsageError("The shares add up to more than 1.")
        if self.packed and self.json_values:
            raise UsageError("Batches are Avro: give --packed without --json-values, and without --gateway.")
        if self.begin_ms is None and self.speed != 1.0:
            raise UsageError("--speed needs a --begin in the past; readings of now run with the clock.")

    @property
    def series(self) -> int:
        """Sensors in all."""
        return self.devices * self.sensors

    @property
    def fastest(self) -> float:
        """Readings a second at which each sensor gives one a millisecond of event time."""
        return self.series * 1_000.0 * self.speed

    def device_ids(self) -> list[str]:
        """Ids of the devices."""
        return [f"{self.prefix}-{number:05d}" for number in range(self.devices)]

    def names(self) -> list[tuple[str, str]]:
        """Device id and sensor of each series; series number is device × sensors + sensor."""
        return [(device, f"sensor-{number}") for device in self.device_ids() for number in range(self.sensors)]

"""A reading as devices post it, and whether it says anything that can be stored.

The fields are those of schemas/avro/Reading.avsc in its order; a test holds the two against each other. A name that
is none of them is refused, because a device whose ``temperatur`` is ignored loses data without anybody noticing.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import msgspec

from connectors.gateway.errors import CONVERSION_FAILED, GatewayError

Long = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Float32 = Annotated[float, msgspec.Meta(ge=-3.4028234663852886e38, le=3.4028234663852886e38)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]

LARGEST_VALUE: Final = 1e150
"""Squares of larger numbers overflow, and with them a window's spread."""

MOST_BYTES: Final = {
    "device_id": 200,
    "sensor": 200,
    "unit": 256,
    "quality": 256,
    "fw_ver": 256,
    "source": 256,
    "str_value": 65_536,
}
"""Bytes of each text, as the registry of devices and the stream allow."""

SHORT_BYTES: Final = min(MOST_BYTES.values())
"""A message of no more bytes has no text that is too long, so the texts of most readings are never measured."""

DAY_MS: Final = 86_400_000


class Reading(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One measurement of one sensor."""

    device_id: Name
    sensor: Name
    ts: Long
    value: float | None = None
    str_value: str | None = None
    status_code: Long | None = None
    unit: str | None = None
    seq: Long | None = None
    quality: str | None = None
    battery_level: Float32 | None = None
    fw_ver: str | None = None
    source: str | None = None


class Span:
    """From when to when a reading may be: within raw retention, and not ahead of the clock. Times in ms since 1970."""

    def __init__(self, raw_days: int, future_skew_seconds: float) -> None:
        """Take retention and skew from the settings of the stream, which judges again by the broker's clock."""
        self._keeps_ms = raw_days * DAY_MS
        self.skew_ms = round(future_skew_seconds * 1000)

    def now(self) -> tuple[int, int]:
        """The oldest and the newest event time that is taken at this moment."""
        now_ms = time.time_ns() // 1_000_000
        return now_ms - self._keeps_ms, now_ms + self.skew_ms


def refusal(reading: Reading, oldest_ms: int, newest_ms: int) -> GatewayError | None:
    """Why a reading is not taken; None when it is."""
    value = reading.value
    if value is None:
        if reading.str_value is None and reading.status_code is None:
            return _refused("no_value", "has neither value, str_value nor status_code")
    elif not -LARGEST_VALUE <= value <= LARGEST_VALUE:
        wrong = value != value
        return _refused("not_finite" if wrong else "out_of_bounds", f"has the value {value}, which cannot be stored")
    if not oldest_ms <= reading.ts <= newest_ms:
        if reading.ts > newest_ms:
            return _refused("too_far_in_future", f"was measured at {reading.ts} ms since 1970, ahead of our clock")
        return _refused("too_old", f"was measured at {reading.ts} ms since 1970, longer ago than readings are kept")
    return None


def long_text(reading: Reading) -> GatewayError | None:
    """Why one of its texts is too long; None when none is."""
    for name, most in MOST_BYTES.items():
        text = getattr(reading, name)
        if text is not None and len(text.encode()) > most:
            return _refused("too_long", f"has a {name} of over {most} bytes")
    return None


def _refused(reason: str, said: str) -> GatewayError:
    return GatewayError(CONVERSION_FAILED, f"The reading {said}.", reason=reason)


def unboxed(name: str, value: Any, branches: tuple[str, ...]) -> Any:  # noqa: ANN401  # any JSON value
    """A value of Avro's JSON encoding: ``{"double": 1.5}`` for a union; also as plain JSON writes it."""
    if isinstance(value, dict):
        if len(value) != 1 or next(iter(value)) not in branches:
            told = " or ".join(f'{{"{branch}": …}}' for branch in branches)
            raise GatewayError(CONVERSION_FAILED, f"Field {name} must be null or {told}.")
        return next(iter(value.values()))
    return value

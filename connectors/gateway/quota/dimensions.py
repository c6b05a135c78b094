"""A cap on new sensors, units, sources and firmware versions, which would grow every index and every dictionary.

What is registered is free: a device's own sensors. What an organisation has sent before is free, too. Anything else
costs one of ``new_values_a_day``; a reading that cannot pay for all it brings is refused and pays nothing. Each gateway
counts for itself.

A reading that brings nothing new costs 0.1 µs, 0.3 µs with unit, source and firmware version
(`python -m bench.micro.quotas`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import blake2b
from math import ceil
from pathlib import Path
from typing import Final

from connectors.gateway.door.recently_used import RecentlyUsed
from connectors.gateway.errors import NEW_DIMENSIONS, GatewayError
from connectors.gateway.limits import Device, Organisation
from connectors.gateway.quota.seen_values import SeenValue, SeenValues
from weir.errors import ConfigError

MOST_SENSORS: Final = 1_000_000
"""Those used least lately are forgotten beyond it (0.25 GB). To push out those of others, a tenant needs a hundred days
of its allowance."""

MOST_LABELS: Final = 50_000
"""Units, sources and firmware versions, of each of them and each organisation. One that is forgotten costs again."""

SHARE: Final = 10
"""One device may use a tenth of its organisation's allowance in a day (a hundred in any case), so that one that makes
names up does not keep the others from what is really new."""
LEAST_SHARE: Final = 100

LONGEST_VALUE: Final = 200
"""Longer ones are remembered by their digest, so that the number of values bounds their bytes."""

SHOWN_CHARACTERS: Final = 100
SAVE_SECONDS: Final = 1.0
DAY_SECONDS: Final = 86_400

_log = logging.getLogger(__name__)


class _Organisation:
    """The labels that it has sent before, by dimension, and what it has used of its allowance."""

    __slots__ = ("by_device", "day", "fw_vers", "sources", "units", "used")

    def __init__(self) -> None:
        self.units: RecentlyUsed[str, bool] = RecentlyUsed(MOST_LABELS)
        self.sources: RecentlyUsed[str, bool] = RecentlyUsed(MOST_LABELS)
        self.fw_vers: RecentlyUsed[str, bool] = RecentlyUsed(MOST_LABELS)
        self.day = 0
        self.used = 0
        self.by_device: dict[str, int] = {}

    def labels(self, dimension: str) -> RecentlyUsed[str, bool]:
        """Those of unit, source or fw_ver."""
        return {"unit": self.units, "source": self.sources, "fw_ver": self.fw_vers}[dimension]

    def used_on(self, day: int) -> int:
        """What it has used on ``day``. A clock that is set back by a day renews nothing; one that was far ahead and is
        right again does not close the door until then."""
        return self.used if day <= self.day <= day + 1 else 0

    def used_by(self, device: str, day: int) -> int:
        """The same of one device."""
        return self.by_device.get(device, 0) if self.used_on(day) else 0

    def pay(self, day: int, device: str) -> None:
        """One more, of one device if it is known which."""
        if not self.used_on(day):
            self.used, self.day = 0, day
            self.by_device = {}
        self.used += 1
        self.day = max(day, self.day)
        if device:
            self.by_device[device] = self.by_device.get(device, 0) + 1


class Dimensions:
    """Judges readings in one event loop without blocking; a file in ``folder`` is written in a thread.

    A crash forgets the values of the last second, which then cost again.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time, most_sensors: int = MOST_SENSORS) -> None:
        """Know nothing until :meth:`start`; ``clock`` gives seconds since 1970."""
        self._clock = clock
        self._file = SeenValues(folder, most_sensors)
        self._sensors: RecentlyUsed[tuple[str, str], bool] = RecentlyUsed(most_sensors)
        self._organisations: dict[str, _Organisation] = {}
        self._most_unsaved = most_sensors
        self._unsaved: list[SeenValue] = []
        self._saving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Remember what was seen before the last stop. Raises ConfigError for a folder that cannot be used."""
        try:
            values = await asyncio.to_thread(self._file.load)
        except OSError as error:
            raise ConfigError(f"New values cannot be kept: {error}; check WEIR_GATEWAY__DATA_DIR.") from None
        for value in values:
            self._remember(value)
        self._saving = asyncio.create_task(self._save_for_ever())

    async def stop(self) -> None:
        """Save what is new."""
        if self._saving is not None:
            self._saving.cancel()
            with suppress(asyncio.CancelledError):
                await self._saving
            await self._save()

    def refusal(
        self,
        organisation: Organisation,
        device: Device,
        sensor: str,
        unit: str | None,
        source: str | None,
        fw_ver: str | None,
    ) -> GatewayError | None:
        """None, and whatever is new about this reading is paid for; or why the organisation cannot pay."""
        seen = self._organisations.get(organisation.slug) or self._of(organisation.slug)
        if (
            (sensor in device.sensors or self._sensors.get((device.id, sensor)))
            and (not unit or seen.units.get(unit))
            and (not source or seen.sources.get(source))
            and (not fw_ver or seen.fw_vers.get(fw_ver))
        ):
            return None
        today = int(self._clock()) // DAY_SECONDS
        found = [("unit", unit, ""), ("source", source, ""), ("fw_ver", fw_ver, "")]
        if sensor not in device.sensors:
            found.append(("sensor", sensor, device.id))
        new = []
        for dimension, text, of in found:
            value = SeenValue(today, organisation.slug, dimension, _short(text or ""), of)
            if text and not self._knows(value):
                new.append(value)
        if not new:
            return None
        allowed = organisation.new_values_a_day
        share = max(LEAST_SHARE, allowed // SHARE)
        if seen.used_on(today) + len(new) > allowed:
            return _refusal(f"organisation {organisation.slug}", allowed, new[0], self._clock())
        if seen.used_by(device.id, today) + len(new) > share:
            return _refusal(f"device {device.id}", share, new[0], self._clock())
        for value in new:
            self._remember(value, device.id)
        self._unsaved.extend(new)
        return None

    def _of(self, slug: str) -> _Organisation:
        return self._organisations.setdefault(slug, _Organisation())

    def _knows(self, value: SeenValue) -> bool:
        if value.dimension == "sensor":
            return self._sensors.get((value.device, value.value)) is not None
        return self._of(value.organisation).labels(value.dimension).get(value.value) is not None

    def _remember(self, value: SeenValue, device: str = "") -> None:
        organisation = self._of(value.organisation)
        if value.dimension == "sensor":
            self._sensors.put((value.device, value.value), True)
        else:
            organisation.labels(value.dimension).put(value.value, True)
        organisation.pay(value.day, device or value.device)

    async def _save_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            await self._save()

    async def _save(self) -> None:
        values, self._unsaved = self._unsaved, []
        if not values:
            return
        try:
            await asyncio.to_thread(self._file.append, values)
        except OSError as error:
            _log.error("New dimension values are not saved, a restart will charge them again: %s.", error)
            self._unsaved = [*values, *self._unsaved][-self._most_unsaved :]


def _short(value: str) -> str:
    """``value``, or its digest, which no device sends by chance."""
    if len(value) <= LONGEST_VALUE:
        return value
    return f"blake2b:{blake2b(value.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def _refusal(whose: str, allowed: int, value: SeenValue, now: float) -> GatewayError:
    renews = datetime.fromtimestamp((value.day + 1) * DAY_SECONDS, UTC)
    shown = value.value[:SHOWN_CHARACTERS]
    where = f" of device {value.device}" if value.device else ""
    return GatewayError(
        NEW_DIMENSIONS,
        f"The {value.dimension} {shown!r}{where} is new, and {whose} has used up its {allowed:,} new values of this"
        f" day; new ones are taken again from {renews:%Y-%m-%d %H:%M} UTC on.",
        retry_after=max(1.0, ceil((value.day + 1) * DAY_SECONDS - now)),
        extra={
            "dimension": value.dimension,
            "value": shown,
            "allowed": allowed,
            "renews": f"{renews:%Y-%m-%dT%H:%M:%SZ}",
        },
    )

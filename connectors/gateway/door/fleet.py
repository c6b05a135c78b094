"""Devices and organisations as the door knows them: whose a device is, what it measures, how much it may send.

Remembered until they change: :class:`~connectors.gateway.door.watch.DoorWatch` says what did.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from connectors.gateway.door.database import DoorDatabase
from connectors.gateway.door.gathered import Gathered
from connectors.gateway.door.properties import organisation_from, rates_from, sampling_from
from connectors.gateway.door.queries import Changes, DeviceRow, device_rows
from connectors.gateway.door.recently_used import RecentlyUsed
from connectors.gateway.door.watch import DoorWatch
from connectors.gateway.errors import KAFKA_RETRIABLE, GatewayError
from connectors.gateway.limits import Device, Organisation, Rates
from weir.errors import WeirError

MOST_DEVICES: Final = 1_000_000
MOST_NOBODYS: Final = 50_000
"""Ids that are nobody's are remembered apart, so that a sender who makes them up forgets no device."""
MOST_SENSOR_SETS: Final = 10_000
LONGEST_ID: Final = 200
"""Bytes of the id of a device, as the table has it."""
_NOBODY: Final = Device("", "")
_ROUNDS: Final = 5


def postgres_is_away() -> GatewayError:
    """What is answered when something must be asked and cannot be."""
    return GatewayError(KAFKA_RETRIABLE, "What may be written here cannot be looked up now; try again.", retry_after=2)


class Fleet:
    """The devices and organisations that requests are about; for the event loop's thread."""

    def __init__(self, database: DoorDatabase, watch: DoorWatch, clock: Callable[[], float]) -> None:
        """Know nobody yet."""
        self._database = database
        self._watch = watch
        self._clock = clock
        self._devices: RecentlyUsed[str, Device] = RecentlyUsed(MOST_DEVICES)
        self._nobodys: RecentlyUsed[str, Device] = RecentlyUsed(MOST_NOBODYS)
        self._organisations: dict[str, Organisation] = {}
        self._with_own_rates: dict[str, set[str]] = {}
        self._sensor_sets: dict[frozenset[str], frozenset[str]] = {}
        self._questions = Gathered(self._ask)
        watch.told.append(self._forget)

    def device(self, device_id: str) -> Device | None:
        """The device of an id, without ``organisation`` when it is nobody's; None: it must be looked up."""
        if self._clock() >= self._watch.holds_until:
            return None
        found = self._devices.get(device_id) or self._nobodys.get(device_id)
        if found is None and len(device_id) > LONGEST_ID:
            return _NOBODY  # and is not remembered
        return found

    async def look_up(self, device_ids: Collection[str]) -> None:
        """Ask for those that :meth:`device` does not know, so that it does; together with what others ask for.

        Raises :class:`GatewayError` (503) when they cannot be asked for.
        """
        try:
            for _ in range(_ROUNDS):  # what changed meanwhile is asked for again
                await self._watch.be_current()
                missing = [each for each in device_ids if self.device(each) is None]
                if not missing:
                    return
                await self._questions.ask(missing)
        except WeirError as error:
            raise postgres_is_away() from error
        raise postgres_is_away()

    def organisation(self, slug: str) -> Organisation:
        """An organisation of which a caller was admitted; :class:`KeyError` for any other."""
        return self._organisations[slug]

    def remember_organisation(self, slug: str, properties: Mapping[str, Any]) -> None:
        """Take in what a question for something of it told."""
        self._organisations[slug] = organisation_from(slug, properties)

    @property
    def known_devices(self) -> int:
        """How many are remembered."""
        return len(self._devices)

    async def _ask(self, ids: Collection[str]) -> Mapping[str, Device]:
        generation = self._watch.generation
        rows = await self._database.ask(device_rows, ids)
        if generation != self._watch.generation:
            return {}  # a row may be older than the change that was just told
        found = {row.id: self._device_of(row) for row in rows}
        for each in ids:
            if each in found:
                self._devices.put(each, found[each])
            else:
                self._nobodys.put(each, Device(each, ""))
        return found

    def _device_of(self, row: DeviceRow) -> Device:
        name = f"device {row.id}"
        rates: Rates | None = None
        if row.quotas is not None:
            inherited = organisation_from(row.organisation, row.organisation_properties).device_rates
            rates = rates_from(name, row.quotas, inherited, inherited)
            self._with_own_rates.setdefault(row.organisation, set()).add(row.id)
        sensors = frozenset(map(sys.intern, row.sensors))
        if len(self._sensor_sets) >= MOST_SENSOR_SETS:
            self._sensor_sets.clear()
        # devices of a kind measure the same: a set of their own each would be most of what is remembered
        shared = self._sensor_sets.setdefault(sensors, sensors)
        return Device(row.id, sys.intern(row.organisation), shared, rates, sampling_from(name, row.sampling))

    def _forget(self, changes: Changes) -> None:
        if changes.everything:
            self._devices.clear()
            self._nobodys.clear()
            self._with_own_rates.clear()
        for each in changes.devices:
            self._devices.drop(each)
            self._nobodys.drop(each)
        for organisation in changes.organisations:
            if organisation.slug in self._organisations:
                self.remember_organisation(organisation.slug, organisation.properties)
            # what these leave out is their organisation's
            for each in self._with_own_rates.pop(organisation.slug, ()):
                self._devices.drop(each)

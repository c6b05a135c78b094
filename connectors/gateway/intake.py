"""What a request brings, past everything that may keep it out: whose device it is, what it measures, sampling, quotas.

The order of what is asked of a reading, the first refusal holds: device, form and times, key, sampling, quotas, new
dimensions, Kafka. A reading that is sampled out costs no quota of records, one over a quota nothing of the allowance of
new dimensions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from confluent_kafka import murmur2

from connectors.gateway.content.reading import SHORT_BYTES, Reading, Span, long_text, refusal
from connectors.gateway.errors import CONVERSION_FAILED, FORBIDDEN, PARTITION_NOT_FOUND, GatewayError
from connectors.gateway.limits import NO_LIMIT, Device, Organisation, Sampling
from connectors.gateway.records import SAMPLED_OUT, Caller, Headers, Outgoing, Written

SLICE: Final = 500
"""Records that are judged or handed over at once; then whoever else waits has a turn (3 ms)."""

Outcome = Written | GatewayError

NOT_YOURS: Final = "This key may not write readings of device {!r}."
"""One sentence for a device of another organisation and for none at all."""


class ReadingEntry(NamedTuple):
    """A reading with what may come beside it; a plain :class:`Reading` stands for one with nothing beside it."""

    reading: Reading
    key: bytes | None = None
    partition: int = -1
    headers: Headers = ()


Entry = Reading | ReadingEntry | GatewayError


class Log(Protocol):
    """Where records go."""

    async def send(self, records: Sequence[Outgoing]) -> list[Written | GatewayError]:
        """One outcome a record, in order."""


class Fleet(Protocol):
    """Devices and organisations as metadata has them."""

    def device(self, device_id: str) -> Device | None:
        """What is known without asking."""

    async def look_up(self, device_ids: set[str]) -> None:
        """Ask for what is not known."""

    def organisation(self, slug: str) -> Organisation:
        """The organisation of a caller."""


class Quotas(Protocol):
    """Who may send how much."""

    def admit(
        self, organisation: Organisation, devices: Mapping[Device, tuple[int, int, int]], body_bytes: int
    ) -> GatewayError | Mapping[str, GatewayError]:
        """Refuse all, or the devices that are over their limits."""


class Sampler(Protocol):
    """Which readings are worth storing."""

    def keeps(
        self,
        sampling: Sampling,
        device_id: str,
        sensor: str,
        ts: int,
        value: float | None,
        text: str | None,
        marks: tuple[object, ...],
    ) -> bool:
        """Whether to store it."""

    def forget(self, device_id: str, sensor: str) -> None:
        """What was kept last was not stored."""


class Dimensions(Protocol):
    """Which names and labels an organisation has used."""

    def refusal(
        self,
        organisation: Organisation,
        device: Device,
        sensor: str,
        unit: str | None,
        source: str | None,
        fw_ver: str | None,
    ) -> GatewayError | None:
        """Why a new one is too many."""


class Usage(Protocol):
    """The ledger of what became of records."""

    def count(
        self, organisation: str, *, accepted: int = 0, sampled_out: int = 0, rejected: int = 0, reason: str = ""
    ) -> None:
        """Add to it."""


class Tally(Protocol):
    """The metrics of what became of records."""

    def add(self, *, accepted: int = 0, sampled_out: int = 0, rejected: int = 0, spooled: int = 0) -> None:
        """Add to them."""


@dataclass(frozen=True, slots=True)
class Readings:
    """What is particular to the readings topic."""

    topic: str
    encode: Callable[[Reading], bytes]
    span: Span
    backlog_ms: int
    partitions: Callable[[str], int | None]


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that may keep a record out."""

    fleet: Fleet
    quotas: Quotas
    sampler: Sampler
    dimensions: Dimensions


class _Sender:
    """One device in one request."""

    __slots__ = ("backlog", "device", "error", "key", "live", "places", "sampling", "size")

    def __init__(self, device: Device, error: GatewayError | None, sampling: Sampling | None) -> None:
        self.device, self.error, self.sampling = device, error, sampling
        self.key = device.id.encode()
        self.live = self.backlog = self.size = 0
        self.places: list[int] = []


class Intake:
    """Takes records that a request brought, and says what became of each."""

    def __init__(self, readings: Readings, rules: Rules, log: Log, usage: Usage, tally: Tally) -> None:
        """Put the parts together."""
        self._readings = readings
        self._rules = rules
        self._log = log
        self._usage = usage
        self._tally = tally

    async def readings(self, caller: Caller, entries: Sequence[Entry], body_bytes: int) -> list[Outcome]:
        """Outcomes of readings, one an entry and in order; an entry that is an error already stays it.

        Readings of devices that have to be looked up while Postgres is away are refused with 503, the others go on.
        """
        organisation = self._rules.fleet.organisation(caller.organisation)
        senders = await self._senders(caller, organisation, entries)
        outcomes: list[Outcome | None] = [None] * len(entries)
        records: list[Outgoing | None] = [None] * len(entries)
        for begin in range(0, len(entries), SLICE):
            self._judge(range(begin, min(begin + SLICE, len(entries))), entries, senders, records, outcomes)
            if begin + SLICE < len(entries):
                await asyncio.sleep(0)
        self._meter(organisation, entries, senders, records, outcomes, body_bytes)
        self._admit_new(organisation, entries, senders, records, outcomes)
        places = [place for place, record in enumerate(records) if record is not None]
        if places:
            written = await self._sent([record for record in records if record is not None])
            for place, outcome in zip(places, written, strict=True):
                outcomes[place] = outcome
                if isinstance(outcome, GatewayError):
                    self._forget(entries[place])
        return self._counted(caller.organisation, outcomes)

    async def plain(self, caller: Caller, entries: Sequence[Outgoing | GatewayError], body_bytes: int) -> list[Outcome]:
        """The same for records of an organisation's own topics, which are of no device."""
        organisation = self._rules.fleet.organisation(caller.organisation)
        device = Device("", caller.organisation, rates=NO_LIMIT)
        good = [entry for entry in entries if isinstance(entry, Outgoing)]
        size = sum(len(record.value or b"") + len(record.key or b"") for record in good)
        over = self._rules.quotas.admit(organisation, {device: (len(good), 0, size)}, body_bytes) if good else {}
        error = over if isinstance(over, GatewayError) else over.get(device.id)
        written = iter(await self._sent(good) if good and error is None else [])
        outcomes: list[Outcome | None] = [
            entry if isinstance(entry, GatewayError) else error or next(written) for entry in entries
        ]
        return self._counted(caller.organisation, outcomes)

    async def _sent(self, records: Sequence[Outgoing]) -> list[Outcome]:
        """Hand many over in parts, in their order."""
        if len(records) <= SLICE:
            return await self._log.send(records)
        parts = []
        for begin in range(0, len(records), SLICE):
            parts.append(asyncio.ensure_future(self._log.send(records[begin : begin + SLICE])))
            await asyncio.sleep(0)
        return [outcome for part in parts for outcome in await part]

    async def _senders(
        self, caller: Caller, organisation: Organisation, entries: Sequence[Entry]
    ) -> dict[str, _Sender]:
        fleet = self._rules.fleet
        senders: dict[str, _Sender] = {}
        unknown: set[str] = set()
        for entry in entries:
            if isinstance(entry, GatewayError):
                continue
            device_id = _reading_of(entry).device_id
            if device_id not in senders and device_id not in unknown:
                if caller.device is not None and device_id != caller.device:
                    senders[device_id] = _Sender(Device(device_id, ""), _foreign(device_id), None)
                    continue
                device = fleet.device(device_id)
                if device is None:
                    unknown.add(device_id)
                else:
                    senders[device_id] = _sender(caller, organisation, device)
        if unknown:
            away: GatewayError | None = None
            try:
                await fleet.look_up(unknown)
            except GatewayError as error:  # those that are known go on
                away = error
            for device_id in unknown:
                device = fleet.device(device_id)
                if device is None:
                    senders[device_id] = _Sender(Device(device_id, ""), away or _foreign(device_id), None)
                else:
                    senders[device_id] = _sender(caller, organisation, device)
        return senders

    def _judge(
        self,
        places: range,
        entries: Sequence[Entry],
        senders: dict[str, _Sender],
        records: list[Outgoing | None],
        outcomes: list[Outcome | None],
    ) -> None:
        """Fill in the records that are to be written; ``outcomes`` takes what became of the others."""
        topic, encode = self._readings.topic, self._readings.encode
        oldest, newest = self._readings.span.now()
        backlog = newest - self._readings.span.skew_ms - self._readings.backlog_ms
        keeps = self._rules.sampler.keeps
        for place in places:
            entry = entries[place]
            beside: ReadingEntry | None = None
            if type(entry) is Reading:
                reading = entry
            elif type(entry) is ReadingEntry:
                beside, reading = entry, entry.reading
            else:
                outcomes[place] = entry  # type: ignore[assignment]
                continue
            sender = senders[reading.device_id]
            error = sender.error or refusal(reading, oldest, newest) or (beside and self._misplaced(beside, sender.key))
            if error is not None:
                outcomes[place] = error
            elif sender.sampling is not None and not keeps(
                sender.sampling,
                reading.device_id,
                reading.sensor,
                reading.ts,
                reading.value,
                reading.str_value,
                (reading.status_code, reading.unit, reading.quality),
            ):
                outcomes[place] = SAMPLED_OUT
            else:
                value = encode(reading)
                if len(value) > SHORT_BYTES and (error := long_text(reading)) is not None:
                    outcomes[place] = error
                    self._forget(entry)
                    continue
                records[place] = Outgoing(topic, sender.key, value, -1, beside.headers if beside else ())
                sender.places.append(place)
                sender.size += len(value)
                if reading.ts < backlog:
                    sender.backlog += 1
                else:
                    sender.live += 1

    def _meter(
        self,
        organisation: Organisation,
        entries: Sequence[Entry],
        senders: dict[str, _Sender],
        records: list[Outgoing | None],
        outcomes: list[Outcome | None],
        body_bytes: int,
    ) -> None:
        """Take records out again that are over a limit."""
        counts = {each.device: (each.live, each.backlog, each.size) for each in senders.values() if each.places}
        if not counts:
            return
        over = self._rules.quotas.admit(organisation, counts, body_bytes)
        if not over:
            return
        for sender in senders.values():
            error = over if isinstance(over, GatewayError) else over.get(sender.device.id)
            for place in sender.places if error is not None else ():
                outcomes[place], records[place] = error, None
                self._forget(entries[place])

    def _admit_new(
        self,
        organisation: Organisation,
        entries: Sequence[Entry],
        senders: dict[str, _Sender],
        records: list[Outgoing | None],
        outcomes: list[Outcome | None],
    ) -> None:
        """Take records out that bring too much that is new; what a quota refused has cost nothing of that."""
        refusal_of = self._rules.dimensions.refusal
        for place, entry in enumerate(entries):
            if records[place] is None or isinstance(entry, GatewayError):
                continue
            reading = _reading_of(entry)
            device = senders[reading.device_id].device
            error = refusal_of(organisation, device, reading.sensor, reading.unit, reading.source, reading.fw_ver)
            if error is not None:
                outcomes[place], records[place] = error, None
                self._forget(entry)

    def _misplaced(self, entry: ReadingEntry, device_key: bytes) -> GatewayError | None:
        """A device's readings lie in one partition, which its id chooses: windows and order depend on it."""
        if entry.key is not None and entry.key != device_key:
            return GatewayError(CONVERSION_FAILED, "The key must be the reading's device_id, or be left out.")
        if entry.partition >= 0:
            count = self._readings.partitions(self._readings.topic) or 0
            if entry.partition >= count > 0:
                return GatewayError(PARTITION_NOT_FOUND, "Partition not found.")
            if count and entry.partition != murmur2(device_key, count):
                said = "Readings lie in the partition that their device_id chooses; leave the partition out."
                return GatewayError(CONVERSION_FAILED, said)
        return None

    def _forget(self, entry: Entry) -> None:
        if not isinstance(entry, GatewayError):
            reading = _reading_of(entry)
            self._rules.sampler.forget(reading.device_id, reading.sensor)

    def _counted(self, organisation: str, outcomes: list[Outcome | None]) -> list[Outcome]:
        accepted = sampled = spooled = rejected = 0
        final: list[Outcome] = []
        for outcome in outcomes:
            if outcome is None:
                raise AssertionError("every record has an outcome")
            final.append(outcome)
            if isinstance(outcome, GatewayError):
                rejected += 1
                self._usage.count(organisation, rejected=1, reason=outcome.reason)
            elif outcome is SAMPLED_OUT:
                sampled += 1
            else:
                accepted += 1
                spooled += outcome.offset < 0
        self._usage.count(organisation, accepted=accepted, sampled_out=sampled)
        self._tally.add(accepted=accepted, sampled_out=sampled, rejected=rejected, spooled=spooled)
        return final


def _sender(caller: Caller, organisation: Organisation, device: Device) -> _Sender:
    """May the caller write for the device? Unknown ids may be let in for the stream to register."""
    prefix = organisation.register_prefix
    if caller.device is not None:
        allowed = device.id == caller.device and device.organisation == caller.organisation
    elif device.organisation:
        allowed = device.organisation == caller.organisation
    else:
        allowed = bool(prefix) and device.id.startswith(prefix or "")
    error = None if allowed else _foreign(device.id)
    sampling = device.sampling or organisation.sampling
    return _Sender(device, error, sampling if sampling is not None and sampling.policy != "all" else None)


def _reading_of(entry: Reading | ReadingEntry) -> Reading:
    return entry if isinstance(entry, Reading) else entry.reading


def _foreign(device_id: str) -> GatewayError:
    return GatewayError(FORBIDDEN, NOT_YOURS.format(device_id), reason="foreign_device")

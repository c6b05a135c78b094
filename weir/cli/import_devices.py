"""Importing devices with their sensors: rows are checked, then registered a thousand at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, Final, TypeVar

import polars as pl
import psycopg

from connectors.entities.actor import Actor
from connectors.entities.directory import open_directory
from connectors.entities.inventory import known
from connectors.postgres.devices import Registered, register
from weir.cli.bare_devices import bare_device
from weir.cli.device_checks import Arrival, DeviceChecks, Place
from weir.cli.device_rows import REQUIRED, DeviceRow
from weir.cli.import_report import Fault, ImportReport
from weir.cli.import_rows import Format, Row, checked, read_rows
from weir.errors import ConfigError, UsageError

BATCH_ROWS: Final = 1_000
"""Rows that are checked together, and registered in one transaction if they are of one project."""

COLUMNS: Final = {
    "device_id": pl.String,
    "sensor": pl.String,
    "device_type": pl.String,
    "device_name": pl.String,
    "metric": pl.String,
    "unit": pl.String,
    "min_value": pl.Float64,
    "max_value": pl.Float64,
}
"""What :func:`connectors.postgres.devices.register` takes of a sensor whose metric is defined."""

Item = TypeVar("Item")


@dataclass(slots=True)
class Imported:
    """What became of the rows; ``taken`` fit, ``devices`` and ``sensors`` count those that are new or changed."""

    read: int = 0
    taken: int = 0
    devices: int = 0
    sensors: int = 0


class DeviceImport:
    """Takes a file a batch after another; every batch that was registered stays, whatever comes behind it."""

    def __init__(self, dsn: str, actor: Actor, place: Place, *, dry_run: bool) -> None:
        """Import on behalf of ``actor``; a dry run checks every row and registers none."""
        self.done = Imported()
        self.organisations: set[str] = set()
        self._dsn = dsn
        self._actor = actor
        self._checks = DeviceChecks(place)
        self._dry_run = dry_run

    def run(self, stream: IO[str], form: Format, report: ImportReport) -> Iterator[int]:
        """Import a file; gives the number of rows read after each batch. Blocks.

        Raises :class:`~weir.errors.UsageError` for a header that does not fit, and
        :class:`~weir.errors.TransientError` when Postgres is away.
        """
        for batch in _batches(read_rows(stream, form, DeviceRow, REQUIRED), BATCH_ROWS):
            self._take(batch, report)
            yield self.done.read

    def _take(self, batch: Sequence[Row | Fault], report: ImportReport) -> None:
        self.done.read += len(batch)
        arrivals: list[Arrival] = []
        for judged in self._judged(batch):
            if isinstance(judged, Arrival):
                arrivals.append(judged)
            else:
                report.add(judged)
        self._define_metrics()
        groups: dict[tuple[str, str | None], list[Arrival]] = defaultdict(list)
        for arrival in arrivals:
            groups[arrival.organisation, arrival.project].append(arrival)
        for group in groups.values():
            for fault in self._import(group):
                report.add([fault])

    def _import(self, group: Sequence[Arrival]) -> Iterator[Fault]:
        yield from self._register([arrival for arrival in group if arrival.values["sensor"] is not None])
        for arrival in group:
            if arrival.values["sensor"] is None:
                yield from self._add_device(arrival)

    def _define_metrics(self) -> None:
        """Define what the rows need before they are registered, so that the log tells of it."""
        wanted, self._checks.new_metrics = self._checks.new_metrics, []
        if not wanted or self._dry_run:
            return
        with open_directory(self._dsn, self._actor) as directory:
            for metric in wanted:
                directory.metrics.define(metric)

    def _judged(self, batch: Sequence[Row | Fault]) -> Iterator[Arrival | list[Fault]]:
        rows = [each if isinstance(each, Fault) else (each.line, checked(each, DeviceRow)) for each in batch]
        fitting = [each[1].device_id for each in rows if not isinstance(each, Fault) and isinstance(each[1], DeviceRow)]
        with open_directory(self._dsn, self._actor) as directory:
            there = known(directory, fitting)
        for each in rows:
            if isinstance(each, Fault):
                yield [each]
                continue
            line, row = each
            yield self._checks.judge(line, row, there) if isinstance(row, DeviceRow) else row

    def _register(self, group: Sequence[Arrival]) -> Iterator[Fault]:
        """Register rows of one project; what the database refuses is halved until the bad row stands alone."""
        if not group:
            return
        try:
            registered = self._registered(group)
        except (UsageError, ConfigError) as error:
            if not _of_rows(error):
                raise
            if len(group) == 1:
                yield Fault(group[0].line, "", str(error))
                return
            middle = len(group) // 2
            yield from self._register(group[:middle])
            yield from self._register(group[middle:])
            return
        self.done.taken += len(group)
        self.done.devices += registered.devices
        self.done.sensors += registered.sensors
        self.organisations.add(group[0].organisation)

    def _add_device(self, arrival: Arrival) -> Iterator[Fault]:
        """Add or change a device without sensors: they are few, so the service does it, a transaction each."""
        values = arrival.values
        try:
            with open_directory(self._dsn, self._actor) as directory:
                changed = not self._dry_run and bare_device(directory, arrival.organisation, arrival.project, values)
        except UsageError as error:
            yield Fault(arrival.line, "", str(error))
            return
        self.done.taken += 1
        self.done.devices += changed
        self.organisations.add(arrival.organisation)

    def _registered(self, group: Sequence[Arrival]) -> Registered:
        if self._dry_run:
            return Registered(0, 0)
        frame = pl.DataFrame([arrival.values for arrival in group], schema=COLUMNS)
        return register(self._dsn, group[0].organisation, group[0].project, frame, actor=self._actor.name)


def _of_rows(error: UsageError | ConfigError) -> bool:
    """Whether some row is to blame, and not the database as a whole."""
    return isinstance(error, UsageError) or isinstance(error.__cause__, psycopg.IntegrityError | psycopg.DataError)


def _batches(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while batch := list(islice(items, size)):
        yield batch

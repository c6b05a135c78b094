"""Registering a fleet so that a worker that starts afterwards has nothing left to do about it."""

from __future__ import annotations

import polars as pl

from connectors.postgres.devices import register
from connectors.postgres.outbox import open_outbox
from weir.errors import StackError
from weir.settings import Settings

ORGANISATION = "bench"
PROJECT = "fleet"


def register_fleet(settings: Settings, sensors: pl.DataFrame) -> None:
    """Register ``sensors`` (as :func:`~connectors.postgres.devices.register` takes them); blocks, 0.1 ms a sensor.

    Each makes an event, which a worker would write to Kafka and store in ClickHouse: 250,000 of them beside two million
    readings doubled what a reading seemed to cost. They are taken for passed on.
    """
    dsn = settings.postgres.dsn.get_secret_value()
    register(dsn, ORGANISATION, PROJECT, sensors)
    with open_outbox(dsn, settings.topics.events) as outbox:
        if not outbox.hold():
            raise StackError("A worker already passes on the events of this namespace; measure without one.")
        while events := outbox.batch():
            outbox.save(events[-1].position)

"""The door: who calls (:class:`Identity`) and what metadata says (:class:`Fleet`), on one set of connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from connectors.gateway.door.database import DoorDatabase
from connectors.gateway.door.fleet import Fleet
from connectors.gateway.door.identity import Identity
from connectors.gateway.door.key_uses import KeyUses
from connectors.gateway.door.secret_checks import SecretChecks
from connectors.gateway.door.verified_keys import VerifiedKeys
from connectors.gateway.door.watch import DoorWatch
from weir.settings import Settings


class Door(NamedTuple):
    """What is kept current; ``database`` says whether Postgres is away, ``uses`` writes when keys were last used."""

    identity: Identity
    fleet: Fleet
    watch: DoorWatch
    database: DoorDatabase
    uses: KeyUses


@asynccontextmanager
async def open_door(
    settings: Settings,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> AsyncIterator[Door]:
    """Identity and fleet for the running event loop; Postgres may be away, nobody is admitted then."""
    gateway = settings.gateway
    database = DoorDatabase(settings.postgres.dsn.get_secret_value())
    watch = DoorWatch(database, gateway.key_seconds, gateway.away_seconds, clock)
    fleet = Fleet(database, watch, clock)
    checks, uses = SecretChecks(clock), KeyUses(database)
    verified = VerifiedKeys(gateway.data_dir / "keys")
    identity = Identity(database, watch, fleet, checks, verified, uses, clock, wall)
    try:
        await verified.start()
        await checks.start()
        await watch.start()
        await uses.start()
        yield Door(identity, fleet, watch, database, uses)
    finally:
        await watch.stop()
        await uses.stop()
        await asyncio.to_thread(checks.close)
        await asyncio.to_thread(database.close)
        await verified.stop()

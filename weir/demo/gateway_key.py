"""The key with which the demo posts: made for one run, never shown, and ended with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from connectors.entities.actor import SYSTEM
from connectors.entities.directory import open_directory
from connectors.entities.key_models import KeyCreate
from weir.demo.registration import ORGANISATION
from weir.errors import WeirError

SPARE: timedelta = timedelta(minutes=30)
"""Beyond the time of sending; a demo that is killed leaves a key that ends by then."""


@contextmanager
def demo_key(dsn: str, minutes: float) -> Iterator[str]:
    """The text of a key of the demo's organisation for a run that sends for ``minutes``; revoked at the end. Blocks."""
    expires = datetime.now(UTC) + timedelta(minutes=minutes) + SPARE
    with open_directory(dsn, SYSTEM) as directory:
        key = directory.keys.create(KeyCreate(organisation=ORGANISATION, name="weir demo", expires_at=expires))
    try:
        yield key.secret
    finally:
        with suppress(WeirError), open_directory(dsn, SYSTEM) as directory:  # Postgres may be what ended the demo
            directory.keys.revoke(key.prefix)

"""Who calls: the key of a request, verified once by its slow hash and remembered until it changes.

What is remembered is a keyed hash: it gives nobody a key. That a secret was right outlives the process
(:class:`~connectors.gateway.door.verified_keys.VerifiedKeys`), whose key it is does not. A key that ends is told by
:class:`~connectors.gateway.door.watch.DoorWatch` within a moment, one that expires ends by the clock. Whoever is
refused learns nothing: the sentence is the same for a key that never was, a wrong secret, an ended key and a retired
owner.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from connectors.entities.api_key_text import PREFIX_CHARACTERS, ApiKeyText, parse_key_text
from connectors.gateway.door.credentials import credentials_of
from connectors.gateway.door.database import DoorDatabase
from connectors.gateway.door.fleet import Fleet, postgres_is_away
from connectors.gateway.door.gathered import Gathered
from connectors.gateway.door.key_uses import KeyUses
from connectors.gateway.door.queries import Changes, KeyRow, key_rows
from connectors.gateway.door.recently_used import RecentlyUsed
from connectors.gateway.door.secret_checks import SecretChecks
from connectors.gateway.door.verified_keys import MOST_KEYS, VerifiedKeys
from connectors.gateway.door.watch import DoorWatch
from connectors.gateway.errors import UNAUTHORISED, GatewayError
from connectors.gateway.records import Caller
from weir.errors import TransientError, WeirError

__all__ = ["Identity", "credentials_of", "may_write", "refusal"]

MOST_REFUSED: Final = 50_000
REFUSED_SECONDS: Final = 3.0
"""How long the same wrong key is refused without another look."""
_ROUNDS: Final = 3
_PREFIX: Final = slice(len("wr_"), len("wr_") + PREFIX_CHARACTERS)


def refusal() -> GatewayError:
    """The one answer to everybody whose key does not hold."""
    return GatewayError(UNAUTHORISED, "This takes an API key that holds: Basic, Bearer or X-API-Key.")


def may_write(caller: Caller) -> bool:
    """Whether the role of the caller's key may send anything at all."""
    return caller.role != "viewer"


@dataclass(slots=True)
class _Held:
    """A key that was verified, and whose it is now; ``ends_at`` in seconds since 1970."""

    digest: bytes
    proof: bytes
    caller: Caller
    ends_at: float
    noted_until: float = -inf


class Identity:
    """The keys that are in use; for the event loop's thread."""

    def __init__(
        self,
        database: DoorDatabase,
        watch: DoorWatch,
        fleet: Fleet,
        checks: SecretChecks,
        verified: VerifiedKeys,
        uses: KeyUses,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Know nobody yet."""
        self._database = database
        self._watch = watch
        self._fleet = fleet
        self._checks = checks
        self._uses = uses
        self._clock = clock
        self._wall = wall
        self._proofs = verified
        self._keys: RecentlyUsed[bytes, _Held] = RecentlyUsed(MOST_KEYS)
        self._refused: RecentlyUsed[bytes, float] = RecentlyUsed(MOST_REFUSED)
        self._under_way: dict[bytes, asyncio.Task[Caller]] = {}
        self._rows = Gathered(self._ask)
        watch.told.append(self._take_in)

    def known(self, credentials: bytes) -> Caller | None:
        """Whose key it is, when that is remembered and holds; asks nobody."""
        held = self._keys.get(credentials[_PREFIX])
        if held is None or held.digest != self._proofs.digest(credentials):
            return None
        now = self._clock()
        if now >= self._watch.holds_until or self._wall() >= held.ends_at:
            return None
        if now >= held.noted_until:
            held.noted_until = now + KeyUses.EVERY_SECONDS
            self._uses.note(held.caller.prefix)
        return held.caller

    async def caller(self, credentials: bytes | None) -> Caller:
        """Whose key it is, asked for where it is not known; the same key at once is asked for once.

        Raises :class:`GatewayError`: 401 when it does not hold, 503 when that cannot be told now.
        """
        if credentials is None:
            raise refusal()
        found = self.known(credentials)
        if found is not None:
            return found
        digest = self._proofs.digest(credentials)
        until = self._refused.get(digest)
        if until is not None and self._clock() < until:
            raise refusal()
        task = self._under_way.get(digest)
        if task is None:
            task = asyncio.create_task(self._admitted(digest, credentials))
            self._under_way[digest] = task
            task.add_done_callback(lambda done: self._is_done(digest, done))
        return await asyncio.shield(task)

    @property
    def known_keys(self) -> int:
        """How many are remembered."""
        return len(self._keys)

    async def _admitted(self, digest: bytes, credentials: bytes) -> Caller:
        parts = parse_key_text(credentials.decode("ascii", "replace"))
        if parts is None:
            raise refusal()
        try:
            await self._watch.be_current()
            row = await self._verified(digest, parts)
        except WeirError as error:
            raise postgres_is_away() from error
        prefix = credentials[_PREFIX]
        if row is None:
            self._forget(digest, prefix)
            self._refused.put(digest, self._clock() + REFUSED_SECONDS)
            raise refusal()
        self._fleet.remember_organisation(row.organisation, row.organisation_properties)
        caller = Caller(row.prefix, row.organisation, row.role, row.device)
        proof = self._proofs.proof(digest, prefix, row.secret_hash)
        self._proofs.remember(proof)
        self._keys.put(prefix, _Held(digest, proof, caller, _end_of(row)))
        return self.known(credentials) or caller

    async def _verified(self, digest: bytes, parts: ApiKeyText) -> KeyRow | None:
        """The key as it is now; None when its secret is another, or it may not be used."""
        prefix = parts.prefix.encode()
        proven = self._proofs.proven(digest, prefix)
        if proven is None and not self._checks.allows(parts.prefix):
            return None
        try:
            for _ in range(_ROUNDS):
                generation, row = (await self._rows.ask([parts.prefix])).get(parts.prefix) or (None, None)
                proof = self._proofs.proof(digest, prefix, row.secret_hash) if row else None
                if row is None or proven != proof:
                    if not await self._checks.fits(row.secret_hash if row else None, parts.secret) or row is None:
                        return None
                    proven = proof
                    self._checks.forgive(parts.prefix)
                if generation == self._watch.generation:  # else it may be older than what was just told
                    return row if row.is_usable else None
        except WeirError:
            self._checks.forgive(parts.prefix)
            raise
        raise TransientError("The metadata changes too fast to tell whose key this is.")

    def _forget(self, digest: bytes, prefix: bytes) -> None:
        """Forget a key that does not hold; a wrong secret does not forget the right one."""
        held = self._keys.get(prefix)
        if held is not None and held.digest == digest:
            self._keys.drop(prefix)
        if self._proofs.proven(digest, prefix):
            self._proofs.forget(prefix)

    async def _ask(self, prefixes: Collection[str]) -> Mapping[str, tuple[int, KeyRow]]:
        generation = self._watch.generation
        return {row.prefix: (generation, row) for row in await self._database.ask(key_rows, list(prefixes))}

    def _take_in(self, changes: Changes) -> None:
        """Drop or change what is remembered of keys that changed."""
        if changes.everything:
            self._keys.clear()
        self._refused.clear()
        for row in changes.keys:
            self._change(row)
        retired = {each.slug for each in changes.organisations if not each.is_active}
        if retired:
            ended = [held.caller.prefix for held in self._keys.values() if held.caller.organisation in retired]
            for prefix in ended:
                self._keys.drop(prefix.encode())

    def _change(self, row: KeyRow) -> None:
        prefix = row.prefix.encode()
        held = self._keys.get(prefix)
        if not row.is_usable:
            self._keys.drop(prefix)
            self._proofs.forget(prefix)
        elif held is not None and held.proof == self._proofs.proof(held.digest, prefix, row.secret_hash):
            held.caller = Caller(row.prefix, row.organisation, row.role, row.device)
            held.ends_at = _end_of(row)
        else:
            self._keys.drop(prefix)

    def _is_done(self, digest: bytes, task: asyncio.Task[Caller]) -> None:
        self._under_way.pop(digest, None)
        if not task.cancelled():
            task.exception()  # whoever waited for it may be gone


def _end_of(row: KeyRow) -> float:
    return inf if row.ends_at is None else row.ends_at

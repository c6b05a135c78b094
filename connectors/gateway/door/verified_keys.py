"""Keys whose secret was verified, also before a restart: what the slow hash said once it need not say again.

A proof ties a key to the hash that Postgres had for it. It admits nobody: who the key's owner is, and whether it still
holds, is in the row, which is asked for whenever a process sees the key for the first time; only the slow hash is left
out, and only while the row's hash is the one of the proof. What is on disk gives nobody a key: the secrets have 190
random bits, so a keyed digest of one cannot be guessed back even with its key.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

from connectors.entities.api_key_text import PREFIX_CHARACTERS
from connectors.gateway.door.verified_keys_file import SECRET_BYTES, Kept, read_verified, write_verified

MOST_KEYS: Final = 200_000
WRITE_SECONDS: Final = 30.0
"""A crash forgets so much, 3,000 hashes at the most. Writing 200,000 proofs is 9 MB in a thread."""
_DIGEST_BYTES: Final = 16
_HASH: Final = b"secret hash"

_log = logging.getLogger(__name__)


class VerifiedKeys:
    """The newest :data:`MOST_KEYS` proofs, for the event loop's thread; a file in ``folder`` is written in another.

    A file that is missing or damaged, or cannot be written, costs hashes and nothing else.
    """

    def __init__(self, folder: Path) -> None:
        """Nothing is verified until :meth:`start`."""
        self._path = folder / "verified"
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._proofs: dict[bytes, bytes] = {}
        self._is_new = False
        self._is_quiet = False
        self._ending = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Go on with what was verified before, and write what is new every now and then."""
        kept = await asyncio.to_thread(read_verified, self._path, MOST_KEYS)
        if kept is not None:
            self._secret = kept.secret
            self._proofs = {proof[-PREFIX_CHARACTERS:]: proof for proof in kept.proofs}
        self._writing = asyncio.create_task(self._write_again())

    async def stop(self) -> None:
        """Write what is new."""
        self._ending.set()
        if self._writing is not None:
            await self._writing
        await self.write()

    def digest(self, credentials: bytes) -> bytes:
        """What stands for the text of a key."""
        # 0.8 us, a third of an HMAC; keyed BLAKE2 is made for this (RFC 7693)
        return hashlib.blake2b(credentials, key=self._secret, digest_size=_DIGEST_BYTES).digest()

    def proof(self, digest: bytes, prefix: bytes, secret_hash: str) -> bytes:
        """That the key of ``digest`` is the one that ``secret_hash`` was made of, once that was verified."""
        made = hashlib.blake2b(secret_hash.encode(), key=self._secret, digest_size=_DIGEST_BYTES, person=_HASH)
        return digest + made.digest() + prefix

    def proven(self, digest: bytes, prefix: bytes) -> bytes | None:
        """The proof that was remembered of just this key; None when none was."""
        proof = self._proofs.get(prefix)
        return proof if proof is not None and proof.startswith(digest) else None

    def remember(self, proof: bytes) -> None:
        """It was verified just now; forgets the oldest ones when there are too many."""
        prefix = proof[-PREFIX_CHARACTERS:]
        if self._proofs.get(prefix) == proof:
            return
        self._proofs.pop(prefix, None)
        if len(self._proofs) >= MOST_KEYS:
            for each in list(islice(self._proofs, MOST_KEYS // 10)):  # many at once: a dict finds its first one slowly
                del self._proofs[each]
        self._proofs[prefix] = proof
        self._is_new = True

    def forget(self, prefix: bytes) -> None:
        """Whoever comes with this key is verified again."""
        if self._proofs.pop(prefix, None) is not None:
            self._is_new = True

    async def write(self) -> None:
        """Put on disk what is new; one call at a time."""
        if not self._is_new:
            return
        self._is_new = False
        kept = Kept(self._secret, list(self._proofs.values()))
        try:
            await asyncio.to_thread(write_verified, self._path, kept)
        except OSError as error:
            self._is_new = True
            if not self._is_quiet:
                _log.warning("Verified keys are not kept, a restart hashes them again: %s.", error)
            self._is_quiet = True
        else:
            self._is_quiet = False

    async def _write_again(self) -> None:
        # asked to end rather than cancelled: a thread goes on writing, and two would spoil the file
        while not self._ending.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._ending.wait()
            await self.write()

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._proofs)

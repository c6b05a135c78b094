"""The file of keys that were verified: replaced whole, read only when it is whole and nobody else's.

Little-endian: eight bytes of magic, version, number of proofs, the secret of the digests, the proofs, and a BLAKE2
checksum of all of it. It gives nobody a key: a keyed digest of 190 random bits cannot be guessed back, not even with
its key beside it. Whoever could write it could vouch for secrets of their own, so one that others may read or write,
or that belongs to somebody else, is not believed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import struct
from pathlib import Path
from typing import Final, NamedTuple

from connectors.entities.api_key_text import PREFIX_CHARACTERS
from connectors.gateway.log.spool_position import sync_folder

VERSION: Final = 1
SECRET_BYTES: Final = 32
PROOF_BYTES: Final = 16 + 16 + PREFIX_CHARACTERS

_HEAD: Final = struct.Struct(f"<8sII{SECRET_BYTES}s")
_MAGIC: Final = b"weirkeys"
_CHECKSUM_BYTES: Final = 32
_OTHERS: Final = 0o077

_log = logging.getLogger(__name__)


class Kept(NamedTuple):
    """What a file holds: the secret of its digests, and proofs of :data:`PROOF_BYTES` each, oldest first."""

    secret: bytes
    proofs: list[bytes]


def read_verified(path: Path, most: int) -> Kept | None:
    """What was written last; None when nothing was, or with a warning when it cannot be believed. Blocks."""
    try:
        return _parsed(_own_bytes(path, _HEAD.size + most * PROOF_BYTES + _CHECKSUM_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        why = error.strerror or str(error)
    except ValueError as error:
        why = str(error)
    _log.warning("The verified keys in %s are not used, each is hashed once more: %s.", path, why)
    return None


def write_verified(path: Path, kept: Kept) -> None:
    """Replace the file; on disk when this returns, and a crash leaves the old one. Raises OSError."""
    body = b"".join((_HEAD.pack(_MAGIC, VERSION, len(kept.proofs), kept.secret), *kept.proofs))
    folder, fresh = path.parent, path.with_suffix(".new")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_mode & _OTHERS:
        folder.chmod(0o700)
    fresh.unlink(missing_ok=True)  # one that a crash left may be open to others
    with open(fresh, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(body)
        file.write(_checksum(body))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(folder)


def _own_bytes(path: Path, most_bytes: int) -> bytes:
    # a link is not followed, and a pipe that lies there is not waited for
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no file")
        if found.st_uid != os.geteuid():
            raise ValueError("it belongs to somebody else")
        if found.st_mode & _OTHERS:
            raise ValueError("others may read or write it")
        return file.read(most_bytes)  # a longer one lacks its checksum then


def _parsed(data: bytes) -> Kept:
    body = memoryview(data)[:-_CHECKSUM_BYTES]
    if len(body) < _HEAD.size or _checksum(body) != data[-_CHECKSUM_BYTES:]:
        raise ValueError("it is damaged")
    magic, version, count, secret = _HEAD.unpack_from(body)
    if (magic, version) != (_MAGIC, VERSION):
        raise ValueError("another version wrote it")
    if len(body) != _HEAD.size + count * PROOF_BYTES:
        raise ValueError("it is damaged")
    return Kept(secret, [data[begin : begin + PROOF_BYTES] for begin in range(_HEAD.size, len(body), PROOF_BYTES)])


def _checksum(body: bytes | memoryview) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES).digest()

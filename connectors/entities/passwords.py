"""Passwords, kept as argon2id hashes (RFC 9106) that carry their own parameters."""

from __future__ import annotations

import base64
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from connectors.entities.errors import InvalidError

LEAST_CHARACTERS: Final = 10
MOST_BYTES: Final = 1_000


class Passwords:
    """Makes and checks hashes; both block for about 0.1 s with the library's own parameters."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """Hash with the parameters of ``hasher``; those of argon2-cffi when None."""
        self._hasher = hasher or PasswordHasher()
        # a hash of the same parameters that no password has: checking it takes as long as checking a user's
        self._nobodys = (
            f"$argon2id$v=19$m={self._hasher.memory_cost},t={self._hasher.time_cost},p={self._hasher.parallelism}"
            f"${_base64(self._hasher.salt_len)}${_base64(self._hasher.hash_len)}"
        )

    def hash(self, password: str) -> str:
        """The hash to keep; raises :class:`InvalidError` for a password that is too short or too long."""
        if len(password) < LEAST_CHARACTERS:
            raise InvalidError(f"The password has {len(password)} characters; it takes at least {LEAST_CHARACTERS}.")
        if len(_bytes(password)) > MOST_BYTES:
            raise InvalidError(f"The password is longer than {MOST_BYTES:,} bytes.")
        return self._hasher.hash(_bytes(password))

    def matches(self, kept: str | None, password: str) -> bool:
        """Whether ``password`` is the one of the hash ``kept``; None takes as long and is never right."""
        given = _bytes(password)
        if len(given) > MOST_BYTES:  # hash() keeps none of these; nobody may make us hash megabytes
            given = b""
        try:
            return self._hasher.verify(kept or self._nobodys, given) and kept is not None
        except (VerificationError, InvalidHashError):
            return False

    def outdated(self, kept: str) -> bool:
        """Whether ``kept`` was made with other parameters than new hashes are."""
        return self._hasher.check_needs_rehash(kept)


def _bytes(password: str) -> bytes:
    # a lone surrogate has no UTF-8; it still must not match another text
    return password.encode("utf-8", "surrogatepass")


def _base64(size: int) -> str:
    return base64.b64encode(bytes(size)).decode().rstrip("=")

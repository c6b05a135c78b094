"""The text of an API key: ``wr_``, a prefix by which it is found and named, ``_``, and the secret::

    wr_4fQ7hW2mZkT9_0q3T...32 characters

Only letters and digits follow ``wr_``, so that a double click selects the whole key and no shell or URL changes it.
"""

from __future__ import annotations

import re
import secrets
import string
from typing import Final, NamedTuple

ALPHABET: Final = string.ascii_letters + string.digits
PREFIX_CHARACTERS: Final = 12
SECRET_CHARACTERS: Final = 32
"""190 bits: more than any guessing reaches."""

_SHAPE: Final = re.compile(rf"wr_([A-Za-z0-9]{{{PREFIX_CHARACTERS}}})_([A-Za-z0-9]{{{SECRET_CHARACTERS}}})")


class ApiKeyText(NamedTuple):
    """Both parts of a key; ``str`` of it is the key itself, so it belongs in no log."""

    prefix: str
    secret: str

    def __str__(self) -> str:
        """The whole key, as it is shown once."""
        return f"wr_{self.prefix}_{self.secret}"

    def __repr__(self) -> str:
        """The key without its secret, for whoever prints it by accident."""
        return f"ApiKeyText({self.prefix}, ***)"


def new_key_text() -> ApiKeyText:
    """A key that nobody can guess, from the system's random source."""
    return ApiKeyText(_random(PREFIX_CHARACTERS), _random(SECRET_CHARACTERS))


def parse_key_text(text: str) -> ApiKeyText | None:
    """The parts of a key's text; None for anything that is no key."""
    found = _SHAPE.fullmatch(text)
    return ApiKeyText(found[1], found[2]) if found else None


def _random(characters: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(characters))

"""The key that a request brings: ``X-API-Key``, bearer, or basic with prefix and secret as user and password."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from connectors.gateway.http import RawHeaders

LONGEST: Final = 4_096
"""Bytes of credentials; no key of ours comes near it."""


def credentials_of(headers: RawHeaders) -> bytes | None:
    """The text of a key as it was shown once; None when there is none, or what there is can be none.

    ``Authorization`` goes before ``X-API-Key``, and the first header of a name before others.
    """
    api_key: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            return _of_authorization(value)
        if name == b"x-api-key" and api_key is None:
            api_key = value
    return _checked(api_key.strip()) if api_key is not None else None


def _of_authorization(value: bytes) -> bytes | None:
    scheme, _, rest = value.strip().partition(b" ")
    kind = scheme.lower()
    if kind == b"bearer":
        return _checked(rest.strip())
    if kind == b"basic" and len(rest) <= LONGEST:
        return _of_basic(rest.strip())
    return None


def _of_basic(encoded: bytes) -> bytes | None:
    try:
        prefix, _, secret = base64.b64decode(encoded, validate=True).partition(b":")
    except binascii.Error:
        return None
    return _checked(b"wr_" + prefix.removeprefix(b"wr_") + b"_" + secret)


def _checked(text: bytes) -> bytes | None:
    return text if text and len(text) <= LONGEST and text.isascii() else None

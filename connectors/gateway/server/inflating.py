"""Compressed bodies, inflated piece by piece, so that a small one cannot become a large one in memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from connectors.gateway import errors
from connectors.gateway.errors import GatewayError
from connectors.gateway.http import RawHeaders

IDENTITY: Final = "identity"
PIECE_BYTES: Final = 65_536
"""What inflating gives at a time: a kilobyte of zeros may be a megabyte."""
MOST_MEMBERS: Final = 100
"""gzip members of one body; each costs an inflater, and a body of empty ones would cost seconds."""
ZLIB_OR_GZIP: Final = 32 + zlib.MAX_WBITS
RAW_DEFLATE: Final = -zlib.MAX_WBITS


def encoding_of(headers: RawHeaders) -> str:
    """``identity``, ``gzip`` or ``deflate``. Raises UNSUPPORTED_MEDIA_TYPE for anything else, also for several."""
    found = [value for name, value in headers if name == b"content-encoding"]
    if not found:
        return IDENTITY
    encoding = b",".join(found).strip().lower().decode("latin-1").removeprefix("x-")
    if encoding not in (IDENTITY, "gzip", "deflate"):
        raise GatewayError(
            errors.UNSUPPORTED_MEDIA_TYPE, "This Content-Encoding is not understood; send gzip, deflate or none."
        )
    return encoding


class Inflater:
    """Inflates one body that comes in pieces. Several gzip members after each other are one body (RFC 1952)."""

    def __init__(self, encoding: str) -> None:
        """``encoding`` is gzip or deflate; deflate may come with a zlib header, as it should, or without."""
        self._may_be_raw = encoding == "deflate"
        self._inner = zlib.decompressobj(ZLIB_OR_GZIP)
        self._held = b""
        self._members = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What ``data`` inflates to, at most :data:`PIECE_BYTES` at a time. Raises BAD_REQUEST when it is broken."""
        data = self._held + data
        if self._members == 0:
            if len(data) < 2:  # only two bytes tell whether there is a zlib header
                self._held = data
                return
            self._begin(data)
        piece = b""
        while data or (len(piece) == PIECE_BYTES and not self._inner.eof):  # full: more of it may wait inside
            if self._inner.eof:
                self._next_member()
            try:
                piece = self._inner.decompress(data, PIECE_BYTES)
            except zlib.error:
                raise _broken() from None
            data = self._inner.unconsumed_tail or self._inner.unused_data
            if piece:
                yield piece

    def finish(self) -> None:
        """Raise BAD_REQUEST when the body ended before the compressed data did."""
        if self._held or (self._members and not self._inner.eof):
            raise _broken()

    def _begin(self, data: bytes) -> None:
        self._held, self._members = b"", 1
        has_header = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
        if self._may_be_raw and not has_header:
            self._inner = zlib.decompressobj(RAW_DEFLATE)

    def _next_member(self) -> None:
        self._members += 1
        if self._may_be_raw or self._members > MOST_MEMBERS:
            raise _broken()
        self._inner = zlib.decompressobj(ZLIB_OR_GZIP)


def inflated(body: bytes, encoding: str, most_bytes: int) -> bytes | None:
    """The whole ``body`` inflated; None when that is more than ``most_bytes``."""
    inflater, parts, size = Inflater(encoding), [], 0
    for piece in inflater.feed(body):
        size += len(piece)
        if size > most_bytes:
            return None
        parts.append(piece)
    inflater.finish()
    return b"".join(parts)


def _broken() -> GatewayError:
    return GatewayError(errors.BAD_REQUEST, "The compressed body is broken or incomplete.")

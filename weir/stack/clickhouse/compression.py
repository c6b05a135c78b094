"""HTTP compression as ClickHouse speaks it: ``Content-Encoding`` of requests, ``Accept-Encoding`` of answers.

gzip and deflate come with Python, lz4 (frames) and zstd with the ``embedded`` extra. Brotli is refused by name.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

import lz4.frame  # type: ignore[import-untyped]
import zstandard

from weir.stack.clickhouse.exceptions import CANNOT_DECOMPRESS, NOT_IMPLEMENTED, ClickHouseError

ACCEPTED = ("zstd", "lz4", "gzip", "deflate")
"""Encodings of answers, the server's most preferred first."""


class Decompressor(Protocol):
    """Turns chunks of a compressed body into chunks of the body."""

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that ``chunk`` completes; raises :class:`ClickHouseError` for bytes that are not of the format."""

    def finish(self) -> None:
        """Raise :class:`ClickHouseError` if the body stopped in the middle."""


class Compressor(Protocol):
    """Turns chunks of an answer into chunks of a compressed answer."""

    def compress(self, chunk: bytes) -> bytes:
        """The bytes that are ready after ``chunk``, possibly none."""

    def flush(self) -> bytes:
        """The rest of the compressed answer."""


class Identity:
    """A body that is not compressed."""

    def feed(self, chunk: bytes) -> bytes:
        """The chunk itself."""
        return chunk

    def finish(self) -> None:
        """Nothing is ever missing."""


class _Engine(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class Frames:
    """Concatenated frames (or gzip members) of one format."""

    def __init__(self, encoding: str) -> None:
        """``encoding`` is one of :data:`ACCEPTED`."""
        self.encoding = encoding
        self._engine: _Engine | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Decompress, starting a new frame wherever one ends inside ``chunk``."""
        parts: list[bytes] = []
        try:
            while chunk:
                engine = self._engine or _decompressor(self.encoding, chunk)
                parts.append(engine.decompress(chunk))
                chunk = engine.unused_data if engine.eof else b""
                self._engine = None if engine.eof else engine
        except (zlib.error, RuntimeError, zstandard.ZstdError, EOFError) as error:
            raise ClickHouseError(
                CANNOT_DECOMPRESS, f"The body is not {self.encoding}, as its Content-Encoding says: {error}."
            ) from None
        return b"".join(parts)

    def finish(self) -> None:
        """A frame that never ended means that bytes are missing."""
        if self._engine is not None:
            raise ClickHouseError(CANNOT_DECOMPRESS, f"The {self.encoding} body ends in the middle of a frame.")


def _decompressor(encoding: str, first: bytes) -> _Engine:
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj()
    if encoding == "lz4":
        frame: _Engine = lz4.frame.LZ4FrameDecompressor()
        return frame
    if encoding == "gzip":
        return zlib.decompressobj(wbits=31)
    raw = (first[0] & 0x0F) != 8  # HTTP says zlib, some clients send bare deflate
    return zlib.decompressobj(wbits=-15 if raw else 15)


def decompressor(encoding: str) -> Decompressor:
    """For one request body; raises :class:`ClickHouseError` for an encoding that is not known here."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return Identity()
    if name not in ACCEPTED:
        raise ClickHouseError(
            NOT_IMPLEMENTED, f"Unknown compression method: {encoding}. Send one of {', '.join(ACCEPTED)}."
        )
    return Frames(name)


def decompressed(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """A body in ``encoding``, decompressed; no chunk is empty. Raises :class:`ClickHouseError`."""
    engine = decompressor(encoding)
    for chunk in chunks:
        if data := engine.feed(chunk):
            yield data
    engine.finish()


def chosen_encoding(accept: str, enabled: bool) -> str | None:
    """The encoding of the answer: the server's first choice among those accepted, if compression is enabled at all."""
    if not enabled:
        return None
    offered = {part.split(";")[0].strip().lower() for part in accept.split(",") if "q=0" not in part.replace(" ", "")}
    return next((name for name in ACCEPTED if name in offered), None)


class _Lz4:
    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._started = False

    def compress(self, chunk: bytes) -> bytes:
        head = b"" if self._started else self._frame.begin()
        self._started = True
        return bytes(head + self._frame.compress(chunk))

    def flush(self) -> bytes:
        return self.compress(b"") + bytes(self._frame.flush())


def compressor(encoding: str, level: int = 3) -> Compressor:
    """For one answer in ``encoding`` (one of :data:`ACCEPTED`); ``level`` is ``http_zlib_compression_level``."""
    if encoding == "zstd":
        return zstandard.ZstdCompressor(level=1).compressobj()
    if encoding == "lz4":
        return _Lz4()
    return zlib.compressobj(level, zlib.DEFLATED, 31 if encoding == "gzip" else 15)

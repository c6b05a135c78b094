"""How the streamed blocks of a format become one document.

The engine streams a result as blocks, each a complete document of its format. For formats without head and foot the
documents only follow one another; for formats with a head the later heads are cut off; everything else is asked for
as one document and held in memory.
"""

from __future__ import annotations

import re

_HEADLESS = re.compile(
    r"(tsv|tabseparated|tsvraw|tabseparatedraw|csv|native|rowbinary|tskv|lineasstring|jsonlines|ndjson"
    r"|json(compact)?(strings)?eachrow)"
)
_TEXT_HEADED = re.compile(
    r"(tsv|tsvraw|tabseparated|tabseparatedraw|csv|json(?:compact)(?:strings)?eachrow)withnames(andtypes)?"
)
_BINARY_HEADED = re.compile(r"rowbinarywithnames(andtypes)?")
_STREAM_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def is_streamable(name: str) -> bool:
    """Whether blocks of this format can be joined into one document."""
    lowered = name.lower()
    return bool(
        _HEADLESS.fullmatch(lowered)
        or _TEXT_HEADED.fullmatch(lowered)
        or _BINARY_HEADED.fullmatch(lowered)
        or lowered in ("arrowstream", "values")
    )


class BlockJoin:
    """Joins the blocks of one streamed result; ``name`` must be streamable."""

    def __init__(self, name: str) -> None:
        """Nothing was joined yet."""
        self._name = name.lower()
        self._head: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no block came."""
        return self._head is None

    @property
    def needs_head(self) -> bool:
        """Whether even an empty result has bytes in this format, so that no block is not yet the whole answer."""
        return not _HEADLESS.fullmatch(self._name) and self._name != "values"

    def add(self, block: bytes) -> bytes:
        """The bytes that this block adds to the document."""
        first = self._head is None
        if self._head is None:
            self._head = _head_length(self._name, block)
        body = block if first else block[self._head :]
        if self._name == "arrowstream":
            return body.removesuffix(_STREAM_END)
        if self._name == "values" and not first:
            return b"," + body
        return body

    def end(self) -> bytes:
        """The bytes that end the document."""
        return _STREAM_END if self._name == "arrowstream" and not self.is_empty else b""


def _head_length(name: str, block: bytes) -> int:
    headed = _TEXT_HEADED.fullmatch(name)
    if headed:
        lines = 2 if headed.group(headed.re.groups) else 1
        return _lines_length(block, lines, quoted=name.startswith("csv"))
    if name.startswith("rowbinarywith"):
        return _binary_head_length(block, strings=2 if name.endswith("andtypes") else 1)
    if name == "arrowstream":  # continuation marker, length of the schema message, the message
        return 8 + int.from_bytes(block[4:8], "little")
    return 0


def _lines_length(block: bytes, lines: int, quoted: bool) -> int:
    position = 0
    for _ in range(lines):
        inside = False
        while block[position : position + 1] and (inside or block[position] != 0x0A):
            inside ^= quoted and block[position] == 0x22
            position += 1
        position += 1
    return position


def _binary_head_length(block: bytes, strings: int) -> int:
    columns, position = _varint(block, 0)
    for _ in range(columns * strings):
        length, position = _varint(block, position)
        position += length
    return position


def _varint(block: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = block[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position

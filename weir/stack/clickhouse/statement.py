"""Where a statement ends and its INSERT data begins, and which FORMAT it names.

The engine parses the SQL; this reads only as many tokens as are needed to divide a request's bytes the way the server
does. All positions are offsets into bytes, because what follows an INSERT need not be text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from weir.stack.clickhouse.exceptions import (
    INTO_OUTFILE_NOT_ALLOWED,
    NOT_IMPLEMENTED,
    SYNTAX_ERROR,
    ClickHouseError,
)

_TOKEN = re.compile(
    rb"""
      (?P<skip>\s+|--[^\n]*(?:\n|\Z)|\#[ !][^\n]*(?:\n|\Z)|/\*.*?\*/)
    | (?P<quoted>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<open>[(\[{]) | (?P<close>[)\]}])
    | (?P<other>[0-9][0-9A-Za-z_.]*|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_DATA_START = re.compile(rb"[ \t\f]*\r?\n?")
_STATEFUL = ("SET", "USE", "BEGIN", "COMMIT", "ROLLBACK")


@dataclass(frozen=True)
class Token:
    """One word, quoted text or sign; ``depth`` counts the brackets around it."""

    text: bytes
    kind: str
    start: int
    end: int
    depth: int

    @property
    def keyword(self) -> str:
        """The word in capitals, or an empty string for anything that is no bare word."""
        return self.text.decode("ascii").upper() if self.kind == "word" else ""


def tokens(sql: bytes, start: int = 0) -> Iterator[Token]:
    """Every token from ``start``, without whitespace and comments; stops at an unclosed comment."""
    depth, position = 0, start
    while position < len(sql):
        found = _TOKEN.match(sql, position)
        if found is None:
            return
        kind = found.lastgroup or "other"
        if kind == "close":
            depth = max(depth - 1, 0)
        if kind != "skip":
            yield Token(found.group(), kind, found.start(), found.end(), depth)
        if kind == "open":
            depth += 1
        position = found.end()


@dataclass(frozen=True)
class InsertHead:
    """An INSERT that brings data: ``sql`` is the statement up to FORMAT or VALUES, ``format`` the name of its data's
    format, ``data_start`` the offset where data begins, ``selects`` whether a SELECT stands between them."""

    sql: bytes
    format: str
    data_start: int
    selects: bool


def first_keyword(sql: bytes) -> str:
    """The first word in capitals, or an empty string."""
    return next((token.keyword for token in tokens(sql) if token.text != b"("), "")


def insert_head(sql: bytes) -> InsertHead | None:
    """Divide an INSERT from its data; ``None`` if ``sql`` is no INSERT or brings no data (a plain INSERT SELECT).

    Raises :class:`ClickHouseError` for ``FROM INFILE``, which only a local client may use.
    """
    selects, previous = False, ""
    stream = tokens(sql)
    if next((token.keyword for token in stream), "") != "INSERT":
        return None
    for token in stream:
        word = token.keyword if token.depth == 0 else ""
        named = previous in ("INTO", "TABLE", ".", "FUNCTION")  # a table may be called "values"
        if word == "INFILE" and previous == "FROM":
            raise ClickHouseError(NOT_IMPLEMENTED, "INSERT FROM INFILE reads a file of the client; send its bytes.")
        if word in ("SELECT", "WITH") and not named:
            selects = True
        if word in ("VALUES", "VALUE") and not named and not selects:
            return InsertHead(sql[: token.start], "Values", token.end, selects)
        if word == "FORMAT" and not named:
            return _format_head(sql, token, next(stream, None), selects)
        previous = token.keyword or token.text.decode("latin-1")
    return None


def _format_head(sql: bytes, clause: Token, name: Token | None, selects: bool) -> InsertHead:
    if name is None or name.kind != "word":
        raise ClickHouseError(SYNTAX_ERROR, "Syntax error: FORMAT is not followed by the name of a format.")
    start = name.end
    if name.keyword == "VALUES" and sql[start : start + 1] == b";":
        start += 1
    found = _DATA_START.match(sql, start)
    data_start = found.end() if found else start
    return InsertHead(sql[: clause.start], name.text.decode("ascii"), data_start, selects)


def output_format(sql: bytes) -> str | None:
    """The name after the last FORMAT outside brackets, or ``None``.

    Raises :class:`ClickHouseError` for ``INTO OUTFILE``, which would write on the server's disk.
    """
    name, previous = None, ""
    for token in tokens(sql):
        word = token.keyword if token.depth == 0 else ""
        if previous == "INTO" and word == "OUTFILE":
            raise ClickHouseError(INTO_OUTFILE_NOT_ALLOWED, "INTO OUTFILE is not allowed")
        if previous == "FORMAT" and token.kind == "word" and token.depth == 0:
            name = token.text.decode("ascii")
        previous = word
    return name


def has_totals(sql: bytes) -> bool:
    """Whether the statement asks for WITH TOTALS, whose extra row is no block of the stream."""
    return b"totals" in sql.lower()


def changes_session(sql: bytes) -> bool:
    """Whether a later statement of the same session would see a difference: SET, USE, a temporary table."""
    words = [token.keyword for token, _ in zip(tokens(sql), range(4), strict=False)]
    if not words:
        return False
    return words[0] in _STATEFUL or (words[0] == "CREATE" and ("TEMPORARY" in words or "TEMP" in words))


def input_call(sql: bytes) -> tuple[int, int, bytes] | None:
    """Start, end and quoted structure of ``input('…')`` in an INSERT SELECT, or ``None``."""
    stream = list(tokens(sql))
    for call, bracket, structure, close in zip(stream, stream[1:], stream[2:], stream[3:], strict=False):
        if call.keyword == "INPUT" and (bracket.text, close.text) == (b"(", b")") and structure.kind == "quoted":
            return call.start, close.end, structure.text[1:-1]
    return None

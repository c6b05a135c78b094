"""ClickHouse's error codes: the status of the HTTP answer and the text of its body.

The statuses are those of the server's ``exceptionCodeToHTTPStatus``; codes not named there are 500. One differs
on purpose: too many queries at once (202) is 503 here, so that clients wait and try again.
"""

from __future__ import annotations

import re

BAD_ARGUMENTS = (36, "BAD_ARGUMENTS")
NOT_IMPLEMENTED = (48, "NOT_IMPLEMENTED")
SYNTAX_ERROR = (62, "SYNTAX_ERROR")
UNKNOWN_FORMAT = (73, "UNKNOWN_FORMAT")
READONLY = (164, "READONLY")
TOO_MANY_SIMULTANEOUS_QUERIES = (202, "TOO_MANY_SIMULTANEOUS_QUERIES")
CANNOT_DECOMPRESS = (271, "CANNOT_DECOMPRESS")
QUERY_IS_TOO_LARGE = (229, "QUERY_IS_TOO_LARGE")
INTO_OUTFILE_NOT_ALLOWED = (358, "INTO_OUTFILE_NOT_ALLOWED")
SESSION_NOT_FOUND = (372, "SESSION_NOT_FOUND")
SESSION_IS_LOCKED = (373, "SESSION_IS_LOCKED")
INVALID_SESSION_TIMEOUT = (374, "INVALID_SESSION_TIMEOUT")
HTTP_LENGTH_REQUIRED = (381, "HTTP_LENGTH_REQUIRED")
AUTHENTICATION_FAILED = (516, "AUTHENTICATION_FAILED")
STD_EXCEPTION = (1001, "STD_EXCEPTION")

_STATUS_OF_CODES: dict[int, tuple[int, ...]] = {
    400: (
        *(6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123),
        *(167, 168, 223, 321, 376, 427, 441, 675, 676),
    ),
    401: (194,),
    403: (192, 193, 497, 512, 516),
    404: (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511),
    408: (159,),
    411: (381,),
    413: (229,),
    415: (779,),
    501: (48,),
    503: (76, 202, 209, 439),
}
_STATUS = {code: status for status, codes in _STATUS_OF_CODES.items() for code in codes}
_ENGINE_TEXT = re.compile(r"Code: (\d+)\. DB::Exception: (.*)", re.DOTALL)
_TRAILER = re.compile(r"\s*\(([A-Z][A-Z0-9_]+)\)(?:\s*\(version [^()]*(?:\([^()]*\))?[^()]*\))?\.?\s*$")


class ClickHouseError(Exception):
    """One error as ClickHouse reports it: ``code``, its symbolic ``name`` and a ``message`` without either."""

    def __init__(self, kind: tuple[int, str], message: str) -> None:
        """``kind`` is the pair of code and name."""
        super().__init__(message)
        self.code, self.name = kind
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status that a server sends with this code, before any byte of the answer is out."""
        return _STATUS.get(self.code, 500)

    def text(self, version: str) -> str:
        """The body of the answer: ``Code: N. DB::Exception: … (NAME) (version …)``, without a line break."""
        return f"Code: {self.code}. DB::Exception: {self.message} ({self.name}) (version {version} (official build))"


def from_engine(text: str) -> ClickHouseError:
    """The error inside what chDB raised: it repeats code and name once for every layer it went through."""
    found = _ENGINE_TEXT.search(text)
    if found is None:
        return ClickHouseError(STD_EXCEPTION, text.strip() or "The engine failed without saying why.")
    code, message, name = int(found[1]), found[2].strip(), "UNKNOWN_EXCEPTION"
    while True:
        trailer = _TRAILER.search(message)
        if trailer is not None:
            name, message = trailer[1], message[: trailer.start()]
        inner = re.match(rf"Code: {code}\. DB::Exception: ", message)
        if inner is not None:
            message = message[inner.end() :]
        if trailer is None and inner is None:
            return ClickHouseError((code, name), message)

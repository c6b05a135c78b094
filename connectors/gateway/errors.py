"""What the gateway refuses, in Kafka REST Proxy's own statuses and codes::

    400 400    a body that cannot be read             413 413    a body or record that is too large
    401 40101  no credentials, or none that hold      415 415    a content type that is not spoken
    403 40301  not for this key                       422 422xx  what was sent does not fit
    404 404    no such route or cluster               429 42901  over a limit; ``Retry-After`` says how long
    404 40401  no such topic                          429 42902  too many new sensors or labels
    404 40402  no such partition                      431 431    too many or too long headers
    405 405    no such method here                    500 500    a fault of ours
    406 406    an answer of that type is not given    502 50002  Kafka refused the record for good
    408 40801  the body did not arrive in time        503 50003  Kafka, Postgres or the registry is away: try again
    409 409    a request with this key is under way   507 50701  Kafka is away and the spool is full
    414 414    a URL that is too long

A code starts with its status, so a per-record code says which status it would have been alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

BAD_REQUEST: Final = 400
UNAUTHORISED: Final = 40101
FORBIDDEN: Final = 40301
NOT_FOUND: Final = 404
TOPIC_NOT_FOUND: Final = 40401
PARTITION_NOT_FOUND: Final = 40402
METHOD_NOT_ALLOWED: Final = 405
NOT_ACCEPTABLE: Final = 406
REQUEST_TIMEOUT: Final = 40801
CONFLICT: Final = 409
TOO_LARGE: Final = 413
URI_TOO_LONG: Final = 414
UNSUPPORTED_MEDIA_TYPE: Final = 415
EMPTY_REQUEST: Final = 422
"""A body without records; Confluent's code for what its validator refuses."""
KEY_SCHEMA_MISSING: Final = 42201
VALUE_SCHEMA_MISSING: Final = 42202
CONVERSION_FAILED: Final = 42203
"""A value that does not fit its schema, or the topic's."""
INVALID_SCHEMA: Final = 42205
INVALID_PAYLOAD: Final = 42206
"""Well-formed JSON that is not what the route takes; also duplicate keys, NaN and too deep nesting."""
SERIALISATION_FAILED: Final = 42207
INVALID_BATCH: Final = 42208
IDEMPOTENCY_MISMATCH: Final = 42290
OVER_QUOTA: Final = 42901
NEW_DIMENSIONS: Final = 42902
HEADERS_TOO_LARGE: Final = 431
INTERNAL: Final = 500
KAFKA_ERROR: Final = 50002
KAFKA_RETRIABLE: Final = 50003
SPOOL_FULL: Final = 50701


class GatewayError(Exception):
    """One refusal: of a whole request, or of one of its records.

    ``extra`` holds further fields of the answer's body; ``retry_after`` seconds become the header. ``reason`` is the
    short word under which the usage ledger and the metrics count it.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str = "",
        retry_after: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse with one of the codes above and a sentence for people."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or REASONS.get(code, "other")
        self.retry_after = retry_after
        self.extra = extra or {}

    @property
    def status(self) -> int:
        """The HTTP status: the code itself, or its first three digits, but for what Kafka does."""
        if self.code in _STATUSES:
            return _STATUSES[self.code]
        return self.code if self.code < 1_000 else self.code // 100

    def body(self) -> dict[str, Any]:
        """The envelope: ``error_code`` and ``message``, then ``extra``."""
        return {"error_code": self.code, "message": self.message, **self.extra}


_STATUSES: Final[Mapping[int, int]] = {KAFKA_ERROR: 502, KAFKA_RETRIABLE: 503}

REASONS: Final[Mapping[int, str]] = {
    BAD_REQUEST: "bad_request",
    UNAUTHORISED: "unauthorised",
    FORBIDDEN: "forbidden",
    NOT_FOUND: "not_found",
    TOPIC_NOT_FOUND: "not_found",
    PARTITION_NOT_FOUND: "not_found",
    METHOD_NOT_ALLOWED: "method",
    NOT_ACCEPTABLE: "media_type",
    REQUEST_TIMEOUT: "timeout",
    CONFLICT: "conflict",
    TOO_LARGE: "too_large",
    URI_TOO_LONG: "headers",
    UNSUPPORTED_MEDIA_TYPE: "media_type",
    EMPTY_REQUEST: "invalid",
    KEY_SCHEMA_MISSING: "schema",
    VALUE_SCHEMA_MISSING: "schema",
    CONVERSION_FAILED: "invalid",
    INVALID_SCHEMA: "schema",
    INVALID_PAYLOAD: "invalid",
    SERIALISATION_FAILED: "schema",
    INVALID_BATCH: "invalid",
    IDEMPOTENCY_MISMATCH: "idempotency",
    OVER_QUOTA: "over_quota",
    NEW_DIMENSIONS: "new_dimensions",
    HEADERS_TOO_LARGE: "headers",
    INTERNAL: "internal",
    KAFKA_ERROR: "kafka",
    KAFKA_RETRIABLE: "away",
    SPOOL_FULL: "spool_full",
}
"""Short stable words for the usage ledger and the metrics, one for each code."""

"""What the API answers when it does not do what was asked: a status, a stable word, and one sentence."""

from __future__ import annotations

import logging
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from connectors.entities.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from weir.errors import ConfigError, TransientError, UsageError

logger = logging.getLogger(__name__)

CODES: Final = {
    400: "bad_request",
    401: "unauthorised",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "body_too_slow",
    409: "conflict",
    413: "body_too_large",
    422: "invalid",
    500: "internal",
    503: "unavailable",
}
"""Status → the word that a program compares; the sentence beside it is for people and may change."""

STATUSES: Final[dict[type[UsageError], int]] = {
    InvalidError: 422,
    NotFoundError: 404,
    ForbiddenError: 403,
    ConflictError: 409,
}
MOST_FAULTS: Final = 5
"""Faults of one body that are told; a hostile body has thousands."""


class Refusal(BaseModel):
    """The body of every answer that is not a success."""

    model_config = ConfigDict(frozen=True)

    error_code: str
    message: str


class UnauthorisedError(UsageError):
    """No credentials, or none that hold; the sentence is the same whatever was wrong with them."""

    def __init__(self) -> None:
        """Say what to send."""
        super().__init__("The credentials are missing or do not hold; send a key or a session's token.")


class BadRequestError(UsageError):
    """The request itself cannot be read."""


def refusal(status: int, message: str) -> JSONResponse:
    """The answer with ``status``, whose word is in :data:`CODES`."""
    headers = {401: {"WWW-Authenticate": 'Bearer realm="weir"'}, 503: {"Retry-After": "2"}}.get(status)
    body = Refusal(error_code=CODES.get(status, "bad_request"), message=message)
    return JSONResponse(body.model_dump(), status, headers)


def answer_to(error: Exception) -> JSONResponse:
    """The answer that an error of ours means. What a server said stays in our log: it names hosts and tables."""
    if isinstance(error, UnauthorisedError):
        return refusal(401, str(error))
    if isinstance(error, BadRequestError):
        return refusal(400, str(error))
    if isinstance(error, UsageError):
        return refusal(STATUSES.get(type(error), 422), str(error))
    if isinstance(error, TransientError | ConfigError):
        logger.error("%s", error)
        return refusal(503, "The metadata database does not answer as it should; try again in a moment.")
    logger.error("A request failed for a reason that nobody foresaw.", exc_info=error)
    return refusal(500, "The request failed for a reason that nobody foresaw; the log of the API says which.")


def told(fault: dict[str, Any]) -> str:
    """One fault that pydantic found: where, and what."""
    place = ".".join(str(part) for part in fault["loc"] if part != "body") or "body"
    return f"{place[:200]}: {fault['msg'].removeprefix('Value error, ')}"


def add_error_answers(app: FastAPI) -> None:
    """Answer every error in the one form that is documented."""

    async def ours(_: Request, error: Exception) -> JSONResponse:
        return answer_to(error)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        faults = error.errors() if isinstance(error, RequestValidationError) else []
        more = f"; and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
        return refusal(422, "The request does not fit: " + "; ".join(map(told, faults[:MOST_FAULTS])) + f"{more}.")

    async def unrouted(request: Request, error: Exception) -> JSONResponse:
        status = error.status_code if isinstance(error, HTTPException) else 500
        words = {404: "There is no such route.", 405: f"This route does not take {request.method}."}
        return refusal(status, words.get(status, "The request cannot be read."))

    app.add_exception_handler(UsageError, ours)
    app.add_exception_handler(TransientError, ours)
    app.add_exception_handler(ConfigError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, unrouted)
    app.add_exception_handler(Exception, ours)

"""The token of a session: who, in which organisation, since which login, until when; signed, so that nothing is stored.

A session is its event ``user.login``: a later ``user.logout`` of the same user ends it, in every process of the API.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError

PREFIX: Final = "ws_"


class Session(BaseModel):
    """``login`` is the id of the login's event; ``expires`` seconds since 1970."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: UUID
    email: str
    organisation: str | None
    login: int
    expires: int


class SessionTokens:
    """Signs and reads tokens with HMAC-SHA256 (RFC 2104)."""

    def __init__(self, secret: str | None, clock: Callable[[], float] = time.time) -> None:
        """Without a secret one is drawn: its tokens end with this process."""
        self._secret = (secret or secrets.token_urlsafe(48)).encode()
        self._clock = clock

    def issue(self, session: Session) -> str:
        """The token of a session."""
        claims = _encoded(session.model_dump_json().encode())
        return f"{PREFIX}{claims}.{self._signature(claims)}"

    def read(self, token: str) -> Session | None:
        """The session of a token; None when it was not issued with this secret, or has expired."""
        claims, _, signature = token.removeprefix(PREFIX).partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(claims).encode()):
            return None
        try:
            session = Session.model_validate_json(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        except (ValueError, ValidationError):
            return None
        return session if self._clock() < session.expires else None

    def _signature(self, claims: str) -> str:
        return _encoded(hmac.digest(self._secret, claims.encode(), "sha256"))


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")

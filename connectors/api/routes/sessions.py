"""Logging in and out. A session is its login: its token says which, and a logout ends all sessions of the user."""

from __future__ import annotations

import time

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from connectors.api.credentials import SessionCredential
from connectors.api.errors import UnauthorisedError
from connectors.api.hashing import hashing
from connectors.api.request import Acting
from connectors.api.session_tokens import Session, SessionTokens
from connectors.entities.actor import SYSTEM
from connectors.entities.directory import open_directory
from connectors.entities.errors import ForbiddenError
from weir.settings import Settings

router = APIRouter(prefix="/sessions", tags=["sessions"])


class Login(BaseModel):
    """``organisation`` says for which the session is to be, where the user belongs to several."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    email: str = Field(max_length=320)
    password: str = Field(max_length=1_000, repr=False)
    organisation: str | None = Field(None, max_length=100)


class Opened(BaseModel):
    """``token`` is for the header ``Authorization: Bearer``; it holds for ``expires_in`` seconds."""

    token: str
    expires_in: int
    organisation: str | None
    role: str


@router.post("", status_code=201)
async def log_in(login: Login, request: Request) -> Opened:
    """Open a session with e-mail address and password."""
    settings: Settings = request.app.state.settings
    session, role = await to_thread.run_sync(_logged_in, settings, login, limiter=hashing())
    tokens: SessionTokens = request.app.state.tokens
    return Opened(
        token=tokens.issue(session),
        expires_in=settings.api.session_seconds,
        organisation=session.organisation,
        role=role,
    )


@router.delete("", status_code=204, response_class=Response)
def log_out(acting: Acting) -> None:
    """End every session of this user, wherever it was opened."""
    if not isinstance(acting.credential, SessionCredential):
        raise ForbiddenError("A key has no session to end; revoke the key instead.")
    with acting.directory() as directory:
        directory.users.logout(acting.name)


def _logged_in(settings: Settings, login: Login) -> tuple[Session, str]:
    """The session of a login and its role; a wrong password is kept as an event before it is refused."""
    with open_directory(settings.postgres.dsn.get_secret_value(), SYSTEM) as directory:
        found = directory.users.login(login.email, login.password, login.organisation)
        if found is not None:
            row = directory.rows(
                "SELECT max(id) AS id FROM events WHERE entity_id = %(user)s AND event_type = 'user.login'",
                {"user": found.user},
            )[0]
    if found is None:
        raise UnauthorisedError
    expires = int(time.time()) + settings.api.session_seconds
    actor = found.actor
    session = Session(
        user=found.user, email=actor.name, organisation=actor.organisation, login=row["id"], expires=expires
    )
    return session, actor.role

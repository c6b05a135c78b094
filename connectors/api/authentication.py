"""Who a request comes from, before anything else of it is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from connectors.api.credentials import Credential, KeyCredential, SessionCredential, credentials_of
from connectors.api.errors import UnauthorisedError, answer_to
from connectors.api.hashing import hashing
from connectors.api.refusal_log import Known
from connectors.api.session_tokens import PREFIX as SESSION_PREFIX
from connectors.api.session_tokens import SessionTokens
from connectors.api.verified_keys import VerifiedKeys
from connectors.entities.actor import SYSTEM, Role
from connectors.entities.directory import Directory, open_directory
from connectors.entities.errors import NotFoundError
from connectors.postgres.connection import connection
from weir.errors import WeirError

OPEN: Final = frozenset({"/health", "/ready", "/prometheus", "/openapi.json", "/docs"})
"""Paths for everybody; they know of no organisation."""
LOGIN: Final = ("POST", "/sessions")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever the present request comes from."""

    credential: Credential
    dsn: str

    @property
    def name(self) -> str:
        """As it stands in events."""
        return self.credential.name

    @property
    def organisation(self) -> str | None:
        """Slug of the one organisation it is bound to, None for a superuser."""
        return self.credential.organisation

    @contextmanager
    def directory(self, role: Role = "viewer") -> Iterator[Directory]:
        """A transaction on its behalf, with the role that it has now, which must be at least ``role``.

        Blocks. Raises :class:`~connectors.api.errors.UnauthorisedError` when the credential holds no longer, and
        :class:`~connectors.entities.errors.ForbiddenError`; the service itself asks for more where it changes things.
        """
        with connection(self.dsn) as conn:
            actor = self.credential.actor(Directory(conn, SYSTEM))
            actor.require(role, "use this route")
            yield Directory(conn, actor)

    def organisation_of(self, named: str | None) -> str | None:
        """The organisation that a request is about: the one it names, else the caller's own.

        Raises :class:`~connectors.entities.errors.NotFoundError` for another than the caller's own.
        """
        if named is not None and self.organisation not in (None, named):
            raise NotFoundError(f"There is no organisation {named!r}.")
        return named or self.organisation


class Authentication:
    """Lets requests with credentials that hold pass, as :class:`Caller` in ``scope["state"]``."""

    def __init__(self, app: ASGIApp, dsn: str, tokens: SessionTokens, verified: VerifiedKeys) -> None:
        """Guard ``app`` with the keys and users of the database of ``dsn``."""
        self._app = app
        self._dsn = dsn
        self._tokens = tokens
        self._verified = verified

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401 without having read its body."""
        if scope["type"] != "http" or scope["path"] in OPEN or (scope["method"], scope["path"]) == LOGIN:
            await self._app(scope, receive, send)
            return
        try:
            credential = await self._credential(scope)
        except WeirError as error:
            await answer_to(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = Caller(credential, self._dsn)
        await self._app(scope, receive, send)

    async def _credential(self, scope: Scope) -> Credential:
        text = credentials_of(Headers(scope=scope))
        if text is None:
            raise UnauthorisedError
        if text.startswith(SESSION_PREFIX):
            session = self._tokens.read(text)
            if session is None:
                raise UnauthorisedError
            return SessionCredential(session)
        remembered = self._verified.get(text)
        if remembered is not None:
            return remembered
        credential, suspect = await to_thread.run_sync(self._verify, text, limiter=hashing())
        if credential is None:
            scope.setdefault("state", {})["suspect"] = suspect
            raise UnauthorisedError
        self._verified.add(text, credential)
        return credential

    def _verify(self, text: str) -> tuple[KeyCredential | None, Known | None]:
        """Whose key it is; or else whose it claims to be, where there is a key of that prefix."""
        prefix = text.removeprefix("wr_").partition("_")[0]
        with open_directory(self._dsn, SYSTEM) as directory:
            actor = directory.keys.verify(text)
            if actor is not None:
                return KeyCredential(actor.name, actor.organisation, prefix), None
            found = directory.rows(
                "SELECT o.key FROM api_keys k JOIN entities o ON o.id = k.organisation_id WHERE k.prefix = %(prefix)s",
                {"prefix": prefix},
            )
            return None, Known(f"key:{prefix}", found[0]["key"]) if found else None

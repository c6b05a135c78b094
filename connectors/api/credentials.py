"""What a request brings to say who it is, and who that is at this moment, asked of the database with every request.

A revoked key, a retired device, a lost role or a logout count from the next request on; only the slow hash of a key is
remembered for a while.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.datastructures import Headers

from connectors.api.errors import UnauthorisedError
from connectors.api.session_tokens import Session
from connectors.entities.actor import Actor
from connectors.entities.directory import Directory

LONGEST: Final = 4_096
"""Characters of credentials; no key or token of ours comes near it."""


class Credential(Protocol):
    """Whoever a request comes from; ``organisation`` is None for a superuser."""

    @property
    def name(self) -> str:
        """As it stands in events."""

    @property
    def organisation(self) -> str | None:
        """Slug of the one organisation that it is bound to."""

    def actor(self, directory: Directory) -> Actor:
        """Who that is now; raises :class:`~connectors.api.errors.UnauthorisedError` when it holds no longer."""


@dataclass(frozen=True, slots=True)
class KeyCredential:
    """An API key whose secret was verified."""

    name: str
    organisation: str | None
    prefix: str

    def actor(self, directory: Directory) -> Actor:
        """The key's role, as long as key, organisation and device are there."""
        found = directory.rows(
            """
            SELECT k.role, o.key AS organisation, k.device_id
            FROM api_keys k JOIN entities o ON o.id = k.organisation_id LEFT JOIN entities d ON d.id = k.device_id
            WHERE k.prefix = %(prefix)s AND (k.revoked_at IS NULL OR k.revoked_at > now())
              AND (k.expires_at IS NULL OR k.expires_at > now()) AND o.is_active AND d.is_active IS NOT FALSE
            """,
            {"prefix": self.prefix},
        )
        if not found:
            raise UnauthorisedError
        return Actor(self.name, found[0]["role"], found[0]["organisation"], found[0]["device_id"])


@dataclass(frozen=True, slots=True)
class SessionCredential:
    """A user who has logged in."""

    session: Session

    @property
    def name(self) -> str:
        """The e-mail address."""
        return self.session.email

    @property
    def organisation(self) -> str | None:
        """The organisation that the session is for."""
        return self.session.organisation

    def actor(self, directory: Directory) -> Actor:
        """The user's role, until a logout or another password, and while user and membership are there."""
        found = directory.rows(
            """
            SELECT u.key, c.is_superuser, (
                SELECT r.properties ->> 'role'
                FROM relationships r JOIN entities o ON o.id = r.to_entity
                WHERE r.from_entity = u.id AND r.relationship_type = 'belongs_to' AND o.key = %(organisation)s
                  AND o.entity_type = 'organisation' AND o.is_active
                  AND r.valid_from <= now() AND (r.valid_to IS NULL OR r.valid_to > now())
                ORDER BY r.id DESC LIMIT 1) AS role
            FROM entities u JOIN entities h ON h.id = u.organisation_id JOIN user_credentials c ON c.user_id = u.id
            WHERE u.id = %(user)s AND u.is_active AND h.is_active AND NOT EXISTS (
                SELECT FROM events v
                WHERE v.entity_id = u.id AND v.id > %(login)s
                  AND (v.event_type = 'user.logout' OR (v.event_type = 'user.updated' AND v.data ? 'password')))
            """,
            {
                "user": self.session.user,
                "organisation": self.session.organisation,
                "login": self.session.login,
            },
        )
        if not found:
            raise UnauthorisedError
        user = found[0]
        if self.session.organisation is None and user["is_superuser"]:
            return Actor(user["key"], "superuser")
        if user["role"] not in ("admin", "editor", "viewer"):
            raise UnauthorisedError
        return Actor(user["key"], user["role"], self.session.organisation)


def credentials_of(headers: Headers) -> str | None:
    """The key or token of a request: bearer, ``X-API-Key``, or basic with prefix and secret of a key."""
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    text: str | None = None
    if not scheme:
        text = headers.get("x-api-key", "").strip()
    elif scheme.lower() == "bearer":
        text = rest.strip()
    elif scheme.lower() == "basic":
        text = _key_of_basic(rest.strip())
    return text if text and len(text) <= LONGEST and text.isascii() else None


def _key_of_basic(encoded: str) -> str | None:
    try:
        prefix, _, secret = base64.b64decode(encoded, validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        return None
    return f"wr_{prefix.removeprefix('wr_')}_{secret}"

"""What goes in and out of :mod:`connectors.entities.users`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, SecretStr

from connectors.entities.actor import Actor

MemberRole = Literal["admin", "editor", "viewer"]


class UserCreate(BaseModel):
    """A user to make, as a member of ``organisation`` (a slug; None: the actor's own) with a role there.

    Without a password nobody can log in as this user yet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    email: str
    name: str = ""
    organisation: str | None = None
    role: MemberRole = "viewer"
    password: SecretStr | None = None
    is_superuser: bool = False
    properties: dict[str, Any] = {}


class User(BaseModel):
    """A user as lists show it; ``roles`` by organisation, as far as the actor sees those."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    email: str
    name: str
    organisation: str
    roles: dict[str, MemberRole]
    is_superuser: bool
    has_password: bool
    is_active: bool
    locked_until: datetime | None
    last_login: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A user whose password was right: who it acts as, and every role that it could act with."""

    user: UUID
    actor: Actor
    roles: dict[str, MemberRole]

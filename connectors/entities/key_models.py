"""What goes in and out of :mod:`connectors.entities.keys`."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

KeyRole = Literal["device", "viewer", "editor", "admin"]


class KeyCreate(BaseModel):
    """A key to make. With ``device`` (a device id) it is of that one device; else of the organisation (a slug).

    A key of the organisation with the role ``device`` acts for every device of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: KeyRole = "device"
    device: str | None = None
    organisation: str | None = None
    name: str = Field(default="", max_length=200)
    expires_at: AwareDatetime | None = None


class ApiKey(BaseModel):
    """A key as lists show it: everything but its secret."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    prefix: str
    organisation: str
    device: str | None
    role: KeyRole
    name: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewKey(ApiKey):
    """A key that was made just now; ``secret`` is its whole text and is never shown again."""

    secret: str = Field(repr=False)

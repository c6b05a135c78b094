"""What goes in and out of :mod:`connectors.entities.commands`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict

CommandStatus = Literal["pending", "delivered", "answered", "expired", "cancelled"]


class CommandCreate(BaseModel):
    """What a device is to do, such as ``restart``, with parameters; ``expires_at`` None waits for ever."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    parameters: dict[str, Any] = {}
    expires_at: AwareDatetime | None = None


class Command(BaseModel):
    """A command and how far it came: pending, delivered to the device, and then one of the three ends."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    organisation: str
    device: str
    command: str
    parameters: dict[str, Any]
    status: CommandStatus
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    delivered_at: datetime | None
    answered_at: datetime | None
    answer: dict[str, Any] | None

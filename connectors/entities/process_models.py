"""What goes in and out of :mod:`connectors.entities.processes`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

ProcessStatus = Literal["active", "retired"]
InstanceStatus = Literal["running", "completed", "failed", "cancelled"]


class ProcessCreate(BaseModel):
    """One version of a workflow, such as a recipe; ``organisation`` None is the actor's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    process_type: str
    definition: dict[str, Any]
    organisation: str | None = None


class Process(BaseModel):
    """One version of a workflow."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    organisation: str
    name: str
    version: str
    process_type: str
    definition: dict[str, Any]
    status: ProcessStatus
    created_at: datetime
    updated_at: datetime


class ProcessInstance(BaseModel):
    """One time that a workflow is or was done; ``name`` and ``version`` are those of the process."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    process_id: UUID
    organisation: str
    name: str
    version: str
    batch_id: str | None
    status: InstanceStatus
    started_at: datetime
    completed_at: datetime | None
    parameters: dict[str, Any]
    results: dict[str, Any]

"""Processes: workflows such as recipes, in versions, and each time that one is done."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from connectors.api.request import DEFAULT_LIMIT, Acting, Cursor, Limit
from connectors.api.routes.entity_routes import Organisation
from connectors.entities.pages import Page
from connectors.entities.process_models import InstanceStatus, Process, ProcessCreate, ProcessInstance, ProcessStatus

router = APIRouter(prefix="/processes", tags=["processes"])

Version = Annotated[str | None, Query(description="default: the newest that is active")]


class Start(BaseModel):
    """``batch_id`` is what people call this run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str | None = None
    batch_id: str | None = None
    parameters: dict[str, Any] = {}


class End(BaseModel):
    """How an instance ended; ``results`` are kept unless it was cancelled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Literal["completed", "failed", "cancelled"]
    results: dict[str, Any] = {}


@router.get("")
def list_processes(
    acting: Acting,
    organisation: Organisation = None,
    name: str | None = None,
    status: ProcessStatus | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Process]:
    """Every version of every process."""
    with acting.directory() as directory:
        return directory.processes.list(
            organisation=acting.organisation_of(organisation), name=name, status=status, limit=limit, cursor=cursor
        )


@router.post("", status_code=201)
def define_process(new: ProcessCreate, acting: Acting) -> Process:
    """Define a version; it can be changed by defining it again until it has run."""
    with acting.directory() as directory:
        return directory.processes.define(new)


@router.get("/instances")
def list_all_instances(
    acting: Acting,
    organisation: Organisation = None,
    status: InstanceStatus | None = None,
    batch_id: str | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ProcessInstance]:
    """Every time that any process was done, from the newest to the oldest."""
    with acting.directory() as directory:
        return directory.processes.instances(
            organisation=acting.organisation_of(organisation),
            status=status,
            batch_id=batch_id,
            limit=limit,
            cursor=cursor,
        )


@router.get("/instances/{instance}")
def read_instance(instance: UUID, acting: Acting) -> ProcessInstance:
    """One time that a process was done."""
    with acting.directory() as directory:
        return directory.processes.instance(instance)


@router.post("/instances/{instance}/end")
def end_instance(instance: UUID, end: End, acting: Acting) -> ProcessInstance:
    """Say how it ended, once."""
    with acting.directory() as directory:
        if end.status == "completed":
            return directory.processes.complete(instance, end.results)
        if end.status == "failed":
            return directory.processes.fail(instance, end.results)
        return directory.processes.cancel(instance)


@router.get("/{name:key}")
def read_process(name: str, acting: Acting, version: Version = None, organisation: Organisation = None) -> Process:
    """One version of a process."""
    with acting.directory() as directory:
        return directory.processes.get(name, version, organisation=acting.organisation_of(organisation))


@router.delete("/{name:key}")
def retire_process(
    name: str, acting: Acting, version: Annotated[str, Query()], organisation: Organisation = None
) -> Process:
    """Retire a version; it can no longer be started."""
    with acting.directory() as directory:
        return directory.processes.retire(name, version, organisation=acting.organisation_of(organisation))


@router.get("/{name:key}/instances")
def list_instances(
    name: str,
    acting: Acting,
    organisation: Organisation = None,
    status: InstanceStatus | None = None,
    batch_id: str | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ProcessInstance]:
    """Every time that this process was done, from the newest to the oldest."""
    with acting.directory() as directory:
        return directory.processes.instances(
            name,
            organisation=acting.organisation_of(organisation),
            status=status,
            batch_id=batch_id,
            limit=limit,
            cursor=cursor,
        )


@router.post("/{name:key}/instances", status_code=201)
def start_process(name: str, start: Start, acting: Acting, organisation: Organisation = None) -> ProcessInstance:
    """Begin to do it."""
    with acting.directory() as directory:
        return directory.processes.start(
            name,
            start.version,
            start.batch_id,
            start.parameters,
            organisation=acting.organisation_of(organisation),
        )

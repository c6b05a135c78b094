"""Commands to a device: people send them, the device asks for them and answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict

from connectors.api.authentication import Caller
from connectors.api.command_watch import CommandWatch
from connectors.api.request import DEFAULT_LIMIT, Acting, Cursor, Limit
from connectors.entities.command_models import Command, CommandCreate, CommandStatus
from connectors.entities.directory import Directory
from connectors.entities.errors import NotFoundError
from connectors.entities.pages import Page
from connectors.entities.tenancy import device_named

router = APIRouter(prefix="/devices/{key:key}/commands", tags=["commands"])

Wait = Annotated[float, Query(ge=0, le=30, description="seconds to wait for a command when there is none")]


class Answer(BaseModel):
    """What the device has to say about a command."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer: dict[str, Any]


@router.get("")
async def take_commands(key: str, acting: Acting, request: Request, wait: Wait = 0) -> list[Command]:
    """What the device has not answered yet, the oldest first.

    Asked by the device itself, they count as delivered; they are given again until they are answered. With ``wait`` the
    answer comes as soon as there is a command.
    """
    watch: CommandWatch = request.app.state.watch
    deadline = time.monotonic() + wait
    while True:
        device, found = await to_thread.run_sync(_waiting, key, acting)
        remaining = deadline - time.monotonic()
        if found or remaining <= 0 or not await watch.wait(device, remaining):
            return list(found)


@router.get("/history")
def list_commands(
    key: str, acting: Acting, status: CommandStatus | None = None, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[Command]:
    """Every command that was sent to the device, from the newest to the oldest."""
    with acting.directory() as directory:
        return directory.commands.list(key, status=status, limit=limit, cursor=cursor)


@router.post("", status_code=201)
def send_command(key: str, command: CommandCreate, acting: Acting) -> Command:
    """Send a command; it waits for the device, at most until it expires."""
    with acting.directory() as directory:
        return directory.commands.send(key, command)


@router.get("/{command}")
def read_command(key: str, command: UUID, acting: Acting) -> Command:
    """One command, and how far it came."""
    with acting.directory() as directory:
        return _of_device(directory, key, command)


@router.post("/{command}/answer")
def answer_command(key: str, command: UUID, answer: Answer, acting: Acting) -> Command:
    """Answer a command, once; the same answer again changes nothing."""
    with acting.directory("device") as directory:
        _of_device(directory, key, command)
        return directory.commands.answer(command, answer.answer)


@router.delete("/{command}")
def cancel_command(key: str, command: UUID, acting: Acting) -> Command:
    """Take back a command that is not answered."""
    with acting.directory() as directory:
        _of_device(directory, key, command)
        return directory.commands.cancel(command)


def _waiting(key: str, acting: Caller) -> tuple[UUID, Sequence[Command]]:
    """The device, and what waits for it; only the device itself counts as having received it."""
    with acting.directory("device") as directory:
        device = device_named(directory, key).id
        return device, directory.commands.waiting(key, deliver=directory.actor.role == "device")


def _of_device(directory: Directory, key: str, command: UUID) -> Command:
    found = directory.commands.get(command)
    if found.device != key:
        raise NotFoundError(f"There is no command {command}.")
    return found

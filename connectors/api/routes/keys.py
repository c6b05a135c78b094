"""API keys: the text of a new one is in its answer and nowhere else."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from connectors.api.request import DEFAULT_LIMIT, Acting, Cursor, Limit
from connectors.api.routes.entity_routes import Organisation
from connectors.entities.key_models import ApiKey, KeyCreate, NewKey
from connectors.entities.pages import Page

router = APIRouter(prefix="/keys", tags=["keys"])


class Rotation(BaseModel):
    """The old key holds for ``grace_seconds`` more, so that its users can change over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grace_seconds: float = Field(0, ge=0, le=10_000_000)
    expires_at: AwareDatetime | None = None


@router.get("")
def list_keys(
    acting: Acting,
    organisation: Organisation = None,
    device: Annotated[str | None, Query(description="device id: only its keys")] = None,
    include_revoked: bool = False,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ApiKey]:
    """Keys without their secrets."""
    with acting.directory() as directory:
        return directory.keys.list(
            organisation=acting.organisation_of(organisation),
            device=device,
            include_revoked=include_revoked,
            limit=limit,
            cursor=cursor,
        )


@router.post("", status_code=201)
def make_key(new: KeyCreate, acting: Acting) -> NewKey:
    """Make a key of a device, or of an organisation."""
    with acting.directory() as directory:
        return directory.keys.create(new)


@router.get("/{prefix:key}")
def read_key(prefix: str, acting: Acting) -> ApiKey:
    """One key without its secret."""
    with acting.directory() as directory:
        return directory.keys.get(prefix)


@router.post("/{prefix:key}/rotate", status_code=201)
def rotate_key(prefix: str, rotation: Rotation, acting: Acting) -> NewKey:
    """Make a key that may do the same, and end the old one."""
    with acting.directory() as directory:
        grace = timedelta(seconds=rotation.grace_seconds)
        return directory.keys.rotate(prefix, grace=grace, expires_at=rotation.expires_at)


@router.delete("/{prefix:key}")
def revoke_key(prefix: str, acting: Acting) -> ApiKey:
    """End a key; the next request with it is refused."""
    with acting.directory() as directory:
        return directory.keys.revoke(prefix)

"""Users of an organisation: their roles and passwords."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, SecretStr

from connectors.api.authentication import Caller
from connectors.api.hashing import hashing
from connectors.api.request import DEFAULT_LIMIT, Acting, Cursor, Limit
from connectors.api.routes.entity_routes import IncludeInactive, Organisation
from connectors.entities.models import Entity
from connectors.entities.pages import Page
from connectors.entities.user_models import MemberRole, User, UserCreate

router = APIRouter(prefix="/users", tags=["users"])


class Password(BaseModel):
    """A new password."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    password: SecretStr


class Role(BaseModel):
    """A role in an organisation; null takes it away."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: MemberRole | None


@router.get("")
def list_users(
    acting: Acting,
    organisation: Organisation = None,
    include_inactive: IncludeInactive = False,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[User]:
    """Users and their roles; for admins."""
    with acting.directory() as directory:
        return directory.users.list(
            organisation=acting.organisation_of(organisation),
            include_inactive=include_inactive,
            limit=limit,
            cursor=cursor,
        )


@router.post("", status_code=201)
async def make_user(new: UserCreate, acting: Acting) -> Entity:
    """Make a user; without a password nobody can log in as it yet."""
    return await to_thread.run_sync(_made, new, acting, limiter=hashing())


@router.get("/{email:key}")
def read_user(email: str, acting: Acting) -> User:
    """One user; everybody sees the own account."""
    with acting.directory() as directory:
        return directory.users.get(email)


@router.put("/{email:key}/password", status_code=204, response_class=Response)
async def set_password(email: str, wanted: Password, acting: Acting) -> None:
    """Set a password; it ends all sessions of that user."""
    await to_thread.run_sync(_kept, email, wanted, acting, limiter=hashing())


@router.put("/{email:key}/roles/{organisation:key}")
def set_role(email: str, organisation: str, wanted: Role, acting: Acting) -> User:
    """Give a user a role in an organisation, or take it away."""
    with acting.directory() as directory:
        return directory.users.set_role(email, organisation, wanted.role)


@router.delete("/{email:key}")
def retire_user(email: str, acting: Acting) -> Entity:
    """End an account."""
    with acting.directory() as directory:
        return directory.users.retire(email)


def _made(new: UserCreate, acting: Caller) -> Entity:
    with acting.directory() as directory:
        return directory.users.create(new)


def _kept(email: str, wanted: Password, acting: Caller) -> None:
    with acting.directory() as directory:
        directory.users.set_password(email, wanted.password.get_secret_value())

"""Who acts: a user, a key or Weir itself, with a role and the one organisation it is bound to.

========== =========================================================================================
role       may
========== =========================================================================================
superuser  everything, in every organisation
admin      in its organisation: all that follows, users, keys, schemas
editor     in its organisation: all that follows, and change entities, relationships, processes, send commands
viewer     in its organisation: read
device     read and answer the commands of its own device, nothing else
========== =========================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from connectors.entities.errors import ForbiddenError

Role = Literal["superuser", "admin", "editor", "viewer", "device"]

RANK: Final[dict[Role, int]] = {"device": 0, "viewer": 1, "editor": 2, "admin": 3, "superuser": 4}


@dataclass(frozen=True, slots=True)
class Actor:
    """``name`` stands in every event; ``organisation`` is a slug, None only for a superuser.

    ``device`` is the entity id of the one device that a device key is for.
    """

    name: str
    role: Role
    organisation: str | None = None
    device: UUID | None = None

    def __post_init__(self) -> None:
        """Refuse an actor that no rule would hold."""
        if (self.organisation is None) != (self.role == "superuser"):
            raise ValueError("an actor is bound to one organisation, unless it is a superuser")

    def require(self, role: Role, doing: str) -> None:
        """Raise :class:`ForbiddenError` unless the actor's role is at least ``role``."""
        if RANK[self.role] < RANK[role]:
            raise ForbiddenError(f"{self.name} is {self.role} and may not {doing}; that takes {role}.")

    def sees(self, organisation: str) -> bool:
        """Whether rows of an organisation (slug) are for this actor at all."""
        return self.organisation is None or self.organisation == organisation


SYSTEM: Final = Actor("weir", "superuser")
"""Weir itself: the command line of whoever holds the database's password, and the workers."""

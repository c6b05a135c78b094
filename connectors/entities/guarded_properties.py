"""Properties that take more than the right to change an entity, because somebody else is bound by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from connectors.entities.actor import Actor, Role
from connectors.entities.values import same_json


class _Guard(NamedTuple):
    """Who may set a property, what that is called, and whether the same is asked of who takes it away."""

    role: Role
    doing: str
    removal: bool


_LIMITS: Final = _Guard("admin", "say how much a device may send", removal=True)
_SAMPLING: Final = _Guard("admin", "say which readings of a device are kept", removal=True)

GUARDED: Final[Mapping[str, Mapping[str, _Guard]]] = {
    "organisation": {
        # readings say nothing of organisations: who takes in unknown devices takes those of all others, too
        "unknown_devices": _Guard("superuser", "say which unknown devices an organisation takes in", removal=False),
        # who shares an installation is bound by it, and would be freed by its removal
        "quotas": _Guard("superuser", "say how much an organisation may send", removal=True),
    },
    "device": {"quotas": _LIMITS, "sampling": _SAMPLING},
    "equipment": {"quotas": _LIMITS, "sampling": _SAMPLING},
}
"""By kind and property."""


def require_guards(actor: Actor, kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raise :class:`~connectors.entities.errors.ForbiddenError` for a change that takes a higher role."""
    for name, guard in GUARDED.get(kind, {}).items():
        wanted = after.get(name)
        if (wanted or guard.removal) and not same_json(wanted, before.get(name)):
            actor.require(guard.role, guard.doing)

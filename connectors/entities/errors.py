"""What the service refuses, one sentence each; the HTTP API answers with the status that stands beside each.

============== ====== =======================================================
error          status meaning
============== ====== =======================================================
InvalidError   422    what was asked for does not fit; nothing was written
NotFoundError  404    there is no such thing, or the actor may not see it
ForbiddenError 403    the actor sees it, and may not do this with it
ConflictError  409    it clashes with what is there; nothing was written
============== ====== =======================================================
"""

from __future__ import annotations

from weir.errors import UsageError


class InvalidError(UsageError):
    """What was asked for does not fit; the sentence says which, where and why."""


class NotFoundError(UsageError):
    """There is no such thing, or not for this actor: the two cannot be told apart."""


class ForbiddenError(UsageError):
    """The actor's role does not allow this."""


class ConflictError(UsageError):
    """It clashes with what is there, such as a key that is taken."""

"""What a migration did, or would do, to one object of one server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["create", "alter", "remove", "differs", "unchanged"]


@dataclass(frozen=True, slots=True)
class Change:
    """One line of ``weir migrate``.

    ``part`` is the server (postgres, clickhouse, kafka, registry), ``name`` the object on it, ``action`` what was done
    to it (in a dry run: what would be), ``detail`` a short phrase. ``differs`` means that the object does not look as
    the settings say and was left as it is; ``detail`` then says what to do.
    """

    part: str
    name: str
    action: Action
    detail: str = ""

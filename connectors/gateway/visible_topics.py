"""Which topics a caller may know of. Every other topic answers as if it did not exist.

A caller sees the readings topic, and its organisation's own topics: ``<slug>.<name>``, where the name has no dot. Slugs
may hold dots, so this is what gives each topic one owner: ``acme.x.orders`` is of ``acme.x``, never of ``acme``.
Nothing else under Weir's namespace is anybody's, whatever an organisation is called.
"""

from __future__ import annotations

import re
from typing import Final

from connectors.gateway.errors import FORBIDDEN, TOPIC_NOT_FOUND, GatewayError
from connectors.gateway.records import Caller
from weir.settings import Settings

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_MOST_CHARACTERS: Final = 249
"""Kafka's own limit to a topic's name."""

NOT_FOUND_MESSAGE: Final = "Topic not found."


def is_visible(settings: Settings, caller: Caller, topic: str) -> bool:
    """Whether ``topic`` is one that the caller's organisation may use; a device's key is for readings only."""
    if topic == settings.topics.readings:
        return True
    if caller.device is not None or topic.startswith(f"{settings.namespace}."):
        return False
    owner, dot, name = topic.rpartition(".")
    return bool(dot) and owner == caller.organisation and len(topic) <= _MOST_CHARACTERS and bool(_NAME.fullmatch(name))


def topic_not_found() -> GatewayError:
    """The one answer for a topic that does not exist and for one that is somebody else's."""
    return GatewayError(TOPIC_NOT_FOUND, NOT_FOUND_MESSAGE)


def writing_refusal(settings: Settings, caller: Caller, topic: str) -> GatewayError | None:
    """Why the caller may not write to ``topic`` at all; None when it may, if the topic exists.

    To be asked before anything that depends on whether the topic exists, and before a schema is registered for it.
    """
    if not is_visible(settings, caller, topic):
        return topic_not_found()
    if caller.role == "viewer":
        return GatewayError(FORBIDDEN, "This key may read; writing takes one of another role.")
    return None

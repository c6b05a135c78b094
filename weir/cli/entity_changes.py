"""What the commands of every kind of entity do alike: add one, set what changes, retire it, and say so."""

from __future__ import annotations

from typing import Any

from connectors.entities.models import EntityCreate
from weir.cli.acting import directory
from weir.cli.entity_options import update_of
from weir.cli.entity_table import fields_of, print_fields, told


def add_entity(wanted: EntityCreate, as_json: bool) -> None:
    """Add an entity; JSON has all of its fields."""
    with directory() as metadata:
        made = metadata.entities.create(wanted)
    print_fields(fields_of(made), True) if as_json else told("added", made)


def set_entity(kind: str, key: str, given: dict[str, Any], parent: str | None = None) -> None:
    """Change what the options of :func:`~weir.cli.entity_options.changed` gave."""
    update = update_of(**given)
    with directory() as metadata:
        made = metadata.entities.update(metadata.entities.get(kind, key, parent).id, update)
    told("set", made)


def retire_entity(kind: str, key: str, parent: str | None = None) -> None:
    """Retire an entity; a second time changes nothing."""
    with directory() as metadata:
        made = metadata.entities.retire(metadata.entities.get(kind, key, parent).id)
    told("retired", made)

"""Which Avro schema each topic's values have, and registering them."""

from __future__ import annotations

import json

from connectors.registry import Registry, value_subject
from schemas import load_schema, load_schema_text
from weir.change import Change
from weir.errors import ConfigError
from weir.settings import Settings

LEVEL = "BACKWARD"


def contracts(settings: Settings) -> dict[str, str]:
    """Subject → name of the record in schemas/avro. Dead letters have no schema: their values are raw bytes.

    The readings topic takes two records. The second has a subject of its own, named as Confluent's
    TopicRecordNameStrategy does, because two records of one subject would have to be compatible with each other.
    """
    topics = settings.topics
    records = {
        topics.readings: "Reading",
        topics.aggregates_1m: "Aggregate",
        topics.aggregates_1h: "Aggregate",
        topics.alerts: "Alert",
        topics.events: "Event",
        topics.commands: "Commands",
    }
    batch = {record_subject(topics.readings, "ReadingBatch"): "ReadingBatch"}
    return {value_subject(topic): record for topic, record in records.items()} | batch


def record_subject(topic: str, record: str) -> str:
    """The subject of one record of a topic that takes several."""
    return f"{topic}-{load_schema(record)['namespace']}.{record}"


def contract_text(record: str) -> str:
    """The schema of a record as it is registered."""
    return json.dumps(load_schema(record), separators=(",", ":"), ensure_ascii=False)


def apply_contracts(registry: Registry, settings: Settings, dry_run: bool = False) -> list[Change]:
    """Register every contract that is missing or changed, and hold its subject to BACKWARD compatibility. Blocks.

    Raises :class:`ConfigError` when a changed schema could not read what the last one wrote (a dry run, too),
    :class:`TransientError` when the registry is away.
    """
    return [_apply(registry, subject, record, dry_run) for subject, record in contracts(settings).items()]


def _apply(registry: Registry, subject: str, record: str, dry_run: bool) -> Change:
    latest = registry.latest(subject)
    text = load_schema_text(record)
    changed = latest is None or latest.schema != load_schema(record)
    level = registry.compatibility(subject)
    if changed and latest and (faults := registry.incompatibilities(subject, text)):
        raise ConfigError(f"{record}.avsc cannot follow version {latest.version} of {subject}: {'; '.join(faults)}.")
    if not dry_run:
        if changed:
            registry.register(subject, contract_text(record))
        if level != LEVEL:
            registry.set_compatibility(subject, LEVEL)
    if latest is None:
        return Change("registry", subject, "create", f"{record}, {LEVEL}")
    told = [f"{record} after version {latest.version}"] if changed else []
    told += [f"compatibility {level} → {LEVEL}"] if level != LEVEL else []
    return Change("registry", subject, "alter" if told else "unchanged", ", ".join(told))

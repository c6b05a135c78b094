"""What the gateway asks the metadata: keys, devices, and what changed since it asked last."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import psycopg

from connectors.entities.actor import Role

MOST_CHANGED: Final = 20_000
"""Devices or keys beyond which forgetting all of them is quicker than naming those that changed."""


class KeyRow(NamedTuple):
    """A key as it is now; ``ends_at`` (seconds since 1970) is when it expires or a rotation ends it, None: never."""

    prefix: str
    secret_hash: str
    role: Role
    organisation: str
    device: str | None
    ends_at: float | None
    is_usable: bool
    organisation_properties: Mapping[str, Any]


class DeviceRow(NamedTuple):
    """An active device; ``quotas`` and ``sampling`` are its properties as they are, whatever they are."""

    id: str
    organisation: str
    sensors: Sequence[str]
    quotas: Any
    sampling: Any
    organisation_properties: Mapping[str, Any]


class OrganisationRow(NamedTuple):
    """An organisation that changed."""

    slug: str
    is_active: bool
    properties: Mapping[str, Any]


class Changes(NamedTuple):
    """What changed between two snapshots; ``everything``: too much to name, or nobody knows.

    ``snapshot`` and ``version`` are what the next question begins at.
    """

    snapshot: str
    version: int
    keys: Sequence[KeyRow] = ()
    devices: Sequence[str] = ()
    organisations: Sequence[OrganisationRow] = ()
    everything: bool = False

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.everything or self.keys or self.devices or self.organisations)


def _composed(template: str, **parts: str) -> bytes:
    return template.format(**parts).encode()


def _new(row: str) -> str:
    """Exactly what the last snapshot did not see, however long a transaction has been open meanwhile."""
    return f"""
        {row}.changed_in >= pg_snapshot_xmin(%(since)s::pg_snapshot)
        AND NOT pg_visible_in_snapshot({row}.changed_in, %(since)s::pg_snapshot)
    """


_KEYS: Final = """
    SELECT k.prefix, k.secret_hash, k.role, o.key, d.key,
           extract(epoch FROM least(k.expires_at, k.revoked_at))::float8,
           o.is_active AND coalesce(d.is_active, true)
           AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
           AND (k.revoked_at IS NULL OR k.revoked_at > clock_timestamp()),
           {properties}
    FROM api_keys k JOIN entities o ON o.id = k.organisation_id LEFT JOIN entities d ON d.id = k.device_id
    {which}
"""
_NAMED_KEYS: Final = _composed(_KEYS, properties="o.properties", which="WHERE k.prefix = ANY(%(prefixes)s)")
_DEVICES: Final = b"""
    SELECT d.key, o.key,
           ARRAY(SELECT s.key FROM entities s WHERE s.parent_id = d.id AND s.entity_type = 'sensor' AND s.is_active),
           d.properties -> 'quotas', d.properties -> 'sampling',
           -- only who has limits of its own needs its organisation's for what they leave out
           CASE WHEN d.properties ? 'quotas' THEN o.properties ELSE '{}' END
    FROM entities d JOIN entities o ON o.id = d.organisation_id
    WHERE d.kind IN ('device', 'equipment') AND d.is_active AND d.key = ANY(%(ids)s)
"""
_NOW: Final = b"""
    SELECT pg_current_snapshot()::text, v.version,
           -- a database restored into another server numbers its transactions anew
           coalesce(pg_snapshot_xmax(%(since)s::pg_snapshot) <= pg_snapshot_xmax(pg_current_snapshot()), false)
    FROM metadata_version v
"""
_CHANGED_DEVICES: Final = _composed(
    """
    SELECT d.key FROM entities d WHERE {new_d} AND d.kind IN ('device', 'equipment')
    UNION
    SELECT d.key FROM entities s JOIN entities d ON d.id = s.parent_id WHERE {new_s} AND s.entity_type = 'sensor'
    LIMIT %(most)s + 1
    """,
    new_d=_new("d"),
    new_s=_new("s"),
)
_CHANGED_ORGANISATIONS: Final = _composed(
    "SELECT o.key, o.is_active, o.properties FROM entities o WHERE {new} AND o.entity_type = 'organisation'",
    new=_new("o"),
)
_CHANGED_KEY_IDS: Final = """
    SELECT n.id FROM api_keys n WHERE {new_n}
    UNION ALL
    SELECT n.id FROM entities e JOIN api_keys n ON n.device_id = e.id
    WHERE {new_e} AND e.kind IN ('device', 'equipment')
"""
_CHANGED_KEYS: Final = _composed(
    _KEYS.replace("{which}", f"WHERE k.id IN ({_CHANGED_KEY_IDS}) LIMIT %(most)s + 1"),
    properties="'{}'::jsonb",
    new_n=_new("n"),
    new_e=_new("e"),
)
_NOTE_USES: Final = b"""
    UPDATE api_keys SET last_used_at = clock_timestamp()
    WHERE id IN (
        SELECT id FROM api_keys
        WHERE prefix = ANY(%(prefixes)s)
          AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
"""


def key_rows(conn: psycopg.Connection, prefixes: Sequence[str]) -> list[KeyRow]:
    """The keys of these prefixes, whether they may be used or not."""
    return [KeyRow(*row) for row in conn.execute(_NAMED_KEYS, {"prefixes": list(prefixes)})]


def device_rows(conn: psycopg.Connection, ids: Collection[str]) -> list[DeviceRow]:
    """The active devices among these ids; the others are nobody's."""
    return [DeviceRow(*row) for row in conn.execute(_DEVICES, {"ids": [each for each in ids if _is_text(each)]})]


def changes_since(conn: psycopg.Connection, since: str | None, version: int) -> Changes:
    """What changed since a snapshot; without one, or with one of another server, everything did."""
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        now = conn.execute(_NOW, {"since": since}).fetchone()
        if now is None:
            raise psycopg.errors.UndefinedTable("the table metadata_version is empty")
        told = Changes(now[0], now[1])
        if not now[2]:
            return told._replace(everything=True)
        asked = {"since": since, "most": MOST_CHANGED}
        keys = [KeyRow(*row) for row in conn.execute(_CHANGED_KEYS, asked)]
        if told.version == version:  # keys are not among what that counts
            return _named(told._replace(keys=keys))
        return _named(
            told._replace(
                keys=keys,
                devices=[key for (key,) in conn.execute(_CHANGED_DEVICES, asked)],
                organisations=[OrganisationRow(*row) for row in conn.execute(_CHANGED_ORGANISATIONS, asked)],
            )
        )


def note_uses(conn: psycopg.Connection, prefixes: Sequence[str]) -> None:
    """Note that keys were used, those that are not changed in this moment, each at most once a minute."""
    conn.execute(_NOTE_USES, {"prefixes": list(prefixes)})


def _is_text(device_id: str) -> bool:
    """Whether Postgres can hold it: neither NUL nor half of a surrogate pair is in any id that it has."""
    try:
        return b"\0" not in device_id.encode()
    except UnicodeEncodeError:
        return False


def _named(changes: Changes) -> Changes:
    if max(len(changes.keys), len(changes.devices)) <= MOST_CHANGED:
        return changes
    return changes._replace(keys=(), devices=(), everything=True)

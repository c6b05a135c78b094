"""The transactional outbox: events in the order in which they may be passed on, and how far they were passed on.

An event is written in the transaction in which it happens, so the table is the outbox. It is read in the order
(transaction, id), up to the oldest transaction of the database that still writes: that one may yet commit events that
come before what others have committed meanwhile, and who had passed on those would never look back. The price: a
writing transaction that stays open holds back everything that is written after it began to write.

One reader at a time passes events on. It holds an advisory lock of its session, and whoever else wants to asks for that
lock again and again; the server gives it away within seconds when the session's machine is gone. The position is saved
on the same connection, so that a reader that has lost its lock saves nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, LiteralString, NamedTuple

import psycopg

from connectors.postgres.connection import connection, cut_after

logger = logging.getLogger(__name__)

CHANNEL: Final = "weir_events"
"""Postgres notifies on it when a transaction has written events."""

LOCK_KEY: Final = 0x7765697265766E74  # "weirevnt"

BATCH_EVENTS: Final = 1_000
BATCH_BYTES: Final = 8 * 1024 * 1024
"""Text of one batch: an event may hold a mebibyte, and a thousand of those would fill the memory."""

MOST_DATA_BYTES: Final = 6_500 * 1024
MOST_METADATA_BYTES: Final = 1_000 * 1024
"""Text of one event that Kafka takes; of a longer one its length is told. What the entities write is far smaller, but
by hand a number of ten bytes can be written whose text has a hundred thousand, and it would hold back all behind it."""

COUNTED_EVENTS: Final = 100_000
"""Waiting events that are counted, at most: it is done every second."""

ANSWER_SECONDS: Final = 30.0
"""Longest wait for one answer; then the connection is cut, and the lock with it."""


class Position(NamedTuple):
    """The last event that was passed on: its transaction and its id."""

    written_in: int
    id: int


BEGINNING: Final = Position(0, 0)


class OutboxEvent(NamedTuple):
    """One event as text and numbers; times are ms since 1970, ``data`` and ``metadata`` JSON, ids of entities UUIDs."""

    written_in: int
    id: int
    ts: int
    event_type: str
    org_id: str
    device_id: str
    entity_id: str
    entity_type: str
    entity_key: str
    data: str
    metadata: str
    actor: str
    source: str

    @property
    def position(self) -> Position:
        """Where it stands."""
        return Position(self.written_in, self.id)


class WaitingCommand(NamedTuple):
    """A command that its device has not answered; times are ms since 1970, ``parameters`` JSON."""

    id: str
    command: str
    parameters: str
    status: str
    created_at: int
    expires_at: int | None
    created_by: str


class DeviceCommands(NamedTuple):
    """What waits for one device, the oldest first; ``revision`` is the id of the newest event of its commands."""

    device_id: str
    org_id: str
    revision: int
    commands: list[WaitingCommand]


class Lag(NamedTuple):
    """How many events wait, at most :data:`COUNTED_EVENTS`, and how many seconds ago the oldest was written."""

    events: int
    seconds: float


# Numbers of transactions are the server's: those are left out of which it says that another database runs them, or
# somebody who cannot write events. The snapshot is older than the list of sessions, so whoever is in neither place has
# ended, and is seen next time.
_BATCH: Final = """
    WITH oldest_running AS MATERIALIZED (
        SELECT coalesce(min(running.xid::text::bigint)::text::xid8, pg_snapshot_xmax(pg_current_snapshot())) AS xid
        FROM pg_snapshot_xip(pg_current_snapshot()) AS running (xid)
        WHERE NOT EXISTS (SELECT FROM pg_stat_activity a
                          WHERE a.backend_xid = running.xid::xid
                            AND (a.datname <> current_database()
                                 OR NOT has_table_privilege(a.usesysid, 'events', 'INSERT')))
    ), batch AS MATERIALIZED (
        SELECT * FROM events
        WHERE written_in < (SELECT xid FROM oldest_running)
          AND (written_in, id) > (%(written_in)s::text::xid8, %(id)s)
        ORDER BY written_in, id LIMIT %(most)s
    ), told AS (
        SELECT b.written_in::text::bigint AS written_in, b.id,
               CASE WHEN isfinite(b.ts) THEN floor(extract(epoch FROM b.ts) * 1000)::bigint ELSE 0 END AS ts,
               b.event_type, coalesce(o.key, b.organisation_id::text) AS org_id, coalesce(d.key, '') AS device_id,
               b.entity_id::text AS entity_id, b.entity_type, b.entity_key,
               CASE WHEN octet_length(b.data::text) <= %(most_data)s THEN b.data::text
                    ELSE format('{"left_out_bytes": %%s}', octet_length(b.data::text)) END AS data,
               CASE WHEN octet_length(b.metadata::text) <= %(most_metadata)s THEN b.metadata::text
                    ELSE format('{"left_out_bytes": %%s}', octet_length(b.metadata::text)) END AS metadata,
               b.actor, b.source
        FROM batch b
        LEFT JOIN entities o ON o.id = b.organisation_id
        LEFT JOIN entities e ON e.id = b.entity_id
        LEFT JOIN entities d ON d.id = CASE WHEN e.kind IN ('device', 'equipment') THEN e.id ELSE e.parent_id END
    ), measured AS (
        SELECT *, sum(octet_length(data) + octet_length(metadata)) OVER (ORDER BY written_in, id)
                  - octet_length(data) - octet_length(metadata) AS bytes_before
        FROM told
    )
    SELECT written_in, id, ts, event_type, org_id, device_id, entity_id, entity_type, entity_key, data, metadata, actor,
           source
    FROM measured WHERE bytes_before < %(most_bytes)s ORDER BY written_in, id
"""

_COMMANDS: Final = """
    SELECT d.key, o.key,
           coalesce((SELECT max(v.id) FROM events v
                     WHERE v.entity_id = d.id AND starts_with(v.event_type, 'command.')), 0),
           c.id::text, c.command, c.parameters::text, c.status,
           floor(extract(epoch FROM c.created_at) * 1000)::bigint,
           CASE WHEN isfinite(c.expires_at) THEN floor(extract(epoch FROM c.expires_at) * 1000)::bigint END,
           c.created_by
    FROM entities d
    JOIN entities o ON o.id = d.organisation_id
    LEFT JOIN commands c ON c.device_id = d.id AND c.status IN ('pending', 'delivered')
        AND (c.expires_at IS NULL OR c.expires_at > now())
    WHERE d.id = ANY (%(devices)s::uuid[]) AND d.kind IN ('device', 'equipment')
    ORDER BY d.key, c.created_at, c.id
"""

_OLDEST: Final = """
    SELECT id FROM events WHERE (written_in, id) > (%(written_in)s::text::xid8, %(id)s) ORDER BY written_in, id LIMIT 1
"""

_LAG: Final = """
    SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(ts) FILTER (WHERE isfinite(ts))), 0)::float8
    FROM (
        SELECT ts FROM events WHERE (written_in, id) > (%(written_in)s::text::xid8, %(id)s)
        ORDER BY written_in, id LIMIT %(most)s
    ) AS waiting
"""

_SAVED: Final = """
    SELECT written_in::text::bigint, id, written_in < pg_snapshot_xmax(pg_current_snapshot())
    FROM relay_positions WHERE name = %(name)s
"""

_SAVE: Final = """
    INSERT INTO relay_positions (name, written_in, id) VALUES (%(name)s, %(written_in)s::text::xid8, %(id)s)
    ON CONFLICT (name) DO UPDATE SET written_in = excluded.written_in, id = excluded.id, updated_at = now()
"""

# without these the server takes two hours to notice that the machine of a session is gone
_KEEP_ALIVE: Final = """
    SELECT set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '2', false),
           set_config('tcp_keepalives_count', '3', false)
"""


class Outbox:
    """The events of one database, on one connection of their own. Every method blocks; used from one thread."""

    def __init__(self, conn: psycopg.Connection, name: str) -> None:
        """Read on ``conn``, which commits by itself; ``name`` is whose position is kept, such as the topic's."""
        self._conn = conn
        self._name = name
        self._position = BEGINNING
        self.is_held = False
        self._rows(_KEEP_ALIVE)

    def hold(self) -> bool:
        """Become the one reader, unless there is another; say whether it is this one."""
        if not self.is_held and self._rows("SELECT pg_try_advisory_lock(%(key)s)", key=LOCK_KEY) == [(True,)]:
            self.is_held = True
            self._run("LISTEN weir_events")
            self._position = self._saved()
        return self.is_held

    def batch(self) -> list[OutboxEvent]:
        """The next events after the position, in order; none while nothing more may be passed on."""
        rows = self._rows(
            _BATCH,
            **self._position._asdict(),
            most=BATCH_EVENTS,
            most_bytes=BATCH_BYTES,
            most_data=MOST_DATA_BYTES,
            most_metadata=MOST_METADATA_BYTES,
        )
        return [OutboxEvent(*row) for row in rows]

    def waiting_commands(self, entity_ids: Sequence[str]) -> list[DeviceCommands]:
        """What waits now for each of these entities that is a device; an empty list where nothing does."""
        devices: dict[str, DeviceCommands] = {}
        for device_id, org_id, revision, *command in self._rows(_COMMANDS, devices=list(entity_ids)):
            device = devices.setdefault(device_id, DeviceCommands(device_id, org_id, revision, []))
            if command[0] is not None:
                device.commands.append(WaitingCommand(*command))
        return list(devices.values())

    def save(self, position: Position) -> None:
        """Say that everything up to ``position`` has been passed on."""
        self._run(_SAVE, name=self._name, **position._asdict())
        self._position = position

    def lag(self) -> Lag:
        """What waits, also when another reader passes it on."""
        position = (self._position if self.is_held else self._saved())._asdict()
        if not self._rows(_OLDEST, **position):  # counting may take the server 30 ms, finding none 0.1
            return Lag(0, 0.0)
        return Lag(*self._rows(_LAG, **position, most=COUNTED_EVENTS)[0])

    def wait(self, seconds: float) -> bool:
        """Wait until a transaction has written events, at most ``seconds``; say whether one has."""
        return any(True for _ in self._conn.notifies(timeout=seconds, stop_after=1))

    def _saved(self) -> Position:
        """The position in the table; the beginning when transactions of this server have not come so far."""
        for written_in, number, has_been in self._rows(_SAVED, name=self._name):
            if has_been:
                return Position(written_in, number)
            if self.is_held:
                logger.warning("Event %d was the last, in another server than this: all are passed on again.", number)
        return BEGINNING

    def _rows(self, query: LiteralString, **parameters: object) -> list[tuple[Any, ...]]:
        with cut_after(self._conn, ANSWER_SECONDS):
            return self._conn.execute(query, parameters).fetchall()

    def _run(self, statement: LiteralString, **parameters: object) -> None:
        with cut_after(self._conn, ANSWER_SECONDS):
            self._conn.execute(statement, parameters)


@contextmanager
def open_outbox(dsn: str, name: str) -> Iterator[Outbox]:
    """Connect; the lock goes with the connection. Blocks.

    Raises :class:`~weir.errors.TransientError`, there and in the block, when Postgres is away or does not answer, and
    :class:`~weir.errors.ConfigError` when its tables are missing.
    """
    with connection(dsn, autocommit=True) as conn:
        yield Outbox(conn, name)

"""Commands to devices: sent by people, fetched and answered by the device, each step an event."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, LiteralString
from uuid import UUID

from connectors.entities.changes import told
from connectors.entities.command_models import Command, CommandCreate, CommandStatus
from connectors.entities.documents import document
from connectors.entities.errors import ConflictError, InvalidError, NotFoundError
from connectors.entities.pages import MOST_ITEMS, Page, checked_limit, page_of, position_of
from connectors.entities.tenancy import Place, device_named, sees_device
from connectors.entities.values import same_json

if TYPE_CHECKING:
    from connectors.entities.directory import Directory

MOST_WAITING: Final = 100
"""Commands that one device has not answered yet: a device that is away for long must not be buried when it returns."""

MOST_BYTES: Final = 65_536

_COMMAND: Final = re.compile(r"[a-z][a-z0-9_.]{0,99}")

_COMMANDS: Final[LiteralString] = """
    SELECT * FROM (
        SELECT c.id, c.device_id, c.organisation_id, o.key AS organisation, d.key AS device, c.command, c.parameters,
               CASE WHEN c.status IN ('pending', 'delivered') AND c.expires_at <= clock_timestamp() THEN 'expired'
                    ELSE c.status END AS status,
               c.created_by, c.created_at, c.expires_at, c.delivered_at, c.answered_at, c.answer
        FROM commands c JOIN entities d ON d.id = c.device_id JOIN entities o ON o.id = c.organisation_id
    ) AS c WHERE
"""


class Commands:
    """The commands of the devices that the actor sees. Sending takes an editor; a device key answers its own."""

    def __init__(self, directory: Directory) -> None:
        """Work in the transaction of ``directory``."""
        self._directory = directory

    def send(self, device: str, wanted: CommandCreate) -> Command:
        """Let a command wait for its device; refused while 100 wait already."""
        self._directory.actor.require("editor", "send commands")
        place = device_named(self._directory, device, active=True)
        if not _COMMAND.fullmatch(wanted.command):
            raise InvalidError(
                f"{wanted.command!r} is no command: at most 100 of a-z, 0-9, _ and dots, a letter first."
            )
        if wanted.expires_at is not None and wanted.expires_at <= datetime.now(UTC):
            raise InvalidError(f"A command that expires at {wanted.expires_at.isoformat()} would never be done.")
        text = document(self._directory, wanted.parameters, f"the parameters of {wanted.command}", MOST_BYTES)
        self._expire(place)
        sent = self._directory.write(
            """
            INSERT INTO commands (organisation_id, device_id, command, parameters, created_by, created_at, expires_at)
            SELECT %(organisation)s, %(device)s, %(command)s, %(parameters)s, %(by)s, clock_timestamp(), %(expires_at)s
            WHERE (SELECT count(*) FROM commands c
                   WHERE c.device_id = %(device)s AND c.status IN ('pending', 'delivered')) < %(most)s
            RETURNING id
            """,
            {
                "organisation": place.organisation_id,
                "device": place.id,
                "command": wanted.command,
                "parameters": text,
                "by": self._directory.actor.name,
                "expires_at": wanted.expires_at,
                "most": MOST_WAITING,
            },
        )
        if not sent:
            raise ConflictError(
                f"{MOST_WAITING} commands wait for {device} already; cancel some, or let it answer them."
            )
        return self._told("command.sent", sent[0]["id"], "parameters", "expires_at")

    def waiting(self, device: str, *, deliver: bool = True) -> Sequence[Command]:
        """What a device has not answered yet, the oldest first, and marks it as delivered, for a device or an editor.

        A command is given again until it is answered, because the device may have lost it. With ``deliver`` false
        nothing changes, which takes a viewer.
        """
        place = device_named(self._directory, device)
        if deliver and self._directory.actor.role != "device":
            self._directory.actor.require("editor", "take a device's commands")
        if deliver:
            self._expire(place)
            self._deliver(place)
        rows = self._directory.rows(
            _COMMANDS
            + """
                  c.device_id = %(device)s AND c.status IN ('pending', 'delivered')
              AND (c.expires_at IS NULL OR c.expires_at > clock_timestamp())
            ORDER BY c.created_at, c.id
            """,
            {"device": place.id},
        )
        return [_command(row) for row in rows]

    def answer(self, command: UUID, answer: dict[str, Any]) -> Command:
        """Keep what the device answered, once; the same answer again changes nothing."""
        if self._directory.actor.role != "device":
            self._directory.actor.require("editor", "answer for a device")
        text = document(self._directory, answer, "the answer", MOST_BYTES)
        found = self.get(command)
        answered = self._directory.write(
            """
            UPDATE commands SET status = 'answered', answer = %(answer)s, answered_at = clock_timestamp()
            WHERE id = %(id)s AND status IN ('pending', 'delivered')
              AND (expires_at IS NULL OR expires_at > clock_timestamp())
            RETURNING id
            """,
            {"id": command, "answer": text},
        )
        if answered:
            return self._told("command.answered", command, "answer")
        now = self.get(command)
        if now.status == "answered" and same_json(now.answer, answer):
            return now
        state = "has another answer already" if now.status == "answered" else f"is {now.status}"
        raise ConflictError(f"Command {command} ({found.command}) {state}; the answer was not kept.")

    def cancel(self, command: UUID) -> Command:
        """Take back a command that is not answered; a device that has fetched it may do it all the same."""
        self._directory.actor.require("editor", "cancel commands")
        found = self.get(command)
        cancelled = self._directory.write(
            "UPDATE commands SET status = 'cancelled' WHERE id = %(id)s AND status IN ('pending', 'delivered')"
            " AND (expires_at IS NULL OR expires_at > clock_timestamp()) RETURNING id",
            {"id": command},
        )
        if not cancelled:
            raise ConflictError(f"Command {command} ({found.command}) is {self.get(command).status} already.")
        return self._told("command.cancelled", command)

    def get(self, command: UUID) -> Command:
        """One command; one whose time is over counts as expired, also before anything has noted that."""
        rows = self._directory.rows(_COMMANDS + "c.id = %(id)s", {"id": command})
        if not rows or not sees_device(self._directory, rows[0]["organisation"], rows[0]["device_id"]):
            raise NotFoundError(f"There is no command {command}.")
        return _command(rows[0])

    def list(
        self,
        device: str,
        *,
        status: CommandStatus | None = None,
        limit: int = MOST_ITEMS,
        cursor: str | None = None,
    ) -> Page[Command]:
        """Commands of a device from the newest to the oldest."""
        place = device_named(self._directory, device)
        before = position_of(cursor, datetime.fromisoformat, UUID) if cursor else [None, None]
        rows = self._directory.rows(
            _COMMANDS
            + """
                  c.device_id = %(device)s AND (%(status)s::text IS NULL OR c.status = %(status)s)
              AND (%(at)s::timestamptz IS NULL OR (c.created_at, c.id) < (%(at)s, %(id)s::uuid))
            ORDER BY c.created_at DESC, c.id DESC LIMIT %(limit)s + 1
            """,
            {"device": place.id, "status": status, "at": before[0], "id": before[1], "limit": checked_limit(limit)},
        )
        return page_of([_command(row) for row in rows], limit, lambda found: (found.created_at, found.id))

    def _expire(self, place: Place) -> None:
        over = self._directory.rows(
            "SELECT EXISTS (SELECT FROM commands WHERE device_id = %(device)s AND status IN ('pending', 'delivered')"
            " AND expires_at <= clock_timestamp()) AS any",
            {"device": place.id},
        )
        if not over[0]["any"]:
            return
        expired = self._directory.write(
            "UPDATE commands SET status = 'expired' WHERE device_id = %(device)s AND status IN ('pending', 'delivered')"
            " AND expires_at <= clock_timestamp() RETURNING id",
            {"device": place.id},
        )
        for row in expired:
            self._told("command.expired", row["id"], "expires_at")

    def _deliver(self, place: Place) -> None:
        """Mark what is new; devices ask often, and a question that finds nothing new writes nothing."""
        new = self._directory.rows(
            "SELECT EXISTS (SELECT FROM commands WHERE device_id = %(device)s AND status = 'pending') AS any",
            {"device": place.id},
        )
        if not new[0]["any"]:
            return
        delivered = self._directory.write(
            "UPDATE commands SET status = 'delivered', delivered_at = clock_timestamp()"
            " WHERE device_id = %(device)s AND status = 'pending' RETURNING id",
            {"device": place.id},
        )
        for row in delivered:
            self._told("command.delivered", row["id"])

    def _told(self, event_type: str, command: UUID, *fields: str) -> Command:
        """Write the event of what a command has just become, with some of its fields, and give the command."""
        row = self._directory.rows(_COMMANDS + "c.id = %(id)s", {"id": command})[0]
        data = {"command_id": str(command), "command": row["command"]} | {name: row[name] for name in fields}
        self._directory.events.record(event_type, row["device_id"], told(data))
        return _command(row)


def _command(row: dict[str, Any]) -> Command:
    return Command(**{name: row[name] for name in Command.model_fields})

"""Processes: versioned definitions of workflows, and each time that one is done."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, LiteralString
from uuid import UUID

from connectors.entities.documents import document
from connectors.entities.errors import ConflictError, InvalidError, NotFoundError
from connectors.entities.pages import MOST_ITEMS, Page, checked_limit, page_of, position_of
from connectors.entities.process_models import InstanceStatus, Process, ProcessCreate, ProcessInstance, ProcessStatus
from connectors.entities.tenancy import organisation_named
from connectors.entities.values import checked_key, same_json

if TYPE_CHECKING:
    from connectors.entities.directory import Directory

MOST_BYTES: Final = 1_048_576
LONGEST_VERSION: Final = 20
LONGEST_BATCH: Final = 100
_TYPE: Final = re.compile(r"[a-z][a-z0-9_.]{0,99}")

_PROCESSES: Final[LiteralString] = """
    SELECT p.*, o.key AS organisation FROM processes p JOIN entities o ON o.id = p.organisation_id
    WHERE (%(seen)s::text IS NULL OR o.key = %(seen)s)
"""
_INSTANCES: Final[LiteralString] = """
    SELECT i.*, p.name, p.version, o.key AS organisation
    FROM process_instances i JOIN processes p ON p.id = i.process_id JOIN entities o ON o.id = i.organisation_id
    WHERE (%(seen)s::text IS NULL OR o.key = %(seen)s)
"""


class Processes:
    """The processes of the organisations that the actor sees; changing and running them takes an editor."""

    def __init__(self, directory: Directory) -> None:
        """Work in the transaction of ``directory``."""
        self._directory = directory

    def define(self, wanted: ProcessCreate) -> Process:
        """Keep a version of a process. The same again changes nothing; another text only as long as it never ran."""
        self._directory.actor.require("editor", "define processes")
        place = organisation_named(self._directory, wanted.organisation)
        _check(wanted)
        text = document(self._directory, wanted.definition, f"the definition of {wanted.name}", MOST_BYTES)
        written = self._directory.write(
            """
            INSERT INTO processes (organisation_id, name, version, process_type, definition, created_at)
            VALUES (%(organisation)s, %(name)s, %(version)s, %(process_type)s, %(definition)s, clock_timestamp())
            ON CONFLICT (organisation_id, name, version) DO UPDATE
            SET process_type = excluded.process_type, definition = excluded.definition,
                updated_at = clock_timestamp()
            WHERE (processes.process_type, processes.definition) IS DISTINCT FROM
                  (excluded.process_type, excluded.definition)
              AND processes.status = 'active'
              AND NOT EXISTS (SELECT FROM process_instances i WHERE i.process_id = processes.id)
            RETURNING id
            """,
            {
                "organisation": place.id,
                "name": wanted.name,
                "version": wanted.version,
                "process_type": wanted.process_type,
                "definition": text,
            },
        )
        kept = self.get(wanted.name, wanted.version, organisation=place.key)
        if written:
            told = {"name": kept.name, "version": kept.version, "process_type": kept.process_type}
            self._directory.events.record("process.defined", place.id, told)
        elif kept.process_type != wanted.process_type or not same_json(kept.definition, wanted.definition):
            raise ConflictError(f"{kept.name} {kept.version} is {_why_fixed(kept)}; define another version.")
        return kept

    def get(self, name: str, version: str | None = None, *, organisation: str | None = None) -> Process:
        """A version of a process; None is the newest that is active."""
        self._directory.actor.require("viewer", "see processes")
        place = organisation_named(self._directory, organisation)
        rows = self._directory.rows(
            _PROCESSES
            + """
              AND o.id = %(organisation)s AND p.name = %(name)s
              AND (p.version = %(version)s OR (%(version)s::text IS NULL AND p.status = 'active'))
            ORDER BY p.created_at DESC, p.id DESC LIMIT 1
            """,
            {"seen": place.key, "organisation": place.id, "name": name, "version": version},
        )
        if not rows:
            raise NotFoundError(
                f"{place.key} has no {f'version {version}' if version else 'active version'} of {name!r}."
            )
        return _process(rows[0])

    def retire(self, name: str, version: str, *, organisation: str | None = None) -> Process:
        """Let a version be started no more; what runs goes on."""
        self._directory.actor.require("editor", "retire processes")
        process = self.get(name, version, organisation=organisation)
        if process.status == "active":
            retired = self._directory.write(
                "UPDATE processes SET status = 'retired', updated_at = clock_timestamp() WHERE id = %(id)s"
                " RETURNING organisation_id",
                {"id": process.id},
            )
            told = {"name": process.name, "version": process.version}
            self._directory.events.record("process.retired", retired[0]["organisation_id"], told)
        return self.get(name, version, organisation=process.organisation)

    def list(
        self,
        *,
        organisation: str | None = None,
        name: str | None = None,
        status: ProcessStatus | None = None,
        limit: int = MOST_ITEMS,
        cursor: str | None = None,
    ) -> Page[Process]:
        """Versions of processes from the oldest to the newest."""
        self._directory.actor.require("viewer", "see processes")
        if organisation is not None:
            organisation_named(self._directory, organisation)
        after = position_of(cursor, datetime.fromisoformat, UUID) if cursor else [None, None]
        rows = self._directory.rows(
            _PROCESSES
            + """
              AND (%(organisation)s::text IS NULL OR o.key = %(organisation)s)
              AND (%(name)s::text IS NULL OR p.name = %(name)s)
              AND (%(status)s::text IS NULL OR p.status = %(status)s)
              AND (%(at)s::timestamptz IS NULL OR (p.created_at, p.id) > (%(at)s, %(id)s::uuid))
            ORDER BY p.created_at, p.id LIMIT %(limit)s + 1
            """,
            {
                "seen": self._directory.actor.organisation,
                "organisation": organisation,
                "name": name,
                "status": status,
                "at": after[0],
                "id": after[1],
                "limit": checked_limit(limit),
            },
        )
        return page_of([_process(row) for row in rows], limit, lambda process: (process.created_at, process.id))

    def start(
        self,
        name: str,
        version: str | None = None,
        batch_id: str | None = None,
        parameters: dict[str, Any] | None = None,
        *,
        organisation: str | None = None,
    ) -> ProcessInstance:
        """Begin to do a process now; ``version`` None is the newest that is active."""
        self._directory.actor.require("editor", "start processes")
        self._directory.lock()  # nobody retires or corrects the version from here on
        process = self.get(name, version, organisation=organisation)
        if process.status != "active":
            raise ConflictError(f"{process.name} {process.version} is retired; start another version.")
        if batch_id is not None:
            checked_key(batch_id, "batch")
            if len(batch_id.encode()) > LONGEST_BATCH:
                raise InvalidError(f"The batch {batch_id!r} has more than {LONGEST_BATCH} bytes.")
        text = document(self._directory, parameters or {}, f"the parameters of {process.name}", MOST_BYTES)
        begun = self._directory.write(
            """
            INSERT INTO process_instances (process_id, organisation_id, batch_id, started_at, parameters)
            SELECT p.id, p.organisation_id, %(batch_id)s, clock_timestamp(), %(parameters)s
            FROM processes p WHERE p.id = %(process)s
            RETURNING id
            """,
            {"process": process.id, "batch_id": batch_id, "parameters": text},
        )
        return self._told("process.started", begun[0]["id"])

    def complete(self, instance: UUID, results: dict[str, Any] | None = None) -> ProcessInstance:
        """End what runs, done."""
        return self._end(instance, "completed", results or {})

    def fail(self, instance: UUID, results: dict[str, Any] | None = None) -> ProcessInstance:
        """End what runs, not done; ``results`` say why."""
        return self._end(instance, "failed", results or {})

    def cancel(self, instance: UUID) -> ProcessInstance:
        """End what runs, because nobody wants it any more."""
        return self._end(instance, "cancelled", {})

    def instance(self, instance: UUID) -> ProcessInstance:
        """One time that a process is or was done."""
        self._directory.actor.require("viewer", "see processes")
        rows = self._directory.rows(
            _INSTANCES + " AND i.id = %(id)s", {"seen": self._directory.actor.organisation, "id": instance}
        )
        if not rows:
            raise NotFoundError(f"There is no instance {instance} of a process.")
        return _instance(rows[0])

    def instances(
        self,
        name: str | None = None,
        *,
        organisation: str | None = None,
        status: InstanceStatus | None = None,
        batch_id: str | None = None,
        limit: int = MOST_ITEMS,
        cursor: str | None = None,
    ) -> Page[ProcessInstance]:
        """Instances from the newest to the oldest."""
        self._directory.actor.require("viewer", "see processes")
        if organisation is not None:
            organisation_named(self._directory, organisation)
        before = position_of(cursor, datetime.fromisoformat, UUID) if cursor else [None, None]
        rows = self._directory.rows(
            _INSTANCES
            + """
              AND (%(organisation)s::text IS NULL OR o.key = %(organisation)s)
              AND (%(name)s::text IS NULL OR p.name = %(name)s)
              AND (%(status)s::text IS NULL OR i.status = %(status)s)
              AND (%(batch_id)s::text IS NULL OR i.batch_id = %(batch_id)s)
              AND (%(at)s::timestamptz IS NULL OR (i.started_at, i.id) < (%(at)s, %(id)s::uuid))
            ORDER BY i.started_at DESC, i.id DESC LIMIT %(limit)s + 1
            """,
            {
                "seen": self._directory.actor.organisation,
                "organisation": organisation,
                "name": name,
                "status": status,
                "batch_id": batch_id,
                "at": before[0],
                "id": before[1],
                "limit": checked_limit(limit),
            },
        )
        return page_of([_instance(row) for row in rows], limit, lambda found: (found.started_at, found.id))

    def _end(self, instance: UUID, status: InstanceStatus, results: dict[str, Any]) -> ProcessInstance:
        self._directory.actor.require("editor", "end processes")
        running = self.instance(instance)
        text = document(self._directory, results, f"the results of {running.name}", MOST_BYTES)
        ended = self._directory.write(
            "UPDATE process_instances SET status = %(status)s, results = %(results)s, completed_at = clock_timestamp()"
            " WHERE id = %(id)s AND status = 'running' RETURNING id",
            {"id": instance, "status": status, "results": text},
        )
        if not ended:
            raise ConflictError(f"{running.name} {instance} has ended already: it is {self.instance(instance).status}.")
        return self._told(f"process.{status}", instance)

    def _told(self, event_type: str, instance: UUID) -> ProcessInstance:
        """Write the event of what an instance has just become, and give the instance."""
        found = self.instance(instance)
        place = self._directory.organisation_id(found.organisation)
        if place is None:
            raise InvalidError(f"There is no organisation {found.organisation!r}.")
        told = {
            "instance_id": str(found.id),
            "name": found.name,
            "version": found.version,
            "batch_id": found.batch_id,
        }
        self._directory.events.record(event_type, place, told)
        return found


def _check(wanted: ProcessCreate) -> None:
    checked_key(wanted.name, "process")
    checked_key(wanted.version, "version")
    if len(wanted.version.encode()) > LONGEST_VERSION:
        raise InvalidError(f"The version {wanted.version!r} of {wanted.name} has more than {LONGEST_VERSION} bytes.")
    if not _TYPE.fullmatch(wanted.process_type):
        raise InvalidError(
            f"{wanted.process_type!r} is no type of process: at most 100 of a-z, 0-9, _ and dots, a letter first."
        )


def _process(row: dict[str, Any]) -> Process:
    return Process(**{name: row[name] for name in Process.model_fields})


def _instance(row: dict[str, Any]) -> ProcessInstance:
    return ProcessInstance(**{name: row[name] for name in ProcessInstance.model_fields})


def _why_fixed(process: Process) -> str:
    return "retired" if process.status == "retired" else "fixed, because it has run"

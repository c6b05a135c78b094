"""API keys: made, shown once, checked, rotated and revoked. The database holds hashes only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from argon2 import PasswordHasher

from connectors.entities.actor import Actor
from connectors.entities.api_key_text import new_key_text, parse_key_text
from connectors.entities.errors import ConflictError, InvalidError, NotFoundError
from connectors.entities.key_models import ApiKey, KeyCreate, NewKey
from connectors.entities.pages import MOST_ITEMS, Page, checked_limit, page_of, position_of
from connectors.entities.passwords import Passwords
from connectors.entities.tenancy import Place, device_named, organisation_named
from connectors.entities.values import checked_text

if TYPE_CHECKING:
    from connectors.entities.directory import Directory

SECRETS: Final = Passwords(PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1))
"""The least that OWASP asks of argon2id: 20 ms. A secret of 190 random bits is not guessed faster by a faster hash, so
whoever checks many requests pays for no more."""

LONGEST_GRACE: Final = timedelta(days=30)


class Keys:
    """The keys of the organisations that the actor sees; changing them takes an admin."""

    def __init__(self, directory: Directory) -> None:
        """Work in the transaction of ``directory``."""
        self._directory = directory

    def create(self, wanted: KeyCreate) -> NewKey:
        """Make a key and give its text, for the only time; an admin makes keys up to its own role."""
        self._directory.actor.require("admin", "make keys")
        _refuse_past(wanted.expires_at)
        checked_text(wanted.name, "the name of the key")
        place = self._wanted_place(wanted)
        made = self._insert(place, wanted)
        self._directory.events.record("key.created", place.id, _told(made))
        return made

    def verify(self, text: str) -> Actor | None:
        """Who may act with this key; None when it is none, expired, revoked, or what it belongs to is retired.

        Takes as long for a key that does not exist. Call it in a transaction of its own: it may note in the key's row
        when it was used.
        """
        parts = parse_key_text(text)
        rows = self._rows_of(parts.prefix) if parts else []
        fits = SECRETS.matches(rows[0]["secret_hash"] if rows else None, parts.secret if parts else "")
        if not rows or not fits or not rows[0]["is_usable"]:
            return None
        row = rows[0]
        self._note_use(row)
        return Actor(f"key:{row['prefix']}", row["role"], row["organisation"], row["device_id"])

    def revoke(self, prefix: str) -> ApiKey:
        """End a key now; one that has ended already stays as it is."""
        self._directory.actor.require("admin", "revoke keys")
        self._directory.lock()  # what is read from here on stays as it is until this is written
        row = self._existing(prefix, "revoke keys")
        key = _shown(row)
        if key.revoked_at is not None and key.revoked_at <= datetime.now(UTC):
            return key
        self._end(prefix, timedelta())
        self._directory.events.record("key.revoked", _place(row).id, _told(key))
        return self.get(prefix)

    def rotate(self, prefix: str, *, grace: timedelta = timedelta(), expires_at: datetime | None = None) -> NewKey:
        """Make a key that may do the same, and end the old one after ``grace``, at once by default.

        The new one expires at ``expires_at``; None keeps the time at which the old one would have.
        """
        self._directory.actor.require("admin", "rotate keys")
        self._directory.lock()  # a key that is revoked in this moment must not live on in another
        row = self._existing(prefix, "rotate keys")
        if not timedelta() <= grace <= LONGEST_GRACE:
            raise InvalidError(f"The grace of a rotation is between 0 and {LONGEST_GRACE.days} days.")
        if not row["is_usable"] or row["revoked_at"] is not None:
            raise ConflictError(f"Key {prefix} has ended, or will after a rotation; make a new one instead.")
        wanted = KeyCreate(role=row["role"], name=row["name"], expires_at=expires_at or row["expires_at"])
        _refuse_past(wanted.expires_at)
        new = self._insert(_place(row), wanted)
        self._end(prefix, grace)
        told = _told(new) | {"prefix": prefix, "new_prefix": new.prefix, "grace_seconds": grace.total_seconds()}
        self._directory.events.record("key.rotated", _place(row).id, told)
        return new

    def get(self, prefix: str) -> ApiKey:
        """One key by its prefix."""
        return _shown(self._existing(prefix, "see keys"))

    def list(
        self,
        *,
        organisation: str | None = None,
        device: str | None = None,
        include_revoked: bool = False,
        limit: int = MOST_ITEMS,
        cursor: str | None = None,
    ) -> Page[ApiKey]:
        """Keys from the oldest to the newest, of one organisation or device if it is named."""
        self._directory.actor.require("admin", "see keys")
        if organisation is not None:
            organisation_named(self._directory, organisation)
        after = position_of(cursor, datetime.fromisoformat, UUID) if cursor else [None, None]
        rows = self._directory.rows(
            """
            SELECT k.*, o.key AS organisation, d.key AS device
            FROM api_keys k JOIN entities o ON o.id = k.organisation_id LEFT JOIN entities d ON d.id = k.device_id
            WHERE (%(seen)s::text IS NULL OR o.key = %(seen)s)
              AND (%(organisation)s::text IS NULL OR o.key = %(organisation)s)
              AND (%(device)s::text IS NULL OR d.key = %(device)s)
              AND (%(include_revoked)s OR k.revoked_at IS NULL OR k.revoked_at > now())
              AND (%(at)s::timestamptz IS NULL OR (k.created_at, k.id) > (%(at)s, %(id)s::uuid))
            ORDER BY k.created_at, k.id LIMIT %(limit)s + 1
            """,
            {
                "seen": self._directory.actor.organisation,
                "organisation": organisation,
                "device": device,
                "include_revoked": include_revoked,
                "at": after[0],
                "id": after[1],
                "limit": checked_limit(limit),
            },
        )
        return page_of([_shown(row) for row in rows], limit, lambda key: (key.created_at, key.id))

    def _wanted_place(self, wanted: KeyCreate) -> Place:
        """The device or organisation that a key shall be of."""
        if wanted.device is None:
            return organisation_named(self._directory, wanted.organisation)
        if wanted.role != "device":
            raise InvalidError(f"A key of one device has the role device, not {wanted.role}.")
        place = device_named(self._directory, wanted.device, active=True)
        if wanted.organisation not in (None, place.organisation):
            raise NotFoundError(f"There is no device {wanted.device!r} in {wanted.organisation}.")
        return place

    def _insert(self, place: Place, wanted: KeyCreate) -> NewKey:
        text = new_key_text()
        self._directory.write(
            """
            INSERT INTO api_keys (prefix, secret_hash, organisation_id, device_id, role, name, created_by,
                                  created_at, expires_at)
            VALUES (%(prefix)s, %(secret_hash)s, %(organisation_id)s, %(device_id)s, %(role)s, %(name)s, %(by)s,
                    clock_timestamp(), %(expires_at)s)
            RETURNING id
            """,
            {
                "prefix": text.prefix,
                "secret_hash": SECRETS.hash(text.secret),
                "organisation_id": place.organisation_id,
                "device_id": None if place.id == place.organisation_id else place.id,
                "role": wanted.role,
                "name": wanted.name,
                "by": self._directory.actor.name,
                "expires_at": wanted.expires_at,
            },
        )
        return NewKey(**self.get(text.prefix).model_dump(), secret=str(text))

    def _rows_of(self, prefix: str) -> Sequence[dict[str, Any]]:
        return self._directory.rows(
            """
            SELECT k.*, o.key AS organisation, d.key AS device,
                   o.is_active AND coalesce(d.is_active, true)
                   AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
                   AND (k.revoked_at IS NULL OR k.revoked_at > clock_timestamp()) AS is_usable
            FROM api_keys k JOIN entities o ON o.id = k.organisation_id LEFT JOIN entities d ON d.id = k.device_id
            WHERE k.prefix = %(prefix)s
            """,
            {"prefix": prefix},
        )

    def _existing(self, prefix: str, doing: str) -> dict[str, Any]:
        self._directory.actor.require("admin", doing)
        rows = self._rows_of(prefix)
        if not rows or not self._directory.actor.sees(rows[0]["organisation"]):
            raise NotFoundError(f"There is no key {prefix!r}.")
        return rows[0]

    def _end(self, prefix: str, grace: timedelta) -> None:
        self._directory.write(
            "UPDATE api_keys SET revoked_at = least(revoked_at, clock_timestamp() + %(grace)s)"
            " WHERE prefix = %(prefix)s RETURNING id",
            {"prefix": prefix, "grace": grace},
        )

    def _note_use(self, row: dict[str, Any]) -> None:
        """At most once a minute, and never waiting: who checks a key must not queue behind who changes metadata."""
        if row["last_used_at"] is not None and datetime.now(UTC) - row["last_used_at"] < timedelta(minutes=1):
            return
        self._directory.rows(
            "UPDATE api_keys SET last_used_at = clock_timestamp() WHERE id = (SELECT id FROM api_keys WHERE id = %(id)s"
            " FOR NO KEY UPDATE SKIP LOCKED) RETURNING id",
            {"id": row["id"]},
        )


def _refuse_past(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise InvalidError(f"A key that expires at {expires_at.isoformat()} is of no use: that is over.")


def _place(row: dict[str, Any]) -> Place:
    """The device or organisation that a key is of, also when that is retired."""
    return Place(
        row["device_id"] or row["organisation_id"],
        row["device"] or row["organisation"],
        row["organisation"],
        row["organisation_id"],
    )


def _shown(row: dict[str, Any]) -> ApiKey:
    return ApiKey(**{name: row[name] for name in ApiKey.model_fields})


def _told(key: ApiKey) -> dict[str, Any]:
    """What the log says of a key: nothing that opens anything."""
    return {
        "prefix": key.prefix,
        "role": key.role,
        "name": key.name,
        "device": key.device,
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
    }

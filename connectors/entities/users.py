"""Users: who they are, what they may do in which organisation, their passwords and logins.

A user is an entity whose key is the e-mail address. It belongs to one organisation, whose admins look after it, and has
a role in each organisation that a relationship ``belongs_to`` with the property ``role`` connects it to.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, LiteralString
from uuid import UUID

from connectors.entities.actor import Actor
from connectors.entities.errors import ForbiddenError, InvalidError, NotFoundError
from connectors.entities.models import Entity, EntityCreate, RelationshipCreate
from connectors.entities.pages import MOST_ITEMS, Page, checked_limit, page_of, position_of
from connectors.entities.passwords import Passwords
from connectors.entities.tenancy import organisation_named
from connectors.entities.user_models import LoggedIn, MemberRole, User, UserCreate
from connectors.entities.values import checked_email

if TYPE_CHECKING:
    from connectors.entities.directory import Directory

MOST_FAILURES: Final = 10
LOCKED_FOR: Final = timedelta(minutes=15)

_NOBODY: Final = UUID(int=0)

_USERS: Final[LiteralString] = """
    SELECT u.id, u.key AS email, u.name, h.key AS organisation, u.is_active AND h.is_active AS is_active, u.created_at,
           c.password_hash, c.password_hash IS NOT NULL AS has_password,
           coalesce(c.is_superuser, false) AS is_superuser,
           c.last_login, CASE WHEN c.locked_until > clock_timestamp() THEN c.locked_until END AS locked_until,
           coalesce((SELECT jsonb_object_agg(o.key, r.properties ->> 'role')
                     FROM relationships r JOIN entities o ON o.id = r.to_entity
                     WHERE r.from_entity = u.id AND r.relationship_type = 'belongs_to' AND o.is_active
                       AND r.valid_from <= clock_timestamp()
                       AND (r.valid_to IS NULL OR r.valid_to > clock_timestamp())
                       AND r.properties ->> 'role' IN ('admin', 'editor', 'viewer')), '{}') AS roles
    FROM entities u JOIN entities h ON h.id = u.organisation_id LEFT JOIN user_credentials c ON c.user_id = u.id
    WHERE u.entity_type = 'user' AND u.kind = 'user'
"""


class Users:
    """The users of the organisations that the actor sees; changing them takes an admin."""

    def __init__(self, directory: Directory, passwords: Passwords | None = None) -> None:
        """Work in the transaction of ``directory``; ``passwords`` None hashes as argon2-cffi recommends."""
        self._directory = directory
        self._passwords = passwords or Passwords()

    def create(self, wanted: UserCreate) -> Entity:
        """Make a user with a role in its organisation, and with a password if one is given."""
        actor = self._directory.actor
        actor.require("superuser" if wanted.is_superuser else "admin", "make such users")
        if wanted.is_superuser and wanted.password is None:
            raise InvalidError("A superuser takes a password from the start.")
        place = organisation_named(self._directory, wanted.organisation)
        user = self._directory.entities.create(
            EntityCreate(
                entity_type="user",
                key=checked_email(wanted.email),
                name=wanted.name,
                properties=wanted.properties,
                organisation=place.key,
            )
        )
        self._begin_role(user.id, place.id, wanted.role, None)
        if wanted.password is not None:
            self._keep_password(user.id, wanted.password.get_secret_value(), is_superuser=wanted.is_superuser)
        return user

    def get(self, email: str) -> User:
        """One user; admins see those of their organisation, everybody sees the own account."""
        row = self._visible(email)
        return self._shown(row)

    def list(
        self,
        *,
        organisation: str | None = None,
        include_inactive: bool = False,
        limit: int = MOST_ITEMS,
        cursor: str | None = None,
    ) -> Page[User]:
        """Users from the oldest to the newest, of one organisation if it is named."""
        self._directory.actor.require("admin", "see users")
        if organisation is not None:
            organisation_named(self._directory, organisation)
        after = position_of(cursor, datetime.fromisoformat, UUID) if cursor else [None, None]
        rows = self._directory.rows(
            _USERS
            + """
              AND (%(seen)s::text IS NULL OR h.key = %(seen)s)
              AND (%(organisation)s::text IS NULL OR h.key = %(organisation)s)
              AND (%(include_inactive)s OR u.is_active)
              AND (%(at)s::timestamptz IS NULL OR (u.created_at, u.id) > (%(at)s, %(id)s::uuid))
            ORDER BY u.created_at, u.id LIMIT %(limit)s + 1
            """,
            {
                "seen": self._directory.actor.organisation,
                "organisation": organisation,
                "include_inactive": include_inactive,
                "at": after[0],
                "id": after[1],
                "limit": checked_limit(limit),
            },
        )
        return page_of([self._shown(row) for row in rows], limit, lambda user: (user.created_at, user.id))

    def roles(self, email: str) -> dict[str, MemberRole]:
        """Roles of a user by organisation, as far as the actor sees those."""
        return self.get(email).roles

    def set_role(self, email: str, organisation: str | None, role: MemberRole | None) -> User:
        """Give a user another role in an organisation from now on; None takes it away.

        An admin does so for the users of its own organisation. Only a superuser lets a user into further ones.
        """
        self._directory.actor.require("admin", "change roles")
        row = self._visible(email)
        place = organisation_named(self._directory, organisation)
        now = self._directory.rows("SELECT clock_timestamp() AS now")[0]["now"]
        held = self._directory.rows(
            "SELECT id, properties ->> 'role' AS role, valid_to IS NULL AS lasts FROM relationships"
            " WHERE from_entity = %(user)s AND to_entity = %(organisation)s AND relationship_type = 'belongs_to'"
            " AND valid_from < %(now)s AND (valid_to IS NULL OR valid_to > %(now)s)",
            {"user": row["id"], "organisation": place.id, "now": now},
        )
        fits = bool(held) and held[0]["role"] == role and held[0]["lasts"]
        if held and not fits:
            self._directory.relationships.end(held[0]["id"], at=now)
        if role is not None and not fits:
            self._begin_role(row["id"], place.id, role, now)
        return self.get(email)

    def set_password(self, email: str, password: str) -> None:
        """Keep another password and end a lock; whoever is not the user itself has to be allowed to act as it.

        An admin is not, when the user is a superuser or has a role in another organisation: the password would give the
        admin more than it has.
        """
        row = self._visible(email)
        actor = self._directory.actor
        if actor.name != row["email"] and actor.organisation is not None:
            actor.require("admin", "set passwords of others")
            if row["is_superuser"] or self._has_roles_elsewhere(row["id"], actor.organisation):
                raise ForbiddenError(f"{row['email']} may do more than {actor.name}; a superuser sets its password.")
        self._keep_password(row["id"], password, is_superuser=row["is_superuser"])
        self._directory.events.record("user.updated", row["id"], {"password": "changed"})

    def retire(self, email: str) -> Entity:
        """End an account: it can no longer log in, and stays in the log and in lists of the past."""
        self._directory.actor.require("admin", "retire users")
        return self._directory.entities.retire(self._visible(email)["id"])

    def login(self, email: str, password: str, organisation: str | None = None) -> LoggedIn | None:
        """Who acts from now on, or None; takes as long for an address that nobody has.

        With several roles, ``organisation`` says in which one to act; None is the user's own. Never raises for a wrong
        password, so that the failure is kept: after ten in a row the account is locked for 15 minutes, also against the
        right password. For whoever asks before there is an actor, so the directory is one of a superuser.
        """
        self._directory.actor.require("superuser", "check passwords")
        rows = self._directory.rows(_USERS + " AND u.key = %(email)s", {"email": _searchable(email)})
        row = rows[0] if rows else None
        right = self._passwords.matches(row["password_hash"] if row else None, password)
        if row is None or not right:
            self._count_failure(row["id"] if row else _NOBODY)
            return None
        actor = _actor_of(row, organisation)
        if actor is None:
            self._directory.events.record("user.login_failed", row["id"], {"reason": "retired or without a role"})
            return None
        if not self._note_login(row, password):
            return None
        self._directory.on_behalf_of(actor).events.record("user.login", row["id"])
        return LoggedIn(row["id"], actor, {} if actor.role == "superuser" else row["roles"])

    def logout(self, email: str) -> None:
        """Note that a user has left; by the user itself or by a superuser."""
        row = self._visible(email)
        if self._directory.actor.name != row["email"]:
            self._directory.actor.require("superuser", "log others out")
        self._directory.events.record("user.logout", row["id"])

    def _visible(self, email: str) -> dict[str, Any]:
        actor = self._directory.actor
        rows = self._directory.rows(_USERS + " AND u.key = %(email)s", {"email": _searchable(email)})
        own = bool(rows) and rows[0]["email"] == actor.name
        if not own:
            actor.require("admin", "see users")
        if not rows or not (own or actor.sees(rows[0]["organisation"])):
            raise NotFoundError(f"There is no user {email!r}.")
        return rows[0]

    def _shown(self, row: dict[str, Any]) -> User:
        own = row["email"] == self._directory.actor.name
        roles = {slug: role for slug, role in row["roles"].items() if own or self._directory.actor.sees(slug)}
        return User(**{name: row[name] for name in User.model_fields} | {"roles": roles})

    def _begin_role(self, user: UUID, organisation: UUID, role: MemberRole, at: datetime | None) -> None:
        self._directory.relationships.connect(
            RelationshipCreate(
                relationship_type="belongs_to",
                from_entity=user,
                to_entity=organisation,
                properties={"role": role},
                valid_from=at,
            )
        )

    def _has_roles_elsewhere(self, user: UUID, organisation: str) -> bool:
        """Now or later: also a role that has yet to begin, or in an organisation that is retired and may come back."""
        found = self._directory.rows(
            """
            SELECT EXISTS (SELECT FROM relationships r JOIN entities o ON o.id = r.to_entity
                           WHERE r.from_entity = %(user)s AND r.relationship_type = 'belongs_to'
                             AND o.key <> %(organisation)s
                             AND (r.valid_to IS NULL OR r.valid_to > clock_timestamp())) AS any
            """,
            {"user": user, "organisation": organisation},
        )
        return bool(found[0]["any"])

    def _keep_password(self, user: UUID, password: str, *, is_superuser: bool) -> None:
        self._directory.write(
            """
            INSERT INTO user_credentials (user_id, password_hash, is_superuser)
            VALUES (%(user)s, %(hash)s, %(is_superuser)s)
            ON CONFLICT (user_id) DO UPDATE
            SET password_hash = excluded.password_hash, failed_logins = 0, locked_until = NULL,
                updated_at = clock_timestamp()
            RETURNING user_id
            """,
            {"user": user, "hash": self._passwords.hash(password), "is_superuser": is_superuser},
        )

    def _count_failure(self, user: UUID) -> None:
        """Count, lock, and tell; while the account is locked nothing more is counted, so that nobody fills the log."""
        counted = self._directory.write(
            """
            UPDATE user_credentials
            SET failed_logins = f.failures, updated_at = clock_timestamp(),
                locked_until = CASE WHEN f.failures >= %(most)s THEN clock_timestamp() + %(locked_for)s END
            FROM (SELECT c.user_id, CASE WHEN c.locked_until IS NULL THEN c.failed_logins ELSE 0 END + 1 AS failures
                  FROM user_credentials c WHERE c.user_id = %(user)s FOR UPDATE) AS f
            WHERE user_credentials.user_id = f.user_id AND (locked_until IS NULL OR locked_until <= clock_timestamp())
            RETURNING f.failures, locked_until
            """,
            {"user": user, "most": MOST_FAILURES, "locked_for": LOCKED_FOR},
        )
        for row in counted:
            told = {"reason": "wrong password", "failures": row["failures"], "locked_until": row["locked_until"]}
            self._directory.events.record("user.login_failed", user, told)

    def _note_login(self, row: dict[str, Any], password: str) -> bool:
        """Whether it may log in; asked while it is written, so that a lock or another password of meanwhile counts."""
        kept = row["password_hash"]
        renewed = self._passwords.hash(password) if self._passwords.outdated(kept) else kept
        return bool(
            self._directory.write(
                """
                UPDATE user_credentials
                SET failed_logins = 0, locked_until = NULL, last_login = clock_timestamp(),
                    password_hash = %(renewed)s
                WHERE user_id = %(user)s AND password_hash = %(kept)s
                  AND (locked_until IS NULL OR locked_until <= clock_timestamp())
                RETURNING user_id
                """,
                {"user": row["id"], "kept": kept, "renewed": renewed},
            )
        )


def _searchable(text: str) -> str:
    # Postgres takes no NUL; an address with one is nobody's, which is no reason to fail
    return text.strip().lower().replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _actor_of(row: dict[str, Any], organisation: str | None) -> Actor | None:
    """As whom a user acts: in the organisation asked for, else in its own, else in the first that has a role for it."""
    if not row["is_active"]:
        return None
    if row["is_superuser"]:
        return Actor(row["email"], "superuser")
    choices = [organisation] if organisation else [row["organisation"], *sorted(row["roles"])]
    slug = next((choice for choice in choices if choice in row["roles"]), None)
    return Actor(row["email"], row["roles"][slug], slug) if slug else None

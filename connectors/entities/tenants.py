"""Roles of the database that read the rows of one organisation and nothing else, for analysts who write SQL.

The policies of the tables (row-level security) ask the table ``tenant_roles`` which organisation the current role is
of. A role is of one database and carries its name, because all databases of a server share their roles, and an
organisation of the same name in another Weir must not be reachable through it.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Final

from psycopg import errors, sql

from connectors.entities.errors import ConflictError, InvalidError, NotFoundError
from connectors.entities.refusals import refused
from connectors.entities.tenancy import organisation_named

if TYPE_CHECKING:
    from connectors.entities.directory import Directory

LONGEST_ROLE: Final = 63
"""Bytes of a name in Postgres; it cuts longer ones silently, so that two organisations could share one role."""

LEAST_CHARACTERS: Final = 16


def role_of(database: str, organisation: str) -> str:
    """Name of an organisation's role: ``weir_org_acme`` in the database weir; long names end in a hash of the whole."""
    name = f"{database}_org_{organisation}"
    if len(name.encode()) <= LONGEST_ROLE:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return name.encode()[: LONGEST_ROLE - 17].decode(errors="ignore") + "_" + digest


def grant_role(directory: Directory, organisation: str, *, password: str | None = None) -> str:
    """Make the role that reads an organisation's rows and give its name; with a password it may log in.

    The same again sets the password anew, or takes the login away. The password leaves this process as a SCRAM verifier
    only. Takes a superuser here, and a role of the database that may create roles.
    """
    directory.actor.require("superuser", "grant database roles")
    if password is not None and len(password) < LEAST_CHARACTERS:
        raise InvalidError(f"The password of a database role takes at least {LEAST_CHARACTERS} characters.")
    place = organisation_named(directory, organisation)
    role = role_of(_database(directory), place.key)
    _make(directory, role)
    _set_login(directory, role, password)
    directory.write(
        "INSERT INTO tenant_roles (role_name, organisation_id) VALUES (%(role)s, %(organisation)s)"
        " ON CONFLICT (role_name) DO UPDATE SET organisation_id = excluded.organisation_id RETURNING role_name",
        {"role": role, "organisation": place.id},
    )
    directory.events.record("role.granted", place.id, {"role": role, "login": password is not None})
    return role


def revoke_role(directory: Directory, organisation: str) -> None:
    """Take the role of an organisation away: it reads nothing from now on, and is dropped unless it owns something."""
    directory.actor.require("superuser", "revoke database roles")
    found = directory.rows(
        "SELECT r.role_name, r.organisation_id FROM tenant_roles r JOIN entities o ON o.id = r.organisation_id"
        " WHERE o.key = %(key)s",
        {"key": organisation},
    )
    if not found:
        raise NotFoundError(f"Organisation {organisation!r} has no role in the database.")
    for row in found:
        directory.write(
            "DELETE FROM tenant_roles WHERE role_name = %(role)s RETURNING role_name", {"role": row["role_name"]}
        )
        _drop(directory, row["role_name"])
        directory.events.record("role.revoked", row["organisation_id"], {"role": row["role_name"]})


def _drop(directory: Directory, role: str) -> None:
    """Drop a role. One that owns something, such as a large object, stays, without rights and login."""
    name = sql.Identifier(role)
    if not directory.rows("SELECT FROM pg_roles WHERE rolname = %(role)s", {"role": role}):
        return
    _execute(directory, sql.SQL("REVOKE weir_tenant FROM {}").format(name))
    _set_login(directory, role, None)
    with contextlib.suppress(errors.DependentObjectsStillExist), directory.conn.transaction():
        directory.conn.execute(sql.SQL("DROP ROLE {}").format(name))


def _make(directory: Directory, role: str) -> None:
    # every role of the server can read this comment; a name and a database make one organisation
    mark = f"Made by Weir for one organisation of database {_database(directory)}"
    found = directory.rows(
        """
        SELECT shobj_description(oid, 'pg_authid') AS mark,
               rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS is_mighty,
               EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                       WHERE m.member = r.oid AND g.rolname <> 'weir_tenant') AS has_more
        FROM pg_roles r WHERE rolname = %(role)s
        """,
        {"role": role},
    )
    # a role of this name that somebody else made could log in with a password that we do not know, or do more
    if found and (found[0]["mark"] != mark or found[0]["is_mighty"] or found[0]["has_more"]):
        raise ConflictError(f"There is a database role {role} that may do more or is somebody else's; drop it first.")
    name = sql.Identifier(role)
    if not found:
        _execute(directory, sql.SQL("CREATE ROLE {} NOLOGIN").format(name))
        _execute(directory, sql.SQL("COMMENT ON ROLE {} IS {}").format(name, sql.Literal(mark)))
    _execute(directory, sql.SQL("GRANT weir_tenant TO {}").format(name))


def _set_login(directory: Directory, role: str, password: str | None) -> None:
    name = sql.Identifier(role)
    if password is None:
        _execute(directory, sql.SQL("ALTER ROLE {} NOLOGIN PASSWORD NULL").format(name))
        return
    verifier = directory.conn.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    _execute(directory, sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(verifier.decode())))


def _execute(directory: Directory, statement: sql.Composed) -> None:
    with refused():
        directory.conn.execute(statement)


def _database(directory: Directory) -> str:
    return str(directory.rows("SELECT current_database() AS name")[0]["name"])

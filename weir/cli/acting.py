"""On whose behalf a command changes metadata, and how it hands over what somebody typed."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from connectors.entities.actor import Actor
from connectors.entities.directory import Directory, open_directory
from weir.errors import UsageError
from weir.settings import load_settings

Model = TypeVar("Model", bound=BaseModel)


@contextmanager
def directory() -> Iterator[Directory]:
    """One transaction on the metadata of the settings, in every organisation; events name ``cli:USER``.

    Blocks. Raises :class:`~weir.errors.TransientError` when Postgres is away.
    """
    with open_directory(metadata_dsn(), command_line_actor()) as opened:
        yield opened


def metadata_dsn() -> str:
    """Connection string of the metadata."""
    return load_settings().postgres.dsn.get_secret_value()


def command_line_actor() -> Actor:
    """The superuser that a command acts as."""
    return Actor(f"cli:{_user()}", "superuser")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run under a number that no user of it has
        return str(os.getuid())


def record(model: type[Model], **fields: Any) -> Model:
    """What the service takes, of what was given; options that were not given (None) are left out.

    Raises :class:`UsageError` for a value that the record does not take.
    """
    try:
        return model(**{name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        told = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{where or 'What was given'} does not fit: {told}.") from error

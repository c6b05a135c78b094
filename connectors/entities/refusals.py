"""What the database refuses, as errors of the service: which rule, in the database's own words where they are ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from connectors.entities.errors import ConflictError, InvalidError


@contextmanager
def refused() -> Iterator[None]:
    """Translate constraint violations; everything else passes through to the connection's own translation."""
    try:
        yield
    except (errors.UniqueViolation, errors.ExclusionViolation) as error:
        raise ConflictError(f"{_words(error)}.") from error
    except (errors.IntegrityError, errors.DataError, errors.ProgramLimitExceeded) as error:
        raise InvalidError(f"{_words(error)}.") from error
    except UnicodeEncodeError as error:
        raise InvalidError("A text holds half of a surrogate pair, which is no character.") from error


def _words(error: psycopg.Error) -> str:
    told = (error.diag.message_primary or str(error)).rstrip(".")
    detail = (error.diag.message_detail or "").rstrip(".")
    return f"{told}: {detail}" if isinstance(error, errors.UniqueViolation) and detail else told

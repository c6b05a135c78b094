"""The errors of Weir, one tree::

    WeirError
    ├── ConfigError       settings, schemas or topics do not fit: exit 2 before anything is consumed
    ├── TransientError    a server is away or busy: retried with jitter, bounded, then the worker crashes
    ├── PoisonError       this record only: it goes to the dead-letter topic with where and why
    ├── UsageError        a command was called with something it cannot take: exit 2
    ├── QueryError        ClickHouse refused what a person asked of it: exit 1
    └── StackError        the embedded stack could not do what was asked: exit 1

Anything else crashes the worker with nothing committed: a worker that cannot store must not acknowledge.
"""

from __future__ import annotations


class WeirError(Exception):
    """Base of every error that Weir raises on purpose; its text is one sentence for a person."""

    exit_code = 1


class ConfigError(WeirError):
    """Settings, schemas or topics do not fit together; nothing was consumed."""

    exit_code = 2


class UsageError(WeirError):
    """A command was called with something it cannot take."""

    exit_code = 2


class TransientError(WeirError):
    """A server is away or busy; the same call may succeed later."""


class QueryError(WeirError):
    """ClickHouse refused a query that a person wrote; the text holds its code, name and words."""


class StackError(WeirError):
    """The embedded stack could not do what was asked."""


class PoisonError(WeirError):
    """One record that no retry will mend.

    ``reason`` is a short stable word (it becomes the ``reason`` header of the dead letter and a metric label);
    the message says where and why in a sentence.
    """

    def __init__(self, reason: str, detail: str) -> None:
        """Keep ``reason`` (stable, lower_snake_case) beside the sentence ``detail``."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

"""Passwords come from a prompt or from standard input: an argument would stand in the list of processes."""

from __future__ import annotations

import sys

import click

from weir.errors import UsageError


def typed_password() -> str:
    """A password, asked for twice on a terminal, else the first line of standard input.

    Raises :class:`UsageError` when there is none.
    """
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise UsageError("There is no password on standard input; write it there, or call this from a terminal.")
    return line

"""``multipart/form-data`` bodies: query, parameters and external tables in one POST (RFC 7578)."""

from __future__ import annotations

from email.message import EmailMessage

from weir.stack.clickhouse.exceptions import BAD_ARGUMENTS, ClickHouseError


def is_form(content_type: str) -> bool:
    """Whether a Content-Type announces a multipart form."""
    return content_type.lower().startswith("multipart/form-data")


def parse_form(content_type: str, body: bytes) -> tuple[dict[str, str], dict[str, bytes]]:
    """Plain fields and files (by field name) of a form; raises :class:`ClickHouseError` if it has no end."""
    delimiter = b"--" + _boundary(content_type)
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    # the first delimiter has no line break before it, and what follows "--" after the last one is no part
    pieces = (b"\r\n" + body).split(b"\r\n" + delimiter)
    if not pieces[-1].startswith(b"--"):
        raise ClickHouseError(BAD_ARGUMENTS, "The multipart form ends before its closing boundary.")
    for piece in pieces[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name, is_file = _disposition(head.decode("utf-8", "surrogateescape"))
        if is_file:
            files[name] = content
        else:
            fields[name] = content.decode("utf-8", "surrogateescape")
    return fields, files


def _boundary(content_type: str) -> bytes:
    message = EmailMessage()
    message["Content-Type"] = content_type
    boundary = message.get_boundary()
    if not boundary:
        raise ClickHouseError(BAD_ARGUMENTS, "The multipart form names no boundary in its Content-Type.")
    return boundary.encode("latin-1")


def _disposition(head: str) -> tuple[str, bool]:
    message = EmailMessage()
    for line in head.split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == "content-disposition":
            message["Content-Disposition"] = value.strip()
    name = message.get_param("name", header="content-disposition")
    if not isinstance(name, str):
        raise ClickHouseError(BAD_ARGUMENTS, "A part of the multipart form has no name.")
    return name, message.get_filename() is not None

"""The socket that a server of ours listens on."""

from __future__ import annotations

import socket

from weir.errors import ConfigError

WAITING_CONNECTIONS = 256
"""Connections that the system keeps until they are accepted."""


def listening(host: str, port: int, who: str, setting: str) -> socket.socket:
    """A socket to serve on. Uvicorn would find out late that the port is taken, and end with a code of its own.

    Raises :class:`~weir.errors.ConfigError` that says ``who`` cannot listen, and which ``setting`` to change.

    The protocol is named because asyncio turns Nagle's algorithm off for sockets that name it only: answers of two
    packets, head and body, then wait 40 ms for the client's delayed acknowledgement (44 ms instead of 3 for /health).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(WAITING_CONNECTIONS)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"{who} cannot listen on {host}:{port} ({error.strerror}); another one may run already: set {setting} to a "
            "free port."
        ) from error
    return listener

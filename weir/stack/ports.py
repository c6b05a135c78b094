"""Are the ports free, and if not, who holds them?"""

from __future__ import annotations

import socket

import psutil

from weir.errors import StackError
from weir.stack.plan import HOST


def is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # as servers do: connections of an earlier run that are still in TIME_WAIT do not count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str | None:
    """``name (pid N)`` of the process that listens on ``port``, or None where the system does not tell us."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return None
    for connection in connections:
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        if listens and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return None


def require_free(wanted: dict[str, int]) -> None:
    """Raise :class:`~weir.errors.StackError` for the first taken port of ``wanted`` (what it is for → port)."""
    for purpose, port in wanted.items():
        if not is_free(port):
            who = holder(port)
            by = f" by {who}" if who else ""
            raise StackError(
                f"Port {port}, which {purpose} needs, is taken{by}; stop that process or choose another block "
                "with --port-base."
            )

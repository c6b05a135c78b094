"""Proxies in front of the servers of a world, and the variables that lead a worker through them."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.fault.tcp_proxy import TcpProxy
from weir.settings import Settings


def proxy_to(url: str) -> TcpProxy:
    """A proxy to the server of ``url``, which names its port."""
    address = urlsplit(url)
    if address.hostname is None or address.port is None:
        raise ValueError(f"{url} names no host and port.")
    return TcpProxy(address.hostname, address.port)


def through(url: str, proxy: TcpProxy) -> str:
    """The same URL by way of ``proxy``, which runs."""
    return urlunsplit(urlsplit(url)._replace(netloc=f"127.0.0.1:{proxy.port}"))


def proxy_to_postgres(settings: Settings) -> TcpProxy:
    """A proxy to the server of the DSN."""
    parts = conninfo_to_dict(settings.postgres.dsn.get_secret_value())
    return TcpProxy(str(parts["host"]), int(str(parts["port"])))


def dsn_through(settings: Settings, proxy: TcpProxy) -> str:
    """The DSN by way of ``proxy``, which runs."""
    return make_conninfo(settings.postgres.dsn.get_secret_value(), host="127.0.0.1", port=proxy.port)

"""Whose address a request came from, also through proxies."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from connectors.gateway.http import RawHeaders
from weir.errors import ConfigError

UNKNOWN: Final = "-"
MOST_REMEMBERED: Final = 10_000
"""Addresses of which it is remembered whether they are trusted."""


class TrustedProxies:
    """Addresses and networks whose ``X-Forwarded-For`` is believed; everybody else could write anything there."""

    def __init__(self, addresses: str) -> None:
        """``addresses`` with commas between them. Raises :class:`~weir.errors.ConfigError` for what is none."""
        self._networks = [_network(each.strip()) for each in addresses.split(",") if each.strip()]
        self._known: dict[str, bool] = {}

    def client(self, peer: str, headers: RawHeaders) -> str:
        """The last address that a trusted proxy vouches for; ``peer`` is whoever is connected."""
        if not self._networks or not self._trusts(peer):
            return peer
        said = b",".join(value for name, value in headers if name == b"x-forwarded-for").decode("latin-1")
        found = peer
        for each in reversed(said.split(",")):
            address = _address(each.strip())
            if address is None:
                return found
            found = address
            if not self._trusts(found):
                return found
        return found

    def _trusts(self, text: str) -> bool:
        known = self._known.get(text)
        if known is None:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            known = self._known[text] = self._contain(text)
        return known

    def _contain(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:  # a Unix socket has no address
            return False
        return any(address in network for network in self._networks)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(
            f"WEIR_GATEWAY__TRUSTED_PROXIES: {text!r} is no address and no network such as 10.0.0.0/8."
        ) from None


def _address(text: str) -> str | None:
    """As it is written by everybody, without a port; None for what is no address.

    Without a scope, too, which may be any text at all: ``fe80::1%eth0 status=200`` counts as an address.
    """
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text.partition("%")[0]))
    except ValueError:
        return None

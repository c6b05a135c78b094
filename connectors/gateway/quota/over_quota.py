"""What is said to somebody who is over a limit: which one, how much is allowed, how long to wait, what to send at."""

from __future__ import annotations

from math import inf
from typing import Final, NamedTuple

from connectors.gateway.errors import OVER_QUOTA, GatewayError
from connectors.gateway.quota.token_bucket import capacity

HEADROOM: Final = 0.95
"""Advised is a little less than allowed, so that an empty bucket fills again within twenty times its burst."""

UNITS: Final = {
    "records_per_second": "records",
    "bytes_per_second": "bytes",
    "backlog_records_per_second": "backlog records",
}


class Excess(NamedTuple):
    """A limit that was hit: name of the field in ``Rates``, its rate and burst, what was wanted, seconds to wait.

    ``allowed`` is of all gateways together; a wait of ``inf``: never.
    """

    limit: str
    allowed: float
    burst_seconds: float
    wanted: float
    wait: float


def over_quota(level: str, name: str, excess: Excess, *, part: float, share: float, backlog: float) -> GatewayError:
    """The refusal; ``level`` is organisation or device, ``name`` whose limit it is.

    ``part`` of the limit is the sender's by the rule of advice, ``share`` of it is this gateway's, and ``backlog`` is
    the age in seconds from which a reading counts as one.
    """
    advised = _rounded(excess.allowed * HEADROOM * part)
    extra = {"limit": f"{level}.{excess.limit}", "allowed": excess.allowed, "advised_rate": advised}
    rate = f"{excess.allowed:,g} {UNITS[excess.limit]} a second"
    if excess.limit.startswith("backlog"):
        rate += f" (measured over {backlog:g} seconds ago)"
    if excess.wait == inf:
        most = int(capacity(excess.allowed * share, excess.burst_seconds))
        told = _too_much(most, excess, rate)
        return GatewayError(OVER_QUOTA, f"{level.capitalize()} {name} {told}", extra=extra | {"at_once": most})
    wait = max(0.001, round(excess.wait, 3))
    told = f"is over its limit of {rate}: try again in {wait:g} seconds, and send at most {advised:,g} a second."
    return GatewayError(
        OVER_QUOTA,
        f"{level.capitalize()} {name} {told}",
        retry_after=wait,
        extra=extra | {"retry_after_seconds": wait},
    )


def _too_much(most: int, excess: Excess, rate: str) -> str:
    if most == 0:
        return f"may send nothing: its limit is {rate}. Ask whoever administers it to raise that."
    unit = UNITS[excess.limit]
    wanted = f"{excess.wanted:,.0f}"
    return f"may send {most:,} {unit} at once, of {rate}, and this request has {wanted}: split it into smaller ones."


def _rounded(rate: float) -> float:
    """Three digits are enough to go by."""
    return float(f"{rate:.3g}")

"""Limits and sampling policies as they stand in properties of organisations and devices.

The service checks what is written through it. SQL can write anything, and the first reader of a bad limit is the door:
what cannot be read never lifts a limit and never refuses everything. It is told once, with the name of the entity.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, get_args

from connectors.gateway.limits import Organisation, Policy, Rates, Sampling

logger = logging.getLogger(__name__)

CAUTIOUS: Final = Rates(1_000.0, 1_000_000.0, 1_000.0)
"""What holds where somebody meant to give a limit and it cannot be read: a limit that a usual fleet lives with."""

BACKLOG_TIMES: Final = 10.0
"""How many times its rate a sender may catch up with where nothing else was said: an hour away in six minutes."""

LONGEST_BURST_SECONDS: Final = 3_600.0
_RATES: Final = ("records_per_second", "bytes_per_second", "backlog_records_per_second")
POLICIES: Final[Mapping[str, Policy]] = {each: each for each in get_args(Policy)}
_SAMPLING: Final = ("seconds", "width", "at_most_seconds")
_MOST_TOLD: Final = 10_000

_told: set[tuple[str, str]] = set()


def organisation_from(slug: str, properties: Mapping[str, Any]) -> Organisation:
    """A tenant from its properties ``quotas``, ``sampling`` and ``unknown_devices``."""
    name = f"organisation {slug}"
    quotas = properties.get("quotas")
    given = quotas if isinstance(quotas, Mapping) else {}
    rates = rates_from(name, quotas, CAUTIOUS, Rates()) or Rates()
    devices = rates_from(f"{name}, devices", given.get("devices"), CAUTIOUS, Rates()) or Rates()
    most = given.get("new_values_a_day")
    held = Organisation(slug, rates, devices, sampling_from(name, properties.get("sampling")))
    if most is not None:
        number = _number(most)
        if number is None:
            _tell(name, "quotas.new_values_a_day", f"{held.new_values_a_day:,} holds")
        else:
            held = replace(held, new_values_a_day=int(number))
    return replace(held, register_prefix=_register_prefix(properties.get("unknown_devices")))


def rates_from(name: str, quotas: object, unread: Rates, absent: Rates) -> Rates | None:
    """The rates in a property ``quotas``; None when there is none.

    A rate that it leaves out is that of ``absent``, one that cannot be read that of ``unread``.
    """
    if quotas is None:
        return None
    if not isinstance(quotas, Mapping):
        _tell(name, "quotas", "a careful limit holds")
        return unread
    values = {each: _rate(name, each, quotas, unread, absent) for each in _RATES}
    if values["backlog_records_per_second"] == math.inf:
        values["backlog_records_per_second"] = BACKLOG_TIMES * values["records_per_second"]
    burst = quotas.get("burst_seconds")
    seconds = absent.burst_seconds if burst is None else _number(burst)
    if not seconds:
        _tell(name, "quotas.burst_seconds", f"{unread.burst_seconds:g} holds")
        seconds = unread.burst_seconds
    return Rates(**values, burst_seconds=min(seconds, LONGEST_BURST_SECONDS))


def sampling_from(name: str, sampling: object) -> Sampling | None:
    """The policy in a property ``sampling``; None when there is none that can be read, so that nothing is left out."""
    if sampling is None:
        return None
    given = sampling if isinstance(sampling, Mapping) else {}
    policy = given.get("policy")
    numbers = {each: _number(given.get(each, 0)) for each in _SAMPLING}
    if not isinstance(policy, str) or policy not in POLICIES or None in numbers.values():
        _tell(name, "sampling", "it is as if it had none")
        return None
    return Sampling(POLICIES[policy], **{each: number for each, number in numbers.items() if number is not None})


def _rate(name: str, each: str, quotas: Mapping[str, Any], unread: Rates, absent: Rates) -> float:
    given = quotas.get(each)
    if given is None:
        return float(getattr(absent, each))
    number = _number(given)
    if number is None:
        number = float(getattr(unread, each))
        _tell(name, f"quotas.{each}", f"{number:g} holds")
    return number


def _number(value: object) -> float | None:
    """A finite number from 0; None for everything else, as for the numbers of JSON that no float holds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _register_prefix(policy: object) -> str | None:
    if not isinstance(policy, Mapping) or policy.get("policy") != "register":
        return None
    prefix = policy.get("prefix")
    return prefix if isinstance(prefix, str) and prefix else None


def _tell(name: str, part: str, what: str) -> None:
    if (name, part) not in _told and len(_told) < _MOST_TOLD:
        _told.add((name, part))
        logger.warning("%s: the property %s cannot be read; %s. Mend it with `weir`.", name, part, what)

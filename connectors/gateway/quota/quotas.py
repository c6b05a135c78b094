"""How much organisations and devices may send: what is there for a request, and what is taken for it.

Records a second, bytes a second, and records of a backlog (old readings) a second; of an organisation as a whole,
and of each device. Backlog draws from its own buckets only, and its bytes from none, so that a device that comes back
with a day's readings may still send what it measures now.

A request costs 0.5 µs without limits, else 2.5 µs and 0.7 µs for each further device (`python -m bench.micro.quotas`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Final

from connectors.gateway.door.recently_used import RecentlyUsed
from connectors.gateway.errors import GatewayError
from connectors.gateway.limits import Device, Organisation, Rates
from connectors.gateway.quota.active_devices import ActiveDevices
from connectors.gateway.quota.over_quota import Excess, over_quota
from connectors.gateway.quota.token_bucket import TokenBucket
from weir.settings import GatewaySettings

MOST_BUCKETS: Final = 500_000
"""Those used least lately are forgotten beyond it (0.25 GB). One that was not full yet is full again: a gift, and no
refusal."""

MOST_ORGANISATIONS: Final = 10_000

NOBODY: Final[Mapping[str, GatewayError]] = {}
"""No device is over its limit: one for all requests, because that is what almost all of them hear."""

Needs = Mapping[Device, tuple[int, int, int]]
"""Live records, backlog records and bytes of both, of each device of a request."""


class Buckets:
    """The buckets of one organisation or device: live records, their bytes, records of a backlog."""

    __slots__ = ("backlog", "live", "size")

    def __init__(self) -> None:
        """Begin full."""
        self.live, self.size, self.backlog = TokenBucket(), TokenBucket(), TokenBucket()


Taking = list[tuple[Buckets, float, float, float]]
"""Buckets, and when each will be full again once the request is admitted."""


class Quotas:
    """Buckets of every organisation and device that has a limit; belongs to one event loop and never blocks."""

    def __init__(self, settings: GatewaySettings, clock: Callable[[], float] = time.monotonic) -> None:
        """All buckets begin full. Each of ``settings.instances`` gateways grants its share of every rate."""
        self._share = 1.0 / settings.instances
        self._backlog_seconds = settings.backlog_seconds
        self._clock = clock
        self._organisations: RecentlyUsed[str, Buckets] = RecentlyUsed(MOST_ORGANISATIONS)
        self._devices: RecentlyUsed[str, Buckets] = RecentlyUsed(MOST_BUCKETS)
        self._active: RecentlyUsed[str, ActiveDevices] = RecentlyUsed(MOST_ORGANISATIONS)

    def admit(
        self, organisation: Organisation, devices: Needs, body_bytes: int
    ) -> GatewayError | Mapping[str, GatewayError]:
        """Take what a request needs: (live records, backlog records, bytes of records) of each device.

        A device that is over a limit of its own is refused as a whole: its error is returned under its id, its records
        do not count to its organisation, and nothing is taken for it. An error in place of the dictionary refuses the
        request: the organisation is over its limit, and nothing is taken from any bucket. Records that belong to no
        device come under ``Device("", slug, rates=NO_LIMIT)``.
        """
        now = self._clock()
        taking: Taking = []
        over = self._judge_devices(organisation.device_rates, devices, now, taking)
        if _is_limited(organisation.rates):
            refusal = self._judge_organisation(organisation, devices, over, body_bytes, now, taking)
            if refusal is not None:
                return refusal
        for buckets, live_full_at, size_full_at, backlog_full_at in taking:
            buckets.live.full_at = live_full_at
            buckets.size.full_at = size_full_at
            buckets.backlog.full_at = backlog_full_at
        return over

    def _judge_devices(self, common: Rates, devices: Needs, now: float, taking: Taking) -> Mapping[str, GatewayError]:
        """Who is over a limit of his own; what the others need is added to ``taking``."""
        over: dict[str, GatewayError] = {}
        is_common_limited = _is_limited(common)
        for device, need in devices.items():
            rates = device.rates
            if rates is None:
                if not is_common_limited:
                    continue
                rates = common
            elif not _is_limited(rates):
                continue
            excess = self._judge(_of(self._devices, device.id), rates, need, now, taking)
            if excess is not None:
                over[device.id] = self._refusal("device", device.id, excess, 1.0)
        return over or NOBODY

    def _judge_organisation(
        self,
        organisation: Organisation,
        devices: Needs,
        over: Mapping[str, GatewayError],
        body_bytes: int,
        now: float,
        taking: Taking,
    ) -> GatewayError | None:
        """Why the request is refused; else what it needs is added to ``taking``."""
        active = self._active.get(organisation.slug)
        if active is None:
            active = ActiveDevices()
            self._active.put(organisation.slug, active)
        active.note([device.id for device in devices], now)
        live = backlog = refused_bytes = 0
        for device, (device_live, device_backlog, size) in devices.items():
            if over and device.id in over:
                refused_bytes += size
            else:
                live += device_live
                backlog += device_backlog
        need = live, backlog, max(0, body_bytes - refused_bytes)
        buckets = _of(self._organisations, organisation.slug)
        excess = self._judge(buckets, organisation.rates, need, now, taking)
        if excess is None:
            return None
        return self._refusal("organisation", organisation.slug, excess, len(devices) / len(active))

    def _judge(
        self, buckets: Buckets, rates: Rates, need: tuple[int, int, int], now: float, taking: Taking
    ) -> Excess | None:
        """What is needed is there and added to ``taking``, or else the limit that has to be waited for longest."""
        live, backlog, size = need
        share, burst = self._share, rates.burst_seconds
        live_full_at, size_full_at = buckets.live.full_at, buckets.size.full_at
        backlog_full_at = buckets.backlog.full_at
        weight: float = size
        if backlog:  # its bytes count nowhere: by number of records, because nobody weighs them one by one
            weight = size * live / (live + backlog)
            rate = rates.backlog_records_per_second * share
            backlog_full_at = buckets.backlog.without(backlog, rate, burst, now)
        if live:
            live_full_at = buckets.live.without(live, rates.records_per_second * share, burst, now)
            size_full_at = buckets.size.without(weight, rates.bytes_per_second * share, burst, now)
        if live_full_at < inf and size_full_at < inf and backlog_full_at < inf:
            taking.append((buckets, live_full_at, size_full_at, backlog_full_at))
            return None
        return self._worst(buckets, rates, (live, backlog, weight if live else 0.0), now)

    def _worst(self, buckets: Buckets, rates: Rates, need: tuple[int, int, float], now: float) -> Excess:
        live, backlog, size = need
        burst = rates.burst_seconds
        limits = (
            ("records_per_second", buckets.live, live),
            ("bytes_per_second", buckets.size, size),
            ("backlog_records_per_second", buckets.backlog, backlog),
        )
        waits = []
        for name, bucket, wanted in limits:
            allowed: float = getattr(rates, name)
            wait = bucket.wait(wanted, allowed * self._share, burst, now)
            waits.append(Excess(name, allowed, burst, wanted, wait))
        return max(waits, key=lambda excess: excess.wait)

    def _refusal(self, level: str, name: str, excess: Excess, part: float) -> GatewayError:
        return over_quota(level, name, excess, part=part, share=self._share, backlog=self._backlog_seconds)


def _of(store: RecentlyUsed[str, Buckets], name: str) -> Buckets:
    buckets = store.get(name)
    if buckets is None:
        buckets = Buckets()
        store.put(name, buckets)
    return buckets


def _is_limited(rates: Rates) -> bool:
    return rates.records_per_second < inf or rates.bytes_per_second < inf or rates.backlog_records_per_second < inf

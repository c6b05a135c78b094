"""What it costs to judge a request by quotas, sampling and new values: ``python -m bench.micro.quotas [requests]``."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from connectors.gateway.limits import Device, Organisation, Rates, Sampling
from connectors.gateway.quota.dimensions import Dimensions
from connectors.gateway.quota.quotas import Quotas
from connectors.gateway.quota.sampling import Sampler
from connectors.gateway.quota.usage import Usage
from weir.settings import GatewaySettings, Settings

AMPLE = Rates(1e9, 1e12, 1e9)
FREE = Organisation("acme")
LIMITED = Organisation("acme", rates=AMPLE, device_rates=AMPLE)
DEVICE = Device("d", "acme", frozenset({"temperature"}))
ONE = {DEVICE: (1, 0, 100)}
HUNDRED = {Device(f"d{number}", "acme"): (1, 0, 100) for number in range(100)}
BAND = Sampling("dead_band", width=1.0)


def measure(name: str, count: int, work: Callable[[], object]) -> None:
    """Print the CPU of one call."""
    begun = time.process_time()
    for _ in range(count):
        work()
    print(f"{name:44} {(time.process_time() - begun) / count * 1e6:6.2f} µs")


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    quotas = Quotas(GatewaySettings())
    measure("quotas, no limits, one device", size, lambda: quotas.admit(FREE, ONE, 100))
    measure("quotas, no limits, 100 devices", size // 10, lambda: quotas.admit(FREE, HUNDRED, 10_000))
    measure("quotas, all limits, one device", size, lambda: quotas.admit(LIMITED, ONE, 100))
    measure("quotas, all limits, 100 devices", size // 10, lambda: quotas.admit(LIMITED, HUNDRED, 10_000))
    with tempfile.TemporaryDirectory() as folder:
        seen = Dimensions(Path(folder))
        seen.refusal(FREE, DEVICE, "other", "celsius", "esp32", "1.0")
        measure("new values, a registered sensor", size, lambda: seen.refusal(FREE, DEVICE, "temperature", "", "", ""))
        measure(
            "new values, four that are known",
            size,
            lambda: seen.refusal(FREE, DEVICE, "other", "celsius", "esp32", "1.0"),
        )
    sampler = Sampler()
    sampler.keeps(BAND, "d", "temperature", 0, 1.0, None)
    measure("sampling, left out", size, lambda: sampler.keeps(BAND, "d", "temperature", 1, 1.0, None))
    measure("sampling, kept", size, lambda: sampler.keeps(BAND, "d", "temperature", 1, 3.0, None))
    usage = Usage(Settings())
    measure("usage", size, lambda: usage.count("acme", accepted=100))

"""What enriching a reading costs, by how many devices are registered: it must not grow."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass

import polars as pl

from bench.testbed import Testbed, fresh_namespace
from connectors.postgres.devices import register
from weir.cli.step_view import StepView
from weir.errors import StackError
from weir.stack.parts.part import python

READINGS = 500_000


@dataclass(frozen=True)
class EnrichmentRun:
    """Figures of one fleet; ``devices`` are registered, 1,000 of them send."""

    devices: int
    register_seconds: float
    load_seconds: float
    prepare_seconds: float
    memory_mb: float
    enrich_ns: float
    change_seconds: float


def measure(testbed: Testbed, devices: int, view: StepView) -> EnrichmentRun:
    """Register so many devices with a sensor each in a database of their own, and probe a process that loads them."""
    with fresh_namespace(testbed) as settings:
        dsn = settings.postgres.dsn.get_secret_value()
        view(f"registering {devices:,} devices")
        names = pl.select(pl.format("device-{}", pl.int_range(devices))).to_series().alias("device_id")
        fleet = pl.DataFrame([names]).with_columns(sensor=pl.lit("t"), unit=pl.lit("celsius"))
        began = time.monotonic()
        register(dsn, "bench", "bench", fleet)
        register_seconds = time.monotonic() - began
        view(f"enriching with {devices:,} devices")
        environment = os.environ | {"POLARS_MAX_THREADS": "1"}  # as `weir worker` sets it
        command = [*python("-m", "bench.enrichment_probe"), dsn, str(READINGS)]
        ended = subprocess.run(  # noqa: S603 - our own probe
            command, capture_output=True, text=True, check=False, env=environment
        )
    if ended.returncode:
        raise StackError(f"The probe of {devices:,} devices failed: {ended.stderr.strip().splitlines()[-1]}.")
    told = json.loads(ended.stdout)
    return EnrichmentRun(
        devices,
        register_seconds,
        told["load_seconds"],
        told["prepare_seconds"],
        told["memory_bytes"] / 1e6,
        told["enrich_ns"],
        told["change_seconds"],
    )

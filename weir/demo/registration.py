"""Making the demo's devices known to the workers, and the world of the examples beside them."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from connectors.postgres.devices import Registered, register
from connectors.postgres.migrate import load_sample
from weir.demo.fleet import SENSORS, device_ids
from weir.demo.host import HostSensor
from weir.demo.latency import PROBE_ID, PROBE_SENSOR
from weir.settings import Settings

ORGANISATION = "weir-demo"
PROJECT = "weir-demo"
HELLO = "hello"
"""Every device has it: a text, sent before the run to see that the way is open; no window is made of it."""


class _Row(NamedTuple):
    device_id: str
    sensor: str
    device_type: str
    metric: str
    unit: str
    min_value: float | None = None
    max_value: float | None = None
    value_type: str = "float"


def register_demo(settings: Settings, host_id: str, host_sensors: list[HostSensor], devices: int) -> Registered:
    """Register this machine, the probe and a fleet of ``devices``; harmless when repeated. Blocks.

    The sample world comes with it, so that there is more to look at than devices.
    """
    dsn = settings.postgres.dsn.get_secret_value()
    load_sample(dsn)
    rows = [_Row(host_id, each.name, "device.host", each.metric, each.unit) for each in host_sensors]
    rows.append(_Row(PROBE_ID, PROBE_SENSOR, "device.probe", "demo.probe", ""))
    kinds = {host_id: "device.host", PROBE_ID: "device.probe"}
    for device_id in device_ids(devices):
        kinds[device_id] = "device.simulated"
        rows += [
            _Row(device_id, each.name, "device.simulated", each.metric, each.unit, each.low, each.high)
            for each in SENSORS
        ]
        rows.append(_Row(device_id, "state", "device.simulated", "demo.state", "", value_type="string"))
    rows += [_Row(device_id, HELLO, kind, "demo.hello", "", value_type="string") for device_id, kind in kinds.items()]
    frame = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    return register(dsn, ORGANISATION, PROJECT, frame)


_SCHEMA = {name: pl.Float64() if name.endswith("_value") else pl.String() for name in _Row._fields}

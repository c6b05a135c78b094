"""The sensors that a device's description of its hardware names: those with a metric are made with the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from connectors.entities.errors import InvalidError
from connectors.entities.models import EntityCreate


def sensors_of(device: str, organisation: str, properties: Mapping[str, Any]) -> Iterator[EntityCreate]:
    """The sensors in ``hardware.sensors`` that name a metric; the others describe the hardware and nothing more.

    ``{"type": "temperature", "metric": "air.temperature", "unit": "celsius", "range": {"min": -40, "max": 125}}`` is
    the sensor ``temperature``; ``name`` says otherwise.
    """
    hardware = properties.get("hardware")
    described = hardware.get("sensors") if isinstance(hardware, Mapping) else None
    for each in described if isinstance(described, list) else ():
        if isinstance(each, Mapping) and each.get("metric") is not None:
            yield _sensor(device, organisation, each)


def _sensor(device: str, organisation: str, each: Mapping[str, Any]) -> EntityCreate:
    name = each.get("name") or each.get("type")
    if not isinstance(name, str):
        raise InvalidError(f"A sensor in hardware.sensors of {device} names a metric, but neither its name nor type.")
    bounds = each.get("range")
    low, high = (bounds.get("min"), bounds.get("max")) if isinstance(bounds, Mapping) else (None, None)
    held = {"metric": each["metric"], "unit": each.get("unit"), "min_value": low, "max_value": high}
    return EntityCreate(
        entity_type="sensor",
        key=name,
        properties={property_: value for property_, value in held.items() if value is not None},
        organisation=organisation,
        parent=device,
    )

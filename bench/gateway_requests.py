"""Requests of a fleet to the gateway, as bytes made before the load begins: v2 posts of readings, JSON and Avro."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
import polars as pl

DEVICES: Final = 1_000
SENSORS: Final = ("temperature", "humidity", "pressure", "vibration")

SINGLES: Final = 2_000
BATCHES: Final = 100
"""Different requests of each kind; then they come again: to the gateway a resend is a reading like any other."""

Format = Literal["JSON", "Avro"]
MARK: Final = b'"error_code":null'
"""Stands once in an answer for every record that was taken."""

_NULLABLE: Final = {
    "value": "double",
    "str_value": "string",
    "status_code": "long",
    "unit": "string",
    "seq": "long",
    "quality": "string",
    "battery_level": "float",
    "fw_ver": "string",
    "source": "string",
}


@dataclass(frozen=True, slots=True)
class Posts:
    """Where posts go, and with which key; ``schema_id`` is what Avro posts name."""

    topic: str
    key: str
    schema_id: int

    def render(self, form: Format, records: int, now_ms: int) -> list[bytes]:
        """Requests of ``records`` readings each, measured in the last seconds before ``now_ms``."""
        readings = _readings(now_ms)
        count = SINGLES if records == 1 else BATCHES
        return [self._request(form, [next(readings) for _ in range(records)]) for _ in range(count)]

    def _request(self, form: Format, readings: list[dict[str, Any]]) -> bytes:
        if form == "JSON":
            content: dict[str, Any] = {"records": [{"value": each} for each in readings]}
        else:
            records = [{"value": _avro_json(each)} for each in readings]
            content = {"value_schema_id": self.schema_id, "records": records}
        body = msgspec.json.encode(content)
        head = (
            f"POST /topics/{self.topic} HTTP/1.1\r\nHost: gateway\r\nUser-Agent: weir-bench\r\n"
            f"Authorization: Bearer {self.key}\r\nContent-Type: application/vnd.kafka.{form.lower()}.v2+json\r\n"
            f"Accept: application/vnd.kafka.v2+json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def fleet() -> pl.DataFrame:
    """The devices and sensors that the readings are of, for :func:`connectors.postgres.devices.register`."""
    names = [(_device(number), sensor) for number in range(DEVICES) for sensor in SENSORS]
    return pl.DataFrame(names, schema=["device_id", "sensor"], orient="row")


def _readings(now_ms: int) -> Iterator[dict[str, Any]]:
    """Devices take turns; each reading is a millisecond later than its device's last one."""
    dice = random.Random(1)
    number = 0
    while True:
        turn, device = divmod(number, DEVICES)
        yield {
            "device_id": _device(device),
            "sensor": SENSORS[turn % len(SENSORS)],
            "ts": now_ms - 1_000 + turn,
            "value": round(dice.gauss(20.0, 5.0), 3),
            "seq": number,
            "quality": "good",
            "fw_ver": f"1.{device % 4}.0",
            "source": "bench",
        }
        number += 1


def _device(number: int) -> str:
    return f"bench-{number:05d}"


def _avro_json(reading: dict[str, Any]) -> dict[str, Any]:
    """As Avro's JSON encoding wants it: every field there, and the branch of each union named."""
    unions = {name: None if reading.get(name) is None else {kind: reading[name]} for name, kind in _NULLABLE.items()}
    return {**reading, **unions}

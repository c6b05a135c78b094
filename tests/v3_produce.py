"""Producing through REST Proxy v3: where records are posted, what one of JSON is, and the reports that come back."""

from __future__ import annotations

import json
from typing import Any

from tests.gateway_world import GatewayWorld


def path(gateway: GatewayWorld, topic: str | None = None) -> str:
    """Where records of a topic are posted; of the readings when none is named."""
    return f"/v3/clusters/{gateway.cluster}/topics/{topic or gateway.settings.topics.readings}/records"


def posted(gateway: GatewayWorld, topic: str, *records: object, key: str = "organisation") -> list[dict[str, Any]]:
    """The reports of records that are sent as one stream."""
    answer = gateway.client.post(
        path(gateway, topic),
        content="".join(json.dumps(each) for each in records),
        headers={"Content-Type": "application/json", **gateway.acme.headers(key)},
    )
    assert answer.status_code == 200, answer.text
    return reports_of(answer.text)


def reports_of(text: str) -> list[dict[str, Any]]:
    """The reports in the body of an answer, each of which ends its line."""
    assert text.endswith("\r\n")
    return [json.loads(line) for line in text.split("\r\n")[:-1]]


def json_value(data: object) -> dict[str, Any]:
    """A record whose value is JSON."""
    return {"value": {"type": "JSON", "data": data}}

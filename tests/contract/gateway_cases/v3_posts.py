"""What the cases of v3 are made with."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.contract.gateway_cases.case import JSON, NUMBER, Case

CLUSTER: Final = "/v3/clusters/{cluster}"
TO_READINGS: Final = CLUSTER + "/topics/{readings}/records"
TO_NOTES: Final = CLUSTER + "/topics/{acme}.notes/records"

JSON_DATA: Final = {"type": "JSON", "size": NUMBER}
BINARY_DATA: Final = {"type": "BINARY", "size": NUMBER}


def record(data: Any, kind: str | None = "JSON", **fields: Any) -> dict[str, Any]:
    """A record of v3 with a value."""
    return {"value": ({"type": kind} if kind else {}) | {"data": data}, **fields}


def entry(name: Any, data: Any, **fields: Any) -> dict[str, Any]:
    """An entry of a batch."""
    return {"id": name, **record(data), **fields}


def lines(*texts: Any) -> bytes:
    """JSON texts one after the other."""
    return b"\n".join(json.dumps(text, ensure_ascii=False).encode() for text in texts)


def sent(name: str, path: str = TO_NOTES, **fields: Any) -> Case:
    """A post of one or more records, whose answer is a list of reports."""
    return Case(name=name, path=path, **{"media_type": JSON, "lines": True, "key": "editor", **fields})


def batched(name: str, body: Any, path: str = TO_NOTES, **fields: Any) -> Case:
    """A post of a batch."""
    return Case(name=name, path=path + ":batch", body=body, **{"media_type": JSON, "key": "editor", **fields})

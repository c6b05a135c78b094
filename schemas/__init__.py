"""The data contracts: one Avro schema a record, in ``avro/``, with examples beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "avro"


def load_schema_text(name: str) -> str:
    """The schema of a record, such as ``Reading``, as it is registered; raises FileNotFoundError for another name."""
    return (FOLDER / f"{name}.avsc").read_text(encoding="utf-8")


def load_schema(name: str) -> dict[str, Any]:
    """The schema of a record, such as ``Reading``, parsed."""
    parsed: dict[str, Any] = json.loads(load_schema_text(name))
    return parsed

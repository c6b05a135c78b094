"""Headers as Kafka's client takes them."""

from __future__ import annotations

from connectors.gateway.records import Headers


def sound(headers: Headers) -> list[tuple[str, str | bytes | None]]:
    """Headers whose names are text; raises ValueError.

    A lone surrogate in a name ends the process in confluent-kafka 2.16 (segmentation fault in ``produce``), and a NUL
    cuts the name short.
    """
    for name, _ in headers:
        if b"\0" in name.encode():
            raise ValueError("a header's name holds a NUL")
    return list(headers)

"""Readings packed into messages of one device each, as a device that measures often sends them."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import load_schema
from streams.engine.avro_block import PREFIX_BYTES, long_bytes
from streams.engine.encoder import Encoder

Int64s = NDArray[np.int64]

ARRAY: Final = "readings"


class Packing(NamedTuple):
    """``order`` puts readings device by device, as they come; message m has those from cuts[m] to cuts[m + 1]."""

    order: Int64s
    cuts: Int64s


def pack(devices: Int64s, most: int) -> Packing:
    """Pack readings of these ``devices`` into messages of at most ``most``."""
    order = np.argsort(devices, kind="stable").astype(np.int64)
    ordered = devices[order]
    begins = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    run = np.repeat(begins, np.diff(np.append(begins, len(ordered))))
    cuts = np.flatnonzero((np.arange(len(ordered)) - run) % most == 0)
    return Packing(order, np.append(cuts, len(ordered)).astype(np.int64))


class BatchEncoder:
    """Encodes Readings as Confluent-framed ReadingBatches."""

    def __init__(self, schema_id: int) -> None:
        """``schema_id`` is the registry's of ReadingBatch."""
        (array,) = [field for field in load_schema("ReadingBatch")["fields"] if field["name"] == ARRAY]
        self._items = Encoder(array["type"]["items"], schema_id)
        self._prefix = b"\0" + schema_id.to_bytes(4, "big")

    def encode(self, readings: pl.DataFrame, cuts: Int64s) -> list[bytes]:
        """One message for each stretch between two ``cuts``; all of its readings must be of one device."""
        items = [item[PREFIX_BYTES:] for item in self._items.encode(readings)]
        devices = readings["device_id"].gather(cuts[:-1]).to_list()
        return [
            b"".join((self._head(device), long_bytes(end - begin), *items[begin:end], b"\0"))
            for device, (begin, end) in zip(devices, pairwise(cuts.tolist()), strict=True)
        ]

    def _head(self, device: str) -> bytes:
        name = device.encode()
        return self._prefix + long_bytes(len(name)) + name

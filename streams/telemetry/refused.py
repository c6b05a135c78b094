"""Refused readings as dead letters: the message as it came, or of a batch just the reading that was refused.

A batch whose other readings are stored is not put back whole: its bad reading becomes a Reading of its own, in Avro, so
that a replay brings back this one and nothing else.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streams.engine.block import Block
from streams.engine.dead_letters import DeadLetter, Extract
from streams.engine.encoder import Encoder
from streams.engine.key_index import Codes
from streams.telemetry.convert import Converted
from streams.telemetry.series import ActiveSeries
from streams.telemetry.validate import REASONS, Verdicts, explain

Rows = npt.NDArray[np.intp]


class RefusedReadings:
    """Makes the letters of one stage; ``series`` are the active series, whose organisations the letters name."""

    def __init__(self, stage: str, series: ActiveSeries, encoder: Encoder) -> None:
        """``encoder`` writes single Readings."""
        self.series = series
        self._stage = stage
        self._encoder = encoder

    def letters(self, block: Block, codes: Codes, verdicts: Verdicts, converted: Converted) -> list[DeadLetter]:
        """One letter for each row of ``block`` whose verdict is not 0, in order."""
        rows = np.flatnonzero(verdicts)
        details = explain(block.frame, rows, verdicts, block.append_ts, converted.frame, converted.sentences)
        extracts: list[Extract | None] = [None] * len(rows)
        if block.places is not None:
            extracts, details = self._extracts(block, rows, details)
        orgs = self.series.dims["org_id"]
        return [
            DeadLetter(
                block.messages[int(block.index[row])],
                REASONS[verdicts[row]],
                detail,
                self._stage,
                org_id=str(orgs[int(codes[row])]) if codes[row] >= 0 else "",
                extract=extract,
            )
            for row, detail, extract in zip(rows, details, extracts, strict=True)
        ]

    def _extracts(self, block: Block, rows: Rows, details: list[str]) -> tuple[list[Extract | None], list[str]]:
        """What the letters hold of batches, and their sentences; a batch of one reading is its whole message."""
        message = block.index[rows]
        sizes = np.searchsorted(block.index, message, "right") - np.searchsorted(block.index, message, "left")
        positions = np.zeros_like(rows) if block.places is None else block.places[rows] + 1
        of_batch = np.flatnonzero(sizes > 1)
        values = iter(self._encoder.encode(block.frame[rows[of_batch]]))
        extracts: list[Extract | None] = [None] * len(rows)
        told = list(details)
        for at in of_batch.tolist():
            extracts[at] = Extract(next(values), int(positions[at]))
            told[at] = f"reading {positions[at]} of {sizes[at]}: {details[at]}"
        return extracts, told


def last_in_message(codes: Codes, ts: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which readings no later reading of the same message repeats; rows are in order of offset and place.

    ClickHouse keeps, of one identity, the row of the highest offset: of one message it could not tell.
    """
    last = np.ones(len(codes), dtype=np.bool_)
    if not len(codes):
        return last
    low = int(ts.min())
    identity = codes.astype(np.int64) * (int(ts.max()) - low + 1) + (ts - low)
    ordered = np.sort(identity)
    if not (ordered[1:] == ordered[:-1]).any():  # nothing is repeated at all, which is the rule
        return last
    order = np.lexsort((offsets, identity))  # stable: what is equal in both stays in order of place
    again = (identity[order[1:]] == identity[order[:-1]]) & (offsets[order[1:]] == offsets[order[:-1]])
    last[order[:-1][again]] = False
    return last

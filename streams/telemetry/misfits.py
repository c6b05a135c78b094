"""Readings that do not fit their metric: which rows, why, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from streams.telemetry.validate import REASONS, Verdicts

Rows = npt.NDArray[np.intp]


class Misfits:
    """The verdicts on one block's rows, 0 where nothing was found, and one sentence a row that has one."""

    def __init__(self, height: int) -> None:
        """Begin with ``height`` rows that all fit."""
        self.verdicts: Verdicts = np.zeros(height, dtype=np.int8)
        self.sentences: dict[int, str] = {}

    def add(self, reason: str, rows: Rows, sentences: Iterable[str]) -> None:
        """Refuse ``rows``, each with its sentence; what was said of a row before holds."""
        verdict = REASONS.index(reason)
        for row, sentence in zip(rows.tolist(), sentences, strict=True):
            if not self.verdicts[row]:
                self.verdicts[row] = verdict
                self.sentences[row] = sentence

    def fitting(self, rows: Rows) -> Rows:
        """Those of ``rows`` of which nothing was found."""
        fitting: Rows = rows[self.verdicts[rows] == 0]
        return fitting

"""Values of metrics that are no plain numbers: whole numbers, switches, texts, words of a list, JSON.

========== ===================================== ================================================================
value type takes                                 stores
========== ===================================== ================================================================
float      a number                              the number
integer    a number that is whole                the number
boolean    0 or 1, or true, false, on, off       1 or 0
string     a text                                the text, with value 0
enum       a text of the metric's list           the text, with value 0
json       a text that is JSON of the schema     the text, with value 0
========== ===================================== ================================================================

Texts are not aggregated. A reading that has nothing but a status code tells of the device's health and fits every type;
a text in place of a float is stored, too: a device may say in words why it has no number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
import polars as pl

from streams.telemetry.json_texts import JsonTexts
from streams.telemetry.misfits import Misfits, Rows

Fault = tuple[str, str]
"""A reason and a sentence."""

TYPES: Final = ("float", "integer", "boolean", "string", "enum", "json")
"""The number of a type is its place here."""

FLOAT, INTEGER, BOOLEAN, STRING, ENUM, JSON = range(len(TYPES))

WRONG_TYPE: Final = "wrong_type"
NOT_IN_ENUM: Final = "not_in_enum"

SWITCHES: Final = {"true": 1.0, "on": 1.0, "false": 0.0, "off": 0.0}
"""Texts that are booleans, in any case of letters."""

LONGEST_TEXT: Final = 65_536
"""Bytes of a text that is looked at; a longer one is refused for its length."""

_MOST_WORDS: Final = 20
"""Words of an enum that a sentence lists."""


def check_integers(frame: pl.DataFrame, rows: Rows, misfits: Misfits) -> pl.DataFrame:
    """Refuse what is no whole number. NaN and infinities are refused for what they are, elsewhere."""
    value = frame["value"].gather(rows)
    whole = (value.is_not_null() & ((value == value.floor()) | ~value.is_finite())).fill_null(False).to_numpy()
    wrong = rows[~whole]
    misfits.add(
        WRONG_TYPE, wrong, (f"{each} is no whole number, as its metric asks for" for each in _sent(frame, wrong))
    )
    return frame


def check_booleans(frame: pl.DataFrame, rows: Rows, misfits: Misfits) -> pl.DataFrame:
    """Refuse what is no boolean, and make numbers of true, false, on and off."""
    value = frame["value"].gather(rows)
    words = frame["str_value"].gather(rows).str.to_lowercase()
    said = words.replace_strict(SWITCHES, default=None, return_dtype=pl.Float64)
    meant = value.zip_with(value.is_not_null(), said)
    good = meant.is_in([0.0, 1.0]).fill_null(False).to_numpy()
    wrong = rows[~good]
    misfits.add(WRONG_TYPE, wrong, (f"{each} is neither 0, 1, true, false, on nor off" for each in _sent(frame, wrong)))
    spoken = good & value.is_null().to_numpy()
    return _with(frame, rows[spoken], value=meant.filter(pl.Series(spoken)), str_value=None) if spoken.any() else frame


def check_texts(frame: pl.DataFrame, rows: Rows, misfits: Misfits) -> pl.DataFrame:
    """Refuse numbers where texts are asked for, and drop the number that came beside a text."""
    text = frame["str_value"].gather(rows).is_not_null().to_numpy()
    wrong = rows[~text]
    misfits.add(
        WRONG_TYPE, wrong, (f"{each} is a number where its metric asks for a text" for each in _sent(frame, wrong))
    )
    both = rows[text & frame["value"].gather(rows).is_not_null().to_numpy()]
    return _with(frame, both, value=None) if len(both) else frame


class TextRules:
    """What the metrics of one registry ask of texts; each metric's rule is made when the first text of it comes."""

    def __init__(self, metrics: pl.DataFrame) -> None:
        """``metrics`` has the columns of :data:`~connectors.postgres.metadata.METRIC_SCHEMA`."""
        self._metrics = metrics
        self._faults: dict[str, Callable[[str], Fault | None]] = {}

    def check(self, frame: pl.DataFrame, rows: Rows, metric: str, misfits: Misfits) -> None:
        """Refuse the texts in ``rows``, all of one metric, that do not fit it; equal texts are judged once."""
        texts = frame["str_value"].gather(rows)
        short = texts.str.len_bytes() <= LONGEST_TEXT
        rows, texts = rows[short.to_numpy()], texts.filter(short)
        fault_of = self._rule(metric)
        faults = {text: fault for text in texts.unique() if (fault := fault_of(text)) is not None}
        if not faults:
            return
        bad = texts.is_in(list(faults))
        for row, text in zip(rows[bad.to_numpy()].tolist(), texts.filter(bad), strict=True):
            reason, sentence = faults[text]
            misfits.add(reason, np.array([row]), [sentence])

    def _rule(self, metric: str) -> Callable[[str], Fault | None]:
        if metric not in self._faults:
            self._faults[metric] = self._made(metric)
        return self._faults[metric]

    def _made(self, metric: str) -> Callable[[str], Fault | None]:
        found = self._metrics.filter(pl.col("name") == metric)
        if found.is_empty():
            return lambda text: None
        row = found.row(0, named=True)
        if row["value_type"] == TYPES[JSON]:
            return JsonTexts(row["json_schema"]).fault
        return _one_of(json.loads(row["enum_values"] or "[]"))


def _one_of(words: Iterable[str]) -> Callable[[str], Fault | None]:
    known = frozenset(words)
    listed = sorted(known)
    told = ", ".join(listed[:_MOST_WORDS]) + (
        f" and {len(listed) - _MOST_WORDS} more" if len(listed) > _MOST_WORDS else ""
    )

    def fault(text: str) -> Fault | None:
        return None if text in known else (NOT_IN_ENUM, f"{_short(text)!r} is none of {told}")

    return fault


def _sent(frame: pl.DataFrame, rows: Rows) -> list[str]:
    """What each row has for its value, for a sentence."""
    sent = frame.select("value", "str_value")[rows]
    return [f"value {value}" if value is not None else f"text {_short(text)!r}" for value, text in sent.iter_rows()]


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}…"


def _with(frame: pl.DataFrame, rows: Rows, **values: pl.Series | None) -> pl.DataFrame:
    """The frame with other values in ``rows``."""
    return frame.with_columns(
        frame[name].clone().scatter(pl.Series(rows), new if new is not None else None) for name, new in values.items()
    )

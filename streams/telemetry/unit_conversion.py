"""Whole columns from one unit into another: a pair of units is looked up once, a number costs a multiplication."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.entities.units import LONGEST_UNIT, conversion

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.bool_]


class Scales(NamedTuple):
    """One conversion a row: ``(value * factor + offset) / divisor``; all three are NaN where there is none."""

    factor: Floats
    offset: Floats
    divisor: Floats

    @property
    def known(self) -> Rows:
        """Which rows have a conversion."""
        known: Rows = ~np.isnan(self.factor)
        return known

    def apply(self, values: Floats) -> Floats:
        """The values in the other unit, NaN where there is no conversion.

        A finite number that grows beyond all floats stays as it is, so that it is refused for its size and not for
        being no number.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            result: Floats = (values * self.factor + self.offset) / self.divisor
        return np.where(np.isinf(result) & np.isfinite(values), values, result)


def scales(units: pl.Series, bases: pl.Series) -> Scales:
    """Look up the conversion of each row's unit into the base unit beside it; both are String without nulls."""
    pairs = pl.DataFrame([units.alias("unit"), bases.alias("base")])
    different = pairs.unique(maintain_order=True)
    found = np.array([_scale(unit, base) for unit, base in different.iter_rows()], dtype=np.float64).reshape(-1, 3)
    if len(different) == 1:
        return Scales(*(np.full(len(pairs), number) for number in found[0]))
    numbered = different.with_row_index("place")
    place = pairs.join(numbered, on=["unit", "base"], how="left", maintain_order="left")["place"].to_numpy()
    return Scales(*(column[place] for column in found.T))


def _scale(unit: str, base: str) -> tuple[float, float, float]:
    # texts that are no unit for their length alone would stay in the cache of conversions
    found = conversion(unit, base) if len(unit) <= LONGEST_UNIT else None
    return (np.nan, np.nan, np.nan) if found is None else found

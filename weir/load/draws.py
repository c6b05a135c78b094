"""Chance that depends on the seed and a reading's number only, so that batches of any size give the same readings."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

_GOLDEN: Final = 0x9E3779B97F4A7C15
_WORD: Final = (1 << 64) - 1


def draw(seed: int, stream: int, numbers: Int64s) -> Float64s:
    """One number in [0, 1) for each of ``numbers``; other ``stream``, other numbers.

    SplitMix64 (Steele, Lea, Flood, 2014) of seed, stream and number.
    """
    start = np.uint64(((seed * 1_000_003 + stream + 1) * _GOLDEN) & _WORD)
    with np.errstate(over="ignore"):
        mixed = start + numbers.astype(np.uint64) * np.uint64(_GOLDEN)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    result: Float64s = (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53
    return result

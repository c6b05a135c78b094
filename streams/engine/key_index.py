"""Dense codes for pairs of names that keep coming back, found by hash and checked by name.

Joining every reading against a frame of a million names costs 6,400 ns a reading; a 64-bit hash and a binary search
among the keys that are active cost under 100. Most searches are not made: the low bits of the hash name a slot, and
where that holds the hash (19 in 20 of the keys) its code stands beside it, for 4 ns instead of 90. Every row is then
compared with the names behind its code, so a hash collision cannot mislabel; the hash is seeded at random, so nobody
can prepare one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

Codes = npt.NDArray[np.int32]
Admit = Callable[[pl.DataFrame], npt.NDArray[np.bool_]]
"""Says of each row of new pairs whether it may get a code."""
UNKNOWN: Final = -1

SLOTS_A_KEY: Final = 8
"""At least: of 8 to 16 slots a key, one key in 12 to 24 finds its slot taken and is searched for."""

_Hashes = npt.NDArray[np.uint64]


class KeyIndex:
    """Gives each pair of strings a code: 0, 1, 2 … in order of appearance."""

    def __init__(self, first: str, second: str) -> None:
        """Index the string columns named ``first`` and ``second``."""
        self._columns = (first, second)
        self._seed = secrets.randbits(64)
        self._hashes: _Hashes = np.empty(0, dtype=np.uint64)
        self._codes: Codes = np.empty(0, dtype=np.int32)
        self._slots: tuple[_Hashes, Codes] = (np.zeros(1, dtype=np.uint64), np.zeros(1, dtype=np.int32))
        self._collided: dict[tuple[str, str], int] = {}
        self.names = pl.DataFrame(schema={first: pl.String, second: pl.String})

    def __len__(self) -> int:
        """Return how many codes were given."""
        return len(self.names)

    def encode(self, frame: pl.DataFrame, admit: Admit | None = None) -> Codes:
        """Return the code of each row; no column may hold nulls.

        Pairs not seen before get new codes if ``admit`` says so, else -1: who may send names without end must not be
        able to fill the memory.
        """
        if not len(frame):
            return np.empty(0, dtype=np.int32)
        hashes = self._hash(frame)
        codes, found = self._find(hashes)
        if not found.all():
            self._learn(frame, hashes, np.flatnonzero(~found), admit)
            codes, found = self._find(hashes)
        wrong = self._mislabelled(frame, codes) & found
        if wrong.any():
            codes[wrong] = self._by_name(frame.filter(pl.Series(wrong)), admit)
        codes[~found] = UNKNOWN
        return codes

    def _hash(self, frame: pl.DataFrame) -> _Hashes:
        hashes: _Hashes = frame.select(self._columns).hash_rows(self._seed).to_numpy()
        return hashes

    def _find(self, hashes: _Hashes) -> tuple[Codes, npt.NDArray[np.bool_]]:
        if not len(self._hashes):
            return np.zeros(len(hashes), dtype=np.int32), np.zeros(len(hashes), dtype=np.bool_)
        held, held_codes = self._slots
        slot = (hashes & np.uint64(len(held) - 1)).view(np.int64)
        codes, found = held_codes[slot], held[slot] == hashes  # an empty slot says 0: whoever hashes to it is compared
        if not found.all():
            others = np.flatnonzero(~found)
            codes[others], found[others] = self._search(hashes[others])
        return codes, found

    def _search(self, hashes: _Hashes) -> tuple[Codes, npt.NDArray[np.bool_]]:
        at = np.searchsorted(self._hashes, hashes)
        at[at == len(self._hashes)] = 0
        return self._codes[at], self._hashes[at] == hashes

    def _fill_slots(self) -> None:
        """Give every key a slot; of several that want the same one, one has it."""
        size = 1 << (SLOTS_A_KEY * len(self._hashes) - 1).bit_length()
        held, codes = np.zeros(size, dtype=np.uint64), np.zeros(size, dtype=np.int32)
        slot = (self._hashes & np.uint64(size - 1)).view(np.int64)
        held[slot], codes[slot] = self._hashes, self._codes
        self._slots = held, codes

    def _learn(self, frame: pl.DataFrame, hashes: _Hashes, rows: npt.NDArray[np.intp], admit: Admit | None) -> None:
        new, first_row = np.unique(hashes[rows], return_index=True)
        appearance = np.argsort(first_row)
        new, first_row = new[appearance], first_row[appearance]
        names = frame[rows[first_row]].select(self._columns)
        if admit is not None:
            admitted = admit(names)
            new, names = new[admitted], names.filter(pl.Series(admitted))
        codes = np.arange(len(self.names), len(self.names) + len(new), dtype=np.int32)
        self.names = pl.concat([self.names, names], rechunk=True)
        everything = np.concatenate((self._hashes, new))
        order = np.argsort(everything, kind="stable")
        self._hashes, self._codes = everything[order], np.concatenate((self._codes, codes))[order]
        if len(new):
            self._fill_slots()

    def _mislabelled(self, frame: pl.DataFrame, codes: Codes) -> npt.NDArray[np.bool_]:
        if not len(self.names):
            return np.zeros(len(frame), dtype=np.bool_)
        names = self.names[codes]
        same = pl.Series(np.ones(len(codes), dtype=np.bool_))
        for column in self._columns:
            same = same & (names[column] == frame[column])
        different: npt.NDArray[np.bool_] = ~same.to_numpy()
        return different

    def _by_name(self, frame: pl.DataFrame, admit: Admit | None) -> Codes:
        """Code pairs whose hash belongs to another pair; so rare that a dict will do."""
        codes = np.full(len(frame), UNKNOWN, dtype=np.int32)
        names = frame.select(self._columns)
        admitted = admit(names) if admit is not None else np.ones(len(names), dtype=np.bool_)
        for row, pair in enumerate(names.iter_rows()):
            if pair not in self._collided and admitted[row]:
                self._collided[pair] = len(self.names)
                self.names = pl.concat([self.names, names[row]], rechunk=True)
            codes[row] = self._collided.get(pair, UNKNOWN)
        return codes

"""A limit to dead letters: a worker that refuses nearly everything is itself at fault, and stops.

A few bad senders are refused record by record. But a deployment with a wrong schema, wrong bounds or an empty metadata
database refuses everybody's records, and every one of them would have to be put back afterwards. So each partition
counts what it refuses, within one hour of the broker's clock. Only what several senders (message keys) sent counts: one
forgotten device, alone in its partition, never stops anybody.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from weir.errors import WeirError

HOUR_MS: Final = 3_600_000
NOBODY: Final = -2
SEVERAL: Final = -1

Int64s = npt.NDArray[np.int64]


class RefusalLimitError(WeirError):
    """More was refused than the settings allow; nothing of the block at hand was committed."""


class RefusalLimit(msgspec.Struct, frozen=True):
    """``max_run`` refused in a row (0: any number), or more than ``max_share`` of at least ``share_messages``."""

    max_share: float
    share_messages: int
    max_run: int


NO_LIMIT: Final = RefusalLimit(max_share=1.0, share_messages=1, max_run=0)
"""Of a stage that may refuse everything."""


class Refusals(msgspec.Struct, frozen=True, array_like=True):
    """What one partition refused in one ``hour`` (since 1970, of append time); part of its checkpoint.

    ``taken`` counts all messages, ``refused`` those that became dead letters, ``run`` the last ones without a gap.
    ``sender`` is a checksum of the one key that all refused ones of the hour had, :data:`SEVERAL`, or :data:`NOBODY`.
    """

    hour: int = 0
    taken: int = 0
    refused: int = 0
    run: int = 0
    sender: int = NOBODY

    def after(self, append_ms: int, kept: Int64s, refused: Int64s, keys: Iterable[bytes] = ()) -> tuple[Refusals, int]:
        """What stands after a block, and the longest run in it; 0 when the block keeps more than it refuses.

        ``kept`` and ``refused`` are the block's offsets, each ascending, ``keys`` those of the refused ones;
        ``append_ms`` is when its last was appended.
        """
        hour = append_ms // HOUR_MS
        before = self if hour == self.hour else Refusals(hour)
        longest, last = _runs(before.run, kept, refused)
        taken = before.taken + len(kept) + len(refused)
        sender = _sender(before.sender, keys)
        after = Refusals(hour, taken, before.refused + len(refused), last, sender)
        return after, longest if len(refused) >= len(kept) else 0

    def check(self, limit: RefusalLimit, longest: int, where: str) -> None:
        """Raise :class:`RefusalLimitError` when this is too much; ``where`` names the partition.

        ``longest`` is 0 when the block kept more than it refused: then the fault is mended, whatever was before.
        """
        if self.sender != SEVERAL or not longest:
            return
        if limit.max_run and longest >= limit.max_run:
            found = f"{longest:,} records in a row"
        elif self.taken >= limit.share_messages and self.refused > limit.max_share * self.taken:
            found = f"{self.refused:,} of {self.taken:,} records within an hour"
        else:
            return
        raise RefusalLimitError(
            f"{where}: {found} were refused, so the fault is more likely here than with their senders, and the worker "
            "stops before it refuses more. `weir dlq list --summary` says why; mend that, start the worker, and put "
            "them back with `weir dlq replay`. If they are refused rightly, raise WEIR_DEAD_LETTERS__MAX_RUN or "
            "WEIR_DEAD_LETTERS__MAX_SHARE."
        )


NO_REFUSALS: Final = Refusals()


def _sender(before: int, keys: Iterable[bytes]) -> int:
    """Whose records were refused, given whose were before."""
    found = {before, *map(zlib.crc32, set(keys))} - {NOBODY}
    return found.pop() if len(found) == 1 else SEVERAL if found else NOBODY


def _runs(run: int, kept: Int64s, refused: Int64s) -> tuple[int, int]:
    """The longest run of refused offsets, with ``run`` of them before the block; and the run at its end."""
    if not len(refused):
        return 0, 0 if len(kept) else run
    if not len(kept):
        return run + len(refused), run + len(refused)
    lengths = np.bincount(np.searchsorted(kept, refused), minlength=len(kept) + 1)
    lengths[0] += run
    return int(lengths.max()), int(lengths[-1])

"""Numbers for the devices that may not be silent, so that what is known of them are columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from streams.engine.key_index import Codes
from streams.telemetry.alerts.silences import ENDLESS


class Owner(NamedTuple):
    """Whose a device is."""

    org_id: str
    project_id: str


class Devices:
    """A number stays a device's for good; ``silent_ms`` is by number, as long as for ever without a rule."""

    def __init__(self) -> None:
        """Begin with none."""
        self._numbers: dict[str, int] = {}
        self.ids: list[str] = []
        self.owners: list[Owner] = []
        self.silent_ms = np.empty(0, dtype=np.int64)

    def number(self, device_id: str, owner: Owner) -> int:
        """The number of a device; who has none gets one, and may be silent for ever."""
        if device_id not in self._numbers:
            self._add(device_id, owner)
            self.silent_ms = np.append(self.silent_ms, ENDLESS)
        return self._numbers[device_id]

    def numbers(self, device_ids: pl.Series) -> Codes:
        """The number of each device, -1 for those without."""
        if not self._numbers:
            return np.full(len(device_ids), -1, dtype=np.int32)
        return np.fromiter((self._numbers.get(each, -1) for each in device_ids), np.int32, len(device_ids))

    def rule(self, silences: pl.DataFrame, changed: pl.Series | None) -> None:
        """Take these rules (device_id, org_id, project_id, silent_ms) as all there are, of ``changed`` or of all."""
        for device_id, org_id, project_id, _ in silences.iter_rows():
            owner = Owner(org_id, project_id)
            if device_id in self._numbers:
                self.owners[self._numbers[device_id]] = owner
            else:
                self._add(device_id, owner)
        silent_ms = np.full(len(self.ids), ENDLESS, dtype=np.int64)
        if changed is not None:
            silent_ms[: len(self.silent_ms)] = self.silent_ms
            gone = self.numbers(changed)
            silent_ms[gone[gone >= 0]] = ENDLESS
        silent_ms[self.numbers(silences["device_id"])] = silences["silent_ms"].to_numpy()
        self.silent_ms = silent_ms

    def _add(self, device_id: str, owner: Owner) -> None:
        self._numbers[device_id] = len(self.ids)
        self.ids.append(device_id)
        self.owners.append(owner)

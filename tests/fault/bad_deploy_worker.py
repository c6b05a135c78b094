"""A worker whose version refuses everything: ``python -m tests.fault.bad_deploy_worker``, configured as any other."""

from __future__ import annotations

import runpy
import sys

import numpy as np
import polars as pl

from streams.telemetry import pipeline
from streams.telemetry.validate import REASONS, Verdicts
from weir.settings import load_settings


def refuse_everything(frame: pl.DataFrame, *_: object) -> Verdicts:
    """Every reading is out of bounds."""
    return np.full(len(frame), REASONS.index("out_of_bounds"), dtype=np.int8)


def main() -> None:
    """Put the fault in, then run what ``weir worker`` becomes."""
    if not callable(getattr(pipeline, "judge", None)):
        raise LookupError("streams.telemetry.pipeline has no judge(): this worker must follow.")
    setattr(pipeline, "judge", refuse_everything)  # noqa: B010 - the name belongs to another module
    port = str(load_settings().worker.web_port)
    sys.argv = ["faust", "-A", "streams.app", "worker", "-l", "info", "--web-port", port]
    runpy.run_module("faust", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

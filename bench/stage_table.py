"""Which stage of the way of a reading a frame belongs to; a frame is a function of a file, as py-spy writes it.

A stack belongs to the stage of its innermost frame that is in :data:`STAGE_OF`: what Polars, numpy or an HTTP client do
counts for who called them. A file that serves one stage is named alone; one that serves several by function, with
``""`` for the rest of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

CONSUME: Final = "consume"
HAND_OVER: Final = "hand over"
VALUES: Final = "values and times"
DECODE: Final = "decode"
CODES: Final = "codes"
CONVERT: Final = "convert"
JUDGE: Final = "judge"
DIMS: Final = "dims"
ROWS: Final = "raw rows"
POINTS: Final = "points"
ALERTS: Final = "alerts"
ADD: Final = "windows: add"
CLOSE: Final = "windows: close"
CORRECT: Final = "corrections"
ENCODE: Final = "encode aggregates"
PUBLISH: Final = "publish"
ARROW: Final = "Arrow"
INSERT: Final = "insert over HTTP"
COMMIT: Final = "commit"
REFUSE: Final = "dead letters"
METADATA: Final = "metadata and events"
LOOP: Final = "loop and Faust"
GARBAGE: Final = "garbage collection"
LIBRDKAFKA: Final = "librdkafka's threads"
POLARS: Final = "Polars' thread"
OTHER: Final = "other"

STAGES: Final = (
    CONSUME,
    HAND_OVER,
    VALUES,
    DECODE,
    CODES,
    CONVERT,
    JUDGE,
    DIMS,
    ROWS,
    POINTS,
    ALERTS,
    ADD,
    ARROW,
    INSERT,
    CLOSE,
    CORRECT,
    ENCODE,
    PUBLISH,
    COMMIT,
    REFUSE,
    METADATA,
    LOOP,
    GARBAGE,
    LIBRDKAFKA,
    POLARS,
    OTHER,
)
"""In the order of the table."""

STAGE_OF: Final[Mapping[str, Mapping[str, str]]] = {
    "streams/engine/consumer.py": {
        "": CONSUME,
        "_hand_over": HAND_OVER,
        "_commit": COMMIT,
        "_commit_requested": COMMIT,
    },
    "streams/engine/fetch.py": {"": VALUES, "split_by_partition": HAND_OVER, "joined": HAND_OVER, "parts": HAND_OVER},
    "streams/engine/joining_queue.py": {"": HAND_OVER},
    "streams/engine/batch_topic.py": {"": HAND_OVER},
    "streams/engine/block.py": {"": DECODE},
    "streams/engine/codec.py": {"": DECODE},
    "streams/engine/avro_block.py": {"": DECODE},
    "streams/engine/avro_schema.py": {"": DECODE},
    "streams/engine/json_payload.py": {"": DECODE},
    "streams/engine/nested_record.py": {"": DECODE},
    "streams/engine/packed_block.py": {"": DECODE},
    "streams/engine/packed_schema.py": {"": DECODE},
    "streams/engine/quiet_panic.py": {"": DECODE},
    "streams/engine/record_by_record.py": {"": DECODE},
    "streams/engine/rejection.py": {"": DECODE},
    "streams/engine/resolution.py": {"": DECODE},
    "streams/engine/key_index.py": {"": CODES},
    "streams/telemetry/series.py": {"": CODES, "dims_at": DIMS, "_moved": DIMS, "retention_days": JUDGE},
    "streams/telemetry/moves.py": {"": DIMS},
    "streams/telemetry/registered.py": {"": METADATA},
    "streams/telemetry/bounds.py": {"": METADATA},
    "streams/telemetry/newcomers.py": {"": METADATA},
    "streams/telemetry/convert.py": {"": CONVERT},
    "streams/telemetry/unit_conversion.py": {"": CONVERT},
    "streams/telemetry/value_types.py": {"": CONVERT},
    "streams/telemetry/misfits.py": {"": CONVERT},
    "streams/telemetry/json_texts.py": {"": CONVERT},
    "streams/telemetry/json_keywords.py": {"": CONVERT},
    "streams/telemetry/validate.py": {"": JUDGE},
    "streams/telemetry/enrich.py": {"": ROWS, "points_of": POINTS},
    "streams/telemetry/pipeline.py": {"": LOOP, "outcome": JUDGE, "aggregate_rows": ROWS, "undecodable": REFUSE},
    "streams/telemetry/agents.py": {"": LOOP},
    "streams/telemetry/make_stage.py": {"": LOOP},
    "streams/engine/outcome.py": {"": ADD},
    "streams/engine/watermark.py": {"": ADD},
    "streams/engine/windows.py": {"": ADD, "close": CLOSE},
    "streams/engine/partition_state.py": {"": ADD, "checkpoint": COMMIT, "take": ARROW, "close": CLOSE},
    "streams/engine/kept.py": {"": COMMIT},
    "streams/engine/recount.py": {"": ADD},
    "streams/engine/refusals.py": {"": REFUSE},
    "streams/engine/reduce.py": {"": CLOSE},
    "streams/telemetry/rollup.py": {"": CLOSE, "records": ENCODE, "recompute": CORRECT, "close_stored": CORRECT},
    "streams/engine/encoder.py": {"": ENCODE},
    "streams/engine/producer.py": {"": PUBLISH},
    "streams/engine/stage.py": {
        "": LOOP,
        "_insert": ARROW,
        "_publish": CLOSE,
        "_closings": CLOSE,
        "_close": CLOSE,
        "_announce": ENCODE,
        "_correct": CORRECT,
        "_plan": COMMIT,
        "_refuse": REFUSE,
        "_write": PUBLISH,
    },
    "streams/engine/checkpoint.py": {"": COMMIT},
    "streams/engine/upstream.py": {"": COMMIT},
    "streams/engine/group_progress.py": {"": COMMIT},
    "streams/engine/topic_tail.py": {"": ALERTS},
    "streams/engine/retrying.py": {"": OTHER},
    "streams/engine/crash.py": {"": OTHER},
    "streams/engine/metrics.py": {"": LOOP},
    "streams/engine/flush_schedule.py": {"": LOOP},
    "streams/engine/loop_pause.py": {"": LOOP},
    "streams/engine/dead_letters.py": {"": REFUSE},
    "streams/telemetry/letter.py": {"": REFUSE},
    "streams/telemetry/refused.py": {"": REFUSE},
    "streams/telemetry/dead_letter_rows.py": {"": REFUSE},
    "streams/telemetry/dead_letter_sink.py": {"": REFUSE},
    "streams/telemetry/alert_events.py": {"": ALERTS},
    "streams/telemetry/alert_sink.py": {"": ALERTS},
    "streams/telemetry/metadata_feed.py": {"": METADATA},
    "streams/telemetry/metric_copy.py": {"": METADATA},
    "streams/telemetry/parity_watch.py": {"": METADATA},
    "streams/telemetry/repair.py": {"": METADATA},
    "streams/events/": {"": METADATA},
    "streams/telemetry/alerts/": {"": ALERTS},
    "streams/": {"": LOOP},
    "sinks/clickhouse/writer.py": {"": ARROW, "insert": INSERT},
    "sinks/clickhouse/client.py": {"": INSERT},
    "sinks/clickhouse/stored_windows.py": {"": CORRECT},
    "sinks/clickhouse/stored_alerts.py": {"": ALERTS},
    "sinks/": {"": METADATA},
    "connectors/": {"": METADATA},
    "connectors/registry.py": {"": DECODE},
    "weir/garbage.py": {"": OTHER},
    "clickhouse_connect/": {"": INSERT},
    "pyarrow/": {"": ARROW},
    "psycopg/": {"": METADATA},
    "prometheus_client/": {"": LOOP},
    "faust/": {"": LOOP},
    "mode/": {"": LOOP},
    "aiokafka/": {"": LOOP},
    "asyncio/": {"": LOOP},
}
"""Stage of each function of each file; what ends in ``/`` is a folder, for the files in it that are not named."""

THREADS: Final = (("rdk:", LIBRDKAFKA), ("polars", POLARS), ("tokio", POLARS), ("async-exec", POLARS))
"""Stage of threads that run no Python, by the beginning of the name that the kernel has of them."""

COLLECTING: Final = re.compile(r"^_?(gc_collect|PyGC_Collect|deduce_unreachable|subtract_refs|visit_decref)")
WAITING: Final = re.compile(
    r"^(_worker \(concurrent/futures/thread\.py|EpollSelector\.select \(selectors\.py|Condition\.wait \(threading\.py"
    r"|Event\.wait \(threading\.py)"
)
"""Innermost Python frames of a thread that waits, whatever the kernel said of it at that moment."""

_FRAME: Final = re.compile(r"^(?P<function>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")


class Frame(NamedTuple):
    """A function of a file; both as py-spy shortens them."""

    function: str
    file: str


def frame_of(text: str) -> Frame | None:
    """``Fetch.values (streams/engine/fetch.py:71)``; None for what is no frame of Python or C."""
    found = _FRAME.match(text)
    return None if found is None else Frame(found["function"], found["file"])


def stage_of_frame(frame: Frame) -> str | None:
    """Its stage by :data:`STAGE_OF`; the longest name of a file or folder holds."""
    functions = STAGE_OF.get(frame.file)
    folder = frame.file
    while functions is None and "/" in folder:
        folder = folder.rpartition("/")[0]
        functions = STAGE_OF.get(f"{folder}/")
    if functions is None:
        return None
    return next((functions[name] for name in _names(frame.function) if name in functions), functions[""])


def stage_of(stack: Sequence[str]) -> str | None:
    """Stage of a stack, outermost frame first; None when the thread waits."""
    frames = [each for each in map(frame_of, stack) if each is not None]
    if any(COLLECTING.match(each.function) for each in frames):
        return GARBAGE
    innermost = next((text for text in reversed(stack) if ".py:" in text), "")
    if WAITING.match(innermost):
        return None
    stages = (stage_of_frame(each) for each in reversed(frames))
    return next((stage for stage in stages if stage is not None), OTHER)


def stage_of_thread(name: str) -> str:
    """Stage of a thread that runs no Python."""
    return next((stage for beginning, stage in THREADS if name.startswith(beginning)), OTHER)


def _names(function: str) -> Iterator[str]:
    """Names that a function may stand under: of a lambda or generator inside of it, its own."""
    parts = [part for part in function.split(".") if part != "<locals>" and not part.startswith("<")]
    return reversed(parts)

"""Every metric of the engine, declared once with its meaning."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

MESSAGES: Final = Counter("weir_messages", "Messages taken in.", ["stream"])
ROWS: Final = Counter("weir_rows_stored", "Rows that the sink has acknowledged.", ["stream"])
DEAD_LETTERS: Final = Counter("weir_dead_letters", "Records refused, by reason.", ["stream", "reason"])
WINDOWS: Final = Counter("weir_window_rows_published", "Aggregate rows published at the close of a window.", ["stream"])
CORRECTIONS: Final = Counter(
    "weir_corrections_published", "Aggregate rows published again for late readings.", ["stream"]
)
LATE: Final = Counter("weir_late_windows", "Closed windows (series, start) that a late reading fell into.", ["stream"])
CONFLICTS: Final = Counter(
    "weir_conflicts",
    "Resends whose value differed from what they replaced, counted as windows close.",
    ["stream"],
)
FLUSH_SECONDS: Final = Histogram(
    "weir_flush_seconds",
    "Time from plan commit to the last acknowledgement of a flush.",
    ["stream"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
LAG: Final = Gauge(
    "weir_lag_messages", "Messages in the log that this worker has not read yet.", ["topic", "partition"]
)
WATERMARK: Final = Gauge(
    "weir_watermark_seconds",
    "Event time (seconds since 1970) up to which windows are closed and published.",
    ["stream", "partition"],
)
OPEN_POINTS: Final = Gauge("weir_open_window_points", "Points held in open windows.", ["stream", "partition"])
LOOP_PAUSE: Final = Histogram(
    "weir_loop_pause_seconds",
    "How late the event loop serves a task that becomes due at any moment.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 1, 2.5, 5),
)
LOOP_PAUSE_LONGEST: Final = Gauge(
    "weir_loop_pause_longest_seconds", "The longest that the event loop did not come round since the start."
)

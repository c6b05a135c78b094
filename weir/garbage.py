"""Python's garbage collector in a worker or gateway: rarely, and not over what never goes away."""

from __future__ import annotations

import gc


def collect_rarely() -> None:
    """Call once, when everything that lives as long as the process has been made.

    librdkafka's ``Message`` objects are tracked by the collector and come by the thousand a fetch, each fetch setting
    off collections over a heap that holds all of Faust and Polars: 27 % of a worker's CPU. With what exists frozen and
    a higher threshold, ``consume()`` alone takes 510 ns a message instead of 1,090, a worker 2.95 s a million readings
    instead of 4.2; a gateway takes 91,000 readings a CPU second in batches instead of 34,000. Reference counting frees
    messages and frames as before; only cycles wait longer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)

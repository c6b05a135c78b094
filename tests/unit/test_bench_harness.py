"""Measuring a process from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from bench.harness import CpuMeter


def burn(seconds: float) -> float:
    """Use that much CPU and return how much it was."""
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        sum(range(1_000))
    return time.process_time() - begun


def test_only_the_cpu_between_the_two_moments_counts() -> None:
    with CpuMeter({"me": os.getpid()}) as meter:
        burn(0.2)
        begin = time.time()
        used = burn(0.3)
        end = time.time()
        burn(0.1)
    assert abs(meter.cpu_seconds("me", begin, end) - used) < 0.06  # the kernel counts in ticks of 10 ms


def test_of_a_tree_the_cpu_of_children_counts_even_after_they_ended() -> None:
    with CpuMeter({"tree": os.getpid(), "me": os.getpid()}, trees=("tree",)) as meter:
        begin = time.time()
        burns = "import time\nwhile time.process_time() < 0.8: pass"
        subprocess.run([sys.executable, "-c", burns], check=True)
        time.sleep(0.1)
        end = time.time()
    child = meter.cpu_seconds("tree", begin, end) - meter.cpu_seconds("me", begin, end)
    # found a quarter of a second late at worst, what it used by then included; last looked at 20 ms before its end
    assert 0.6 < child < 1.0


def test_what_the_whole_machine_used_contains_the_process() -> None:
    with CpuMeter({"me": os.getpid()}) as meter:
        begin = time.time()
        used = burn(0.3)
        end = time.time()
    assert meter.cpu_seconds("machine", begin, end) > used - 0.06


def test_the_peak_stays_after_the_memory_was_given_back() -> None:
    with CpuMeter({"me": os.getpid()}) as meter:
        before = meter.peak_bytes("me")
        held = b"\1" * (before + 50_000_000)
        assert len(held) > before
        time.sleep(0.1)
        del held
    assert meter.peak_bytes("me") > before + 40_000_000

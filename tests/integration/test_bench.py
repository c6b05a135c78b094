"""``weir bench pipeline`` as a person runs it, small: the figures make sense, nothing is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil

PORT_BASE = 26500


def bench(temporary: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "weir", "bench", "pipeline", "--port-base", str(PORT_BASE), *options]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WEIR_CONFIG")}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=240, env={**inherited, "TMPDIR": str(temporary)}, check=False
    )


def test_a_small_run_stores_every_reading_once_and_tells_sane_figures(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    result = bench(tmp_path, "--readings", "50000", "--json")
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    assert figures["readings"] == 50_000
    assert figures["distinct"] == 49_500
    assert figures["stored"] == [49_500]
    assert 1_000 < figures["readings_per_second"] < figures["ceiling_readings_per_second"] * 2
    assert 0.3 < figures["ceiling_cpu_seconds_per_million"] < figures["cpu_seconds_per_million"] < 500
    ratio = figures["ceiling_cpu_seconds_per_million"] / figures["cpu_seconds_per_million"]
    assert abs(figures["ratio"] - ratio) < 0.001
    assert 50 < figures["peak_rss_mb"] < 1_024
    assert "49,500 distinct readings are stored" in result.stderr
    assert list(tmp_path.iterdir()) == []
    assert [
        process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(process.info["cmdline"])
    ] == []


def test_too_few_readings_are_refused_before_anything_starts(tmp_path: Path) -> None:
    result = bench(tmp_path, "--readings", "5")
    assert result.returncode == 2
    assert "--readings" in result.stderr
    assert list(tmp_path.iterdir()) == []

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.waiting import patient


def test_rows_move_to_the_cold_volume_after_their_hot_days_and_the_server_writes_the_ttl_as_we_do(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "tests.tiered_engine", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=patient(60), check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["disks"] == ["cold", "hot"]
    assert found["ttl"] == found["wanted"]  # else every migration would alter the table again

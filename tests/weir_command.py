"""Running ``weir`` as its users do: a process of its own, its output and its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.waiting import patient


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Its standard output, parsed."""
        return json.loads(self.out)

    def sentence(self) -> str:
        """The one line on stderr; fails when there are more, or a traceback."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


def weir(environment: Mapping[str, str], *arguments: str, stdin: str = "", seconds: float = 60.0) -> Ended:
    """Run ``weir`` with these arguments and wait for its end."""
    command = [sys.executable, "-m", "weir", *arguments]
    ended = subprocess.run(
        command,
        env=dict(environment),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=patient(seconds),
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)

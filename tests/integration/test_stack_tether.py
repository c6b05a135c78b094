"""A tethered command ends when its supervisor ends, whichever of the processes is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.waiting import patient
from weir.stack.child import Child, Command

SLEEPER = "import time; print('ready', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
)
WITH_DAUGHTER = (
    "import subprocess, sys, time, os\n"
    "d = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
    "print(f'ready {d.pid} .', flush=True); time.sleep(600)"
)
HOLDER = (
    "import sys, time, os\n"
    "from pathlib import Path\n"
    "from weir.stack.child import Child, Command\n"
    "command = Command([sys.executable, '-c', sys.argv[1]], grace_seconds=1.0)\n"
    "child = Child('x', command, dict(os.environ), Path(sys.argv[2]))\n"
    "print(child.pid, flush=True); time.sleep(600)"
)


def eventually(holds: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + patient(seconds)
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def start(code: str, log: Path, grace_seconds: float = 5.0) -> Child:
    child = Child("sleeper", Command([sys.executable, "-c", code], grace_seconds=grace_seconds), dict(os.environ), log)
    assert eventually(lambda: "ready" in log.read_text())
    return child


def test_a_stopped_command_ends_by_its_stop_signal(tmp_path: Path) -> None:
    child = start(SLEEPER, tmp_path / "log")
    assert child.exit_code() is None
    child.request_stop()
    child.wait_stopped()
    assert child.exit_code() == 128 + signal.SIGTERM
    assert gone(child.pid)


def test_a_command_that_ignores_its_stop_signal_is_killed_after_the_grace_time(tmp_path: Path) -> None:
    child = start(STUBBORN, tmp_path / "log", grace_seconds=0.5)
    begun = time.monotonic()
    child.request_stop()
    child.wait_stopped()
    assert child.exit_code() == 128 + signal.SIGKILL
    assert 0.5 <= time.monotonic() - begun < patient(3.0)


def test_a_commands_exit_code_and_last_words_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("words of an earlier run\n")
    code = "import sys; print('first'); print('last', file=sys.stderr); sys.exit(7)"
    child = Child("talker", Command([sys.executable, "-c", code]), dict(os.environ), log)
    assert eventually(lambda: child.exit_code() is not None)
    child.wait_stopped()
    assert child.exit_code() == 7
    assert sorted(child.last_lines().split()) == ["first", "last"]


def test_a_command_that_does_not_exist_says_so(tmp_path: Path) -> None:
    child = Child("missing", Command(["/nonexistent/program"]), dict(os.environ), tmp_path / "log")
    assert eventually(lambda: child.exit_code() == 127)
    child.wait_stopped()
    assert child.last_lines() == "/nonexistent/program cannot be run: No such file or directory"


def test_what_a_command_leaves_behind_goes_with_it(tmp_path: Path) -> None:
    child = start(WITH_DAUGHTER, tmp_path / "log")
    daughter = int((tmp_path / "log").read_text().split("ready ")[1].split()[0])
    assert not gone(daughter)
    child.request_stop()
    child.wait_stopped()
    assert gone(daughter)


def test_a_killed_tether_takes_its_command_along(tmp_path: Path) -> None:
    child = start(SLEEPER, tmp_path / "log")
    tether = psutil.Process(child.pid).parent()
    assert tether is not None
    tether.kill()
    assert eventually(lambda: gone(child.pid))
    child.wait_stopped()
    assert child.exit_code() == 128 + signal.SIGKILL


@pytest.mark.parametrize("code", [SLEEPER, STUBBORN], ids=["polite", "stubborn"])
def test_a_killed_supervisor_leaves_no_command(tmp_path: Path, code: str) -> None:
    log = tmp_path / "log"
    arguments = [sys.executable, "-c", HOLDER, code, str(log)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        assert eventually(lambda: "ready" in log.read_text())
        supervisor.kill()
    assert eventually(lambda: gone(pid))

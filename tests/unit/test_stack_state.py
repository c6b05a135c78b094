"""What a running stack leaves on disk, and that nobody is signalled by mistake."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import psutil
import pytest

from weir.errors import StackError
from weir.stack.passage import barriers
from weir.stack.plan import StackPlan
from weir.stack.state import (
    DataDirLock,
    ProcessRecord,
    StackState,
    await_end,
    is_locked,
    kill,
    read_state,
    state_file,
    this_process,
    write_state,
)


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = StackState(this_process(), (ProcessRecord("kafka", 12, 1.5),), StackPlan(tmp_path, 21000, 2), ready=True)
    write_state(state)
    assert read_state(tmp_path) == state


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"supervisor": {}}', '{"supervisor": {"pid": 1}, "children": []}'])
def test_a_torn_state_file_counts_as_none(tmp_path: Path, torn: str) -> None:
    state_file(tmp_path).write_text(torn)
    assert read_state(tmp_path) is None


def test_a_recycled_pid_is_somebody_else() -> None:
    me = this_process()
    assert me.process() is not None
    stranger = ProcessRecord("kafka", os.getpid(), me.created - 60.0)
    assert stranger.process() is None
    kill([stranger])  # this test would not live to see the next line
    assert await_end([stranger], 0.0) == []


def test_an_ended_process_is_gone() -> None:
    highest = int(Path("/proc/sys/kernel/pid_max").read_text())
    assert ProcessRecord("kafka", highest + 1, 1.0).process() is None


def test_waiting_for_a_process_that_stays_returns_it() -> None:
    me = ProcessRecord("me", os.getpid(), psutil.Process().create_time())
    assert await_end([me], 0.1) == [me]


def test_a_second_supervisor_is_told_who_the_first_is(tmp_path: Path) -> None:
    first = DataDirLock(tmp_path)
    assert is_locked(tmp_path)
    with pytest.raises(StackError, match=rf"already runs on {tmp_path} \(pid {os.getpid()}\)"):
        DataDirLock(tmp_path)
    first.release()
    assert not is_locked(tmp_path)
    DataDirLock(tmp_path).release()


def test_a_folder_without_lock_is_free(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "nothing")


def test_the_topmost_closed_folder_is_the_barrier(tmp_path: Path) -> None:
    everybody = Path(tempfile.gettempdir())
    for folder in (tmp_path, *tmp_path.parents):  # pytest's own folders are closed, at whatever depth they begin
        if folder.is_relative_to(everybody) and folder != everybody:
            folder.chmod(0o755)
    closed = tmp_path / "closed"
    inner = closed / "also closed" / "data"
    inner.mkdir(parents=True)
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    before = barriers([inner, open_folder])
    closed.chmod(0o700)
    (closed / "also closed").chmod(0o700)
    assert barriers([inner, open_folder]) == [*before, closed]
    assert barriers([inner, inner]) == [*before, closed]

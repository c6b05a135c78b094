"""A supervisor in a session of its own, and the pipe by which it tells its starter how the start goes.

``python -m weir.stack.detached FD PLAN CACHE`` writes one JSON object a line to descriptor FD: ``{"part": …,
"state": …}`` while it starts, and last ``{"ready": true}`` or ``{"error": …}``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from weir.errors import StackError, WeirError
from weir.stack.child import last_lines
from weir.stack.endpoints import Endpoints
from weir.stack.plan import StackPlan
from weir.stack.state import await_end, failure_file, is_locked, kill, read_state
from weir.stack.supervisor import Progress, Stack, StopRequested

INTERRUPTED = 130
STOP_SECONDS = 110.0
"""Sum of the grace times of all levels, and a little."""


def start_detached(plan: StackPlan, cache: Path, report: Callable[[Progress], None] = lambda _: None) -> Endpoints:
    """Start a supervisor that outlives this process; return when its stack is healthy.

    Raises :class:`~weir.errors.StackError` with the supervisor's own sentence when it cannot; nothing runs then.
    A KeyboardInterrupt takes the half-started stack down before it goes on.
    """
    log = plan.log_file("supervisor")
    log.parent.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "weir.stack.detached", str(writing), json.dumps(plan.to_dict()), str(cache)]
    with log.open("ab") as output:
        supervisor = subprocess.Popen(  # noqa: S603 - our own supervisor
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[writing],
            start_new_session=True,
        )
    os.close(writing)
    try:
        with open(reading, encoding="utf-8") as messages:
            for line in messages:
                message = json.loads(line)
                if "error" in message:
                    supervisor.wait()
                    raise StackError(message["error"])
                if "ready" in message:
                    supervisor.returncode = 0  # it is not ours to wait for
                    return Endpoints.of(plan)
                report(Progress(**message))
    except KeyboardInterrupt:
        supervisor.terminate()
        supervisor.wait()
        raise
    raise StackError(f"The supervisor ended with exit code {supervisor.wait()}: {last_lines(log)}")


def stop_detached(data_dir: Path) -> bool:
    """Stop the stack on ``data_dir``, whoever started it; False when none ran. Blocks until it is down."""
    state = read_state(data_dir)
    if state is None:
        if is_locked(data_dir):
            raise StackError(f"A stack on {data_dir} is just starting; try again in a second.")
        return False
    supervisor = state.supervisor.process()
    if supervisor is not None:
        supervisor.terminate()
        if await_end([state.supervisor], STOP_SECONDS):
            supervisor.kill()  # the tethers then stop its children
    state = read_state(data_dir) or state
    kill(await_end(state.children, STOP_SECONDS))
    return supervisor is not None


def _supervise(pipe: int, plan: StackPlan, cache: Path) -> int:
    def say(message: dict[str, object]) -> None:
        with suppress(OSError):  # whoever started us may be gone; the stack goes on
            os.write(pipe, (json.dumps(message) + "\n").encode())

    stack = Stack(plan, cache, lambda progress: say(asdict(progress)))
    stop_on_signals(stack)
    try:
        stack.start()
    except StopRequested:
        say({"error": "The start was interrupted; nothing runs."})
        return INTERRUPTED
    except WeirError as error:
        say({"error": str(error)})
        return error.exit_code
    say({"ready": True})
    os.close(pipe)
    return watch_to_the_end(stack)


def watch_to_the_end(stack: Stack) -> int:
    """Watch a started stack until it is asked to stop, take it down, and return 0.

    When a child ends by itself: take everything down, leave the sentence for ``weir status`` and on stderr, return 1.
    """
    try:
        stack.watch()
    except WeirError as error:
        stack.stop()
        failure_file(stack.plan.data_dir).write_text(str(error), encoding="utf-8")
        print(f"weir: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        stack.stop()
    return 0


def stop_on_signals(stack: Stack) -> None:
    """Let SIGINT, SIGTERM and SIGHUP stop ``stack`` in order; only from the main thread."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        stack.request_stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


if __name__ == "__main__":
    sys.exit(_supervise(int(sys.argv[1]), StackPlan.from_dict(json.loads(sys.argv[2])), Path(sys.argv[3])))

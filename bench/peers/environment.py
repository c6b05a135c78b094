"""An environment for each peer, made once from its lock file, beside the stack's downloads."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from weir.errors import StackError
from weir.stack.artifacts import cache_dir

INSTALL_SECONDS = 900.0
MADE = "made"
"""File that an environment has once everything is in it."""


def interpreter(name: str, lock: Path | None) -> Path:
    """Python of the environment that ``lock`` describes, made first, which takes minutes; this one without a lock.

    An environment belongs to the lock's content and this Python's version, so a changed lock gets another one. Raises
    :class:`~weir.errors.StackError` with pip's last line when it cannot be made.
    """
    if lock is None:
        return Path(sys.executable)
    folder = _folder(name, lock)
    python = folder / "bin" / "python"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not (folder / MADE).exists():
                shutil.rmtree(folder, ignore_errors=True)
                _run(sys.executable, "-m", "venv", str(folder))
                pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes")
                _run(str(python), *pip, "--requirement", str(lock))
                (folder / MADE).touch()
    except OSError as error:
        raise StackError(f"The environment {folder} cannot be made: {error.strerror}.") from None
    return python


def is_installed(name: str, lock: Path | None) -> bool:
    """Whether :func:`interpreter` has nothing to make."""
    return lock is None or (_folder(name, lock) / MADE).exists()


def _folder(name: str, lock: Path) -> Path:
    return cache_dir() / "peers" / f"{name}-{_fingerprint(lock)}"


def _fingerprint(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]


def _run(*command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        ended = subprocess.run(  # noqa: S603 - our own interpreter
            command, env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"installing took more than {INSTALL_SECONDS:.0f} s") from None
    if ended.returncode != 0:
        said = [line for line in ended.stderr.splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("ERROR")]
        raise StackError((errors or said or ["pip said nothing"])[-1].removeprefix("ERROR: "))

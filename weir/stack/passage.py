"""Run a command as an ordinary user who can still reach some folders: ``passage.py --uid U --gid G [...] -- COMMAND``.

Postgres refuses to run as root, and an ordinary user may not enter root's home, where the program or the data may lie.
Opening that folder to everybody is not ours to do. So each unenterable ancestor of a ``--reveal`` folder is covered, in
a mount namespace of this one process, by an empty folder that holds nothing but the way to what is revealed. Nobody
else sees that, and it ends with the process. Where the system does not allow it (containers without CAP_SYS_ADMIN), one
sentence says what to do.

Runs as a script of its own, like the tether, with the standard library only.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import stat
import sys
from pathlib import Path

CLONE_NEWNS = 0x00020000
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
PR_SET_PDEATHSIG = 1
CANNOT_EXECUTE = 127

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Turn a system call's failure into an OSError about ``what``."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2)."""
    encoded = [None if text is None else text.encode() for text in (source, target, kind)]
    data = None if options is None else options.encode()
    check(libc.mount(*encoded, ctypes.c_ulong(flags), data), target)


def barriers(folders: list[Path]) -> list[Path]:
    """The topmost ancestor of each folder that not everybody may enter, without repeats."""
    found = []
    for folder in folders:
        closed = [parent for parent in folder.parents if not parent.stat().st_mode & stat.S_IXOTH]
        if closed and closed[-1] not in found:
            found.append(closed[-1])
    return found


def reveal(folders: list[Path]) -> None:
    """Make every folder reachable at its own path for this process and its children."""
    closed = barriers(folders)
    if not closed:
        return
    check(libc.unshare(CLONE_NEWNS), "a mount namespace")
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    held = {folder: os.open(folder, os.O_PATH) for folder in folders}
    for barrier in closed:
        mount("none", str(barrier), "tmpfs", 0, "mode=755,size=1m")
    for folder, descriptor in held.items():
        if any(barrier in folder.parents for barrier in closed):
            folder.mkdir(parents=True, exist_ok=True)
            mount(f"/proc/self/fd/{descriptor}", str(folder), None, MS_BIND | MS_REC)
        os.close(descriptor)


def become(uid: int, gid: int) -> None:
    """Take the identity, and the death signal that the tether set and that a new identity clears."""
    tether = os.getppid()
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != tether:
        sys.exit(CANNOT_EXECUTE)


def main(arguments: list[str]) -> int:
    """Reveal, change identity, become the command."""
    parser = argparse.ArgumentParser(prog="passage.py", description=__doc__)
    parser.add_argument("--uid", type=int, required=True)
    parser.add_argument("--gid", type=int, required=True)
    parser.add_argument("--reveal", type=Path, action="append", default=[])
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    folders = [folder.resolve() for folder in options.reveal]
    os.umask(0o022)
    try:
        reveal(folders)
    except OSError as error:
        ways = ", ".join(str(barrier) for barrier in barriers(folders))
        print(
            f"Postgres cannot run as root, and an ordinary user may not enter {ways} ({error.strerror}: "
            f"{error.filename}); run `chmod o+x {ways}`, choose a --data-dir elsewhere, or start as an ordinary user.",
            file=sys.stderr,
        )
        return 1
    os.umask(0o077)
    os.chdir("/")
    become(options.uid, options.gid)
    os.execvp(options.command[0], options.command)  # noqa: S606 - running a command is what this is for
    return CANNOT_EXECUTE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

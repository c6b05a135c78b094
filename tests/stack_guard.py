"""Starts an embedded stack, prints its addresses, and takes it down with its folder when its stdin ends.

A test run that is killed closes that stdin, too, so nothing of it stays: no process, no port, no folder.
Run as ``python tests/stack_guard.py DATA_DIR PORT_BASE``; only the standard library, so that it starts at once.
"""

from __future__ import annotations

import shutil
import subprocess
import sys


def weir(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run([sys.executable, "-m", "weir", *arguments], capture_output=True, text=True, check=False)


def main(data_dir: str, port_base: str) -> int:
    """Exit code of ``weir down``, or 1 with the words of ``weir up`` on stderr."""
    try:
        up = weir("up", "--detach", "--json", "--workers", "0", "--data-dir", data_dir, "--port-base", port_base)
        if up.returncode != 0:
            print(up.stderr, file=sys.stderr)
            return 1
        print(up.stdout.strip(), flush=True)
        sys.stdin.read()
        return weir("down", "--data-dir", data_dir).returncode
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

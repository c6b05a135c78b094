"""The servers that the tests run against: embedded (the default), external, or containers.

``WEIR_TEST_STACK`` chooses. ``external`` takes the addresses from the settings in the environment (``WEIR_CONFIG`` or
single variables) as they were when the test run began.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from tests.free_ports import free_block
from weir.settings import Settings

CHOICE = "WEIR_TEST_STACK"
KEPT = frozenset({CHOICE, "WEIR_CACHE_DIR", "WEIR_MAVEN_URL"})
"""Variables that lead a test run to no server of somebody else."""

GUARD = Path(__file__).with_name("stack_guard.py")


@dataclass(frozen=True)
class StackUnderTest:
    """``settings`` lead to its servers; ``data_dir`` is None when it is not embedded."""

    settings: Settings
    data_dir: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a child process that uses this stack, and no other."""
        return plain_environment() | environment_of(self.settings)


@contextmanager
def running_stack(choice: str, ambient: Mapping[str, str]) -> Iterator[StackUnderTest]:
    """Start what ``choice`` names, and take it down afterwards; ``ambient`` is the environment of the test run."""
    if choice == "embedded":
        with embedded_stack() as stack:
            yield stack
    elif choice == "external":
        yield StackUnderTest(external_settings(ambient))
    elif choice == "containers":
        from tests.container_stack import container_stack  # needs the docker library only then

        with container_stack() as settings:
            yield StackUnderTest(settings)
    else:
        raise pytest.UsageError(f"{CHOICE} is embedded, external or containers, not {choice!r}.")


@contextmanager
def embedded_stack() -> Iterator[StackUnderTest]:
    """``weir up --detach`` in a folder of its own on free ports, in the care of a guard."""
    data_dir = Path(tempfile.mkdtemp(prefix="weir-test-"))
    command = [sys.executable, str(GUARD), str(data_dir), str(free_block())]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=plain_environment(),
    ) as guard:
        assert guard.stdout is not None
        line = guard.stdout.readline()
        if not line:
            raise RuntimeError("`weir up` failed; its words are above.")
        yield StackUnderTest(settings_of(json.loads(line)), data_dir)
    # leaving the block closes the guard's stdin and waits for its end
    assert guard.returncode == 0, f"The guard of the stack in {data_dir} ended with {guard.returncode}."


def settings_of(addresses: Mapping[str, str]) -> Settings:
    """Settings for the addresses that ``weir up --json`` prints."""
    return settings_from(
        {
            "kafka": {"bootstrap_servers": addresses["kafka"]},
            "registry": {"url": addresses["registry"]},
            "postgres": {"dsn": addresses["postgres"]},
            "clickhouse": {"url": addresses["clickhouse"]},
        }
    )


def external_settings(ambient: Mapping[str, str]) -> Settings:
    """The settings of the environment that the test run was started in."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ambient.items():
            patch.setenv(name, value)
        return Settings()


def settings_from(values: Mapping[str, object]) -> Settings:
    """Settings with these values and defaults, whatever the environment holds."""
    with pytest.MonkeyPatch.context() as patch:
        for name in weir_variables():
            patch.delenv(name)
        return Settings.model_validate(values)


def weir_variables() -> list[str]:
    """Names of the variables in the environment that a test must not see."""
    return [name for name in os.environ if name.upper().startswith("WEIR_") and name.upper() not in KEPT]


def plain_environment() -> dict[str, str]:
    """This environment without any setting of Weir."""
    hidden = weir_variables()
    return {name: value for name, value in os.environ.items() if name not in hidden}


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that give a child process the same settings."""
    variables: dict[str, str] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            group = ((f"{name}__{inner}", getattr(value, inner)) for inner in type(value).model_fields)
            variables |= {f"WEIR_{each.upper()}": _text(inner) for each, inner in group if inner is not None}
        else:
            variables[f"WEIR_{name.upper()}"] = _text(value)
    return variables


def _text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

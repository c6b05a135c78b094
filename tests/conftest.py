"""Fixtures for all tests. ``stack``: real servers, once a run. ``world``: a Weir of one's own on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import pytest_socket
import uvloop  # noqa: F401  # keeps the socket class it finds first: not the guarded one of unit tests

from tests.second_try import (  # noqa: F401  # hooks
    pytest_collection_modifyitems,
    pytest_runtest_makereport,
    pytest_runtest_teardown,
    pytest_terminal_summary,
)
from tests.stack_under_test import CHOICE, StackUnderTest, running_stack, weir_variables
from tests.world import World, world_on

hypothesis.settings.register_profile("weir", deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("weir")

AMBIENT = dict(os.environ)
"""The environment of the test run, before any test changes it."""

WITHOUT_SOCKETS = [Path(__file__).parent / folder for folder in ("unit", "property")]


@pytest.fixture(autouse=True)
def no_sockets_in_unit_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test in unit or property that opens a socket fails; socket pairs of event loops are no sockets here."""
    if not any(request.path.is_relative_to(folder) for folder in WITHOUT_SOCKETS):
        yield
        return
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings in the shell of whoever runs the tests change no test."""
    for name in weir_variables():
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def stack() -> Iterator[StackUnderTest]:
    """Kafka, Postgres, registry and ClickHouse, started once for the whole run, without workers."""
    with running_stack(AMBIENT.get(CHOICE, "embedded"), AMBIENT) as running:
        yield running


@pytest.fixture
def world(stack: StackUnderTest, tmp_path: Path) -> Iterator[World]:
    """A fresh, migrated world for one test, without sample data."""
    with world_on(stack, tmp_path) as fresh:
        yield fresh

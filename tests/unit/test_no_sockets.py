"""The ban that keeps unit tests quick and honest is in force here."""

from __future__ import annotations

import os
import socket

import pytest
from pytest_socket import SocketBlockedError


def test_a_unit_test_that_opens_a_socket_fails() -> None:
    with pytest.raises((SocketBlockedError, UserWarning), match="tried to use socket"):  # it warns first
        socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def test_a_setting_of_whoever_runs_the_tests_is_not_seen() -> None:
    assert [name for name in os.environ if name.startswith("WEIR_") and "__" in name] == []

"""What reaches standard error while Polars panics."""

from __future__ import annotations

import os

import polars as pl
import pytest

from streams.engine.quiet_panic import QUIET_READS, PanicFilter

PANIC = b"\nthread '<unnamed>' (1) panicked at read.rs:1:1:\nrange end index\nstack backtrace:\n"


def read(panics: PanicFilter, written: bytes, panic: bool) -> None:
    with panics:
        os.write(2, written)
        if panic:
            panics.seen(pl.exceptions.PanicException("range end index"))


def test_the_first_panic_is_shown_and_those_that_follow_are_not(capfd: pytest.CaptureFixture[str]) -> None:
    panics = PanicFilter()
    for _ in range(5):
        read(panics, PANIC, True)
    assert capfd.readouterr().err.encode() == PANIC


def test_other_output_passes_before_during_and_after_a_quiet_time(capfd: pytest.CaptureFixture[str]) -> None:
    panics = PanicFilter()
    read(panics, b"before ", False)
    read(panics, PANIC, True)
    read(panics, b"during ", False)
    read(panics, b"beside a panic " + PANIC, True)
    os.write(2, b"after")
    assert capfd.readouterr().err.encode() == b"before " + PANIC + b"during beside a panic after"


def test_a_panic_after_the_quiet_time_is_shown_again(capfd: pytest.CaptureFixture[str]) -> None:
    panics = PanicFilter()
    read(panics, PANIC, True)
    for _ in range(QUIET_READS):
        read(panics, b"", False)
    read(panics, PANIC, True)
    assert capfd.readouterr().err.encode() == PANIC * 2


def test_an_error_in_the_read_gives_standard_error_back(capfd: pytest.CaptureFixture[str]) -> None:
    panics = PanicFilter()
    read(panics, PANIC, True)
    with pytest.raises(KeyboardInterrupt), panics:
        raise KeyboardInterrupt
    os.write(2, b"heard")
    assert capfd.readouterr().err.encode() == PANIC + b"heard"

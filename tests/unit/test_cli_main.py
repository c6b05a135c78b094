"""The command line's frame: what it imports, what it says, which exit code it gives."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from tests.waiting import patient
from weir.cli import main as cli
from weir.errors import ConfigError, StackError, WeirError


def weir(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "weir", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=patient(60), check=False)


def test_help_lists_every_command_without_importing_any() -> None:
    code = (
        "import sys; from weir.cli.main import program; program.main(['--help'], standalone_mode=False);"
        "print('imported:', [m for m in ('polars', 'confluent_kafka', 'weir.cli.up') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=patient(60), check=True)
    assert "imported: []" in done.stdout
    for name, (_, summary) in cli.COMMANDS.items():
        assert any(line.split()[:1] == [name] and summary in line for line in done.stdout.splitlines()), name


@pytest.mark.parametrize("command", ["up", "down", "status"])
def test_the_help_of_a_command_has_an_example_and_its_exit_codes(command: str) -> None:
    done = weir(command, "--help")
    assert done.returncode == 0
    assert f"Example:\n    weir {command}" in done.stdout
    assert "Exit codes:\n    0 " in done.stdout


def test_an_unknown_command_is_wrong_usage() -> None:
    done = weir("upp")
    assert done.returncode == 2
    assert "No such command 'upp'" in done.stderr


def test_the_version_is_told() -> None:
    assert weir("--version").stdout.startswith("weir, version ")


@pytest.mark.parametrize(
    ("error", "code"),
    [(StackError("Kafka is away; start it."), 1), (ConfigError("No such topic."), 2)],
    ids=["stack", "config"],
)
def test_an_expected_error_is_one_sentence_and_its_exit_code(
    error: WeirError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(standalone_mode: bool) -> None:
        raise error

    monkeypatch.setattr(cli.program, "main", fail)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == code
    assert capsys.readouterr().err == f"weir: {error}\n"


def test_an_interrupted_command_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(standalone_mode: bool) -> None:
        raise click.Abort

    monkeypatch.setattr(cli.program, "main", interrupted)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 130


def test_a_wrong_plan_is_wrong_usage() -> None:
    done = weir("up", "--only", "registry")
    assert (done.returncode, done.stderr) == (2, "weir: The part registry needs postgres too; add it to --only.\n")

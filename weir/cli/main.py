"""``weir``: a group whose commands are imported only when they are called.

So ``weir --help`` answers at once, and a command that cannot be imported does not take the others with it.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import version
from pathlib import Path

import click

from weir.errors import TransientError, WeirError

COMMANDS = {
    "up": ("weir.cli.up", "Start the embedded stack."),
    "down": ("weir.cli.down", "Stop the embedded stack."),
    "status": ("weir.cli.status", "Show how the embedded stack is."),
    "demo": ("weir.cli.demo", "Run the main job end to end, with this machine as a device."),
    "worker": ("weir.cli.worker", "Run a Faust worker."),
    "api": ("weir.cli.api", "Run the HTTP API of metadata."),
    "gateway": ("weir.cli.gateway", "Run the door for devices: a Kafka REST proxy."),
    "probe": ("weir.cli.probe", "Measure from posting a reading to its being queryable."),
    "migrate": ("weir.cli.migrate", "Create or update schemas, topics and tables."),
    "query": ("weir.cli.query", "Ask ClickHouse."),
    "orgs": ("weir.cli.orgs", "Organisations: list, show, add, set, retire, role."),
    "projects": ("weir.cli.projects", "Projects: list, show, add, set, retire."),
    "devices": ("weir.cli.devices", "Devices, their import, export and commands."),
    "sensors": ("weir.cli.sensors", "Sensors: list, show, add, set, retire."),
    "metrics": ("weir.cli.metrics", "What can be measured; import, export."),
    "schemas": ("weir.cli.schemas", "Which properties a type has: list, add, check."),
    "keys": ("weir.cli.keys", "API keys: list, add, rotate, revoke."),
    "users": ("weir.cli.users", "Users, their roles and passwords."),
    "events": ("weir.cli.events", "What happened to the metadata, and who did it."),
    "dlq": ("weir.cli.dlq", "List dead letters, show them, put them back."),
    "parity": ("weir.cli.parity", "Hold readings, minutes and hours against each other."),
    "load": ("weir.cli.load", "Send readings of a simulated fleet, with a ledger."),
    "verify": ("weir.cli.verify", "Compare what is stored with ledgers."),
    "bench": ("weir.cli.bench", "Measure the pipeline."),
}
"""Command → the module that has it as ``command``, and its line in ``weir --help``."""

INTERRUPTED = 130


class LazyGroup(click.Group):
    """Commands of :data:`COMMANDS`, in that order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, or return None for a name that is not in the table."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("weir"), prog_name="weir")
def program() -> None:
    """Device telemetry from Kafka through Faust into ClickHouse.

    Start with `weir demo`, or `weir up --detach` and then `weir query "SELECT * FROM readings LIMIT 5"`.

    Exit codes: 0 done, 1 it could not be done, 2 wrong usage or settings; others are in each command's help.
    """


def main() -> None:
    """Run the command line; every expected error becomes one sentence on stderr and its exit code."""
    try:
        code = program.main(standalone_mode=False)
    except WeirError as error:
        click.echo(f"weir: {error}{_elsewhere(error)}", err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    sys.exit(code if isinstance(code, int) else 0)


def _elsewhere(error: WeirError) -> str:
    """Where to look when a server is away and the stack of this folder has addresses of its own."""
    own = Path(os.environ.get("WEIR_DATA_DIR") or ".weir") / "weir.toml"
    if isinstance(error, TransientError) and "WEIR_CONFIG" not in os.environ and own.is_file():
        return f" If you mean the stack of this folder: export WEIR_CONFIG={own}"
    return ""

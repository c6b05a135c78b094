"""``weir down``: stop the embedded stack."""

from __future__ import annotations

from pathlib import Path

import click

from weir.stack.detached import stop_detached
from weir.stack.plan import default_data_dir


@click.command(name="down")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of all data. Default: WEIR_DATA_DIR or .weir")
def command(data_dir: Path | None) -> None:
    """Stop the stack that runs on the data folder, in order, and wait until it is down. Data stays.

    \b
    Example:
      weir down

    \b
    Exit codes:
      0  nothing runs any more, or nothing ran
      1  it could not be stopped
    """
    folder = (data_dir or default_data_dir()).absolute()
    stopped = stop_detached(folder)
    click.echo("The stack is down." if stopped else f"No stack runs on {folder}.")

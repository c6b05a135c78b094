"""``weir migrate``: everything that the servers must have before a reading can flow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from connectors.contracts import apply_contracts
from connectors.kafka.groups import apply_groups
from connectors.kafka.topics import apply_topics
from connectors.postgres import migrate as postgres
from connectors.registry import Registry
from sinks.clickhouse import ddl
from sinks.clickhouse.client import connect, translating
from weir.change import Action, Change
from weir.errors import TransientError, WeirError
from weir.settings import Settings, load_settings

Step = Callable[[Settings, bool], list[Change]]

_DONE: dict[Action, str] = {
    "create": "created",
    "alter": "altered",
    "remove": "removed",
    "differs": "differs",
    "unchanged": "unchanged",
}
_PLANNED: dict[Action, str] = _DONE | {"create": "would create", "alter": "would alter", "remove": "would remove"}
_COLOURS: dict[Action, str] = {"create": "green", "alter": "yellow", "remove": "red", "differs": "bold yellow"}


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing anywhere.")
@click.option(
    "--sample", is_flag=True, help="Add the world of the examples: organisations, people, projects, devices, processes."
)
@click.option(
    "--down-to", type=click.IntRange(min=0), metavar="N", help="Undo Postgres migrations above N, nothing else."
)
@click.option(
    "--cluster",
    metavar="NAME",
    help="Make the tables on every server of ClickHouse's cluster NAME, as WEIR_CLICKHOUSE__CLUSTER does.",
)
@click.option("--patience", default=10.0, show_default=True, metavar="SECONDS", help="How long a server may be away.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead of a table.")
def command(
    dry_run: bool, sample: bool, down_to: int | None, cluster: str | None, patience: float, as_json: bool
) -> None:
    """Create or update what Weir needs in Postgres, ClickHouse, Kafka and the schema registry, in that order.

    A second run changes nothing. Nothing that holds data is ever dropped, except by --down-to. A dry run for a cluster
    also prints the statements that an empty one needs.

    \b
    Example:
      weir migrate --dry-run
      weir migrate --cluster telemetry --dry-run
      weir migrate --sample

    Exit codes: 0 done; 1 a server is away; 2 settings, schemas or tables do not fit (the sentence says which).
    """
    settings = _on_cluster(load_settings(), cluster)
    made = ddl.statements(settings) if dry_run and settings.clickhouse.cluster and down_to is None else []
    if made and not as_json:
        click.echo("".join(f"{statement.sql};\n\n" for statement in made), nl=False)
    steps = [_down(down_to)] if down_to is not None else [_postgres(sample), _clickhouse, _topics, _contracts]
    changes: list[Change] = []
    try:
        for change in _all(steps, settings, dry_run, patience):
            changes.append(change)
    except WeirError:
        if not as_json and changes:
            _show(changes, dry_run)
        raise
    if as_json:
        told = {"dry_run": dry_run, "changes": [asdict(change) for change in changes]}
        click.echo(json.dumps(told | ({"statements": [statement.sql for statement in made]} if made else {})))
    else:
        _show(changes, dry_run)


def migrate(settings: Settings, *, dry_run: bool = False, sample: bool = False, patience: float = 10.0) -> list[Change]:
    """What the command does, for a program: brings all four servers up to date and returns what was changed.

    A server that is away is asked again for ``patience`` seconds, then :class:`TransientError` is raised;
    :class:`ConfigError` when something does not fit.
    """
    return list(_all([_postgres(sample), _clickhouse, _topics, _contracts], settings, dry_run, patience))


def _on_cluster(settings: Settings, cluster: str | None) -> Settings:
    if cluster is None or cluster == settings.clickhouse.cluster:
        return settings
    click.echo(f"Everything else needs WEIR_CLICKHOUSE__CLUSTER={cluster} in its settings, too.", err=True)
    return load_settings(clickhouse=settings.clickhouse.model_dump() | {"cluster": cluster})


def _all(steps: list[Step], settings: Settings, dry_run: bool, patience: float) -> Iterator[Change]:
    for step in steps:
        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=wait_random_exponential(multiplier=0.2, max=2),
            stop=stop_after_delay(patience),
            reraise=True,
        )
        yield from retrying(step, settings, dry_run)


def _postgres(sample: bool) -> Step:
    def step(settings: Settings, dry_run: bool) -> list[Change]:
        dsn = settings.postgres.dsn.get_secret_value()
        changes = postgres.apply(dsn, dry_run=dry_run)
        if sample and dry_run and any(change.action != "unchanged" for change in changes):
            return [*changes, Change("postgres", "sample data", "create", "rows")]  # there are no tables to count in
        return [*changes, postgres.load_sample(dsn, dry_run=dry_run)] if sample else changes

    return step


def _down(to: int) -> Step:
    return lambda settings, dry_run: postgres.rollback(settings.postgres.dsn.get_secret_value(), to, dry_run=dry_run)


def _clickhouse(settings: Settings, dry_run: bool) -> list[Change]:
    client = connect(settings.clickhouse, database=False)
    try:
        with translating(settings.clickhouse):
            return ddl.apply(client, settings, dry_run)
    finally:
        client.close()


def _topics(settings: Settings, dry_run: bool) -> list[Change]:
    return [*apply_topics(settings, dry_run), *apply_groups(settings, dry_run)]


def _contracts(settings: Settings, dry_run: bool) -> list[Change]:
    with Registry(settings.registry) as registry:
        return apply_contracts(registry, settings, dry_run)


def _show(changes: list[Change], dry_run: bool) -> None:
    words = _PLANNED if dry_run else _DONE
    table = Table("server", "object", "change", "detail", box=None, header_style="bold", pad_edge=False)
    for change in changes:
        colour = _COLOURS.get(change.action, "dim")
        table.add_row(change.part, change.name, f"[{colour}]{words[change.action]}[/]", change.detail)
    console = Console()
    console.print(table)
    counts = Counter(change.action for change in changes)
    if set(counts) <= {"unchanged"}:
        console.print("Nothing to change.")
    else:
        console.print(", ".join(f"{count} {words[action]}" for action, count in counts.items()) + ".")

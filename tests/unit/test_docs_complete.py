"""The documentation names everything that a person can set, run, watch or receive, with the words of the code."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from prometheus_client import REGISTRY, Metric
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

import connectors
import streams
from sinks.clickhouse.relation import Table, View
from sinks.clickhouse.tables import tables, views
from streams.engine import rejection
from streams.telemetry import validate
from tests.stack_under_test import settings_from
from weir.cli.main import COMMANDS, program
from weir.settings import Settings

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
CONTRACTS = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
DEAD_LETTERS = (ROOT / "schemas" / "avro" / "deadletters.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGES = ("weir", "streams", "connectors", "sinks", "bench")


def setting_rows() -> Iterator[str]:
    """The row of each setting as the table in docs/operations.md must have it."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, BaseModel):
            for inner, described in type(field.default).model_fields.items():
                yield _row(f"{name}__{inner}", described)
        else:
            yield _row(name, field)


def _row(name: str, field: FieldInfo) -> str:
    default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    shown = "" if default in (None, "") else f"`{default}`"
    return f"| `WEIR_{name.upper()}` | {shown} | {field.description} |"


@pytest.mark.parametrize("row", list(setting_rows()))
def test_every_setting_stands_in_the_table_with_its_default_and_meaning(row: str) -> None:
    assert row in OPERATIONS, f"docs/operations.md lacks this row:\n{row}"


def test_the_table_has_no_setting_that_is_gone() -> None:
    named = re.findall(r"^\| `(WEIR_\w+__\w+|WEIR_NAMESPACE)` \|.*$", OPERATIONS, re.MULTILINE)
    assert sorted(named) == sorted(row.split("`")[1] for row in setting_rows())


def test_every_other_variable_is_explained() -> None:
    text = "\n".join(
        path.read_text(encoding="utf-8") for package in PACKAGES for path in (ROOT / package).rglob("*.py")
    )
    used = set(re.findall(r"""["'](WEIR_[A-Z_]+[A-Z])["']""", text)) | {"WEIR_TEST_STACK"}
    plain = {name for name in used if "__" not in name}
    assert plain, "the search finds nothing"
    assert [name for name in sorted(plain) if f"`{name}`" not in OPERATIONS] == []


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_described(name: str) -> None:
    assert re.search(rf"^\| `weir {name}\b[^|]*` \|", OPERATIONS, re.MULTILINE), f"no row for weir {name}"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_of_every_command_is_explained_by_its_help_with_an_example_and_exit_codes(name: str) -> None:
    with click.Context(program) as context:
        command = program.get_command(context, name)
        assert command is not None
        for each in _leaves(command):
            said = f"{each.help}\n{each.epilog}"
            assert "Example" in said, f"weir {name}: no example"
            assert "Exit codes" in said, f"weir {name}: no exit codes"
            silent = [option.name for option in each.params if isinstance(option, click.Option) and not option.help]
            assert silent == [], f"weir {name}: options without help"


def _leaves(command: click.Command) -> Iterator[click.Command]:
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from _leaves(each)
    else:
        yield command


def test_every_metric_is_explained_in_its_own_words() -> None:
    for package in (streams, connectors):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    families: list[Metric] = [family for family in REGISTRY.collect() if family.name.startswith("weir_")]
    assert len(families) >= 11
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        row = rf"^\| `{name}` \| [^|]* \| {re.escape(family.documentation)} \|$"
        assert re.search(row, OPERATIONS, re.MULTILINE), f"docs/operations.md lacks {name}: {family.documentation}"


@pytest.mark.parametrize("reason", [*rejection.REASONS, *validate.REASONS[1:]])
def test_every_reason_of_a_dead_letter_is_explained(reason: str) -> None:
    for page in (CONTRACTS, DEAD_LETTERS):
        assert re.search(rf"^\| `{reason}` \|", page, re.MULTILINE)


def test_every_topic_table_and_view_is_explained() -> None:
    settings = settings_from({})
    relations: list[Table | View] = [*tables(settings), *views(settings)]
    names = [*vars(settings.topics).values(), *(each.name for each in relations)]
    assert [name for name in names if f"`{name}`" not in CONTRACTS] == []


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for named in re.findall(r"`((?:weir|streams|connectors|sinks|schemas|bench|tests|examples)/[\w./-]*)`", text):
        assert (ROOT / named).exists(), f"{page.name} names {named}"

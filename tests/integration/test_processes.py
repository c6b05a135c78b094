from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from connectors.entities.actor import SYSTEM, Actor
from connectors.entities.directory import open_directory
from connectors.entities.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from connectors.entities.process_models import Process, ProcessCreate
from tests.stack_under_test import StackUnderTest
from tests.two_tenants import acting, two_tenants

EDITOR = acting("acme", "editor")
RECIPE: dict[str, Any] = {"steps": [{"name": "knead", "minutes": 12}, {"name": "bake", "minutes": 40, "celsius": 230}]}


@pytest.fixture(scope="module")
def dsn(stack: StackUnderTest) -> Iterator[str]:
    with two_tenants(stack) as fresh:
        yield fresh


def define(dsn: str, name: str, version: str = "1.0", by: Actor = EDITOR, **changed: Any) -> Process:
    wanted: dict[str, Any] = {"name": name, "version": version, "process_type": "recipe", "definition": RECIPE}
    with open_directory(dsn, by) as directory:
        return directory.processes.define(ProcessCreate(**wanted | changed))


def told(dsn: str, name: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Type, entity and data of the events about a process."""
    with psycopg.connect(dsn) as conn:
        return conn.execute(
            "SELECT event_type, entity_key, data FROM events WHERE event_type LIKE 'process.%%'"
            " AND data ->> 'name' = %s ORDER BY id",
            [name],
        ).fetchall()


def test_a_process_runs_from_its_definition_to_its_results_and_the_log_tells_it(dsn: str) -> None:
    define(dsn, "sourdough")
    with open_directory(dsn, EDITOR) as directory:
        started = directory.processes.start("sourdough", batch_id="2026-11-21/a", parameters={"loaves": 40})
    assert (started.status, started.version, started.completed_at) == ("running", "1.0", None)
    with open_directory(dsn, EDITOR) as directory:
        done = directory.processes.complete(started.id, {"good": 39})
    assert (done.status, done.parameters, done.results) == ("completed", {"loaves": 40}, {"good": 39})
    assert done.completed_at is not None and done.completed_at > started.started_at
    run = {"instance_id": str(started.id), "name": "sourdough", "version": "1.0", "batch_id": "2026-11-21/a"}
    assert told(dsn, "sourdough") == [
        ("process.defined", "acme", {"name": "sourdough", "version": "1.0", "process_type": "recipe"}),
        ("process.started", "acme", run),
        ("process.completed", "acme", run),
    ]


@pytest.mark.parametrize(("way", "status"), [("fail", "failed"), ("cancel", "cancelled"), ("complete", "completed")])
def test_what_has_ended_does_not_end_again(dsn: str, way: str, status: str) -> None:
    define(dsn, f"once-{way}")
    with open_directory(dsn, EDITOR) as directory:
        started = directory.processes.start(f"once-{way}")
        getattr(directory.processes, way)(started.id)
    for again in ("complete", "fail", "cancel"):
        with (
            open_directory(dsn, EDITOR) as directory,
            pytest.raises(ConflictError, match=f"has ended already: it is {status}"),
        ):
            getattr(directory.processes, again)(started.id)
    assert [kind for kind, _, _ in told(dsn, f"once-{way}")][-1] == f"process.{status}"


def test_a_version_that_has_run_does_not_change(dsn: str) -> None:
    define(dsn, "rye")
    better = RECIPE | {"note": "more salt"}
    assert define(dsn, "rye", definition=better).definition == better  # it never ran
    with open_directory(dsn, EDITOR) as directory:
        directory.processes.start("rye")
    assert define(dsn, "rye", definition=better).definition == better  # the same changes nothing
    with pytest.raises(ConflictError, match=r"rye 1\.0 is fixed, because it has run; define another version"):
        define(dsn, "rye", definition=RECIPE)
    assert [kind for kind, _, _ in told(dsn, "rye")] == ["process.defined", "process.defined", "process.started"]


def test_the_newest_active_version_is_started_unless_one_is_named(dsn: str) -> None:
    for version in ("1.0", "1.1", "2.0"):
        define(dsn, "spelt", version)
    with open_directory(dsn, EDITOR) as directory:
        assert directory.processes.retire("spelt", "2.0").status == "retired"
        assert directory.processes.start("spelt").version == "1.1"
        assert directory.processes.start("spelt", "1.0").version == "1.0"
        with pytest.raises(ConflictError, match=r"spelt 2\.0 is retired"):
            directory.processes.start("spelt", "2.0")
    with pytest.raises(ConflictError, match=r"spelt 2\.0 is retired"):
        define(dsn, "spelt", "2.0", definition={"steps": []})
    assert [kind for kind, _, _ in told(dsn, "spelt")].count("process.retired") == 1


def test_one_without_an_active_version_is_not_started(dsn: str) -> None:
    define(dsn, "oat")
    with open_directory(dsn, EDITOR) as directory:
        directory.processes.retire("oat", "1.0")
        with pytest.raises(NotFoundError, match="acme has no active version of 'oat'"):
            directory.processes.start("oat")
        with pytest.raises(NotFoundError, match="acme has no version 9 of 'oat'"):
            directory.processes.get("oat", "9")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"definition": {"text": "x" * 1_100_000}}, "at most 1,024 KiB"),
        ({"definition": {"numbers": [1.5] * 200_000}}, "at most 1,024 KiB"),  # 800 KB of text, more in the table
        ({"definition": {"x": float("nan")}}, "the definition of bad"),
        ({"definition": {"x": "\x00"}}, "NUL"),
        ({"definition": {"x": "\ud800"}}, "surrogate"),
        ({"name": ""}, "key '' of the process"),
        ({"name": "x" * 201}, "201 bytes; at most 200"),
        ({"version": "1" * 21}, "more than 20 bytes"),
        ({"process_type": "Recipe; DROP TABLE"}, "is no type of process"),
    ],
)
def test_a_definition_that_cannot_be_kept_is_refused_and_nothing_is_written(
    dsn: str, changed: dict[str, Any], why: str
) -> None:
    name = changed.get("name", "bad")
    with pytest.raises(InvalidError, match=f"(?i){why}"):
        define(dsn, **{"name": "bad"} | changed)
    assert told(dsn, name) == []
    with open_directory(dsn, EDITOR) as directory:
        assert directory.processes.list(name="bad").items == []


def test_a_definition_of_nearly_a_mebibyte_is_kept(dsn: str) -> None:
    large = {"text": "x" * 1_000_000}
    assert define(dsn, "large", definition=large).definition == large


@pytest.mark.parametrize("batch_id", ["", "b" * 101, "a\nb"])
def test_a_batch_that_nobody_could_read_starts_nothing(dsn: str, batch_id: str) -> None:
    define(dsn, "batchless")
    with open_directory(dsn, EDITOR) as directory, pytest.raises(InvalidError):
        directory.processes.start("batchless", batch_id=batch_id)
    with open_directory(dsn, EDITOR) as directory:
        assert directory.processes.instances("batchless").items == []


def test_another_organisation_neither_sees_nor_starts_nor_ends_it(dsn: str) -> None:
    define(dsn, "private")
    with open_directory(dsn, EDITOR) as directory:
        started = directory.processes.start("private")
    with open_directory(dsn, acting("bread", "admin")) as directory:
        processes = directory.processes
        assert "private" not in {process.name for process in processes.list().items}
        assert started.id not in {instance.id for instance in processes.instances().items}
        for attempt in (
            lambda: processes.get("private"),
            lambda: processes.get("private", organisation="acme"),
            lambda: processes.start("private"),
            lambda: processes.start("private", organisation="acme"),
            lambda: processes.retire("private", "1.0"),
            lambda: processes.retire("private", "1.0", organisation="acme"),
            lambda: processes.list(organisation="acme"),
            lambda: processes.instances(organisation="acme"),
            lambda: processes.instance(started.id),
            lambda: processes.complete(started.id),
            lambda: processes.fail(started.id),
            lambda: processes.cancel(started.id),
            lambda: processes.instance(uuid4()),
        ):
            with pytest.raises(NotFoundError):
                attempt()
    with open_directory(dsn, EDITOR) as directory:
        assert directory.processes.instance(started.id).status == "running"


def test_the_same_name_in_two_organisations_are_two_processes(dsn: str) -> None:
    mine, theirs = define(dsn, "shared-name"), define(dsn, "shared-name", by=acting("bread", "editor"))
    assert mine.id != theirs.id
    with open_directory(dsn, SYSTEM) as directory:
        assert directory.processes.get("shared-name", organisation="bread").id == theirs.id
        with pytest.raises(InvalidError, match="Say which organisation"):
            directory.processes.get("shared-name")


def test_a_viewer_looks_and_changes_nothing(dsn: str) -> None:
    define(dsn, "seen")
    with open_directory(dsn, EDITOR) as directory:
        started = directory.processes.start("seen")
    with open_directory(dsn, acting("acme", "viewer")) as directory:
        processes = directory.processes
        assert processes.get("seen").name == "seen"
        assert processes.instance(started.id).name == "seen"
        for attempt in (
            lambda: processes.start("seen"),
            lambda: processes.cancel(started.id),
            lambda: processes.retire("seen", "1.0"),
            lambda: processes.define(ProcessCreate(name="more", version="1", process_type="recipe", definition={})),
        ):
            with pytest.raises(ForbiddenError):
                attempt()
    with open_directory(dsn, acting("acme", "device")) as directory, pytest.raises(ForbiddenError):
        directory.processes.list()


def test_pages_hold_every_version_and_instance_once_while_others_come(dsn: str) -> None:
    versions = [f"{number}" for number in range(5)]
    for version in versions:
        define(dsn, "paged", version)
    with open_directory(dsn, EDITOR) as directory:
        started = [directory.processes.start("paged", batch_id=version).id for version in versions]
        first = directory.processes.list(name="paged", limit=2)
        newest = directory.processes.instances("paged", limit=2)
    define(dsn, "paged", "late")
    with open_directory(dsn, EDITOR) as directory:
        directory.processes.start("paged", batch_id="late")
        rest = directory.processes.list(name="paged", cursor=first.next_cursor)
        older = directory.processes.instances("paged", cursor=newest.next_cursor)
    assert [process.version for process in first.items + rest.items] == [*versions, "late"]
    seen: list[UUID] = [instance.id for instance in newest.items + older.items]
    assert seen == started[::-1]  # what began after the first page stands before it


def test_instances_are_found_by_batch_and_status(dsn: str) -> None:
    define(dsn, "found")
    with open_directory(dsn, EDITOR) as directory:
        one = directory.processes.start("found", batch_id="one")
        two = directory.processes.start("found", batch_id="two")
        directory.processes.fail(two.id, {"why": "burnt"})
        assert [found.id for found in directory.processes.instances(batch_id="one").items] == [one.id]
        failed = directory.processes.instances("found", status="failed").items
    assert [(found.id, found.results) for found in failed] == [(two.id, {"why": "burnt"})]

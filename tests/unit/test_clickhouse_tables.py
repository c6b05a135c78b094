from __future__ import annotations

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from schemas import load_schema
from sinks.clickhouse.client import said, translated
from sinks.clickhouse.ddl import statements
from sinks.clickhouse.relation import Table, quoted
from sinks.clickhouse.tables import relations, tables, views
from weir.errors import ConfigError, TransientError
from weir.settings import ClickHouseSettings, RetentionSettings, Settings


def settings(policy: str | None = None) -> Settings:
    return Settings(
        clickhouse=ClickHouseSettings(database="lab", storage_policy=policy, dedup_window_blocks=77),
        retention=RetentionSettings(raw_hot_days=2, raw_days=9),
    )


def table(name: str, policy: str | None = None) -> Table:
    return next(found for found in tables(settings(policy)) if found.name == name)


def test_every_table_view_and_column_says_what_it_means() -> None:
    for relation in relations(settings()):
        assert relation.comment.endswith((".", "()")) or "view" in relation.comment
        assert [column.name for column in relation.columns if not column.comment.endswith(".")] == []


def test_the_aggregate_tables_have_the_contracts_fields_in_the_contracts_order() -> None:
    fields = [field["name"] for field in load_schema("Aggregate")["fields"]]
    for name in ("agg_1m", "agg_1h"):
        assert [column.name for column in table(name).columns] == [*fields, "retention_days"]


def test_the_alert_table_has_the_contracts_fields_in_the_contracts_order() -> None:
    fields = [field["name"] for field in load_schema("Alert")["fields"]]
    assert [column.name for column in table("alerts").columns] == fields


def test_the_event_table_has_the_contracts_fields_in_the_contracts_order() -> None:
    fields = [field["name"] for field in load_schema("Event")["fields"]]
    assert [column.name for column in table("events").columns] == fields


def test_analysts_see_no_partition_no_offset_and_no_retention() -> None:
    for view in views(settings()):
        assert {"partition", "offset", "retention_days"} & {column.name for column in view.columns} == set()
        hidden = " WHERE count > 0" if view.name.startswith("aggregates") else ""
        assert view.select("lab").endswith(f" FROM lab.{view.table} FINAL{hidden}")


def test_rows_are_deleted_by_their_own_retention_and_move_only_where_a_policy_says_so() -> None:
    delete = "toDateTime(ts) + toIntervalDay(retention_days + 1)"
    assert table("raw_readings").ttl == delete
    assert "storage_policy" not in table("raw_readings").settings
    cooled = table("raw_readings", policy="tiered")
    assert cooled.ttl == f"toDateTime(ts) + toIntervalDay(2) TO VOLUME 'cold', {delete}"
    assert cooled.settings["storage_policy"] == "'tiered'"


def test_a_row_that_names_no_retention_gets_that_of_the_settings() -> None:
    column = table("raw_readings").columns[-1]
    assert column.definition.startswith("`retention_days` UInt16 DEFAULT 9 COMMENT ")


def test_every_table_remembers_as_many_inserts_as_the_settings_say() -> None:
    for found in tables(settings()):
        assert "non_replicated_deduplication_window = 77" in found.create("lab")


def test_the_database_is_made_first_and_views_after_their_tables() -> None:
    names = [statement.name for statement in statements(settings())]
    assert names[0] == "lab"
    for view in views(settings()):
        assert names.index(view.name) > names.index(view.table)


def test_quotes_and_backslashes_in_a_comment_stay_inside_the_literal() -> None:
    assert quoted(r"a\b's") == r"'a\\b\'s'"


def test_what_the_server_says_is_shown_without_its_trimmings() -> None:
    error = DatabaseError(
        "Received ClickHouse exception, code: 60, server response: Code: 60. DB::Exception: Unknown table 'x'. "
        "(UNKNOWN_TABLE) (version 26.9.2.1 (official build)) (for url http://127.0.0.1:1)"
    )
    assert said(error) == "Unknown table 'x'"


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (None, TransientError, "cannot be reached"),
        (202, TransientError, "busy"),
        (81, ConfigError, "weir migrate"),
        (60, ConfigError, "weir migrate"),
        (516, ConfigError, "WEIR_CLICKHOUSE__PASSWORD"),
        (53, ConfigError, "code 53"),
    ],
)
def test_each_error_of_the_server_becomes_the_one_that_says_what_to_do(
    code: int | None, kind: type[Exception], words: str
) -> None:
    told = translated(OperationalError("Code: 1. DB::Exception: why.", code=code), ClickHouseSettings())
    assert type(told) is kind
    assert words in str(told)
    assert str(told).endswith(".")
    assert "\n" not in str(told)

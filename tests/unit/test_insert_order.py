"""In which order rows go to ClickHouse."""

import polars as pl
import pytest

from sinks.clickhouse.writer import ORDER, in_order


@pytest.mark.parametrize("high", [7, 2**16 + 7])
def test_rows_go_by_their_place_and_equal_ones_as_they_came(high: int) -> None:
    places = [high, 3, high, 0, 3]
    rows = pl.DataFrame({"offset": [0, 1, 2, 3, 4]}).with_columns(pl.Series(ORDER, places, dtype=pl.UInt32))
    assert in_order(rows).to_dict(as_series=False) == {"offset": [3, 1, 4, 0, 2]}


def test_rows_without_places_stay_as_they_are() -> None:
    rows = pl.DataFrame({"offset": [2, 1]})
    assert in_order(rows) is rows

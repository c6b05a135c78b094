from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from weir.cli.result_table import read_result

cells = st.one_of(st.none(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=20))
tables = st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), max_size=8))


@given(tables, st.lists(st.integers(0, 400), max_size=6))
def test_where_the_network_cuts_an_answer_never_changes_it(rows: list[list[object]], cuts: list[int]) -> None:
    width = len(rows[0]) if rows else 1
    lines = [[f"c{n}" for n in range(width)], ["String"] * width, *rows]
    body = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)
    places = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    chunks = [body[start:end] for start, end in zip(places, places[1:], strict=False)]
    result = read_result(chunks)
    assert result is not None
    assert result.names == lines[0]
    assert result == read_result([body])
    assert [[cell is None for cell in row] for row in result.rows] == [[cell is None for cell in row] for row in rows]

from __future__ import annotations

import io
import json
from typing import Any

from rich.console import Console

from weir.cli.result_table import Result, print_result, read_result


def answer(*lines: list[Any]) -> list[bytes]:
    return [b"".join(json.dumps(line).encode() + b"\n" for line in lines)]


def printed(result: Result, width: int, terminal: bool) -> list[str]:
    out = io.StringIO()
    print_result(Console(file=out, width=width, force_terminal=terminal, no_color=True, color_system=None), result)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_numbers_stand_at_the_right_and_texts_at_the_left() -> None:
    result = Result(["name", "n"], ["String", "Nullable(UInt64)"], [["a", "5"], ["bcd", "1234567"]])
    assert printed(result, 80, terminal=True) == [
        "name         n",
        "──────────────",
        "a            5",
        "bcd    1234567",
    ]


def test_null_is_told_from_an_empty_text() -> None:
    lines = printed(Result(["s"], ["Nullable(String)"], [[None], [""]]), 80, terminal=True)
    assert lines[2:] == ["NULL", ""]


def test_a_row_wider_than_the_terminal_is_shown_as_a_block_of_its_own() -> None:
    result = Result(["long", "n"], ["String", "UInt8"], [["x" * 60, "1"]])
    assert printed(result, 40, terminal=True) == ["── row 1", "long  " + "x" * 60, "   n  1"]


def test_a_pipe_gets_the_whole_table_however_wide() -> None:
    result = Result(["long", "n"], ["String", "UInt8"], [["x" * 300, "1"]])
    assert printed(result, 40, terminal=False)[2] == "x" * 300 + "   1"


def test_digits_stay_as_the_server_wrote_them() -> None:
    raw = [
        b'["f","big","a"]\n["Float64","UInt64","Array(Float64)"]\n[0.1000000000000000055,18446744073709551615,[1.50,2]]\n'
    ]
    result = read_result(raw)
    assert result is not None
    assert result.rows == [["0.1000000000000000055", "18446744073709551615", "[1.50, 2]"]]


def test_what_a_device_sent_cannot_steer_the_terminal() -> None:
    result = read_result(answer(["s"], ["String"], ["a\x1b[31mred\nnext"]))
    assert result is not None
    assert result.rows == [["a\\x1b[31mred\\nnext"]]


def test_booleans_and_nested_values_are_readable() -> None:
    result = read_result(answer(["b", "m", "t"], ["Bool", "Map", "Tuple"], [True, {"k": 1}, [1, "x", None]]))
    assert result is not None
    assert result.rows == [["true", "{k: 1}", '[1, "x", null]']]


def test_square_brackets_are_text_and_not_markup() -> None:
    assert printed(Result(["s"], ["String"], [["[red]x[/red]"]]), 80, terminal=True)[2] == "[red]x[/red]"


def test_an_answer_without_a_single_byte_is_not_a_result_without_rows() -> None:
    assert read_result([]) is None
    empty = read_result(answer(["a"], ["UInt8"]))
    assert empty is not None
    assert empty.rows == []

"""Bodies of the embedded ClickHouse: however they are cut, the same bytes come out."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import lz4.frame  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from weir.stack.clickhouse import statement
from weir.stack.clickhouse.compression import ACCEPTED, chosen_encoding, compressor, decompressed
from weir.stack.clickhouse.exceptions import ClickHouseError
from weir.stack.clickhouse.formats import BlockJoin

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstandard.compress,
}


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 50), st.sampled_from(ACCEPTED[:3]))
def test_concatenated_frames_are_one_body(parts: list[bytes], size: int, encoding: str) -> None:
    packed = b"".join(PACK[encoding](part) for part in parts)
    assert b"".join(decompressed(iter(cut(packed, size)), encoding)) == b"".join(parts)


@given(st.binary(max_size=2000), st.integers(1, 100))
def test_deflate_is_read_with_and_without_its_header(data: bytes, size: int) -> None:
    assert b"".join(decompressed(iter(cut(zlib.compress(data), size)), "deflate")) == data
    raw = zlib.compressobj(wbits=-15)
    packed = raw.compress(data) + raw.flush()
    if packed[0] & 0x0F != 8:  # bare deflate that looks like a zlib header cannot be told apart
        assert b"".join(decompressed(iter(cut(packed, size)), "deflate")) == data


@given(st.binary(min_size=1, max_size=500), st.sampled_from(ACCEPTED), st.data())
def test_a_body_that_stops_early_is_never_taken_for_whole(data: bytes, encoding: str, draw: st.DataObject) -> None:
    packed = PACK[encoding](data)
    kept = packed[: draw.draw(st.integers(1, len(packed) - 1))]
    with pytest.raises(ClickHouseError):
        list(decompressed(iter([kept]), encoding))


@given(st.lists(st.binary(max_size=300), max_size=5), st.sampled_from(ACCEPTED))
def test_a_compressed_answer_is_read_back(parts: list[bytes], encoding: str) -> None:
    pressed = compressor(encoding)
    packed = b"".join([pressed.compress(part) for part in parts] + [pressed.flush()])
    assert b"".join(decompressed(iter(cut(packed, 17)), encoding)) == b"".join(parts)


@given(st.permutations([*ACCEPTED, "br", "identity"]))
def test_the_servers_first_choice_wins_whatever_the_order(accepted: list[str]) -> None:
    assert chosen_encoding(", ".join(accepted), enabled=True) == "zstd"
    assert chosen_encoding("zstd;q=0, " + "gzip", enabled=True) == "gzip"
    assert chosen_encoding(", ".join(accepted), enabled=False) is None


@given(
    st.binary(max_size=200), st.sampled_from(["CSV", "Native", "JSONEachRow"]), st.text("ab_", min_size=1, max_size=5)
)
def test_whatever_follows_the_format_is_data(data: bytes, name: str, table: str) -> None:
    sql = f"INSERT INTO {table} FORMAT {name}\n".encode()
    head = statement.insert_head(sql + data)
    assert head is not None
    assert (sql + data)[head.data_start :] == data
    assert (head.sql, head.format) == (f"INSERT INTO {table} ".encode(), name)


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read_as_tokens(sql: bytes) -> None:
    found = list(statement.tokens(sql))
    assert all(sql[token.start : token.end] == token.text for token in found)
    assert all(first.end <= second.start for first, second in zip(found, found[1:], strict=False))


@given(
    st.lists(st.text('ab"\n,', max_size=4), min_size=1, max_size=3),
    st.lists(st.lists(st.text('xy"\n,', max_size=3), min_size=1, max_size=3), min_size=1, max_size=4),
)
def test_the_head_of_a_csv_document_is_kept_once(names: list[str], blocks: list[list[str]]) -> None:
    def line(values: list[str]) -> bytes:
        return (",".join('"' + value.replace('"', '""') + '"' for value in values) + "\n").encode()

    join = BlockJoin("CSVWithNames")
    document = b"".join(join.add(line(names) + b"".join(line([cell]) for cell in block)) for block in blocks)
    assert document + join.end() == line(names) + b"".join(line([cell]) for block in blocks for cell in block)

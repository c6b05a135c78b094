import numpy as np
import polars as pl
import pytest

from streams.engine.key_index import KeyIndex


def pairs(*names: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(list(names), schema={"a": pl.String, "b": pl.String}, orient="row")


def test_pair_keeps_its_code_and_its_names() -> None:
    index = KeyIndex("a", "b")
    first = index.encode(pairs(("x", "1"), ("y", "1"), ("x", "1")))
    second = index.encode(pairs(("y", "1"), ("z", "2")))
    assert first[0] == first[2] != first[1]
    assert second[0] == first[1]
    assert index.names.row(int(second[1])) == ("z", "2")
    assert len(index) == 3


def test_pairs_that_join_to_the_same_text_are_different() -> None:
    codes = KeyIndex("a", "b").encode(pairs(("ab", "c"), ("a", "bc"), ("", "abc")))
    assert len(set(codes.tolist())) == 3


def test_pair_that_is_not_admitted_gets_no_code_and_takes_no_memory() -> None:
    index = KeyIndex("a", "b")
    codes = index.encode(pairs(("x", "1"), ("bad", "1")), admit=lambda names: (names["a"] != "bad").to_numpy())
    assert codes.tolist() == [0, -1]
    assert len(index) == 1


def test_pair_admitted_later_gets_a_code_then() -> None:
    index = KeyIndex("a", "b")
    frame = pairs(("x", "1"))
    assert index.encode(frame, admit=lambda names: np.zeros(len(names), dtype=np.bool_)).tolist() == [-1]
    assert index.encode(frame).tolist() == [0]


def test_colliding_hashes_do_not_mislabel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeyIndex, "_hash", lambda self, frame: np.full(len(frame), 42, dtype=np.uint64))
    index = KeyIndex("a", "b")
    frame = pairs(("x", "1"), ("y", "2"), ("z", "3"), ("y", "2"))
    for codes in (index.encode(frame), index.encode(frame)):
        assert index.names[codes].rows() == frame.rows()


def test_keys_that_want_the_same_slot_all_keep_their_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    of_pair = KeyIndex._hash
    high = np.uint64(0xFFFF_FFFF_0000_0000)  # slots are told by the low bits: all want the first, an empty one says 0
    monkeypatch.setattr(KeyIndex, "_hash", lambda self, frame: of_pair(self, frame) & high)
    index, frame = KeyIndex("a", "b"), pairs(*((str(number), "1") for number in range(500)))
    first = index.encode(frame)
    assert sorted(first.tolist()) == list(range(500))
    assert index.encode(frame[::-1]).tolist() == first[::-1].tolist()


def test_pair_whose_hash_is_that_of_an_empty_slot_is_not_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    index, known = KeyIndex("a", "b"), pairs(("x", "1"))
    index.encode(known)
    monkeypatch.setattr(KeyIndex, "_hash", lambda self, frame: np.zeros(len(frame), dtype=np.uint64))
    codes = index.encode(pairs(("y", "2"), ("y", "2")))
    assert index.names[codes].rows() == [("y", "2"), ("y", "2")]


def test_empty_frame_gives_no_codes() -> None:
    assert KeyIndex("a", "b").encode(pairs()).tolist() == []

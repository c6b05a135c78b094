import pytest

from streams.engine.checkpoint import NO_WATERMARK, Checkpoint, from_commit, insert_token, to_commit


def test_checkpoint_comes_back_from_a_commit_unchanged() -> None:
    checkpoint = Checkpoint(replay=7, stored=40, planned=90, watermark=1_700_000_000_123)
    commit = to_commit("t", 3, checkpoint)
    assert (commit.topic, commit.partition, commit.offset) == ("t", 3, 7)
    assert from_commit(commit.offset, commit.metadata) == checkpoint


def test_partition_without_commit_has_no_checkpoint() -> None:
    assert from_commit(-1001, None) is None


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        None,
        "set by hand",
        '{"v":1,"stored":3,"planned":9,"watermark":0}',  # stored before the offset
        '{"v":1,"stored":9,"planned":8,"watermark":0}',  # planned before stored
        '{"v":2,"stored":9,"planned":9,"watermark":0}',  # of another version
        '{"v":1,"stored":9,"planned":9}',
    ],
)
def test_offset_set_by_hand_is_where_storing_begins(metadata: str | None) -> None:
    assert from_commit(5, metadata) == Checkpoint(5, 5, 5, NO_WATERMARK)


def test_checkpoint_that_no_crash_explains_is_refused() -> None:
    with pytest.raises(ValueError, match="replay <= stored <= planned"):
        Checkpoint(replay=5, stored=4, planned=9)


def test_token_names_stream_partition_and_both_ends() -> None:
    assert insert_token("weir.readings", "weir.readings", 2, 100, 150) == "weir.readings:weir.readings:2:100-149"

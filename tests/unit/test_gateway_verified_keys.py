"""The file of verified keys: what it brings back, when it is not believed, and what a disk that refuses costs."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import pytest

from connectors.entities.api_key_text import new_key_text
from connectors.gateway.door import verified_keys
from connectors.gateway.door.verified_keys import VerifiedKeys

Answer = TypeVar("Answer")
KEY = b"wr_abcdefghijkl_" + b"s" * 32
PREFIX = b"abcdefghijkl"
HASH = "$argon2id$of that secret"


def at(folder: Path, use: Callable[[VerifiedKeys], Awaitable[Answer]]) -> Answer:
    """What ``use`` answers in a process of its own, as it were: everything else starts anew."""

    async def run() -> Answer:
        keys = VerifiedKeys(folder)
        await keys.start()
        try:
            return await use(keys)
        finally:
            await keys.stop()

    return asyncio.run(run())


def proof_in(keys: VerifiedKeys, key: bytes = KEY, kept: str = HASH) -> bytes:
    return keys.proof(keys.digest(key), key[3:15], kept)


async def remember(keys: VerifiedKeys) -> None:
    keys.remember(proof_in(keys))


async def knows(keys: VerifiedKeys) -> bool:
    return keys.proven(keys.digest(KEY), PREFIX) == proof_in(keys)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    at(tmp_path / "keys", remember)
    return tmp_path / "keys" / "verified"


def believed(file: Path) -> bool:
    return at(file.parent, knows)


def test_what_was_verified_is_known_after_a_restart_and_nobody_is_warned(
    written: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert believed(written)
    assert believed(written)
    assert not caplog.records


def test_without_a_file_nothing_is_known_and_nobody_is_warned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not at(tmp_path / "keys", knows)
    assert not caplog.records
    assert not (tmp_path / "keys").exists()


def test_neither_another_secret_nor_another_hash_nor_another_prefix_is_proven(written: Path) -> None:
    async def others(keys: VerifiedKeys) -> None:
        proof = keys.proven(keys.digest(KEY), PREFIX)
        assert proof == proof_in(keys)
        assert keys.proven(keys.digest(KEY[:-1] + b"t"), PREFIX) is None
        assert keys.proven(keys.digest(KEY), b"mnopqrstuvwx") is None
        assert proof != proof_in(keys, kept=HASH + " ")

    at(written.parent, others)


def test_only_its_owner_can_read_the_file_whatever_was_there_before(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o755)
    (folder / "verified.new").write_bytes(b"left by a crash")
    (folder / "verified.new").chmod(0o666)
    at(folder, remember)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "verified").stat().st_mode) == 0o600
    assert [each.name for each in folder.iterdir()] == ["verified"]


def test_the_file_holds_neither_secret_nor_hash(written: Path) -> None:
    data = written.read_bytes()
    assert PREFIX in data
    assert b"ssss" not in data and HASH.encode() not in data and blake2b(KEY, digest_size=16).digest() not in data


def with_checksum(body: bytes) -> bytes:
    return body + blake2b(body, digest_size=32).digest()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[:-1],
    "half": lambda data: data[: len(data) // 2],
    "longer": lambda data: data + b"\0",
    "flipped": lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:],
    "checksum": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "fewer than it says": lambda data: with_checksum(data[:-76]),
    "other version": lambda data: with_checksum(data[:8] + b"\2" + data[9:-32]),
    "other file": lambda data: with_checksum(b"someother" + data[9:-32]),
    "too large": lambda data: data + bytes(44 * verified_keys.MOST_KEYS),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_as_none_with_a_warning_and_the_next_one_is_whole(
    written: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    written.write_bytes(DAMAGES[damage](written.read_bytes()))
    assert not believed(written)
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert str(written) in caplog.text
    at(written.parent, remember)
    assert believed(written)


def test_the_checksum_that_the_damages_get_is_the_right_one(written: Path) -> None:
    written.write_bytes(with_checksum(written.read_bytes()[:-32]))
    assert believed(written)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_file_that_others_may_read_or_write_is_not_believed(
    written: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    written.chmod(mode)
    assert not believed(written)
    assert "others may read or write it" in caplog.text
    at(written.parent, remember)
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert believed(written)


def test_a_file_of_somebody_else_is_not_believed(
    written: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: written.stat().st_uid + 1)
    assert not believed(written)
    assert "somebody else" in caplog.text


@pytest.mark.parametrize("what", ["link", "folder", "pipe"])
def test_what_is_no_file_is_neither_followed_nor_waited_for(
    written: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    real = written.rename(written.with_name("real"))
    if what == "link":
        written.symlink_to(real)
    elif what == "folder":
        written.mkdir()
    else:
        os.mkfifo(written, 0o600)
    assert not believed(written)
    assert [each.levelname for each in caplog.records] == ["WARNING"]


def test_what_is_forgotten_stays_forgotten(written: Path) -> None:
    async def forget(keys: VerifiedKeys) -> None:
        keys.forget(PREFIX)

    at(written.parent, forget)
    assert not believed(written)


def test_nothing_new_is_no_reason_to_write(written: Path) -> None:
    before = written.stat().st_ino, written.stat().st_mtime_ns
    at(written.parent, remember)
    assert (written.stat().st_ino, written.stat().st_mtime_ns) == before


def test_what_is_new_is_written_while_the_process_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified_keys, "WRITE_SECONDS", 0.01)

    async def killed(keys: VerifiedKeys) -> bool:
        await remember(keys)
        async with asyncio.timeout(10):
            while not (tmp_path / "keys" / "verified").exists():
                await asyncio.sleep(0.01)
        other = VerifiedKeys(tmp_path / "keys")
        await other.start()
        return await knows(other)

    assert at(tmp_path / "keys", killed)


def test_a_disk_that_refuses_is_told_once_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "keys"
    folder.touch()

    async def refused(keys: VerifiedKeys) -> None:
        await remember(keys)
        await keys.write()
        await keys.write()
        assert await knows(keys)
        assert len([each for each in caplog.records if "not kept" in each.message]) == 1
        folder.unlink()
        await keys.write()

    at(folder, refused)
    assert at(folder, knows)


def test_of_too_many_the_newest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified_keys, "MOST_KEYS", 100)
    many = [str(new_key_text()).encode() for _ in range(250)]

    async def use(keys: VerifiedKeys) -> None:
        for each in many:
            keys.remember(proof_in(keys, each))
            assert len(keys) <= 100
        for each in many[-20:]:  # again, with another hash
            keys.remember(proof_in(keys, each, "other"))

    async def kept(keys: VerifiedKeys) -> list[bool]:
        return [keys.proven(keys.digest(each), each[3:15]) is not None for each in many]

    at(tmp_path, use)
    found = at(tmp_path, kept)
    assert sum(found) == 100 and found[-90:] == [True] * 90

"""Bodies as they come from a server: in pieces, late, too large, compressed, or not at all."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import pytest

from connectors.gateway import errors
from connectors.gateway.errors import GatewayError
from connectors.gateway.records import Caller
from connectors.gateway.server.bodies import INLINE_BYTES, pieces, read_body
from connectors.gateway.server.held_bytes import HeldBytes, Share
from connectors.gateway.server.inflating import MOST_MEMBERS, PIECE_BYTES, Inflater

MOST = 1_000
SHORT, LONG = 0.05, 5.0
LEFT = {"type": "http.disconnect"}


def gzipped(data: bytes) -> bytes:
    """The same bytes at any time: they are part of the names of tests, which every process must know alike."""
    return gzip.compress(data, mtime=0)


def share() -> Share:
    return HeldBytes().share(Caller("AAAAAAAAAAAA", "acme", "device"))


def arriving(
    *parts: bytes | float | dict[str, str], ends: bool = True
) -> Callable[[], Awaitable[MutableMapping[str, Any]]]:
    """What an ASGI server's ``receive`` gives: pieces, with pauses of some seconds between; then nothing for ever."""
    left = list(parts)

    async def receive() -> MutableMapping[str, Any]:
        if not left:
            await asyncio.Event().wait()
        if isinstance(left[0], float):
            await asyncio.sleep(left[0])
            left.pop(0)
        part = left.pop(0)
        if isinstance(part, dict):
            return part
        return {"type": "http.request", "body": part, "more_body": bool(left) or not ends}

    return receive


def body_of(
    *parts: bytes | float | dict[str, str], seconds: float = LONG, ends: bool = True, **headers: str
) -> bytes | None:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return asyncio.run(read_body(arriving(*parts, ends=ends), sent, MOST, seconds, share()))


def pieces_of(
    *parts: bytes | float | dict[str, str], idle: float = LONG, most: float = LONG, ends: bool = True, **headers: str
) -> list[bytes]:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def gathered() -> list[bytes]:
        return [piece async for piece in pieces(arriving(*parts, ends=ends), idle, most, sent)]

    return asyncio.run(gathered())


def code_of(work: Callable[[], object]) -> int:
    with pytest.raises(GatewayError) as caught:
        work()
    return caught.value.code


def deflated(data: bytes, wbits: int) -> bytes:
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    "parts", [[b"abc"], [b"a", b"bc"], [b"", 0.01, b"ab", 0.01, b"c"], [0.01, b"abc"], [b"abc", b""]]
)
def test_a_body_is_what_its_pieces_are_together(parts: Sequence[bytes | float]) -> None:
    assert body_of(*parts) == b"abc"
    assert b"".join(pieces_of(*parts)) == b"abc"


def test_no_body_is_an_empty_one() -> None:
    assert body_of(b"") == b""
    assert pieces_of(b"") == []


@pytest.mark.parametrize("parts", [[LEFT], [b"ab", LEFT], [0.01, LEFT]])
def test_a_client_that_leaves_has_sent_no_body(parts: list[Any]) -> None:
    assert body_of(*parts) is None


def test_what_a_client_streamed_before_it_left_counts() -> None:
    assert pieces_of(b"ab", 0.01, LEFT) == [b"ab"]


def test_the_time_is_for_the_whole_body_however_often_a_byte_comes() -> None:
    drops = [part for _ in range(20) for part in (0.02, b"a")]
    assert code_of(lambda: body_of(*drops, seconds=0.1)) == errors.REQUEST_TIMEOUT
    assert body_of(*drops) == b"a" * 20


def test_a_stream_may_take_long_but_not_stand_still() -> None:
    drops = [part for _ in range(20) for part in (0.02, b"a")]
    assert pieces_of(*drops, idle=0.2) == [b"a"] * 20
    assert code_of(lambda: pieces_of(b"a", ends=False, idle=SHORT)) == errors.REQUEST_TIMEOUT
    assert code_of(lambda: pieces_of(*drops, most=0.2)) == errors.REQUEST_TIMEOUT


def test_a_stream_that_never_pauses_ends_at_its_limit_too() -> None:
    async def busy() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"a", "more_body": True}

    async def read() -> None:
        async for _ in pieces(busy, LONG, SHORT):
            pass

    assert code_of(lambda: asyncio.run(asyncio.wait_for(read(), LONG))) == errors.REQUEST_TIMEOUT


def test_what_announces_too_much_is_refused_unread() -> None:
    assert code_of(lambda: body_of(content_length=str(MOST + 1))) == errors.TOO_LARGE


@pytest.mark.parametrize("parts", [[bytes(MOST + 1)], [bytes(MOST), b"a"], [bytes(MOST), b"a", 60.0, b"b"]])
def test_what_becomes_too_large_is_refused_as_soon_as_it_is(parts: list[bytes | float]) -> None:
    assert code_of(lambda: body_of(*parts)) == errors.TOO_LARGE
    assert body_of(bytes(MOST)) == bytes(MOST)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzipped(b"abc")),
        ("x-gzip", gzipped(b"abc")),
        ("GZIP ", gzipped(b"abc")),
        ("gzip", gzipped(b"a") + gzipped(b"") + gzipped(b"bc")),
        ("deflate", deflated(b"abc", zlib.MAX_WBITS)),
        ("deflate", deflated(b"abc", -zlib.MAX_WBITS)),
        ("identity", b"abc"),
    ],
)
def test_a_compressed_body_is_inflated_however_it_was_cut(encoding: str, packed: bytes) -> None:
    for cut in range(len(packed) + 1):
        assert body_of(packed[:cut], packed[cut:], content_encoding=encoding) == b"abc"
        assert b"".join(pieces_of(packed[:cut], packed[cut:], content_encoding=encoding)) == b"abc"
    assert b"".join(pieces_of(*(packed[at : at + 1] for at in range(len(packed))), content_encoding=encoding)) == b"abc"


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "gzip,deflate", "zstd", "", "\xff"])
def test_an_encoding_that_is_not_understood_is_said_to_be(encoding: str) -> None:
    assert code_of(lambda: body_of(b"abc", content_encoding=encoding)) == errors.UNSUPPORTED_MEDIA_TYPE
    assert code_of(lambda: pieces_of(b"abc", content_encoding=encoding)) == errors.UNSUPPORTED_MEDIA_TYPE


@pytest.mark.parametrize(
    "broken",
    [b"abc", b"a", gzipped(b"abc")[:-1], gzipped(b"abc") + b"x", gzipped(b"abc")[:-5] + b"12345"],
)
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_body_that_is_none_is_the_clients_fault(encoding: str, broken: bytes) -> None:
    assert code_of(lambda: body_of(broken, content_encoding=encoding)) == errors.BAD_REQUEST
    assert code_of(lambda: pieces_of(broken, content_encoding=encoding)) == errors.BAD_REQUEST


@pytest.mark.parametrize("size", [MOST + 1, 100_000_000])
def test_a_bomb_is_refused_before_it_is_large(size: int) -> None:
    assert code_of(lambda: body_of(gzip.compress(bytes(size))[:MOST], content_encoding="gzip")) == errors.TOO_LARGE


def test_a_large_compressed_body_does_not_hold_up_others() -> None:
    packed = gzip.compress(b"".join(b"%d " % (number * 7919 % 100_003) for number in range(60_000)))
    assert len(packed) > INLINE_BYTES
    sent = [(b"content-encoding", b"gzip")]
    assert asyncio.run(read_body(arriving(packed), sent, 10_000_000, LONG, share())) == gzip.decompress(packed)


def test_a_stream_of_zeros_never_stands_in_memory_at_once() -> None:
    sizes = [len(piece) for piece in Inflater("gzip").feed(gzip.compress(bytes(10 * PIECE_BYTES + 1)))]
    assert sizes == [PIECE_BYTES] * 10 + [1]


@pytest.mark.parametrize("more", range(0, 300, 7))
def test_a_piece_that_is_just_full_is_not_the_last(more: int) -> None:
    data = bytes(PIECE_BYTES + more)
    for encoding, packed in (("deflate", deflated(data, -zlib.MAX_WBITS)), ("gzip", gzip.compress(data))):
        inflater = Inflater(encoding)
        assert b"".join(inflater.feed(packed)) == data
        inflater.finish()


def test_thousands_of_empty_members_are_refused() -> None:
    assert b"".join(Inflater("gzip").feed(gzip.compress(b"a") * MOST_MEMBERS)) == b"a" * MOST_MEMBERS
    with pytest.raises(GatewayError):
        list(Inflater("gzip").feed(gzip.compress(b"") * (MOST_MEMBERS + 1)))


def test_a_body_counts_as_held_while_it_comes_and_when_it_is_inflated() -> None:
    memory, caller = HeldBytes(most_of_key=500), Caller("AAAAAAAAAAAA", "acme", "device")
    packed = gzip.compress(bytes(600))
    for parts, sent in (([bytes(300), bytes(300), 60.0, b"a"], []), ([packed], [(b"content-encoding", b"gzip")])):
        with pytest.raises(GatewayError) as caught, memory.share(caller) as own:
            asyncio.run(read_body(arriving(*parts), sent, MOST, LONG, own))
        assert caught.value.status == 429
        assert memory.total == 0


def test_a_client_that_has_left_is_not_inflated_for() -> None:
    packed = gzip.compress(bytes(100 * PIECE_BYTES))
    found = pieces_of(packed, LEFT, content_encoding="gzip", ends=False)
    assert len(found) == 1


def test_inflating_lets_others_have_their_turn_and_ends_in_time() -> None:
    packed = gzip.compress(bytes(50 * PIECE_BYTES))
    sent = [(b"content-encoding", b"gzip")]

    async def turns() -> int:
        count = 0

        async def other() -> None:
            nonlocal count
            while True:
                count += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(other())
        async for _ in pieces(arriving(packed), LONG, LONG, sent):
            pass
        beside.cancel()
        return count

    assert asyncio.run(turns()) >= 50
    assert code_of(lambda: pieces_of(packed, most=0.0, content_encoding="gzip")) == errors.REQUEST_TIMEOUT

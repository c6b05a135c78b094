"""Cases of HTTP itself: paths, methods, framing, and what libraries put right before they send it."""

from __future__ import annotations

from typing import Any, Final

from tests.contract.gateway_cases.answers import produced, records, refusal, taken
from tests.contract.gateway_cases.case import NOT_COMPARED, V2, Answer, Case, Group, Some
from tests.contract.gateway_cases.v2_posts import NOTES, READINGS, looked_at, noted

HOST: Final = "Host: gateway\r\nAuthorization: Bearer {key}\r\n"
POST: Final = f"POST {READINGS} HTTP/1.1\r\n{HOST}Content-Type: application/vnd.kafka.json.v2+json\r\n"
CHUNKED: Final = "Transfer-Encoding: chunked\r\n\r\n"
ONE: Final = "{a reading in a chunk}"
A_LIST: Final = Some('["weir.readings", …]', lambda found: isinstance(found, list) and len(found) >= 1)
ALL: Final = ("GET", "HEAD", "OPTIONS", "POST")


def wired(name: str, raw: str, shown: str, **fields: Any) -> Case:
    """Bytes as they are."""
    return Case(name=name, path=READINGS, raw=raw.encode("latin-1"), shown=shown, only="raw", **fields)


def broken(name: str, raw: str, shown: str) -> Case:
    """Bytes that leave it unclear where the request ends, or whether it is one."""
    return wired(name, raw, shown, status=400, answer=refusal(400), closes=True)


def absent(name: str, path: str, code: int = 40401, **fields: Any) -> Case:
    """A look at what cannot be there."""
    return looked_at(name, path, status=404, answer=refusal(code), **fields)


def allowing(*methods: str) -> dict[str, object]:
    """The header that names the methods of a path."""
    wanted = set(methods)
    return {"allow": Some(", ".join(sorted(methods)), lambda found: set((found or "").split(", ")) == wanted)}


def asked(name: str, method: str, path: str = NOTES, status: int = 200, answer: Answer = None, **fields: Any) -> Case:
    """A request of any method, without a body."""
    return Case(name=name, method=method, path=path, status=status, answer=answer, **{"key": "editor", **fields})


PATHS: Final = Group(
    "paths and methods",
    (
        absent("a path that is none", "/nothing/here", 404),
        absent("a path that is none, without a key", "/nothing/here", 404, key=None),
        absent("a slash too much", NOTES + "/", 404),
        asked("a method that is none here", "DELETE", status=405, answer=refusal(405), answer_headers=allowing(*ALL)),
        asked(
            "a post to what is only looked at",
            "POST",
            "/brokers",
            405,
            refusal(405),
            answer_headers=allowing("GET", "HEAD", "OPTIONS"),
        ),
        asked("HEAD: the headers of GET and no body", "HEAD", "/topics", answer_headers={"content-type": V2}),
        asked("OPTIONS: the methods of a path", "OPTIONS", key=None, answer_headers=allowing(*ALL)),
        absent("an escaped letter in a path is the letter", "/topics/%61bsent"),
        absent("an escaped slash in a topic's name", "/topics/a%2Fb", 404, only="raw"),
        absent("a topic with a zero byte", "/topics/a%00b"),
        absent("a topic with umlauts", "/topics/sch%C3%B6n"),
        absent("bytes that are no UTF-8", "/topics/%ff%fe"),
        absent("dots for a topic", "/topics/..", only="raw"),
        absent("a topic of 2,000 letters", "/topics/" + "x" * 2_000, shown="`GET /topics/xxx…`"),
        looked_at(
            "a URL that is too long",
            "/topics/" + "x" * 8_100,
            shown="`GET /topics/xxx…`, 8,108 bytes",
            status=414,
            answer=refusal(414, "8000"),
            closes=True,
        ),
        noted(
            "a partition that is no number",
            path=NOTES + "/partitions/one",
            body=records(1),
            status=404,
            answer=refusal(40402),
        ),
        noted(
            "a partition beyond all numbers",
            path=NOTES + "/partitions/" + "9" * 40,
            shown="`POST /topics/acme.notes/partitions/999…`",
            body=records(1),
            status=404,
            answer=refusal(40402),
        ),
        looked_at(
            "a query is of no interest",
            NOTES + "/partitions/1?x=1&x=%00",
            answer=Some('{"partition": 1, …}', lambda found: found["partition"] == 1),
        ),
    ),
    NOT_COMPARED,
)

WIRE: Final = Group(
    "on the wire",
    (
        wired(
            "`Expect: 100-continue`",
            f"{POST}Expect: 100-continue\r\n{CHUNKED}{ONE}",
            "`Expect: 100-continue`, and the body",
            answer=produced(taken()),
        ),
        wired("a body in chunks", f"{POST}{CHUNKED}{ONE}", "`Transfer-Encoding: chunked`", answer=produced(taken())),
        wired(
            "a whole URL for a path, as proxies send it",
            f"{POST}{CHUNKED}{ONE}".replace("POST ", "POST http://gateway", 1),
            "`POST http://gateway/topics/weir.readings HTTP/1.1`",
            answer=produced(taken()),
        ),
        wired(
            "HTTP/1.0: an answer, and the end",
            f"GET /topics HTTP/1.0\r\n{HOST}\r\n",
            "`GET /topics HTTP/1.0`",
            answer=A_LIST,
            closes=True,
        ),
        wired(
            "a client that wants the connection to end",
            f"GET /topics HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n",
            "`Connection: close`",
            answer=A_LIST,
            closes=True,
        ),
        wired(
            "a body that is longer than it says: the rest is another request",
            f"{POST}Content-Length: 2\r\n\r\n{{}}GET /",
            "`Content-Length: 2`, then `{}GET /`",
            status=422,
            answer=refusal(422),
        ),
        broken("what is no HTTP", "HELLO\r\n\r\n", "`HELLO`"),
        broken("TLS where none is spoken", "\x16\x03\x01\x02\0\1\0\r\n\r\n", "the first bytes of TLS"),
        broken("no host", "GET /topics HTTP/1.1\r\n\r\n", "`GET /topics HTTP/1.1` without `Host`"),
        broken("two hosts", f"GET /topics HTTP/1.1\r\nHost: a\r\n{HOST}\r\n", "`Host: a`, `Host: gateway`"),
        broken(
            "a coding that is not chunks",
            f"{POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "`Transfer-Encoding: gzip, chunked`",
        ),
        broken(
            "two lengths that differ",
            f"{POST}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}}}",
            "`Content-Length: 2`, `Content-Length: 3`",
        ),
        broken(
            "a length and chunks: neither is believed",
            f"{POST}Content-Length: 4\r\n{CHUNKED}0\r\n\r\n",
            "`Content-Length: 4`, `Transfer-Encoding: chunked`",
        ),
        broken(
            "a chunk whose length is no number",
            f"{POST}{CHUNKED}zz\r\n{{}}\r\n0\r\n\r\n",
            "`Transfer-Encoding: chunked`, then `zz`",
        ),
    ),
    "as RFC 9112 says",
)

HTTP_GROUPS: Final = (PATHS, WIRE)

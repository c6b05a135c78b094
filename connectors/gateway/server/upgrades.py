"""Requests that offer another protocol are answered in this one, as RFC 9110 (7.8) lets every server do.

httptools ends such a request after its headers and leaves its body unread. Java's HttpClient offers h2c with every
request over plain HTTP, and so does ``curl --http2``: their bodies are read here by a second parser.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import httptools

FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class Callbacks(Protocol):
    """What httptools calls, and what is told of a body that goes on."""

    headers: list[tuple[bytes, bytes]]

    def body_goes_on(self) -> None:
        """The request that seemed complete has a body after all."""


class Parser:
    """An ``httptools.HttpRequestParser`` that never gives a connection away to another protocol."""

    def __init__(self, callbacks: Callbacks) -> None:
        """Call ``callbacks`` as httptools does."""
        self._callbacks = callbacks
        self._parser = _made(callbacks)

    def feed_data(self, data: bytes) -> None:
        """Parse; raises ``httptools.HttpParserError``."""
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._go_on()
            else:
                return

    def get_method(self) -> bytes:
        """Of the request that is being parsed."""
        method: bytes = self._parser.get_method()
        return method

    def get_http_version(self) -> str:
        """Such as ``1.1``."""
        version: str = self._parser.get_http_version()
        return version

    def should_keep_alive(self) -> bool:
        """Whether another request may follow."""
        keep: bool = self._parser.should_keep_alive()
        return keep

    def should_upgrade(self) -> bool:
        """Never."""
        return False

    def _go_on(self) -> None:
        """Bring a new parser to where the old one stopped: behind the headers, before the body."""
        framing = [name + b": " + value for name, value in self._callbacks.headers if name in FRAMING]
        if not framing:
            self._parser = _made(self._callbacks)
            return
        silent = _Silence(self._callbacks)
        self._parser = _made(silent)
        self._parser.feed_data(b"\r\n".join((b"POST / HTTP/1.1", *framing, b"", b"")))
        if not silent.is_complete:  # content-length: 0 is
            self._callbacks.body_goes_on()
        silent.is_quiet = False


class _Silence:
    """Passes on what comes once the headers are through again."""

    def __init__(self, callbacks: Any) -> None:  # noqa: ANN401  # whatever uvicorn's protocol offers
        self._callbacks = callbacks
        self.is_quiet = True
        self.is_complete = False

    def on_message_begin(self) -> None:
        if not self.is_quiet:
            self._callbacks.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self.is_quiet:
            self._callbacks.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_quiet:
            self._callbacks.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self.is_quiet:
            self._callbacks.on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._callbacks.on_body(body)

    def on_message_complete(self) -> None:
        if self.is_quiet:
            self.is_complete = True
        else:
            self._callbacks.on_message_complete()


def _made(callbacks: object) -> Any:  # noqa: ANN401  # httptools has no types for it
    parser = httptools.HttpRequestParser(callbacks)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
    return parser

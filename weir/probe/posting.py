"""Posting one reading to the gateway, once: what a retry would hide is what a probe is for."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from weir.errors import ConfigError
from weir.probe.outcome import Failure
from weir.settings import Settings

MOST_SECONDS: Final = 15.0
"""A gateway that has not answered by then has hung: it spools after three seconds of waiting for Kafka."""

CONTENT_TYPE: Final = "application/vnd.kafka.json.v2+json"
SAMPLED_OUT: Final = -2
FORBIDDEN: Final = 40_301


class _Record(msgspec.Struct):
    offset: int | None = None
    error_code: int | None = None
    error: str | None = None


class _Answer(msgspec.Struct):
    offsets: list[_Record] = msgspec.field(default_factory=list)
    error_code: int | None = None
    message: str = ""


_decode = msgspec.json.Decoder(_Answer).decode


class Poster:
    """Posts readings of one sensor; threads may share it. Close it."""

    def __init__(self, settings: Settings) -> None:
        """Connect at the first post. Raises :class:`~weir.errors.ConfigError` without a key or a usable address."""
        probe = settings.probe
        key = probe.key.get_secret_value() if probe.key is not None else ""
        if not key or not key.isascii() or not key.isprintable():
            raise ConfigError(f"The prober has no key in WEIR_PROBE__KEY. {how_to_register(settings)}")
        self.url = gateway_url(settings)
        self._how = how_to_register(settings)
        self._path = f"{self.url}/topics/{quote(settings.topics.readings, safe='')}"
        self._device, self._sensor = probe.device, probe.sensor
        seconds = min(MOST_SECONDS, probe.timeout_seconds)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": CONTENT_TYPE}
        self._client = httpx.Client(headers=headers, timeout=seconds, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def post(self, ts_ms: int, value: float) -> Failure | None:
        """Post one reading; None when the gateway has taken it, in Kafka or on its disk. Blocks for the answer."""
        reading = {"device_id": self._device, "sensor": self._sensor, "ts": ts_ms, "value": value, "source": "probe"}
        try:
            answer = self._client.post(self._path, content=msgspec.json.encode({"records": [{"value": reading}]}))
        except httpx.HTTPError as error:
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return Failure("gateway", f"The gateway at {self.url} does not answer ({what}); see that it runs.")
        return self._judged(answer.status_code, answer.content)

    def _judged(self, status: int, content: bytes) -> Failure | None:
        try:
            answer = _decode(content)
        except msgspec.DecodeError:  # a proxy's page
            answer = _Answer(message="no answer of a gateway")
        record = answer.offsets[0] if answer.offsets else _Record()
        code = record.error_code or answer.error_code or (status if status != httpx.codes.OK else None)
        words = (record.error or answer.message or f"status {status}").rstrip(". ")
        if status == httpx.codes.UNAUTHORIZED:
            return Failure("key", f"The gateway at {self.url} does not take WEIR_PROBE__KEY ({words}). {self._how}")
        if code == FORBIDDEN:
            return Failure("refused", f"The gateway refuses the probe ({words}). {self._how}")
        if record.offset == SAMPLED_OUT:
            return Failure("refused", f"A sampling policy leaves readings of {self._device} out; take it away there.")
        if code is None and answer.offsets:
            return None
        if status >= httpx.codes.INTERNAL_SERVER_ERROR or status == httpx.codes.TOO_MANY_REQUESTS:
            return Failure("gateway", f"The gateway at {self.url} takes nothing now (status {status}: {words}).")
        return Failure("refused", f"The gateway at {self.url} refuses the probe (code {code or status}: {words}).")


def gateway_url(settings: Settings) -> str:
    """Where to post, without a slash at the end. Raises :class:`~weir.errors.ConfigError` for what is no URL."""
    gateway = settings.gateway
    if settings.probe.gateway_url is None:
        scheme = "http" if gateway.tls_certificate is None else "https"
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(gateway.host, gateway.host)  # noqa: S104 - a name, no bind
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{gateway.port}"
    parts = urlsplit(settings.probe.gateway_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise ConfigError(f"WEIR_PROBE__GATEWAY_URL looks like http://host:8082, not {settings.probe.gateway_url}.")
    return settings.probe.gateway_url.rstrip("/")


def how_to_register(settings: Settings) -> str:
    """The commands that make the prober's device known and give it a key."""
    probe = settings.probe
    return (
        f"Register it once, as `weir probe --help` shows: weir devices add {probe.device} --org {probe.organisation}; "
        f"weir sensors add {probe.device} {probe.sensor} --metric weir.probe_latency; "
        f"weir keys add --device {probe.device}."
    )

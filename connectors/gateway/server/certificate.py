"""The certificate of the gateway, which its owner may renew while it runs."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from weir.errors import ConfigError

logger = logging.getLogger(__name__)


class Certificate:
    """A server's TLS context, 1.2 or later, from two PEM files; ``renew`` takes changed files for new connections."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read the files. Raises :class:`~weir.errors.ConfigError` when they cannot serve."""
        self._files = (certificate, key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        try:
            self._changed = self._times()
            self._load()
        except (OSError, ValueError) as error:  # SSLError is an OSError
            raise ConfigError(
                f"WEIR_GATEWAY__TLS_CERTIFICATE {certificate} and WEIR_GATEWAY__TLS_KEY {key} cannot be used "
                f"({_reason(error)}); they must be PEM files that belong together, the key without a password."
            ) from None

    def renew(self) -> None:
        """Read the files again when they have changed; broken ones leave the old in force. Blocks for milliseconds."""
        try:
            changed = self._times()
            if changed != self._changed:
                self._changed = changed
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files, password=_no_password)
                self._load()
                logger.info("The renewed certificate is in force.")
        except (OSError, ValueError) as error:
            logger.error("The renewed certificate cannot be used (%s); the old one stays in force.", _reason(error))

    def _load(self) -> None:
        self.context.load_cert_chain(*self._files, password=_no_password)

    def _times(self) -> tuple[int, ...]:
        return tuple(each.stat().st_mtime_ns for each in self._files)


def certificate_of(certificate: Path | None, key: Path | None) -> Certificate | None:
    """That of the settings; None for plain HTTP. Raises :class:`~weir.errors.ConfigError` for one without the other."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ConfigError("Set both WEIR_GATEWAY__TLS_CERTIFICATE and WEIR_GATEWAY__TLS_KEY, or neither of them.")
    return Certificate(certificate, key)


def _no_password() -> str:
    """Asked for an encrypted key; without it OpenSSL would ask on the terminal."""
    return ""


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)

"""The broker credentials of Faust's own clients: the same security settings that librdkafka's get."""

from __future__ import annotations

import ssl

from faust.auth import SASLCredentials, SSLCredentials
from faust.types.auth import CredentialsT

from weir.errors import ConfigError
from weir.settings import KafkaSettings

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def broker_credentials(settings: KafkaSettings) -> CredentialsT | None:
    """Return what ``faust.App(broker_credentials=…)`` takes; None for PLAINTEXT.

    Raises :class:`~weir.errors.ConfigError` for a SASL mechanism that is not known or an authority's file that cannot
    be read.
    """
    protocol = settings.security_protocol
    context = _context(settings) if protocol in ("SSL", "SASL_SSL") else None
    if protocol.startswith("SASL"):
        if settings.sasl_mechanism not in MECHANISMS:
            raise ConfigError(f"WEIR_KAFKA__SASL_MECHANISM must be one of {', '.join(MECHANISMS)} with {protocol}.")
        return SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password.get_secret_value() if settings.sasl_password else None,
            mechanism=settings.sasl_mechanism,
            ssl_context=context,
        )
    return SSLCredentials(context) if context is not None else None


def _context(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ssl_ca_location)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"WEIR_KAFKA__SSL_CA_LOCATION is {settings.ssl_ca_location}: {error}.") from error

"""The settings that every librdkafka client of Weir starts from."""

from __future__ import annotations

from weir.settings import KafkaSettings


def kafka_client_config(settings: KafkaSettings) -> dict[str, str | int | float | bool]:
    """Brokers, security and credentials as librdkafka names them; a consumer or producer adds its own on top.

    The result holds the password in clear: never log it.
    """
    config: dict[str, str | int | float | bool] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        "client.id": "weir",
    }
    optional = {
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_username,
        "sasl.password": settings.sasl_password.get_secret_value() if settings.sasl_password else None,
        "ssl.ca.location": settings.ssl_ca_location,
    }
    return config | {name: value for name, value in optional.items() if value is not None}

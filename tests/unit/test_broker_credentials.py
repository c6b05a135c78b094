import pytest
from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from streams.broker_credentials import broker_credentials
from weir.errors import ConfigError
from weir.settings import KafkaSettings


def settings(**values: object) -> KafkaSettings:
    return KafkaSettings.model_validate(values)


def test_plaintext_needs_none() -> None:
    assert broker_credentials(settings()) is None


def test_user_and_password_reach_fausts_clients() -> None:
    given = broker_credentials(
        settings(
            security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", sasl_username="weir", sasl_password="pw-1"
        )
    )
    assert isinstance(given, SASLCredentials)
    options = credentials_to_aiokafka_auth(given)
    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("weir", "pw-1")
    assert options["ssl_context"] is not None


def test_sasl_without_tls_stays_without_tls() -> None:
    given = broker_credentials(settings(security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN"))
    assert credentials_to_aiokafka_auth(given)["security_protocol"] == "SASL_PLAINTEXT"


def test_tls_alone_checks_the_brokers_certificate() -> None:
    given = broker_credentials(settings(security_protocol="SSL"))
    assert isinstance(given, SSLCredentials)
    assert given.context.check_hostname


@pytest.mark.parametrize(
    ("values", "variable"),
    [
        ({"security_protocol": "SASL_SSL"}, "WEIR_KAFKA__SASL_MECHANISM"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "MD5"}, "WEIR_KAFKA__SASL_MECHANISM"),
        ({"security_protocol": "SSL", "ssl_ca_location": "missing.pem"}, "WEIR_KAFKA__SSL_CA_LOCATION"),
    ],
)
def test_what_does_not_fit_is_named_by_its_variable(values: dict[str, object], variable: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        broker_credentials(settings(**values))

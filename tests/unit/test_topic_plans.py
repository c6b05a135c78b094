from __future__ import annotations

from pydantic import SecretStr

from connectors.contracts import contracts
from connectors.kafka.client import kafka_client_config
from connectors.kafka.topics import TopicPlan, topic_plans
from weir.settings import KafkaSettings, RetentionSettings, Settings

DAY_MS = 86_400_000


def plans() -> dict[str, TopicPlan]:
    settings = Settings(
        namespace="lab",
        kafka=KafkaSettings(partitions=6),
        retention=RetentionSettings(topic_days=3, agg_1m_days=20, agg_1h_days=200),
    )
    return {plan.name: plan for plan in topic_plans(settings)}


def test_there_is_a_topic_for_each_contract_for_dead_letters_and_for_what_was_put_back() -> None:
    names = set(plans())
    subjects = contracts(Settings(namespace="lab")).keys() - {"lab.readings-io.weir.ReadingBatch"}
    raw = {"lab.deadletters", "lab.deadletters.replayed"}
    assert names == {subject.removesuffix("-value") for subject in subjects} | raw


def test_a_partitions_rows_find_the_same_partition_number_downstream() -> None:
    counts = {name: plan.partitions for name, plan in plans().items()}
    assert counts == {
        "lab.readings": 6,
        "lab.aggregates.1m": 6,
        "lab.aggregates.1h": 6,
        "lab.alerts": 1,
        "lab.events": 1,
        "lab.commands": 1,
        "lab.deadletters": 1,
        "lab.deadletters.replayed": 1,
    }


def test_no_device_clock_decides_a_messages_time() -> None:
    assert {plan.config["message.timestamp.type"] for plan in plans().values()} == {"LogAppendTime"}


def test_keyed_topics_stay_whole_as_long_as_readings_and_keep_the_newest_row_as_long_as_the_tables() -> None:
    config = plans()["lab.aggregates.1m"].config
    assert config["cleanup.policy"] == "compact,delete"
    assert config["min.compaction.lag.ms"] == str(3 * DAY_MS)
    assert config["retention.ms"] == str(20 * DAY_MS)
    assert plans()["lab.aggregates.1h"].config["retention.ms"] == str(200 * DAY_MS)


def test_readings_and_dead_letters_are_never_compacted() -> None:
    for name in ("lab.readings", "lab.events", "lab.deadletters", "lab.deadletters.replayed"):
        assert plans()[name].config["cleanup.policy"] == "delete"
        assert plans()[name].config["retention.ms"] == str(3 * DAY_MS)


def test_the_newest_commands_of_a_device_are_never_deleted() -> None:
    config = plans()["lab.commands"].config
    assert config["cleanup.policy"] == "compact"
    assert config["delete.retention.ms"] == str(3 * DAY_MS)
    assert "retention.ms" not in config


def test_a_client_gets_credentials_only_when_there_are_some() -> None:
    assert kafka_client_config(KafkaSettings(bootstrap_servers="b:1")) == {
        "bootstrap.servers": "b:1",
        "security.protocol": "PLAINTEXT",
        "client.id": "weir",
    }
    secured = kafka_client_config(
        KafkaSettings(
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username="weir",
            sasl_password=SecretStr("hush"),
            ssl_ca_location="ca.pem",
        )
    )
    assert secured["sasl.password"] == "hush"
    assert (secured["sasl.mechanism"], secured["sasl.username"]) == ("SCRAM-SHA-512", "weir")
    assert (secured["security.protocol"], secured["ssl.ca.location"]) == ("SASL_SSL", "ca.pem")

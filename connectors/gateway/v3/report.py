"""What v3 says of each record: where it is, or why it is not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from connectors.gateway.errors import REQUEST_TIMEOUT, GatewayError
from connectors.gateway.http import encode_json
from connectors.gateway.records import SAMPLED_OUT, Written
from connectors.gateway.v3.record import Prepared

SEPARATOR: Final = b"\r\n"
"""After each report of a stream, as Confluent writes it."""

_SPOOLED: Final = b'"message":"On disk here; it goes to Kafka when Kafka is back.",'
_SAMPLED: Final = b'"message":"Left out by the sampling policy of its device.",'


class Reports:
    """Reports of records of one topic."""

    def __init__(self, cluster_id: str, topic: str) -> None:
        """Both stand in every report."""
        self._where = b'"cluster_id":%b,"topic_name":%b,' % (encode_json(cluster_id), encode_json(topic))

    def of(self, prepared: Prepared | GatewayError, outcome: Written | GatewayError) -> bytes:
        """A report of a stream."""
        if isinstance(outcome, GatewayError):
            return failed(outcome)
        return b'{"error_code":200,%b%b}' % (self._note(outcome), self._written(prepared, outcome))

    def of_entry(self, entry_id: str, prepared: Prepared | GatewayError, outcome: Written) -> bytes:
        """The success of an entry of a batch."""
        return b'{"id":%b,%b%b}' % (encode_json(entry_id), self._note(outcome), self._written(prepared, outcome))

    def _note(self, outcome: Written) -> bytes:
        if outcome.offset >= 0:
            return b""
        return _SAMPLED if outcome == SAMPLED_OUT else _SPOOLED

    def _written(self, prepared: Prepared | GatewayError, outcome: Written) -> bytes:
        told = [self._where, b'"partition_id":%d,"offset":%d' % (outcome.partition, outcome.offset)]
        if outcome.timestamp_ms > 0:
            told.append(b',"timestamp":"%b"' % _instant(outcome.timestamp_ms))
        if not isinstance(prepared, GatewayError):
            if prepared.key:
                told.append(b',"key":%b' % prepared.key)
            if prepared.value:
                told.append(b',"value":%b' % prepared.value)
        return b"".join(told)


def failed(error: GatewayError) -> bytes:
    """The report of a record that was not taken; also the last one of a stream that is ended from here."""
    body = error.body()
    if error.code == REQUEST_TIMEOUT:
        body["error_code"] = 408  # what Confluent's streams end with
    return encode_json(body)


def failed_entry(entry_id: str, error: GatewayError) -> bytes:
    """The failure of an entry of a batch."""
    return encode_json({"id": entry_id, **error.body()})


def _instant(milliseconds: int) -> bytes:
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return b"%b.%03dZ" % (moment.encode(), milliseconds % 1000)

"""Cases of who may do what: keys, roles, devices and organisations."""

from __future__ import annotations

from typing import Any, Final

from tests.contract.gateway_cases.answers import (
    READING,
    none_taken,
    produced,
    reading,
    records,
    refusal,
    refused,
    taken,
)
from tests.contract.gateway_cases.case import Case, Group
from tests.contract.gateway_cases.v2_posts import looked_at, noted, posted

NO_KEYS: Final = "differs: it knows no organisations and devices"
CHALLENGE: Final = {"www-authenticate": 'Basic realm="weir", Bearer'}
UNAUTHORISED: Final = refusal(40101)


def turned_away(name: str, key: str | None, **fields: Any) -> Case:
    """A post with a key that does not hold."""
    return posted(
        name,
        key=key,
        body=records(READING),
        status=401,
        answer=UNAUTHORISED,
        answer_headers=CHALLENGE,
        **fields,
    )


KEYS: Final = Group(
    "keys",
    (
        posted("a key as bearer", body=records(READING), answer=produced(taken())),
        posted("a key as basic: prefix and secret", scheme="basic", body=records(READING), answer=produced(taken())),
        posted("a key as `X-API-Key`", scheme="x-api-key", body=records(READING), answer=produced(taken())),
        turned_away("no key", None),
        turned_away("a key that does not exist", "unknown"),
        turned_away("a key with another secret", "with another secret"),
        turned_away("the same as basic", "with another secret", scheme="basic"),
        turned_away("a key that was revoked", "revoked"),
        turned_away("a key that has expired", "expired"),
        turned_away("the key of a retired device", "of a retired device"),
        turned_away("what is no key", "no key"),
        turned_away("credentials of another kind", None, headers={"Authorization": "Digest username=x"}),
        looked_at("a look without a key", "/topics", key=None, status=401, answer=UNAUTHORISED),
        looked_at(
            "a look without a key at what is not there: the same words",
            "/topics/absent",
            key=None,
            status=401,
            answer=UNAUTHORISED,
        ),
        noted("a viewer may not write", key="viewer", body=records(1), status=403, answer=refusal(40301)),
        posted("nor readings", key="viewer", body=records(READING), status=403, answer=refusal(40301)),
        posted("an admin may write", key="admin", body=records(READING), answer=produced(taken())),
        posted(
            "a device's key and another device of its organisation",
            key="device",
            body=records(reading(device_id="{acme}-2")),
            status=403,
            answer=none_taken(refused(40301, "This key may not write readings of device '{acme}-2'.")),
        ),
        noted(
            "a device's key and a topic of its organisation: as if it did not exist",
            key="device",
            body=records(1),
            status=404,
            answer=refusal(40401, "Topic not found."),
        ),
        posted(
            "a device of another organisation",
            body=records(reading(device_id="{birch}-1")),
            status=403,
            answer=none_taken(refused(40301, "This key may not write readings of device '{birch}-1'.")),
        ),
        posted(
            "a device that does not exist: the same words",
            body=records(reading(device_id="nobody-1")),
            status=403,
            answer=none_taken(refused(40301, "This key may not write readings of device 'nobody-1'.")),
        ),
        posted(
            "a retired device: the same words",
            body=records(reading(device_id="{acme}-3")),
            status=403,
            answer=none_taken(refused(40301, "This key may not write readings of device '{acme}-3'.")),
        ),
    ),
    NO_KEYS,
)

KEY_GROUPS: Final = (KEYS,)

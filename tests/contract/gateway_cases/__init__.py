"""The gateway's contract as data: what is sent, and what comes back.

The tests hold a running gateway against it; ``python -m tests.contract.gateway_cases`` writes it into docs/gateway.md.
"""

from typing import Final

from tests.contract.gateway_cases.case import Group
from tests.contract.gateway_cases.door_http import HTTP_GROUPS
from tests.contract.gateway_cases.door_keys import KEY_GROUPS
from tests.contract.gateway_cases.door_limits import LIMIT_GROUPS
from tests.contract.gateway_cases.kafka_away import KAFKA_AWAY
from tests.contract.gateway_cases.v2_readings import READINGS_AVRO, READINGS_JSON
from tests.contract.gateway_cases.v2_requests import REQUESTS
from tests.contract.gateway_cases.v2_topics import LOOKING, OWN_TOPICS
from tests.contract.gateway_cases.v3_batches import BATCHES
from tests.contract.gateway_cases.v3_looking import LOOKING as LOOKING_V3
from tests.contract.gateway_cases.v3_records import READINGS as READINGS_V3
from tests.contract.gateway_cases.v3_records import RECORDS

V2_GROUPS: Final[tuple[Group, ...]] = (READINGS_JSON, READINGS_AVRO, OWN_TOPICS, REQUESTS, LOOKING)
V3_GROUPS: Final[tuple[Group, ...]] = (READINGS_V3, RECORDS, BATCHES, LOOKING_V3)
DOOR_GROUPS: Final[tuple[Group, ...]] = (*KEY_GROUPS, *LIMIT_GROUPS, *HTTP_GROUPS)
GROUPS: Final = (*V2_GROUPS, *V3_GROUPS, *DOOR_GROUPS, KAFKA_AWAY)

"""Every case of the v3 interface, over a real socket: byte for byte, and with a stock HTTP client."""

from __future__ import annotations

import pytest

from tests.contract.gateway_cases import V3_GROUPS
from tests.contract.gateway_cases.case import Case
from tests.contract.gateway_contract import exchanges, hold
from tests.gateway_world import GatewayWorld


@pytest.mark.parametrize(("case", "via"), exchanges(V3_GROUPS))
def test_the_gateway_answers_v3_as_the_table_says(gateway: GatewayWorld, case: Case, via: str) -> None:
    hold(gateway, case, via)

"""Sends numbers through the gateway's log, and prints each once it is acknowledged. Run as a module, to be killed."""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path

from connectors.gateway.log.broker_log import BrokerLog
from connectors.gateway.records import Outgoing, Written
from weir.settings import Settings


async def send(folder: Path, topic: str) -> None:
    """Until killed."""
    log = BrokerLog(Settings(), folder)
    await log.start()
    for number in count():
        (outcome,) = await log.send([Outgoing(topic, b"the key", b"%d" % number)])
        if isinstance(outcome, Written):
            print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(send(Path(sys.argv[1]), sys.argv[2]))

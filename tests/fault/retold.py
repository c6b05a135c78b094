"""What a load comes to when what is accepted cannot be told from what was sent: it depends on when it was judged."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tests.fault.load import PARTITIONS
from tests.fault.scenario import Scenario
from tests.sender import Place, Sent
from tests.stored import dead_letters, read_topic
from weir.verify.compare import Difference


def take_stock(scenario: Scenario) -> list[Difference]:
    """Count as acknowledged what was stored; say which messages are neither stored nor dead letters.

    Afterwards the scenario holds windows against what is stored, and everything else must be a dead letter.
    """
    stored = stored_places(scenario)
    refused = {letter.origin for letter in dead_letters(scenario.world.settings)}
    nowhere = [sent for sent in scenario.sender.sent if (sent.partition, sent.offset) not in stored | refused]
    scenario.sender.acknowledged[:] = [
        reading for reading in scenario.sender.acknowledged if (reading.partition, reading.offset) in stored
    ]
    return [Difference("messages", "lost", f"{sent.partition}/{sent.offset}") for sent in nowhere]


def stored_places(scenario: Scenario) -> set[Place]:
    """Partition and offset of every row of raw readings; the world does not merge them."""
    rows = scenario.world.query("SELECT DISTINCT partition, offset FROM raw_readings")
    return {(int(partition), int(offset)) for partition, offset in rows}


def unexplained(
    scenario: Scenario, differences: Sequence[Difference], judged_again: Collection[tuple[str, str]], plans: int
) -> list[Difference]:
    """Those that no second judgement of a planned block explains; all, when more are than ``plans`` flushes could plan.

    A block that was planned, and may be stored or refused, is another block when it is judged otherwise after a crash:
    ``judged_again`` names what that costs, by table and fault.
    """
    explained = [each for each in differences if (each.table, each.fault) in judged_again]
    if len(explained) > plans * PARTITIONS * scenario.world.settings.stream.flush_rows:
        return list(differences)
    return [each for each in differences if each not in explained]


def learn_replayed(scenario: Scenario) -> int:
    """Take note of what was put back into the topic of readings, as if it had been sent once more; returns how many."""
    sender = scenario.sender
    places = {(sent.partition, sent.offset) for sent in sender.sent}
    readings = {(each.partition, each.offset): each for each in sender.acknowledged}
    meaning = {sent.value: readings.get((sent.partition, sent.offset)) for sent in sender.sent}
    new = [
        Sent(message.key(), message.value(), message.partition() or 0, message.offset() or 0, message.timestamp()[1])
        for message in read_topic(scenario.world.settings, scenario.world.settings.topics.readings)
        if (message.partition(), message.offset()) not in places
    ]
    for sent in new:
        sender.sent.append(sent)
        reading = meaning[sent.value]
        if reading is not None:
            put_back = reading._replace(partition=sent.partition, offset=sent.offset, append_ts=sent.append_ts)
            sender.acknowledged.append(put_back)
    return len(new)

"""``weir bench profile`` as a person runs it, small: the stages add up to what the kernel counted."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import psutil
import pytest

from bench.stage_table import CODES, DECODE, STAGES
from tests.free_ports import free_block
from tests.stack_under_test import StackUnderTest, plain_environment
from tests.weir_command import weir


def test_the_stages_of_a_worker_add_up_to_its_cpu(stack: StackUnderTest, tmp_path: Path) -> None:
    flame = tmp_path / "flame.svg"
    place = ("--data-dir", str(stack.data_dir)) if stack.data_dir else ("--port-base", str(free_block()))
    options = ("--readings", "150000", "--flame", str(flame), "--json", *place)
    ended = weir(plain_environment(), "bench", "profile", *options, seconds=280)
    assert ended.code == 0, ended.err
    told = ended.json()
    assert [each["stage"] for each in told["stages"]] == list(STAGES)
    assert sum(each["share"] for each in told["stages"]) == pytest.approx(1.0, abs=0.001)
    nanoseconds = {each["stage"]: each["ns_per_reading"] for each in told["stages"]}
    assert sum(nanoseconds.values()) == pytest.approx(told["cpu_seconds_per_million"] * 1_000, rel=0.001)
    assert nanoseconds[DECODE] > 0 or nanoseconds[CODES] > 0
    assert abs(told["unaccounted_share"]) < 0.5
    assert 0 < told["profiled_readings"] <= 150_000
    assert ET.parse(flame).getroot().tag.endswith("svg")  # noqa: S314 - our own file
    assert not [each for each in psutil.process_iter(["name"]) if each.info["name"] == "py-spy" and _ours(each)]


def _ours(process: psutil.Process) -> bool:
    return psutil.Process() in process.parents()

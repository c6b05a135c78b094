"""The comparison with peers: what counts as a right result, and the arithmetic of ratios and targets."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import fastavro
import pytest

from bench.dataset import Dataset, DatasetPlan
from bench.harness import CpuMeter
from bench.peers.comparison import PeerRun, Totals, affordable, expected, standing
from bench.peers.environment import interpreter
from bench.peers.measure import PEERS, WEIR, account, plain_schema
from bench.peers.program import REPORT, Account, Job, Window, decoder
from bench.pipeline import PipelineRun
from weir.errors import StackError

MINUTE = 1_700_000_040_000  # a full one
DATASET = Dataset(DatasetPlan(9_000, end_ms=MINUTE + 30_000, interval_ms=40_000.0, devices=25, resent=0.1))
RIGHT = Totals(2, 4, 10.0, 3.0, 7.0)


def job(folder: Path, messages: int = 5, closing: int = 1) -> Job:
    return Job("localhost:1", "topic", 4, messages, closing, MINUTE + 60_000, json.dumps(plain_schema()), str(folder))


def weir_run(rate: float, cpu: float, ceiling: float = 1_000_000.0) -> PipelineRun:
    return PipelineRun(2_000_000, rate, cpu, 1.0, 600.0, ceiling, 1.0, 0.3, 1.0, 0.3, 0.1, 1_980_000, 1_980_000)


def peer_run(rate: float, cpu: float) -> PeerRun:
    return PeerRun(100_000, rate, cpu, 12_000, 12_000, 0.1)


def test_the_expected_windows_are_those_of_the_bytes_recomputed_one_by_one() -> None:
    schema = fastavro.parse_schema(plain_schema() | {"name": "PeerReading"})
    windows: dict[tuple[str, str, int], list[float]] = {}
    for chunk in DATASET.chunks(schema_id=7):
        for value in chunk.values:
            record: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
            windows.setdefault((record["device_id"], record["sensor"], record["ts"] // 60_000), []).append(
                record["value"]
            )
    assert len(windows) > 3_000, "several minutes of a hundred sensors"
    totals = expected(DATASET)
    assert (totals.windows, totals.sum_of_readings) == (len(windows), 9_000)
    assert totals.sum_of_total == pytest.approx(sum(map(sum, windows.values())))
    assert totals.sum_of_lowest == pytest.approx(sum(map(min, windows.values())))
    assert totals.sum_of_highest == pytest.approx(sum(map(max, windows.values())))


def test_every_series_gets_one_closing_reading_at_its_time_under_its_devices_key(tmp_path: Path) -> None:
    closing = DATASET.closing(7, MINUTE)
    records = [decoder(job(tmp_path))(value) for value in closing.values]
    assert {record["ts"] for record in records} == {MINUTE}
    assert len({(record["device_id"], record["sensor"]) for record in records}) == len(records) == 100
    assert [record["device_id"].encode() for record in records] == closing.keys


def test_a_result_is_right_when_windows_counts_sums_and_extremes_are() -> None:
    assert RIGHT.difference(RIGHT) is None
    assert Totals(2, 4, 10.0 + 1e-12, 3.0, 7.0).difference(RIGHT) is None
    assert Totals(1, 4, 10.0, 3.0, 7.0).difference(RIGHT) == "gave windows 1 where 2 is right"
    assert Totals(2, 3, 10.0, 3.0, 7.0).difference(RIGHT) == "gave sum of readings 3 where 4 is right"
    assert Totals(2, 4, 10.0, 3.0, 7.1).difference(RIGHT) == "gave sum of highest 7.1 where 7 is right"


def test_an_account_counts_each_window_once_and_none_of_the_closing_readings(tmp_path: Path) -> None:
    told = Account(job(tmp_path))
    assert [told.message() for _ in range(5)] == [False, False, False, False, True]
    told.window("a", MINUTE, Window(1, 2.0, 2.0, 2.0))
    told.window("a", MINUTE, Window(3, 9.0, 2.0, 4.0))  # it grew
    told.window("b", MINUTE, Window(1, 1.0, 1.0, 3.0))
    told.window("a", MINUTE + 60_000, Window(1, 5.0, 5.0, 5.0))
    assert told.complete
    assert told.readings_in_windows == 4
    told.finish()
    report = json.loads((tmp_path / REPORT).read_text(encoding="utf-8"))
    assert report["messages"] == 5
    assert 0 < report["begin"] <= report["end"]
    assert {name: report[name] for name in Totals._fields} == RIGHT._asdict()


def test_a_peer_that_did_nothing_reports_no_windows(tmp_path: Path) -> None:
    Account(job(tmp_path)).finish()
    report = json.loads((tmp_path / REPORT).read_text(encoding="utf-8"))
    assert (report["messages"], report["windows"], report["sum_of_readings"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"messages": 4}, "took 4 of 5 messages"),
        ({"windows": 1}, "gave windows 1 where 2 is right"),
        ({"sum_of_readings": 0}, "gave sum of readings 0 where 4 is right"),
    ],
)
def test_a_program_that_did_not_do_its_job_has_no_figures(tmp_path: Path, changed: dict[str, int], reason: str) -> None:
    path = tmp_path / REPORT
    with CpuMeter({"peer": os.getpid()}) as meter:
        pass
    with pytest.raises(StackError, match="ended without a report"):
        account(job(tmp_path), path, RIGHT, meter)
    report = {"messages": 5, "begin": 100.0, "end": 100.5, **RIGHT._asdict()}
    path.write_text(json.dumps(report | changed), encoding="utf-8")
    with pytest.raises(StackError, match=reason):
        account(job(tmp_path), path, RIGHT, meter)
    path.write_text(json.dumps(report), encoding="utf-8")
    run = account(job(tmp_path), path, RIGHT, meter)
    assert (run.readings, run.readings_per_second, run.windows, run.expected_windows) == (5, 10.0, 2, 2)


def test_a_peer_gets_twenty_seconds_of_its_own_rate_within_the_bounds() -> None:
    assert affordable(3_000, 2.0, 3_000, 2_000_000) == 30_000
    assert affordable(100_000, 1.0, 100_000, 500_000) == 500_000
    assert affordable(3_000, 60.0, 3_000, 2_000_000) == 3_000
    assert affordable(1_000, 60.0, 3_000, 1_000) == 1_000


def test_ratios_are_taken_within_each_run_not_between_medians() -> None:
    # a machine twice as slow in the second run slows both: the ratios stay
    weir = [weir_run(300_000, 2.0), weir_run(150_000, 4.0), weir_run(330_000, 2.0)]
    against = standing("bytewax", [peer_run(50_000, 20.0), peer_run(25_000, 40.0), peer_run(60_000, 18.0)], weir)
    assert against.weir_ratio == (5.5, 6.0, 6.0)
    assert against.weir_cpu_ratio == (9.0, 10.0, 10.0)
    assert against.ceiling_ratio is not None
    assert against.ceiling_ratio.max == 40.0
    assert against.readings_per_second == (25_000, 50_000, 60_000)


def test_a_target_is_met_by_the_median_ratio() -> None:
    weir = [weir_run(300_000, 2.0)]
    assert standing("bytewax", [peer_run(60_000, 20.0)], weir).met is True
    assert standing("bytewax", [peer_run(61_000, 20.0)], weir).met is False
    assert standing("pathway", [peer_run(100_000, 20.0)], weir).met is True
    assert standing("quix", [peer_run(12_001, 20.0)], weir).met is False
    assert standing("faust", [peer_run(300_000, 20.0)], weir).met is None


def test_a_peer_that_failed_once_has_its_reason_and_no_figures() -> None:
    failed = standing("quix", [peer_run(8_000, 60.0), "ended with code 1"], [weir_run(1, 1), weir_run(1, 1)])
    assert (failed.reason, failed.met, failed.readings_per_second) == ("ended with code 1", None, None)


def test_every_peer_has_its_program_and_its_lock_with_hashes_and_faust_runs_in_weirs_own_environment() -> None:
    folder = Path(__file__).parents[2] / "bench" / "peers"
    assert sorted(peer.module for peer in (*PEERS, WEIR)) == sorted(path.stem for path in folder.glob("*_windows.py"))
    for peer in PEERS:
        if peer.lock is None:
            assert interpreter(peer.name, peer.lock) == Path(sys.executable)
        else:
            text = peer.lock.read_text(encoding="utf-8")
            assert text.count("==") <= text.count("--hash=sha256:")
            assert "fastavro==" in text

"""What a stack consists of, and how its addresses reach the settings."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from weir.errors import UsageError
from weir.settings import load_settings
from weir.stack.endpoints import Endpoints, child_environment, write_settings
from weir.stack.plan import StackPlan


def test_every_port_of_a_plan_is_counted_from_its_base() -> None:
    plan = StackPlan(Path("/data"), port_base=21000)
    assert Endpoints.of(plan).to_dict() == {
        "kafka": "127.0.0.1:21000",
        "registry": "http://127.0.0.1:21002/apis/ccompat/v7",
        "postgres": "postgresql://postgres@127.0.0.1:21003/weir",
        "clickhouse": "http://127.0.0.1:21004",
        "api": "http://127.0.0.1:21007",
        "gateway": "http://127.0.0.1:21005",
        "faust": "http://127.0.0.1:21010",
    }


def test_parts_that_do_not_run_have_no_address() -> None:
    assert list(Endpoints.of(StackPlan(Path("/data"), only=("kafka",))).to_dict()) == ["kafka"]
    assert "faust" not in Endpoints.of(StackPlan(Path("/data"), workers=0)).to_dict()


def test_a_part_without_what_it_needs_is_refused() -> None:
    with pytest.raises(UsageError, match="registry needs postgres"):
        StackPlan(Path("/data"), only=("registry",))
    with pytest.raises(UsageError, match="faust needs postgres, registry, clickhouse"):
        StackPlan(Path("/data"), only=("kafka", "faust"))


def test_an_unknown_part_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no part named kafak; the parts are kafka, postgres"):
        StackPlan(Path("/data"), only=("kafak",))


@pytest.mark.parametrize("port_base", [0, 80, 1023, 65_500, 70_000])
def test_ports_outside_the_range_are_refused(port_base: int) -> None:
    with pytest.raises(UsageError, match="--port-base takes 1024 to"):
        StackPlan(Path("/data"), port_base=port_base)


@pytest.mark.parametrize("workers", [-1, 65])
def test_an_impossible_number_of_workers_is_refused(workers: int) -> None:
    with pytest.raises(UsageError, match="--workers takes 0 to 64"):
        StackPlan(Path("/data"), workers=workers)


def test_a_plan_survives_its_trip_to_the_detached_supervisor() -> None:
    plan = StackPlan(Path("/a folder/with 'quotes'"), 21000, 3, ("kafka", "postgres"))
    assert StackPlan.from_dict(plan.to_dict()) == plan


def test_the_settings_file_leads_to_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / 'a "quoted" \\ folder'
    folder.mkdir()
    plan = StackPlan(folder, port_base=21000)
    for name in ("WEIR_KAFKA__BOOTSTRAP_SERVERS", "WEIR_POSTGRES__DSN", "WEIR_CLICKHOUSE__URL", "WEIR_REGISTRY__URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WEIR_CONFIG", str(write_settings(plan)))
    settings = load_settings()
    assert settings.kafka.bootstrap_servers == "127.0.0.1:21000"
    assert settings.registry.url == "http://127.0.0.1:21002/apis/ccompat/v7"
    assert settings.postgres.dsn.get_secret_value() == "postgresql://postgres@127.0.0.1:21003/weir"
    assert settings.clickhouse.url == "http://127.0.0.1:21004"
    assert settings.worker.web_port == 21010
    assert settings.api.port == 21007
    assert settings.gateway.port == 21005
    assert settings.gateway.data_dir == folder / "gateway"
    assert settings.worker.data_dir == folder / "worker"


def test_only_the_owner_can_read_the_settings_file(tmp_path: Path) -> None:
    path = write_settings(StackPlan(tmp_path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["weir.toml"]


def test_a_child_never_hears_of_another_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", "production:9092")
    monkeypatch.setenv("weir_postgres__dsn", "postgresql://production/weir")
    monkeypatch.setenv("WEIR_CONFIG", "/etc/weir/production.toml")
    monkeypatch.setenv("WEIR_KAFKA__PARTITIONS", "8")
    environment = child_environment(StackPlan(tmp_path))
    assert "WEIR_KAFKA__BOOTSTRAP_SERVERS" not in environment
    assert "weir_postgres__dsn" not in environment
    assert environment["WEIR_CONFIG"] == str(tmp_path / "weir.toml")
    assert environment["WEIR_KAFKA__PARTITIONS"] == "8"

"""deploy/kubernetes against the settings, the image and itself: no cluster is needed to hold them together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sinks.clickhouse.sharded import sharded
from sinks.clickhouse.tables import tables
from tests.stack_under_test import environment_of, settings_from
from weir.cli.main import COMMANDS
from weir.settings import PORT_BASE, PORT_OFFSETS, Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SCALE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
OURS = ("Deployment", "StatefulSet", "Job")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN(?!S)|_KEY$")
PORTS = {"worker": "faust", "gateway": "gateway", "api": "api"}


def objects() -> Iterator[dict[str, Any]]:
    for path in sorted(FOLDER.glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


ALL = list(objects())
NAMED = {(each["kind"], each["metadata"]["name"]): each for each in ALL if "metadata" in each}
POD_MAKERS = {name.removeprefix("weir-"): each for (kind, name), each in NAMED.items() if kind in OURS}
CONFIG: dict[str, str] = NAMED["ConfigMap", "weir-settings"]["data"]


def pod(program: str) -> dict[str, Any]:
    described: dict[str, Any] = POD_MAKERS[program]["spec"]["template"]["spec"]
    return described


def container(program: str) -> dict[str, Any]:
    (only,) = pod(program)["containers"]
    described: dict[str, Any] = only
    return described


def environment(program: str) -> dict[str, str]:
    """Every WEIR_ variable of a container; secrets have 36 characters."""
    own = {each["name"]: each.get("value", "secret" * 6) for each in container(program)["env"]}
    return {name: value for name, value in (CONFIG | own).items() if name.startswith("WEIR_")}


def settings(program: str) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(program).items():
            patch.setenv(name, value)
        return Settings()


def test_the_programs_are_the_four_of_the_image() -> None:
    assert set(POD_MAKERS) == {"worker", "gateway", "api", "migrate"}
    assert POD_MAKERS["gateway"]["kind"] == "StatefulSet", "its spool belongs to it"


def test_kustomize_lists_every_file() -> None:
    kustomization = next(each for each in ALL if each["kind"] == "Kustomization")
    assert sorted(kustomization["resources"]) == sorted(
        path.name for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml"
    )
    assert {each["name"] for each in kustomization["images"]} == {"weir"}


@pytest.mark.parametrize("program", sorted(POD_MAKERS))
def test_every_weir_variable_is_a_setting_and_its_value_fits(program: str) -> None:
    kept_back = {"KAFKA__SASL_PASSWORD", "KAFKA__SASL_MECHANISM", "KAFKA__SASL_USERNAME", "KAFKA__SSL_CA_LOCATION"}
    optional = kept_back | {"API__SESSION_SECRET", "CLICKHOUSE__CLUSTER"}
    known = set(environment_of(settings_from({}))) | {f"WEIR_{name}" for name in optional}
    assert set(environment(program)) <= known, "a misspelt variable would leave the default, which leads nowhere"
    assert settings(program).kafka.security_protocol == "SASL_SSL"


@pytest.mark.parametrize("program", sorted(POD_MAKERS))
def test_no_secret_has_a_value_here(program: str) -> None:
    for each in container(program)["env"]:
        if SECRET.search(each["name"]):
            reference = each["valueFrom"]["secretKeyRef"]
            assert reference["name"] == "weir-secrets"
            assert "value" not in each
            assert f"`{reference['key']}`" in SCALE, "docs/scale.md does not name this key"
    assert not any(SECRET.search(name) for name in CONFIG)
    assert not any(kind == "Secret" for kind, _ in NAMED)
    assert "@" not in CONFIG["WEIR_POSTGRES__DSN"].replace("weir@", ""), "a password in the address"


@pytest.mark.parametrize("program", sorted(POD_MAKERS))
def test_what_runs_is_a_command_of_weir_as_the_images_user(program: str) -> None:
    assert container(program)["image"] == "weir"
    assert container(program)["args"][0] in COMMANDS
    assert "command" not in container(program), "the image's entry point is weir"
    uid = re.search(r"useradd .*--uid (\d+)", DOCKERFILE)
    assert uid is not None
    who = pod(program)["securityContext"]
    assert who["runAsNonRoot"] is True
    assert who["runAsUser"] == who["fsGroup"] == int(uid[1])


@pytest.mark.parametrize("program", sorted(POD_MAKERS))
def test_no_container_can_become_more_than_it_is(program: str) -> None:
    allowed = container(program)["securityContext"]
    assert allowed["allowPrivilegeEscalation"] is False
    assert allowed["readOnlyRootFilesystem"] is True
    assert allowed["capabilities"] == {"drop": ["ALL"]}
    assert pod(program)["automountServiceAccountToken"] is False
    assert pod(program)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("program", sorted(POD_MAKERS))
def test_every_container_says_what_it_takes(program: str) -> None:
    resources = container(program)["resources"]
    assert set(resources["requests"]) == {"cpu", "memory"}
    assert "memory" in resources["limits"]


@pytest.mark.parametrize("program", sorted(POD_MAKERS))
def test_every_volume_that_is_mounted_exists(program: str) -> None:
    claims = POD_MAKERS[program]["spec"].get("volumeClaimTemplates", [])
    there = {each["name"] for each in pod(program)["volumes"]} | {each["metadata"]["name"] for each in claims}
    assert {each["name"] for each in container(program)["volumeMounts"]} == there
    authority = str(settings(program).kafka.ssl_ca_location)
    assert any(authority.startswith(each["mountPath"] + "/") for each in container(program)["volumeMounts"])


@pytest.mark.parametrize("program", sorted(PORTS))
def test_probes_ask_where_the_program_listens(program: str) -> None:
    found = settings(program)
    group = getattr(found, program)
    host, port = (group.web_host, group.web_port) if program == "worker" else (group.host, group.port)
    assert host == "0.0.0.0"  # noqa: S104 - in a pod
    assert port == PORT_BASE + PORT_OFFSETS[PORTS[program]]
    (listens,) = container(program)["ports"]
    assert listens["containerPort"] == port
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container(program)[probe]["httpGet"]
        assert asked["port"] == listens["name"]
        assert asked["path"] in {"/", "/health", "/ready"}
    notes = POD_MAKERS[program]["spec"]["template"]["metadata"]["annotations"]
    assert notes["prometheus.io/port"] == str(port)


def test_a_program_is_not_called_dead_because_a_server_is_away() -> None:
    for program in ("gateway", "api"):
        assert container(program)["livenessProbe"]["httpGet"]["path"] == "/health"
        assert container(program)["readinessProbe"]["httpGet"]["path"] == "/ready"


@pytest.mark.parametrize("program", sorted(PORTS))
def test_one_pod_at_a_time_may_be_taken_away(program: str) -> None:
    budget = NAMED["PodDisruptionBudget", f"weir-{program}"]["spec"]
    labels = POD_MAKERS[program]["spec"]["template"]["metadata"]["labels"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"] == labels == POD_MAKERS[program]["spec"]["selector"]["matchLabels"]
    spread = {each["topologyKey"] for each in pod(program)["topologySpreadConstraints"]}
    assert spread == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    assert all(each["labelSelector"]["matchLabels"] == labels for each in pod(program)["topologySpreadConstraints"])


def test_services_lead_to_pods() -> None:
    labels = {name: maker["spec"]["template"]["metadata"]["labels"] for name, maker in POD_MAKERS.items()}
    services = {name: each["spec"] for (kind, name), each in NAMED.items() if kind == "Service"}
    assert all(each["selector"] in labels.values() for each in services.values())
    assert POD_MAKERS["gateway"]["spec"]["serviceName"] in services


def test_the_spool_of_a_gateway_lies_on_its_own_volume_with_room_to_spare() -> None:
    gateway, spec = settings("gateway").gateway, POD_MAKERS["gateway"]["spec"]
    mounted = {each["mountPath"]: each["name"] for each in container("gateway")["volumeMounts"]}
    (claim,) = spec["volumeClaimTemplates"]
    assert mounted[str(gateway.data_dir)] == claim["metadata"]["name"]
    size = claim["spec"]["resources"]["requests"]["storage"]
    assert int(size.removesuffix("Gi")) * 2**30 >= 2 * gateway.spool_bytes
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_gateways_share_quotas_by_their_number() -> None:
    assert settings("gateway").gateway.instances == POD_MAKERS["gateway"]["spec"]["replicas"]


def test_a_gateway_has_the_time_that_it_needs_to_end() -> None:
    assert pod("gateway")["terminationGracePeriodSeconds"] >= 40, "docs/operations.md says so"


def test_workers_scale_by_the_lag_of_their_own_groups_up_to_their_partitions() -> None:
    found, spec = settings("worker"), NAMED["ScaledObject", "weir-worker"]["spec"]
    assert spec["scaleTargetRef"]["name"] == "weir-worker"
    assert "replicas" not in POD_MAKERS["worker"]["spec"]
    groups = {each["metadata"]["consumerGroup"]: each["metadata"]["topic"] for each in spec["triggers"]}
    assert groups == {
        found.groups.readings: found.topics.readings,
        found.groups.aggregates_1m: found.topics.aggregates_1m,
        found.groups.aggregates_1h: found.topics.aggregates_1h,
    }
    assert spec["minReplicaCount"] <= spec["maxReplicaCount"] <= found.kafka.partitions
    for each in spec["triggers"]:
        assert each["metadata"]["bootstrapServers"] == found.kafka.bootstrap_servers
        assert each["metadata"]["sasl"] == str(found.kafka.sasl_mechanism).lower().replace("sha-", "sha").replace(
            "-", "_"
        )
        assert each["authenticationRef"] == {"name": "weir-kafka"}
        assert ("TriggerAuthentication", "weir-kafka") in NAMED


def test_the_lag_that_open_windows_keep_is_not_taken_for_a_backlog() -> None:
    found, spec = settings("worker"), NAMED["ScaledObject", "weir-worker"]["spec"]
    thresholds = {each["metadata"]["consumerGroup"]: int(each["metadata"]["lagThreshold"]) for each in spec["triggers"]}
    planned = 119_000  # half of what one worker stored, docs/performance.md
    assert thresholds[found.groups.readings] == planned * (60 + found.stream.lateness_seconds)
    assert thresholds[found.groups.aggregates_1m] == 3_600 * 2_000


def test_the_tables_are_made_for_the_cluster_that_everybody_writes_to() -> None:
    assert settings("migrate").clickhouse == settings("worker").clickhouse == settings("gateway").clickhouse
    made = sharded(tables(settings("migrate")), settings("migrate"))
    assert any(f"% {CONFIG['WEIR_KAFKA__PARTITIONS']})" in table.engine for table in made)


def test_the_prober_has_settings_that_exist_and_its_key_from_the_secret() -> None:
    (deployment,) = yaml.safe_load_all((FOLDER / "probe" / "probe.yaml").read_text(encoding="utf-8"))
    assert deployment["spec"]["replicas"] == 1, "two would tell the same twice"
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"][0] in COMMANDS
    variables = {each["name"]: each for each in container["env"]}
    assert set(variables) - {"WEIR_PROBE__KEY"} <= set(environment_of(settings_from({}))) | {"WEIR_PROBE__GATEWAY_URL"}
    assert variables["WEIR_PROBE__KEY"]["valueFrom"]["secretKeyRef"] == {"name": "weir-secrets", "key": "probe"}
    assert "`probe`" in SCALE, "docs/scale.md does not name this key"
    (gateway,) = NAMED["Service", "weir-gateway"]["spec"]["ports"]
    assert variables["WEIR_PROBE__GATEWAY_URL"]["value"] == f"http://weir-gateway:{gateway['port']}"
    (port,) = container["ports"]
    assert (
        variables["WEIR_PROBE__PORT"]["value"] == str(port["containerPort"]) == str(PORT_BASE + PORT_OFFSETS["probe"])
    )

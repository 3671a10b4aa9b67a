"""What the Helm chart renders: valid, complete, unprivileged; and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from detector import __version__
from detector.config.load import load
from detector.config.tree import Config
from detector.wiring import memory
from tests.chart.helm import CHART, KUBERNETES, Helm, Refused

SETS = sorted((CHART / "values").glob("*.yaml"))
S3, VOLUME, FULL = (CHART / "values" / f"{name}.yaml" for name in ("s3", "volume", "full"))
NOT_OF_KUBERNETES = {"PodMonitor", "PrometheusRule", "ScaledObject"}

Objects = list[dict[str, Any]]


@pytest.fixture(scope="session", params=SETS, ids=lambda path: path.stem)
def rendered(request: pytest.FixtureRequest, helm: Helm) -> Objects:
    return helm.render(request.param)


@pytest.fixture(scope="session")
def full(helm: Helm) -> Objects:
    return helm.render(FULL)


def of_kind(objects: Objects, kind: str) -> Objects:
    return [one for one in objects if one["kind"] == kind]


def only(objects: Objects, kind: str) -> dict[str, Any]:
    (one,) = of_kind(objects, kind)
    return one


def pods(objects: Objects) -> Objects:
    return [one["spec"]["template"] for one in objects if one["kind"] in {"StatefulSet", "Deployment"}]


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (one,) = pod["spec"]["containers"]
    return one


def configuration(objects: Objects, tmp_path: Path) -> Config:
    path = tmp_path / "detector.yaml"
    [name] = [one for one in of_kind(objects, "ConfigMap") if "detector.yaml" in one["data"]]
    path.write_text(name["data"]["detector.yaml"])
    return load(path, environ={"DETECTOR__KAFKA__GROUP_INSTANCE_ID": "cards-detector-0"})


# --- what is rendered ---


@pytest.mark.parametrize("values", SETS, ids=lambda path: path.stem)
def test_helm_finds_nothing_to_complain_about(helm: Helm, values: Path) -> None:
    assert "0 chart(s) failed" in helm.lint(values)


def test_kubernetes_accepts_every_object(rendered: Objects) -> None:
    for one in rendered:
        if one["kind"] not in NOT_OF_KUBERNETES:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_no_two_objects_have_one_name(rendered: Objects) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in rendered]
    assert len(names) == len(set(names))


def test_everything_is_labelled_and_found_by_its_labels(rendered: Objects) -> None:
    assert all("app.kubernetes.io/instance" in one["metadata"]["labels"] for one in rendered)
    labels = [pod["metadata"]["labels"] for pod in pods(rendered)]
    for selector in [
        *(one["spec"]["selector"]["matchLabels"] for one in of_kind(rendered, "PodDisruptionBudget")),
        *(one["spec"]["podSelector"]["matchLabels"] for one in of_kind(rendered, "NetworkPolicy")),
        only(rendered, "Service")["spec"]["selector"],
    ]:
        found = [one for one in labels if selector.items() <= one.items()]
        assert len(found) == 1


def test_volumes_are_declared_once_and_all_of_them_mounted(rendered: Objects) -> None:
    for pod in pods(rendered):
        volumes = [volume["name"] for volume in pod["spec"]["volumes"]]
        assert sorted(volumes) == sorted(mount["name"] for mount in container(pod)["volumeMounts"])
    claims = {one["metadata"]["name"] for one in of_kind(rendered, "PersistentVolumeClaim")}
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods(rendered)
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert used == claims


def test_the_configuration_loads_and_fits_its_pod(rendered: Objects, tmp_path: Path) -> None:
    config = configuration(rendered, tmp_path)
    pod = container(only(rendered, "StatefulSet")["spec"]["template"])
    limit = int(pod["resources"]["limits"]["memory"].removesuffix("Gi")) << 30
    assert config.memory_bytes_max is not None
    assert memory.needed(config).total <= config.memory_bytes_max < limit


def test_every_secret_of_the_configuration_is_in_the_environment(rendered: Objects) -> None:
    [text] = [
        one["data"]["detector.yaml"]
        for one in of_kind(rendered, "ConfigMap")
        if "detector.yaml" in one["data"]
    ]
    asked = set(re.findall(r"env: ([A-Z_]+)", text))
    for pod in pods(rendered):
        given = {one["name"]: one["valueFrom"] for one in container(pod).get("env", [])}
        assert asked <= set(given)
        assert all(set(given[name]) == {"secretKeyRef"} for name in asked)


def test_each_pod_is_a_static_member_under_its_own_name(rendered: Objects) -> None:
    environment = container(only(rendered, "StatefulSet")["spec"]["template"])["env"]
    assert environment[0] == {
        "name": "DETECTOR__KAFKA__GROUP_INSTANCE_ID",
        "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
    }
    assert only(rendered, "StatefulSet")["spec"]["podManagementPolicy"] == "Parallel"


def test_pods_run_restricted(rendered: Objects) -> None:
    """As the Pod Security Standard `restricted` asks, with a read-only root and no token of the cluster."""
    for pod in pods(rendered):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"configMap", "emptyDir", "secret", "persistentVolumeClaim"} >= {
            kind for volume in spec["volumes"] for kind in volume if kind != "name"
        }
    assert all(one["automountServiceAccountToken"] is False for one in of_kind(rendered, "ServiceAccount"))


def test_a_pod_may_restore_for_as_long_as_is_said(helm: Helm) -> None:
    probe = container(only(helm.render(S3, startupSeconds=601), "StatefulSet")["spec"]["template"])[
        "startupProbe"
    ]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 601
    assert probe["httpGet"]["path"] == "/livez"


def test_pods_are_spread_over_zones_and_nodes(rendered: Objects) -> None:
    for pod in pods(rendered):
        keys = [one["topologyKey"] for one in pod["spec"]["topologySpreadConstraints"]]
        assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_traffic_is_limited_both_ways(rendered: Objects) -> None:
    for policy in of_kind(rendered, "NetworkPolicy"):
        assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        assert all(rule.get("from") for rule in policy["spec"]["ingress"])
        assert all(rule.get("ports") for rule in policy["spec"]["egress"])
    assert len(of_kind(rendered, "NetworkPolicy")) == len(pods(rendered))


def test_a_changed_configuration_restarts_the_pods(helm: Helm) -> None:
    def mark(objects: Objects) -> str:
        return only(objects, "StatefulSet")["spec"]["template"]["metadata"]["annotations"]["detector/config"]

    assert mark(helm.render(S3)) == mark(helm.render(S3, replicas=2))
    assert mark(helm.render(S3)) != mark(helm.render(S3, config__log__level="debug"))


def test_numbers_arrive_as_they_were_written(full: Objects, tmp_path: Path) -> None:
    assert configuration(full, tmp_path).model.features.entities_max == 2_000_000


def test_a_second_release_beside_the_first_has_other_names(helm: Helm) -> None:
    first = {(one["kind"], one["metadata"]["name"]) for one in helm.render(FULL)}
    assert all(name.startswith("cards-detector") for _, name in first)


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__


# --- what is optional ---


def test_pages_with_a_certificate_are_probed_and_scraped_over_it(full: Objects, tmp_path: Path) -> None:
    assert not configuration(full, tmp_path).http.unprotected
    for pod in pods(full):
        probes = [probe["httpGet"] for name, probe in container(pod).items() if name.endswith("Probe")]
        assert probes
        assert all(probe["scheme"] == "HTTPS" for probe in probes)
    [endpoint] = only(full, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["authorization"]["credentials"]["key"] == "pages-token"


DOCS = "https://docs.example.com/detector", "https://docs.example.org/tools/detector"


def test_rules_are_those_of_the_project_and_link_to_the_given_runbooks(full: Objects) -> None:
    rules = (CHART / "files" / "rules.yaml").read_text()
    assert rules.count(DOCS[0]) > 30
    assert only(full, "PrometheusRule")["spec"] == yaml.safe_load(rules.replace(*DOCS))


def test_panels_link_to_the_given_runbooks(full: Objects) -> None:
    boards = [text for one in of_kind(full, "ConfigMap") for text in one["data"].values() if "panels" in text]
    assert len(boards) == 3
    assert not any(DOCS[0] in text for text in boards)
    assert sum(text.count(DOCS[1]) for text in boards) > 10


def test_scaling_stays_within_the_partitions_and_is_slow_inwards(full: Objects) -> None:
    scaled = only(full, "ScaledObject")["spec"]
    assert scaled["maxReplicaCount"] <= 12
    assert scaled["scaleTargetRef"]["name"] == only(full, "StatefulSet")["metadata"]["name"]
    assert "replicas" not in only(full, "StatefulSet")["spec"]  # else each upgrade would set it back
    inwards = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert inwards["stabilizationWindowSeconds"] >= 600
    [trigger] = scaled["triggers"]
    assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_notify_is_a_deployment_of_its_own(full: Objects, tmp_path: Path) -> None:
    deployment = only(full, "Deployment")
    assert container(deployment["spec"]["template"])["args"][0] == "notify"
    assert configuration(full, tmp_path).notify.address == "0.0.0.0:9465"


def test_the_shared_volume_outlives_the_release(helm: Helm) -> None:
    claim = only(helm.render(VOLUME), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert not of_kind(
        helm.render(VOLUME, checkpoints__volume__existingClaim="mine"), "PersistentVolumeClaim"
    )


# --- what is refused ---


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"replicas": 7}, "6 partitions"),
        ({"replicas": 0}, "replicas"),
        ({"autoscaling": {"enabled": True, "min": 1, "max": 9}}, "6 partitions"),
        ({"autoscaling": {"enabled": True, "min": 4, "max": 3}}, "autoscaling.min"),
        (
            {"checkpoints": {"url": "", "volume": {"accessMode": "ReadWriteOnce"}}},
            "store that all of them reach",
        ),
        ({"checkpoints__url": "file:///var/lib/detector"}, "checkpoints"),
        ({"checkpoints__url": "s3://key:secret@bucket"}, "checkpoints"),
        ({"config__checkpoints": {"url": "s3://a/b"}}, "url"),
        ({"config__http": {"address": "127.0.0.1:1"}}, "address"),
        ({"config__kafka__group_instance_id": "one-for-all"}, "group_instance_id"),
        ({"config__kafka__bootstrap_server": "typo:1"}, "bootstrap_server"),
        ({"config__alerts__budget": {"per_day": -1}}, "per_day"),
        ({"config__event": None}, "event"),
        ({"networkPolicy__enabled": False}, "config.http.tls"),
        ({"networkPolicy__metricsFrom": []}, "metricsFrom"),
        ({"notify__enabled": True}, "config.notify.receivers"),
        ({"secrets": {"KAFKA PASSWORD": {"name": "a", "key": "b"}}}, "KAFKA PASSWORD"),
        ({"secrets": {"KAFKA_PASSWORD": "hunter2"}}, "KAFKA_PASSWORD"),
        ({"image": {"digest": "sha256:12"}}, "digest"),
        ({"resources": {"limits": {"memory": "4 GB"}}}, "memory"),
        ({"terminationGracePeriodSeconds": 5}, "terminationGracePeriodSeconds"),
        ({"replica": 2}, "replica"),
        ({"docs": "docs.example.org"}, "docs"),
        ({"docs": "https://docs.example.org/"}, "docs"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_nonsense_is_refused_with_the_key(helm: Helm, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=re.escape(words)):
        helm.render(S3, **changes)

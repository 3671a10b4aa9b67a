"""The chart on a real control plane: install, upgrade, roll back, uninstall, drain, spread, scale by lag."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

from tests.chart.helm import CHART
from tests.kafka.broker import KafkaBroker
from tests.kafka.distribution import KafkaUnavailable
from tests.kafka.topics import create_topic, produce_all
from tests.kube.control_plane import ZONES, ControlPlane, Refused

VALUES = CHART / "values" / "s3.yaml"
NAME = "cards-detector"  # of the StatefulSet, for a release named cards
WAIT = ("--wait", "--timeout", "5m")


class Release:
    """The chart in a namespace, with three pods of at most six."""

    def __init__(self, cluster: ControlPlane, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    def install(self, **values: Any) -> None:
        """Install or upgrade, and wait; values by path, `__` between keys."""
        sets = [f"--set-json={path.replace('__', '.')}={json.dumps(value)}" for path, value in values.items()]
        command = ("upgrade", "--install", "cards", str(CHART), "--values", str(VALUES), *sets, *WAIT)
        self.cluster.helm(*command, "--namespace", self.namespace)

    def pods(self) -> list[dict[str, Any]]:
        """The daemon's pods, by name."""
        selector = "--selector=app.kubernetes.io/component=daemon"
        found: list[dict[str, Any]] = self.cluster.get("pods", selector, "-n", self.namespace)["items"]
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))

    def replicas(self) -> int:
        wanted: int = self.cluster.get("statefulset", NAME, "-n", self.namespace)["spec"]["replicas"]
        return wanted

    def ready(self) -> int:
        return sum(is_ready(pod) for pod in self.pods())


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


@pytest.fixture
def release(cluster: ControlPlane, namespace: str) -> Release:
    return Release(cluster, namespace)


def test_installed_pods_are_ready_in_different_zones_under_the_standard_restricted(release: Release) -> None:
    release.install(replicas=3)
    pods = release.pods()
    assert len(pods) == release.ready() == 3
    assert {pod["spec"]["nodeName"].rsplit("-", 1)[0] for pod in pods} == set(ZONES)
    for pod in pods:
        mounted = [volume for volume in pod["spec"]["volumes"] if "projected" in volume]
        assert not mounted, "a token of the cluster is mounted"


def test_the_namespace_refuses_a_pod_that_may_be_root(cluster: ControlPlane, namespace: str) -> None:
    """The control of the test above: this namespace does refuse."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root", "namespace": namespace},
        "spec": {"containers": [{"name": "root", "image": "busybox"}]},
    }
    with pytest.raises(Refused, match="violates PodSecurity"):
        cluster.apply(pod)


def test_an_upgrade_replaces_all_pods_and_a_rollback_brings_the_configuration_back(release: Release) -> None:
    release.install(replicas=3)
    first = {pod["metadata"]["uid"]: revision(pod) for pod in release.pods()}
    release.install(replicas=3, config__log__level="debug")
    second = {pod["metadata"]["uid"]: revision(pod) for pod in release.pods()}
    assert release.ready() == 3
    assert not first.keys() & second.keys()
    assert len(set(first.values())) == len(set(second.values())) == 1
    assert set(first.values()) != set(second.values())
    release.cluster.helm("rollback", "cards", *WAIT, "--namespace", release.namespace)
    third = {pod["metadata"]["uid"]: revision(pod) for pod in release.pods()}
    assert release.ready() == 3
    assert set(third.values()) == set(first.values())


def revision(pod: dict[str, Any]) -> str:
    found: str = pod["metadata"]["labels"]["controller-revision-hash"]
    return found


def test_an_upgrade_that_cannot_be_placed_keeps_the_other_pods(release: Release) -> None:
    release.install(replicas=3)
    before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in release.pods()}
    with pytest.raises(Refused, match=r"context deadline exceeded|timed out"):
        release.cluster.helm(
            *("upgrade", "cards", str(CHART), "--values", str(VALUES), "--namespace", release.namespace),
            *("--set", "replicas=3", "--set-json", 'nodeSelector={"no": "node"}'),
            *("--wait", "--timeout", "10s"),
        )
    after = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in release.pods()}
    assert sum(before[name] == after.get(name) for name in before) == 2
    assert release.ready() == 2


def test_a_second_eviction_is_refused_until_the_first_pod_is_back(release: Release) -> None:
    cluster = release.cluster
    release.install(replicas=3)
    cluster.kubectl("cordon", "--selector=kubernetes.io/os=linux")  # the evicted pod finds no node
    try:
        first, second, _ = (pod["metadata"]["name"] for pod in release.pods())
        assert not cluster.evict(release.namespace, first)
        cluster.wait_for("the disruption to be counted", lambda: release.ready() == 2)
        assert "disruption budget" in cluster.evict(release.namespace, second)
    finally:
        cluster.kubectl("uncordon", "--selector=kubernetes.io/os=linux")
    cluster.wait_for("the pod to be back", lambda: release.ready() == 3)
    cluster.wait_for("a disruption to be allowed", lambda: not cluster.evict(release.namespace, second))


def test_uninstalled_it_leaves_only_the_volume_of_the_checkpoints(release: Release) -> None:
    cluster = release.cluster
    values = CHART / "values" / "volume.yaml"
    namespace = ("--namespace", release.namespace)
    # Nothing here provides volumes, so its pod waits for one.
    cluster.helm("install", "cards", str(CHART), "--values", str(values), *namespace)
    cluster.helm("uninstall", "cards", *WAIT, *namespace)
    kinds = "statefulset,deployment,service,configmap,poddisruptionbudget,networkpolicy,persistentvolumeclaim"
    own = "--selector=app.kubernetes.io/instance=cards"
    assert [one["kind"] for one in cluster.get(kinds, own, *namespace)["items"]] == ["PersistentVolumeClaim"]


TOPIC, GROUP, PARTITIONS = "transactions", "detector", 3
EVENTS = 1_000  # of each partition


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    kafka = KafkaBroker()
    try:
        kafka.start()
    except KafkaUnavailable as unavailable:
        pytest.skip(str(unavailable))
    yield kafka
    kafka.remove()


def test_keda_adds_pods_while_there_is_lag_and_takes_them_away_when_it_is_gone(
    release: Release, broker: KafkaBroker
) -> None:
    """From one pod to as many as there are partitions and no further, and back to one."""
    create_topic(broker.bootstrap, TOPIC, PARTITIONS)
    commit(broker, 0)
    release.cluster.start_keda()
    secret = ("create", "secret", "generic", "detector", "--namespace", release.namespace)  # KEDA reads it
    release.cluster.kubectl(*secret, "--from-literal=kafka-password=-", "--from-literal=entity-key=-")
    # The shortest times that the chart allows.
    scaling = {"enabled": True, "min": 1, "max": PARTITIONS, "lag": 100, "scaleInSeconds": 60}
    plain = {"protocol": "PLAINTEXT", "sasl_mechanism": None, "username": None, "password": None}
    release.install(
        partitions=PARTITIONS,
        autoscaling={**scaling, "pollingSeconds": 5},
        config__kafka__bootstrap_servers=broker.bootstrap,
        config__kafka__security=plain,
    )
    release.cluster.wait_for("one pod", lambda: release.replicas() == release.ready() == 1)
    events = ((None, b"{}", None, number % PARTITIONS) for number in range(PARTITIONS * EVENTS))
    produce_all(broker.bootstrap, TOPIC, events)
    release.cluster.wait_for("a pod for each partition", lambda: release.ready() == PARTITIONS)
    commit(broker, EVENTS)
    release.cluster.wait_for("one pod", lambda: release.replicas() == release.ready() == 1)


def commit(broker: KafkaBroker, offset: int) -> None:
    """What the daemon would do: its group has processed each partition up to an offset."""
    with contextlib.closing(
        KafkaConsumer(bootstrap_servers=broker.bootstrap, group_id=GROUP, enable_auto_commit=False)
    ) as member:
        partitions = [TopicPartition(TOPIC, number) for number in range(PARTITIONS)]
        member.assign(partitions)
        member.commit({partition: OffsetAndMetadata(offset, "", -1) for partition in partitions})

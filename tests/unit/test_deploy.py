"""The image and the manifests: complete, agreeing with each other, unprivileged, and without secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from detector import __version__
from detector.config.load import load

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
PORT = 9464


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions with their arguments on one line each."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line]


def arguments(instruction: str) -> list[str]:
    return [argument for name, argument in instructions() if name == instruction]


@pytest.fixture
def kustomization() -> dict[str, Any]:
    return documents(KUBERNETES / "kustomization.yaml")[0]


@pytest.fixture
def manifests(kustomization: dict[str, Any]) -> dict[str, Any]:
    found = [document for name in kustomization["resources"] for document in documents(KUBERNETES / name)]
    return {document["kind"]: document for document in found}


@pytest.fixture
def pod(manifests: dict[str, Any]) -> dict[str, Any]:
    return manifests["StatefulSet"]["spec"]["template"]["spec"]


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    return only


# --- the image ---


def test_the_base_is_named_by_its_digest() -> None:
    assert {argument.split()[0] for argument in arguments("FROM")} == {"${BASE}"}
    assert len(arguments("FROM")) == 2
    name = r"BASE=python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}"
    assert re.fullmatch(name, arguments("ARG")[0])
    assert instructions()[0][0] == "ARG"  # before the first stage, so that both stages have it


def test_everything_fetched_is_checked_against_a_lock() -> None:
    commands = [part for run in arguments("RUN") for part in run.split("&&") if "pip " in part]
    assert len(commands) == 4
    for command in commands:
        assert any(flag in command for flag in ("--require-hashes", "--no-deps", "--no-index"))
        if " wheel " in command:  # else pip fetches what builds a package, whatever it is
            assert "--no-build-isolation" in command


def test_what_builds_packages_is_locked_with_hashes_and_the_same_numpy() -> None:
    locked = (DEPLOY.parent / "requirements-build.lock").read_text()
    names = set(re.findall(r"^([a-z0-9-]+)==", locked, flags=re.MULTILINE))
    assert {"setuptools", "wheel", "pybind11", "numpy"} <= names
    entries = [line for line in locked.splitlines() if not line.startswith("    --hash=sha256:")]
    assert all(line.endswith("\\") for line in entries)
    numpy = re.findall(r"^numpy==.*", locked, flags=re.MULTILINE)
    assert set(numpy) <= set((DEPLOY.parent / "requirements.lock").read_text().splitlines())


def test_the_image_runs_unprivileged_and_single_threaded() -> None:
    assert instructions()[-1] == ("ENTRYPOINT", '["detector"]')
    assert arguments("USER") == ["10001:10001"]
    environment = arguments("ENV")[-1].split()
    assert {"OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "NUMBA_CACHE_DIR=/tmp/numba"} <= set(environment)
    assert "HNSWLIB_NO_NATIVE=1" in arguments("ENV")[0]


def test_the_build_sees_what_it_copies_and_no_more() -> None:
    copied = {name for line in arguments("COPY") if "--from" not in line for name in line.split()[:-1]}
    everything, *exceptions = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert everything == "*"
    assert {name.removeprefix("!") for name in exceptions if name.startswith("!")} == copied
    assert all((DEPLOY.parent / name).exists() for name in copied)


# --- the manifests ---


def test_every_file_is_used(kustomization: dict[str, Any], manifests: dict[str, Any]) -> None:
    (config_map,) = kustomization["configMapGenerator"]
    used = {"kustomization.yaml", *kustomization["resources"], *config_map["files"]}
    assert used == {path.name for path in KUBERNETES.iterdir()}
    assert set(manifests) == {
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Service",
        "StatefulSet",
    }


def test_names_agree(
    kustomization: dict[str, Any], manifests: dict[str, Any], pod: dict[str, Any], container: dict[str, Any]
) -> None:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["config"]["configMap"]["name"] == kustomization["configMapGenerator"][0]["name"]
    claim = volumes["checkpoints"]["persistentVolumeClaim"]["claimName"]
    assert claim == manifests["PersistentVolumeClaim"]["metadata"]["name"]
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    assert manifests["StatefulSet"]["spec"]["serviceName"] == manifests["Service"]["metadata"]["name"]
    assert container["image"] == kustomization["images"][0]["name"]

    labels = manifests["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert manifests["StatefulSet"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == labels


def test_the_configuration_loads_as_the_pod_sees_it(container: dict[str, Any]) -> None:
    environment = {item["name"]: item["valueFrom"] for item in container["env"]}
    instance = environment.pop("DETECTOR__KAFKA__GROUP_INSTANCE_ID")
    assert instance == {"fieldRef": {"fieldPath": "metadata.name"}}

    config = load(KUBERNETES / "detector.yaml", environ={"DETECTOR__KAFKA__GROUP_INSTANCE_ID": "detector-0"})
    assert config.kafka.group_instance_id == "detector-0"
    assert config.http.address == f"0.0.0.0:{PORT}"

    secrets = (config.kafka.security.password, config.entity_key)
    assert {secret.env for secret in secrets if secret} == set(environment)
    assert all(set(source) == {"secretKeyRef"} for source in environment.values())

    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert config.checkpoints.url.startswith(f"file://{mounts['checkpoints']}/")
    assert f"{mounts['config']}/detector.yaml" in container["args"]


def test_probes_ask_where_the_daemon_answers(container: dict[str, Any]) -> None:
    (port,) = container["ports"]
    assert port["containerPort"] == PORT
    for probe, path in {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}.items():
        assert container[f"{probe}Probe"]["httpGet"] == {"path": path, "port": port["name"]}
    assert arguments("EXPOSE") == [str(PORT)]


def test_pages_open_to_the_network_are_behind_a_policy(
    manifests: dict[str, Any], container: dict[str, Any], pod: dict[str, Any]
) -> None:
    assert load(KUBERNETES / "detector.yaml", environ={}).http.unprotected
    policy = manifests["NetworkPolicy"]["spec"]
    assert policy["podSelector"] == manifests["StatefulSet"]["spec"]["selector"]
    assert policy["policyTypes"] == ["Ingress"]
    (rule,) = policy["ingress"]
    assert [port["port"] for port in rule["ports"]] == [port["name"] for port in container["ports"]]
    assert all("namespaceSelector" in source for source in rule["from"])


def test_pods_run_unprivileged(pod: dict[str, Any], container: dict[str, Any]) -> None:
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert [f"{security['runAsUser']}:{security['runAsGroup']}"] == arguments("USER")
    assert security["fsGroup"] == security["runAsGroup"]
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert pod["automountServiceAccountToken"] is False


def test_pods_have_bounds_and_time_to_stop(pod: dict[str, Any], container: dict[str, Any]) -> None:
    assert pod["terminationGracePeriodSeconds"] == 30
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


def test_the_manifests_run_the_version_of_the_project(kustomization: dict[str, Any]) -> None:
    assert [image["newTag"] for image in kustomization["images"]] == [__version__]

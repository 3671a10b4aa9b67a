"""One control plane for the whole run. Where it cannot be built, the tests are skipped."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.go_tools import GoUnavailable
from tests.kube.control_plane import ControlPlane

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture(scope="session")
def cluster() -> Iterator[ControlPlane]:
    try:
        plane = ControlPlane()
    except GoUnavailable as unavailable:
        pytest.skip(str(unavailable))
    with plane:
        yield plane


@pytest.fixture
def namespace(cluster: ControlPlane) -> Iterator[str]:
    """A namespace for one test, in which pods must meet the standard `restricted`."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")

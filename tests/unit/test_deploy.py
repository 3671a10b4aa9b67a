"""The image: complete, locked and unprivileged. The Helm chart: tests/chart."""

from __future__ import annotations

import re
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"


def script(path: Path) -> ModuleType:
    """Import a script that is in no package."""
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions with their arguments on one line each."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line]


def arguments(instruction: str) -> list[str]:
    return [argument for name, argument in instructions() if name == instruction]


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


def test_the_image_lists_its_packages() -> None:
    assert any(run.endswith("deploy/sbom.py > /opt/detector/sbom.cdx.json") for run in arguments("RUN"))
    made = script(DEPLOY / "sbom.py").sbom()
    found = {component["purl"]: component for component in made["components"]}
    numpy = f"pkg:pypi/numpy@{np.__version__}"
    assert found[numpy]["version"] == np.__version__
    assert found[numpy]["licenses"]
    own = made["metadata"]["component"]
    needs = {one["ref"]: one["dependsOn"] for one in made["dependencies"]}
    assert numpy in needs[own["purl"]]
    assert needs.keys() == found.keys() | {own["purl"]}
    assert {url for urls in needs.values() for url in urls} <= needs.keys()
    names = [component["name"] for component in made["components"]]
    assert names == sorted(set(names))


def test_the_image_has_the_clients_that_the_values_of_the_chart_need() -> None:
    [extras] = [line.partition("=")[2].split(",") for line in arguments("ARG") if line.startswith("EXTRAS=")]
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    assert set(extras) <= project["optional-dependencies"].keys()
    clients = {"s3": "s3", "gs": "gcs", "abfs": "azure"}
    for values in (DEPLOY / "helm" / "values").glob("*.yaml"):
        url = yaml.safe_load(values.read_text()).get("checkpoints", {}).get("url")
        assert url is None or clients[url.partition(":")[0]] in extras, values


# --- the chart ---


def test_the_values_for_a_first_try_read_the_events_of_simulate() -> None:
    def config(path: Path) -> Any:
        return yaml.safe_load(path.read_text())

    values = config(DEPLOY / "helm" / "values" / "volume.yaml")
    assert values["config"]["event"] == config(DEPLOY.parent / "configs" / "simulate.yaml")["event"]


def test_the_schema_of_the_charts_values_has_the_configuration_of_this_version() -> None:
    module = script(DEPLOY / "helm" / "schema.py")
    assert (DEPLOY / "helm" / "values.schema.json").read_text() == module.text()

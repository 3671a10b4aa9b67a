"""What is installed: the contents of the wheel and of the source distribution, and how extras are named."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import detector
from detector.config import extras
from tests.wheels import ROOT, build, names, wrong_contents

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wheel and a source distribution, built without a network."""
    if not (ROOT / "detector").is_dir():
        pytest.skip("the package's source is not here: this is a test of an installed wheel")
    try:
        wheel, sdist = build(tmp_path_factory.mktemp("dist"))
    except subprocess.CalledProcessError as error:
        raise AssertionError(error.stderr) from error
    return wheel, sdist


def test_both_have_the_package_with_schemas_and_types_and_nothing_else(built: tuple[Path, Path]) -> None:
    for distribution in built:
        assert not wrong_contents(distribution)
        found = names(distribution)
        assert {"detector/py.typed", "detector/schemas/alert.v1.json", "detector/cli/program.py"} <= found
        pages = ("templates/base.html", "static/console.css", "static/console.js")
        assert {f"detector/console/web/{page}" for page in pages} <= found
        assert not any(name.startswith(("tests/", "benchmarks/")) for name in found)


def test_the_wheel_says_what_it_is(built: tuple[Path, Path]) -> None:
    wheel, _ = built
    assert wheel.name == f"stream_anomaly_detector-{detector.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as file:
        folder = f"stream_anomaly_detector-{detector.__version__}.dist-info"
        metadata = Parser().parsestr(file.read(f"{folder}/METADATA").decode())
        assert "detector = detector.__main__:" in file.read(f"{folder}/entry_points.txt").decode()
    assert metadata["Name"] == extras.DISTRIBUTION
    assert metadata["Requires-Python"] == ">=3.11"
    assert {"s3", "gcs", "azure", "avro", "protobuf", "parquet", "notebook"} <= set(
        metadata.get_all("Provides-Extra", [])
    )


def test_it_can_be_built_again_from_the_source_distribution(built: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, sdist = built
    code = f"import tarfile; tarfile.open({str(sdist)!r}).extractall({str(tmp_path)!r}, filter='data')"
    subprocess.run([sys.executable, "-c", code], check=True)
    (folder,) = tmp_path.iterdir()
    code = f"from setuptools import build_meta as b; b.build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, check=True, capture_output=True)
    (again,) = tmp_path.glob("*.whl")
    assert names(again) == names(wheel)


def test_contents_that_are_wrong_are_found(tmp_path: Path) -> None:
    path = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("detector/stray.txt", "")
        file.writestr("tests/test_x.py", "")
        file.writestr("x-1.dist-info/METADATA", "")
    problems = wrong_contents(path)
    if (ROOT / "detector").is_dir():
        assert "detector/py.typed is missing" in problems
    assert "detector/stray.txt does not belong there" in problems
    assert "tests/test_x.py does not belong there" in problems
    assert not any("METADATA" in problem for problem in problems)


def test_every_extra_that_a_text_names_exists() -> None:
    """By the name of the distribution: `pip install detector[x]` would install something else."""
    package = Path(detector.__file__).parent
    pages = (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/*.ipynb"))
    for path in (*package.rglob("*.py"), *pages):
        for name, extra in re.findall(r"([\w-]*detector)\[([a-z]\w*)\]", path.read_text()):
            assert name == extras.DISTRIBUTION, f"{path}: {name}[{extra}]"
            assert extra in PROJECT["optional-dependencies"], f"{path}: {extra}"
        for extra in re.findall(r"""\binstall\(["'](\w+)["']\)""", path.read_text()):
            assert extra in PROJECT["optional-dependencies"], f"{path}: {extra}"


def test_every_client_of_a_url_has_an_extra() -> None:
    for protocol in ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"):
        command = extras.install_client(protocol)
        assert command is not None
        assert re.search(r"\[(\w+)\]", command)[1] in PROJECT["optional-dependencies"]  # type: ignore[index]
    assert extras.install_client("https") is None

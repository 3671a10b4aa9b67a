"""Build the wheel and the source distribution, check their contents, and test the installed wheel.

    python -m tests.wheels --out build/dist                      # build and check
    python -m tests.wheels --out build/dist --python python3.13  # then test it there

Building needs setuptools and no network. Each interpreter gets a new environment with the packages of
requirements.lock and the wheel. The unit tests run in a copy of the project without the package's source, so
they can only find the installed one. Tests of the source tree itself are left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "detector")  # what the distributions are made from
# Beside the tests, what they read. A folder that does not exist is left out.
TREE = ("benchmarks", "configs", "deploy", "docs", "examples", "tests", ".github", ".ci")
FILES = ("*.md", "*.lock", "pyproject.toml", "zensical.toml", "Makefile", "LICENSE")
# Tests that look at the package's source, which is not there.
OF_THE_SOURCE = (
    "--ignore=tests/unit/test_architecture.py",
    "--deselect=tests/unit/test_deploy.py::test_the_build_sees_what_it_copies_and_no_more",
    "--deselect=tests/unit/test_docs.py::test_links_of_the_pages_beside_the_code",
)
_IGNORED = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
_BUILD = "from setuptools import build_meta as b; print(b.build_{kind}({out!r}))"


def build(out: Path, kinds: Sequence[str] = ("wheel", "sdist"), python: str = sys.executable) -> list[Path]:
    """Build distributions into a folder, from a copy: nothing is written beside the sources.

    Raises
    ------
    subprocess.CalledProcessError
        Its output says why.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in SOURCES:
            source, copy = ROOT / name, Path(folder) / name
            shutil.copytree(source, copy, ignore=_IGNORED) if source.is_dir() else shutil.copy(source, copy)
        built = []
        for kind in kinds:
            code = _BUILD.format(kind=kind, out=str(out.resolve()))
            result = subprocess.run(
                [python, "-I", "-c", code], cwd=folder, check=True, capture_output=True, text=True
            )
            built.append(out / result.stdout.strip().splitlines()[-1])
    return built


def names(distribution: Path) -> set[str]:
    """The files of a wheel or source distribution; of the latter without its folder."""
    if distribution.suffix == ".whl":
        with zipfile.ZipFile(distribution) as wheel:
            return {name for name in wheel.namelist() if not name.endswith("/")}
    with tarfile.open(distribution) as sdist:
        return {member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()}


def wrong_contents(distribution: Path) -> list[str]:
    """What is missing from a distribution, or should not be in it."""
    found = names(distribution)
    expected = {
        path.relative_to(ROOT).as_posix()
        for pattern in (
            "*.py",
            "py.typed",
            "schemas/*.json",
            "config/infer/words.toml",
            "console/web/templates/*.html",
            "console/web/static/*",
        )
        for path in (ROOT / "detector").rglob(pattern)
    }
    problems = [f"{name} is missing" for name in sorted(expected - found)]
    own = {name for name in found if name.startswith("detector/")}
    problems += [f"{name} does not belong there" for name in sorted(own - expected)]
    for name in sorted(found - own):
        top = name.split("/")[0]
        metadata = top.endswith((".dist-info", ".egg-info"))
        if not metadata and name not in {*SOURCES, "PKG-INFO", "setup.cfg"}:
            problems.append(f"{name} does not belong there")
    return problems


def try_installed(wheel: Path, python: str, pytest: Iterable[str]) -> tuple[bool, str]:
    """Install the wheel for an interpreter, and run the unit tests with it.

    Returns
    -------
    tuple
        Whether they passed, and a line that says so.
    """
    with tempfile.TemporaryDirectory() as folder:
        tree, environment = Path(folder) / "tree", Path(folder) / "venv"
        tree.mkdir()
        for name in TREE:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tree / name, ignore=_IGNORED)
        for pattern in FILES:
            for path in ROOT.glob(pattern):
                shutil.copy(path, tree)
        subprocess.run([python, "-m", "venv", str(environment)], check=True)
        interpreter = str(environment / "bin" / "python")
        pip = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "-r", str(ROOT / "requirements.lock")], check=True)
        subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
        where = [interpreter, "-c", "import sys, detector; print(sys.version.split()[0], detector.__file__)"]
        said = subprocess.run(where, cwd=tree, env=clean, check=True, capture_output=True, text=True).stdout
        version, file = said.split(maxsplit=1)
        if not file.startswith(str(environment)):
            raise SystemExit(f"{python}: the tests would use {file.strip()}, not the wheel")
        command = [interpreter, "-m", "pytest", "-p", "no:cacheprovider", "tests/unit", *pytest]
        command += OF_THE_SOURCE
        compiled = [interpreter, "-m", "detector", "compile"]  # once: tests expect no word of it
        subprocess.run(compiled, cwd=tree, env=clean | threads | {"PATH": path}, check=True)
        began = time.monotonic()
        passed = subprocess.run(command, cwd=tree, env=clean | threads | {"PATH": path}).returncode == 0
    took = time.monotonic() - began
    return passed, f"Python {version}: unit tests {'passed' if passed else 'FAILED'} in {took:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("build/dist"))
    parser.add_argument("--python", action="append", default=[], help="an interpreter to test the wheel with")
    parser.add_argument("pytest", nargs="*", help="options for pytest, after --")
    given = parser.parse_args()
    problems = []
    for distribution in (built := build(given.out)):
        wrong = wrong_contents(distribution)
        print(
            f"{distribution}: {len(names(distribution))} files{', all right' * (not wrong)}",
            flush=True,
        )
        problems += wrong
    results = [try_installed(built[0].resolve(), python, given.pytest) for python in given.python]
    for line in (*problems, *(line for _, line in results)):
        print(line)
    sys.exit(bool(problems) or not all(passed for passed, _ in results))


if __name__ == "__main__":
    main()

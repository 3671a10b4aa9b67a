"""The documentation: what refers to it finds it, and its generated tables are those of the code."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FOLDERS = (".github", "benchmarks", "configs", "deploy", "detector", "docs", "examples", "tests")
TEXTS = {".md", ".py", ".yaml", ".yml", ".toml", ".json", ".ipynb"}


def _texts() -> Iterator[Path]:
    """Every text of the project that a person reads."""
    yield from (*ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "pyproject.toml")
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in TEXTS and "__pycache__" not in path.parts:
                yield path


def test_every_page_that_is_named_exists() -> None:
    """In code and messages a page is named by its path in the project: `docs/how-to/operations.md`."""
    missing = {
        (str(path.relative_to(ROOT)), page)
        for path in _texts()
        for page in re.findall(r"\bdocs/[\w./-]+\.md\b", path.read_text())
        if not (ROOT / page).exists()
    }
    assert not missing


def test_every_test_that_is_named_exists() -> None:
    tests = (ROOT / "tests").rglob("*.py")
    known = {name for path in tests for name in (path.stem, *re.findall(r"def (test_\w+)", path.read_text()))}
    named = {
        (str(path.relative_to(ROOT)), name)
        for path in (ROOT / "docs").rglob("*.md")
        for name in re.findall(r"\b(test_\w+)", path.read_text())
    }
    assert {(path, name) for path, name in named if name not in known} == set()


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_links_of_the_pages_beside_the_code(page: Path) -> None:
    """Those under docs/ are checked when the site is built."""
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        path = ROOT / target if target else page
        assert path.exists(), target
        if anchor:
            assert anchor in _anchors(path), (target, anchor)


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def _problems(site: Path) -> list[str]:
    spec = importlib.util.spec_from_file_location("docs_build", DOCS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.problems(site))


def test_what_a_site_lacks_is_found(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "index.html").write_text('<h1 id="top">B</h1>')
    (tmp_path / "x.css").write_text("a { background: url(https://far.example/x.png) }")
    page = tmp_path / "index.html"
    page.write_text(
        '<link rel="stylesheet" href="x.css"><a href="b/">b</a> <a href="b/#top">b</a> <a href="#here">c</a>'
        '<p id="here"><a href="https://elsewhere.example/">may be linked</a>'
    )
    assert _problems(tmp_path) == ["x.css loads https://far.example/x.png"]
    (tmp_path / "x.css").unlink()
    page.write_text(
        '<link rel="stylesheet" href="x.css"><script src="https://far.example/x.js"></script>'
        '<a href="b/#bottom">b</a> <a href="c/">c</a>'
    )
    assert _problems(tmp_path) == [
        "index.html loads https://far.example/x.js",
        "index.html links to b/#bottom, and there is no such place on that page",
        "index.html links to c/, which does not exist",
        "index.html links to x.css, which does not exist",
    ]


def test_every_page_is_in_the_navigation() -> None:
    settings = tomllib.loads((DOCS / "zensical.toml").read_text())
    pages = set(re.findall(r"'([\w/-]+\.md)'", str(settings["project"]["nav"])))
    assert pages == {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


def test_the_generated_pages_are_those_of_the_code() -> None:
    command = [sys.executable, str(DOCS / "generate.py"), "--check"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr

"""The documentation: what refers to it finds it, and its generated tables are those of the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
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


def test_the_generated_pages_are_those_of_the_code() -> None:
    command = [sys.executable, str(DOCS / "generate.py"), "--check"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr

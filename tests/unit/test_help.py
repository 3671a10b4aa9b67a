"""Help pages at 80 columns, and completion in bash."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from detector.cli.program import app

COLUMNS, TEXT_COLUMNS_MIN = 80, 28


def _commands() -> list[tuple[str, ...]]:
    """Every command, as it is typed."""
    root = typer.main.get_command(app)
    found: list[tuple[str, ...]] = [()]
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        found += [(name,), *((name, inner) for inner in getattr(command, "commands", {}))]
    return found


@pytest.mark.parametrize("command", _commands(), ids=" ".join)
def test_a_help_page_reads_well_at_80_columns(command: tuple[str, ...]) -> None:
    settings = {"COLUMNS": str(COLUMNS), "TERMINAL_WIDTH": str(COLUMNS), "TERM": "dumb", "NO_COLOR": "1"}
    page = CliRunner().invoke(app, [*command, "--help"], env=settings, prog_name="detector").output
    lines = page.splitlines()
    assert len(lines) > 5
    assert max(map(len, lines)) <= COLUMNS
    # A line of the text ends where the next word has no room.
    text = [line.strip() for line in page.partition("╭")[0].splitlines()]
    for line, after in pairwise(text[3:]):
        assert not after or not line or len(line) + len(after.split()[0]) + 3 > COLUMNS, (line, after)
    # Where texts are wrapped, they begin at the same column.
    indents = [len(line) - len(line[1:].lstrip()) for line in lines if re.match("│ {9,}[^ ]", line)]
    assert max(indents, default=0) <= COLUMNS - TEXT_COLUMNS_MIN
    options = page.partition("─ Options")[2]
    types = {"<path>", "<str>", "<bool>", "<int>", "<float>", "<int range>", "<list[str]>"}
    assert not {name for name in types if name in options}, "give the option a metavar"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("detector check", {"check-config", "checkpoint"}),
        ("detector checkpoint ro", {"rollback"}),
        ("detector replay --ev", {"--events"}),
        ("detector simulate --preset h", {"handbook"}),
    ],
)
def test_bash_completes(tmp_path: Path, typed: str, offered: set[str]) -> None:
    """As a shell does it that has read the script which `--show-completion` prints."""
    program = tmp_path / "detector"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m detector "$@"\n')
    program.chmod(0o755)
    words = typed.split()
    script = (
        "source <(_DETECTOR_COMPLETE=source_bash detector)\n"
        f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}\n"
        'complete -p detector; _detector_completion detector; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    root = str(Path(__file__).parents[2])
    said = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PATH": path}, cwd=root, capture_output=True, text=True
    )
    first, *rest = said.stdout.splitlines()
    assert first.endswith("-F _detector_completion detector"), said.stderr
    assert set(rest) == offered

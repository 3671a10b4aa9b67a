"""The commands and files of the tutorial, taken from its page, and run as a newcomer would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "tutorial" / "from-csv-to-alerts.md"
_BLOCK = re.compile(r"<!-- (.+?) -->\n```\w+\n(.*?)```", re.DOTALL)


def blocks(mark: str) -> list[str]:
    """The blocks of code under a comment, `<!-- MARK -->`, in the order of the page."""
    return [code for found, code in _BLOCK.findall(PAGE.read_text()) if found == mark]


def file(name: str) -> str:
    """What the page says to save as a file."""
    (code,) = blocks(f"file: {name}")
    return code


class Newcomer:
    """A shell in an empty folder, with `detector` and `python` on its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        programs = folder / "bin"
        self.folder.mkdir()
        programs.mkdir()
        for name, command in (("detector", "-m detector"), ("python", ""), ("python3", "")):
            (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {command} "$@"\n')
            (programs / name).chmod(0o755)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(self, script: str) -> str:
        """Run a block of the page. Returns what it printed.

        Raises
        ------
        AssertionError
            It failed; the text has its output.
        """
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}"
        return done.stdout

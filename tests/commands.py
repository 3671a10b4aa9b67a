"""Commands, run in this process."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from detector import cli


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: object
    out: str
    err: str


def run_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> Done:
    """Run `detector` with arguments."""
    monkeypatch.setattr(sys, "argv", ["detector", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return Done(ended.value.code, said.out, said.err)

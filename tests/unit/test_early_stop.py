"""A service that is stopped ends with code 0, from its first moment on and whatever it is doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from detector.wiring.common import Signals

# Runs the command line, and sends a signal to it when it begins to load a module.
LOADING = """
import os, runpy, sys

class Signalled:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Signalled())
sys.argv = ["detector", *{arguments!r}]
runpy.run_module("detector", run_name="__main__")
"""


def ended(module: str, number: int, *arguments: str) -> int:
    code = LOADING.format(module=module, number=int(number), arguments=arguments)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("module", ["detector.cli", "typer", "detector.wiring"])
def test_a_signal_while_a_service_loads_its_libraries_is_a_stop(
    module: str, number: int, tmp_path: Path
) -> None:
    config = Path(__file__).parents[2] / "configs" / "handbook.yaml"
    assert ended(module, number, "run", "--config", str(config)) == 0


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP here")
def test_a_hangup_while_a_service_loads_its_libraries_does_not_end_it() -> None:
    """It did: a reload asked for in the seconds of a start killed the process."""
    assert ended("typer", signal.SIGHUP, "run", "--config", "no-such-file.yaml") == 2


def test_other_commands_end_as_any_program_does() -> None:
    assert ended("typer", signal.SIGTERM, "config-schema") == -signal.SIGTERM


def test_a_stop_that_takes_too_long_ends_the_process() -> None:
    left, codes = threading.Event(), list[int]()

    def leave(code: int) -> None:
        codes.append(code)
        left.set()

    with Signals(0.0, leave):
        os.kill(os.getpid(), signal.SIGTERM)
        assert left.wait(10.0)
    assert codes == [0]


def test_a_second_signal_has_its_usual_effect() -> None:
    stops: list[str] = []
    with Signals() as signals:
        signals.call(lambda: stops.append("stop"))
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert stops == ["stop"]

"""A process compiles everything before it joins its group, and an image brings what was compiled."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numba
import pytest
from numba.core.dispatcher import Dispatcher

from detector.cli.service import compile_
from detector.config.tree import ModelPart, TimeField
from detector.core.events import ParsedEvent, Parser
from detector.core.shard import rehearsal
from detector.kernel_cache import OWN, SHIPPED, begin_with_shipped
from detector.wiring import compiling

Signature = tuple[str, str, str]


def compiled() -> set[Signature]:
    """All kernels of the process with the types they are compiled for."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("detector.")]
    kernels = [
        kernel for module in modules for kernel in vars(module).values() if isinstance(kernel, Dispatcher)
    ]
    return {
        (kernel.py_func.__module__, kernel.py_func.__qualname__, str(types))
        for kernel in kernels
        for types in kernel.signatures
    }


@pytest.mark.parametrize(("entities", "types"), compiling.SCHEMAS)
def test_later_events_compile_nothing(
    entities: tuple[str, ...], types: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ModelPart(event=compiling.schema(entities, types), exchange=True, partitions=2)
    assert list(rehearsal.rehearse(config))[-1] == rehearsal.EVENTS
    before = compiled()
    monkeypatch.setattr(rehearsal, "EVENTS", 4 * rehearsal.EVENTS)
    assert list(rehearsal.rehearse(config))[-1] == rehearsal.EVENTS
    assert compiled() == before
    assert len(before) > 20


@pytest.mark.parametrize(
    "time", [{"path": "t"}, {"path": "d", "clock": "c"}, {"path": "y, m, d", "format": "apart"}]
)
def test_made_up_events_fit_however_times_are_written(time: dict[str, str]) -> None:
    event = compiling.schema(("card",), ("numeric",))
    event = event.model_copy(update={"time": TimeField.model_validate(time)})
    made_up = rehearsal.as_made_up(ModelPart(event=event)).event
    first = next(rehearsal.made_up(made_up))
    assert isinstance(Parser(made_up, b"key").parse(first), ParsedEvent)


def test_a_rehearsal_can_be_left() -> None:
    config = ModelPart(event=compiling.schema(("card",), ("numeric",)))
    assert list(islice(rehearsal.rehearse(config), 1)) == [rehearsal.POLL]


def test_kernels_are_made_for_every_cpu_of_the_architecture() -> None:
    assert (numba.config.CPU_NAME, numba.config.CPU_FEATURES) == ("generic", "")  # type: ignore[attr-defined]


def test_a_process_without_kernels_begins_with_those_of_its_image(tmp_path: Path) -> None:
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    shipped.mkdir()
    (shipped / "kernel").write_text("compiled")
    environ = {SHIPPED: str(shipped), OWN: str(own)}
    assert begin_with_shipped(environ) == ""
    assert (own / "kernel").read_text() == "compiled"
    (own / "kernel").write_text("newer")
    begin_with_shipped(environ)
    assert (own / "kernel").read_text() == "newer"
    assert {path.name for path in tmp_path.iterdir()} == {"shipped", "own"}


def test_kernels_that_cannot_be_read_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise shutil.Error([("from", "to", "[Errno 13] Permission denied: 'kernel'")])

    monkeypatch.setattr(shutil, "copytree", refuse)
    said = begin_with_shipped({SHIPPED: "/opt/kernels", OWN: str(tmp_path / "own")})
    assert "/opt/kernels" in said
    assert "Permission denied" in said
    assert list(tmp_path.iterdir()) == []


def test_kernels_can_be_read_by_another_user_than_who_compiled_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = tmp_path / "kernels"
    folder = kernels / "features"

    def compile_all() -> Iterator[str]:
        (folder / "kernel").write_text("compiled")
        yield "one"

    monkeypatch.setattr("detector.wiring.compiling.compile_all", compile_all)
    monkeypatch.setenv(OWN, str(kernels))
    before = os.umask(0o027)  # of all commands
    try:
        folder.mkdir(parents=True)  # numba makes them when a module is loaded
        compile_()
        (tmp_path / "values").write_text("somebody's")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"kernels": 0o755, "features": 0o755, "kernel": 0o644, "values": 0o640}


@pytest.mark.parametrize("environ", [{}, {SHIPPED: ""}, {SHIPPED: "nowhere"}])
def test_without_shipped_kernels_nothing_is_copied(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begin_with_shipped(environ)
    assert list(tmp_path.iterdir()) == []


STATE = """
from detector.wiring import compiling
from detector.cli.service import compile_
from detector.config.tree import ModelPart
from detector.core.shard import rehearsal
config = rehearsal.as_made_up(ModelPart(event=compiling.schema(("card",), ("numeric", "categorical"))))
member = rehearsal.Member(config, 0)
scored = 0
for outputs in member.take(list(rehearsal.made_up(config.event))):
    scored += sum(len(some.offsets) for some in outputs.scored)
print(scored, member.partition.state_hash)
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names CPUs of this architecture")
def test_a_state_does_not_depend_on_the_model_of_the_cpu() -> None:
    """BLAS chooses its loops by the CPU, and so does numpy; what it chooses for AVX-512 is switched off."""

    def state(**environ: str) -> str:
        command, there = [sys.executable, "-c", STATE], {**os.environ, **environ}
        return subprocess.run(command, env=there, capture_output=True, text=True, check=True).stdout

    here = state()
    assert here.startswith(f"{rehearsal.EVENTS} ")
    assert state(OPENBLAS_CORETYPE="Nehalem") == here
    assert "X86_V4" in os.environ["NPY_DISABLE_CPU_FEATURES"]

"""Who waits for the compiler is told so, and nobody else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from numba.core.event import trigger_event

from detector.api import stream
from detector.wiring import compiling
from detector.wiring.compiling import COMPILING, watching_compilation


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def compiled(clock: Clock, seconds: Sequence[float]) -> None:
    for one in seconds:
        with trigger_event("numba:compile"):
            clock.now_s += one


def said(seconds: Sequence[float]) -> int:
    clock, count = Clock(), list[int]()
    with watching_compilation(lambda: count.append(1), clock):
        compiled(clock, seconds)
    return len(count)


def test_short_or_no_compilation_is_not_worth_a_word() -> None:
    assert said([]) == 0
    assert said([0.2, 0.3]) == 0


def test_a_long_one_is_said_once() -> None:
    assert said([0.5, 0.4, 0.3, 2.0]) == 1


def test_a_kernel_that_compiles_others_counts_once() -> None:
    clock, count = Clock(), list[int]()
    with watching_compilation(lambda: count.append(1), clock), trigger_event("numba:compile"):
        compiled(clock, [0.4])
        clock.now_s += 0.1
    assert not count


def test_afterwards_nothing_is_said() -> None:
    clock, count = Clock(), list[int]()
    with watching_compilation(lambda: count.append(1), clock):
        pass
    compiled(clock, [5.0])
    assert not count


def test_the_python_api_says_it_once_in_a_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiling, "SAID_AFTER_S", 0.0)
    stream._say_compiling.cache_clear()
    for _ in range(2):
        with stream._one_thread():
            compiled(Clock(), [0.0])
    assert capsys.readouterr() == ("", f"{COMPILING}\n")

"""Reading external data raises only our own errors: a small share of `make fuzz`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from benchmarks.fuzz import run
from benchmarks.fuzz.mutate import Mutator
from benchmarks.fuzz.targets import BATCH, Broken, Events, Plain, Target, targets

NAMES = sorted(targets())
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("2024-03-01T12:00:00Z"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the daemon runs."""
    with threadpool_limits(1):
        yield


@cache
def made(name: str) -> Target:
    return targets()[name]()


@pytest.mark.parametrize("name", NAMES)
@QUICK
@given(seed=st.integers(0, 2**32))
def test_almost_valid_inputs_raise_only_our_errors(name: str, seed: int) -> None:
    mutator = made(name).mutator(seed)
    for _ in range(1 if name == "model" else 5):
        assert made(name).check(mutator.next())
    made(name).finish()


@pytest.mark.parametrize("name", NAMES)
@QUICK
@given(data=st.binary(max_size=300))
@example(data=b"")
def test_any_bytes_raise_only_our_errors(name: str, data: bytes) -> None:
    assert made(name).check(data)


@pytest.mark.parametrize("preset", ["card", "handbook"])
@QUICK
@given(path=st.integers(0, 30), value=VALUES)
def test_any_fields_raise_only_our_errors(preset: str, path: int, value: Any) -> None:
    target = made(f"events-{preset}")
    assert isinstance(target, Events)
    event = json.loads(target.mutator(0).seeds[path])
    keys = [key for key in event if key != "more"]
    event[keys[path % len(keys)]] = value
    assert target.check(json.dumps(event).encode())
    target.finish()


def test_what_numba_compiles_is_not_instrumented() -> None:
    assert {"detector.core.events.text_kernels", "detector.core.model.trees"} <= set(run.COMPILED)
    assert "detector.core.events.parser" not in run.COMPILED


def test_equal_seeds_give_equal_inputs() -> None:
    first, second = Mutator([b'{"a": [1, "x"]}'], 7), Mutator([b'{"a": [1, "x"]}'], 7)
    inputs = [first.next() for _ in range(200)]
    assert inputs == [second.next() for _ in range(200)]
    assert len(set(inputs)) > 100


def test_a_failure_is_saved_and_the_exit_code_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(data: bytes) -> str:
        if b"7" in data:
            raise KeyError("7")
        return "read"

    watch = run._Watch(Plain("digits", [b"1"], read), 20, tmp_path)
    for number in range(20):
        assert watch.try_one(str(number).encode()) == (number < 19)
    assert watch.report() == 1
    (saved,) = tmp_path.iterdir()
    assert saved.read_bytes() == b"7"
    assert "KeyError at" in capsys.readouterr().out


def test_the_record_of_a_batch_that_failed_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = Events("handbook")
    look = Events._look

    def looked(self: Events, outputs: Any, taken: Any) -> None:
        look(self, outputs, taken)
        if any(b"poison" in record.value for record in taken):
            raise Broken("poisoned")

    monkeypatch.setattr(Events, "_look", looked)
    watch = run._Watch(target, 2 * BATCH, tmp_path)
    for number in range(BATCH):
        watch.try_one(b"poison" if number == 9 else b"{}")
    assert watch.report() == 1
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"poison"]
    assert "poisoned" in capsys.readouterr().err

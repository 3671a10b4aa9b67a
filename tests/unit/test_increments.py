"""Increments: what did not change is not written again, and nothing but the state comes out of the layers."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.core.recovery import increments
from detector.core.recovery.checkpoint import NUMBERS, Manifest, Snapshot, layers_of, read_manifest
from detector.core.recovery.generations import (
    expired,
    find_origin,
    folders,
    read_checkpoint,
    read_manifest_of,
    state_name,
    write,
)
from detector.core.recovery.increments import GROUPS, applied, increment
from detector.core.recovery.journal import Barrier, Journal
from detector.core.state import digest, pack, unpack
from detector.errors import CheckpointDamaged
from detector.testing import MemoryStore
from tests.unit.test_checkpoint import TREES, same, tampered

ROWS = 3000
WIDTH = 20


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(increments, "ARRAY_BYTES_MIN", 0)


def through_bytes(state: Any, base: Any) -> dict[str, Any]:
    """The state again, by way of the bytes of its increment."""
    return applied(unpack(pack(base)), unpack(pack(increment(state, base))))


# --- two states -------------------------------------------------------------------------------------------


@given(TREES, TREES)
@pytest.mark.usefixtures("any_size")
def test_any_state_comes_back_from_any_other_one(state: dict[str, Any], base: dict[str, Any]) -> None:
    assert same(through_bytes(state, base), state)
    assert same(through_bytes(base, base), base)


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A table by key, and what became of it: rows that left, came, and changed in one of their bytes."""
    keys = sorted(draw(st.sets(st.integers(-50, 50), min_size=1, max_size=30)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    base = {
        "keys": np.array(keys, dtype=np.int64),
        "values": random.normal(size=(len(keys), draw(st.integers(0, 3)))).astype(np.float32),
        "flags": random.integers(0, 2, len(keys)).astype(np.uint8),
        "other": np.zeros((200, 2)),
    }
    left = np.array([key for key in keys if draw(st.integers(0, 3))], dtype=np.int64)
    came = np.array(sorted(draw(st.sets(st.integers(51, 70), max_size=5))), dtype=np.int64)
    rows = np.searchsorted(base["keys"], left)
    state = {
        "keys": np.concatenate([left, came]),
        "values": np.concatenate(
            [base["values"][rows], np.ones((len(came), base["values"].shape[1]), dtype=np.float32)]
        ),
        "flags": np.concatenate([base["flags"][rows], np.zeros(len(came), dtype=np.uint8)]),
        "other": base["other"],
    }
    for row in draw(st.lists(st.integers(0, len(left) - 1), max_size=3)) if len(left) else ():
        state["flags"][row] ^= 128
    return state, base


@given(tables())
@settings(max_examples=50)
@pytest.mark.usefixtures("any_size")
def test_a_table_comes_back_and_rows_that_stayed_are_not_written(
    drawn: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    state, base = drawn
    assert same(through_bytes(state, base), state)
    made = increment(state, base)
    then = dict(zip(base["keys"].tolist(), base["flags"].tolist(), strict=True))
    stayed = sum(
        then.get(key) == flag
        for key, flag in zip(state["keys"].tolist(), state["flags"].tolist(), strict=True)
    )
    assert len(made["keys"]) == len(state["keys"]) - stayed
    assert len(made["other"]) == 0


def test_not_a_number_and_both_zeros_are_what_their_bytes_are() -> None:
    base = {"x": np.array([np.nan, 0.0, 1.0] * 500)}
    state = {"x": np.array([np.nan, -0.0, 1.0] * 500)}
    assert len(increment(state, base)["x"]) == 500
    assert np.signbit(through_bytes(state, base)["x"]).sum() == 500


def test_small_arrays_and_plain_values_are_written_whole() -> None:
    state = {"x": np.arange(3), "n": 7, "empty": {}, "none": None, "list": [1, 2]}
    assert same(increment(state, state), state)


@pytest.mark.parametrize("dtype", ["<f4", "<i8", "|u1", "<f2", "|b1"])
def test_another_form_is_written_whole(dtype: str) -> None:
    base = {"x": np.zeros((2000, 3), dtype=np.float64), "y": np.zeros(2000)}
    state = {"x": np.zeros((2000, 3), dtype=dtype), "y": np.zeros((2000, 1))}
    assert GROUPS not in increment(state, base)
    assert same(through_bytes(state, base), state)


def grouped(**changes: Any) -> dict[str, Any]:
    """An increment of `BASE` of which something is not true."""
    group = {"names": ["x"], "kept": np.array([[0, 2], [5, 9]]), "places": np.array([0, 7])}
    return {"x": np.ones((2, 3)), GROUPS: {"0": group | changes}}


BASE = {"x": np.zeros((10, 3)), "tree": {"y": np.zeros(2)}}


@pytest.mark.parametrize(
    "made",
    [
        grouped(kept=np.array([[0, 2], [1, 9]])),
        grouped(kept=np.array([[0, 11]])),
        grouped(kept=np.array([[-1, 3]])),
        grouped(kept=np.array([[5, 4]])),
        grouped(kept=np.array([[0, 1 << 62]])),
        grouped(kept=np.array([0, 1])),
        grouped(kept=np.zeros((0, 2), dtype=np.int64)),
        grouped(kept=np.array([[0.0, 2.0]])),
        grouped(kept="no array"),
        grouped(places=np.array([7, 0])),
        grouped(places=np.array([0, 8])),
        grouped(places=np.array([-1, 3])),
        grouped(places=np.array([0])),
        grouped(places=np.array([[0, 7]])),
        grouped(places=None),
        grouped(names=["y"]),
        grouped(names=["tree"]),
        grouped(names=["x", "x"]),
        grouped(names=[[]]),
        grouped(names=7),
        {"x": np.ones((2, 4)), **{GROUPS: grouped()[GROUPS]}},
        {"x": np.ones((2, 3), dtype=np.float32), **{GROUPS: grouped()[GROUPS]}},
        {GROUPS: grouped()[GROUPS]},
        {GROUPS: {"0": 7}},
        {GROUPS: 7},
    ],
)
def test_an_increment_that_cannot_be_true_is_damaged_before_anything_is_allocated(made: Any) -> None:
    assert len(applied(BASE, grouped())["x"]) == 8
    tracemalloc.start()
    with pytest.raises(CheckpointDamaged):
        applied(BASE, made)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


# --- a chain of checkpoints -------------------------------------------------------------------------------


def state_at(step: int) -> dict[str, Any]:
    """A log that gains and loses 20 rows each step, a table of which 10 rows change, and some weights."""
    first = 20 * step
    table = np.zeros((ROWS, WIDTH), dtype=np.float32)
    for earlier in range(1, step + 1):
        table[(10 * earlier) % ROWS : (10 * earlier) % ROWS + 10] = earlier
    return {
        "log": {
            "offsets": np.arange(first, first + ROWS),
            "inputs": np.arange(first * WIDTH, (first + ROWS) * WIDTH, dtype=np.float32).reshape(ROWS, WIDTH),
        },
        "table": {"used": np.arange(0, 2 * ROWS, 2), "stats": table},
        "weights": np.full(300, step, dtype=np.float32),
        "step": step,
    }


class Lived:
    """Checkpoints 1, 2, ... in a store, each pruned as its commit would."""

    def __init__(self, keep: int = 3) -> None:
        self.store, self.keep, self.step, self.name = MemoryStore(), keep, 0, ""

    def go(self, steps: int = 1) -> Manifest:
        for _ in range(steps):
            self.step += 1
            self.name = write(self.snapshot(), self.store.put, self.store.get)
            for name in expired(self.names(), self.journal, self.store.get, keep=self.keep):
                self.store.delete(name)
        return read_manifest_of(self.name, self.store.get)

    def snapshot(self) -> Snapshot:
        barrier = Barrier(position=100 * self.step, cause="every")
        since = Journal(
            checkpoint=self.name, position=100 * (self.step - 1), config="abc", barriers=(barrier,)
        )
        return Snapshot(
            partition=3,
            position=100 * self.step,
            since=since,
            config="abc",
            config_json="{}",
            entity_key_id="key",
            versions={},
            state=state_at(self.step),
        )

    def names(self) -> list[str]:
        return [name for folder in folders(3) for name in self.store.list(folder)]

    @property
    def journal(self) -> Journal:
        return Journal(checkpoint=self.name, position=100 * self.step, config="abc")

    def origin(self) -> int:
        """Step whose state a recovery begins with; it must be the one that was written."""
        origin = find_origin(self.journal, self.store.get, partition=3, beginning=0)
        if origin.restored is None:
            return 0
        manifest, state = origin.restored
        step = manifest.position // 100
        assert digest(state) == digest(state_at(step))
        assert [barrier.position for barrier in origin.journal.barriers] == [
            100 * later for later in range(step + 1, self.step + 1)
        ]
        return step


@pytest.fixture
def lived() -> Lived:
    return Lived()


def test_a_checkpoint_holds_what_changed_since_the_one_with_its_lowest_bit_cleared(lived: Lived) -> None:
    sizes = []
    for step in range(1, NUMBERS + 2):
        manifest = lived.go()
        number = (step - 1) % NUMBERS
        assert manifest.number == number
        assert [layer.number for layer in manifest.layers] == layers_of(number)
        assert lived.origin() == step
        sizes.append(manifest.state_bytes)
    assert sizes[0] == pytest.approx(sizes[-1], rel=0.01)
    assert max(sizes[1:-1]) < sizes[0] / 2
    assert sizes[1] < sizes[0] / 50
    assert sum(sizes[:-1]) / NUMBERS < sizes[0] / 10
    assert layers_of(13) == [0, 8, 12]


def test_what_is_kept_is_what_a_recovery_may_need(lived: Lived) -> None:
    for _ in range(NUMBERS + 5):
        newest = lived.go()
        kept = [newest]
        while kept[-1].since.checkpoint and len(kept) < lived.keep:
            kept.append(read_manifest_of(kept[-1].since.checkpoint, lived.store.get))
        if newest.before:
            kept.append(read_manifest_of(newest.before, lived.store.get))
        needed = {state_name(layer.name) for manifest in kept for layer in manifest.all_layers}
        assert {name for name in lived.names() if name.endswith(".state")} == needed
        assert len(needed) <= lived.keep + 2 * NUMBERS.bit_length()
        for manifest in kept:
            assert read_checkpoint(manifest.name, lived.store.get)[1]["step"] == manifest.position // 100


@cache
def history() -> list[tuple[str, dict[str, bytes]]]:
    """Name of each checkpoint, and what the store holds after it."""
    lived, found = Lived(keep=2), list[tuple[str, dict[str, bytes]]]()
    for _ in range(NUMBERS + 5):
        lived.go()
        found.append((lived.name, dict(lived.store.objects)))
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(1, NUMBERS + 5), st.data())
def test_damage_of_any_one_object_leaves_an_origin_and_the_next_checkpoint_is_sound(
    steps: int, data: st.DataObject
) -> None:
    lived = Lived(keep=2)
    lived.step, (lived.name, objects) = steps, history()[steps - 1]
    lived.store.objects = dict(objects)
    victim = data.draw(st.sampled_from(sorted(lived.store.objects)))
    getattr(lived.store, data.draw(st.sampled_from(["tear", "corrupt", "lose"])))(victim)
    begun = lived.origin()
    newest = read_manifest_of(lived.name, lived.store.get)
    hit = victim in {state_name(layer.name) for layer in newest.all_layers}
    assert (begun == steps) == (not hit)
    after = lived.go()
    assert lived.origin() == steps + 1
    if hit and victim in {state_name(layer.name) for layer in after.all_layers}:
        pytest.fail("the next checkpoint builds on what is damaged")


def test_damage_of_what_all_build_on_costs_the_generations_since_and_says_so_once(lived: Lived) -> None:
    lived.go(NUMBERS + 6)
    newest = read_manifest_of(lived.name, lived.store.get)
    assert newest.number == 5
    whole = newest.layers[0]
    lived.store.corrupt(state_name(whole.name), 5000)
    asked = list[str]()

    def get(name: str) -> bytes:
        asked.append(name)
        return lived.store.get(name)

    origin = find_origin(lived.journal, get, partition=3, beginning=0)
    assert origin.restored is not None
    assert origin.restored[0].name == newest.before
    assert origin.damages == (
        f"{newest.name}: {whole.name}, which it builds on: the state does not match its checksum",
    )
    assert asked.count(state_name(whole.name)) == 1  # it may be large
    assert lived.go().number == 0
    assert lived.origin() == lived.step


def test_a_state_without_a_manifest_is_deleted_later(lived: Lived) -> None:
    """The process ended between the two."""
    lived.go(5)

    def put(name: str, data: bytes) -> None:
        if name.endswith(".json"):
            raise RuntimeError
        lived.store.put(name, data)

    lived.step += 1
    with pytest.raises(RuntimeError):
        write(lived.snapshot(), put, lived.store.get)
    orphans = [name for name in lived.names() if f"{600:020d}" in name]
    assert len(orphans) == 1
    lived.go()
    assert orphans[0] not in lived.names()
    assert lived.origin() == 7


def test_a_checkpoint_of_which_most_has_changed_is_whole(
    lived: Lived, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived.go(3)
    monkeypatch.setitem(globals(), "state_at", lambda step: {"x": np.arange(50_000) * step})
    manifest = lived.go()
    assert manifest.number == 0
    assert manifest.before == manifest.since.checkpoint


def test_a_checkpoint_made_because_of_its_age_is_whole(lived: Lived) -> None:
    """The one before may be a day old, and the log is not kept for 63 days."""
    lived.go(3)
    snapshot = lived.snapshot()
    aged = replace(snapshot.since, barriers=(Barrier(position=snapshot.position, cause="age"),))
    name = write(replace(snapshot, since=aged), lived.store.put, lived.store.get)
    assert read_manifest_of(name, lived.store.get).number == 0


@pytest.mark.parametrize(
    "change",
    [
        {"number": 3},
        {"number": -1},
        {"number": NUMBERS},
        {"number": "1"},
        {"layers": []},
        {"layers": [[0, "../x", 1, "x"]]},
        {"layers": [[0, f"00004/{100:020d}-0123456789ab", 1, "x"]]},
        {"layers": [[0, f"00003/{900:020d}-0123456789ab", 1, "x"]]},
        {"layers": [[0, f"00003/{100:020d}-0123456789ab", -1, "x"]]},
        {"layers": 7},
        {"before": "../x"},
        {"before": None},
    ],
)
def test_layers_that_cannot_be_true_are_refused(lived: Lived, change: dict[str, Any]) -> None:
    name = lived.go(2).name
    tampered(lived.store, name, change)
    with pytest.raises(CheckpointDamaged):
        read_manifest(lived.store.objects[f"{name}.json"])

"""The newest events of each entity: which an event sees, how far back, and that polls do not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detector.core.alerts import recent
from detector.core.alerts.recent import ALERTED, EVENT_BYTES, HELD, History, Recent, bytes_max, places
from detector.core.codes import RESPECTS
from detector.core.erasure import Erased
from detector.core.state import digest, pack, unpack

BLOCK = 8


def feed(ring: Recent, keys: list[int], pieces: list[int], first: int = 0) -> None:
    """Feed events whose offset is 10 times their number, cut into pieces."""
    start = 0
    for length in [*pieces, len(keys)]:
        part = np.array(keys[start : start + min(length, BLOCK)], dtype=np.uint64)
        numbers = first + start + np.arange(len(part))
        ring.feed(part, 10 * numbers, 60.0 * numbers, 1.0 + numbers, 0.5 * numbers)
        start += len(part)
    while start < len(keys):
        part = np.array(keys[start : start + BLOCK], dtype=np.uint64)
        numbers = first + start + np.arange(len(part))
        ring.feed(part, 10 * numbers, 60.0 * numbers, 1.0 + numbers, 0.5 * numbers)
        start += len(part)


def offsets(history: History) -> list[int]:
    return history.offsets.tolist()


@given(
    keys=st.lists(st.integers(0, 5), max_size=80),
    events_max=st.integers(1, 40),
    pieces=st.lists(st.integers(1, BLOCK), max_size=20),
)
def test_an_event_sees_the_latest_of_its_own_however_polls_cut_the_log(
    keys: list[int], events_max: int, pieces: list[int]
) -> None:
    ring = Recent(events_max, BLOCK)
    feed(ring, keys, pieces)
    for number in range(max(0, len(keys) - BLOCK), len(keys) + 1):  # a block's events, and the next one
        for key in range(1, 6):
            seen = range(max(0, number - events_max), number)
            expected = [10 * n for n in reversed(seen) if keys[n] == key]
            assert offsets(ring.before(key, 60.0 * number, number)) == expected
    assert len(ring.before(0, 0.0)) == 0


@given(keys=st.lists(st.integers(0, 5), max_size=60), size=st.integers(1, 40))
@example(keys=[1, *[2] * 24], size=25)  # the block more that a ring holds is seen by a larger one
def test_a_state_restores_the_same_ring_also_of_another_size(keys: list[int], size: int) -> None:
    ring, other = Recent(24, BLOCK), Recent(size, BLOCK)
    feed(ring, keys, [])
    state = unpack(pack({"recent": ring.to_state()}))["recent"]
    other.load(state)
    held = range(max(0, len(keys) - size, len(keys) - places(24, BLOCK)), len(keys))
    for key in range(1, 6):
        assert offsets(other.before(key, 0.0)) == [10 * n for n in reversed(held) if keys[n] == key]
    same = Recent(24, BLOCK)
    same.load(state)
    feed(same, [1, 2, 0, 1], [], len(keys))
    feed(ring, [1, 2, 0, 1], [], len(keys))
    assert digest(same.to_state()) == digest(ring.to_state())
    assert offsets(same.before(1, 0.0)) == offsets(ring.before(1, 0.0))


def test_a_larger_ring_does_not_claim_what_the_smaller_one_had_dropped() -> None:
    ring, larger, again = Recent(24, BLOCK), Recent(64, BLOCK), Recent(64, BLOCK)
    feed(ring, [3] * 40, [])
    larger.load(unpack(pack({"recent": ring.to_state()}))["recent"])
    assert larger.before(3, 2400.0).since == 60.0 * 8
    feed(larger, [3] * 4, [], 40)
    again.load(unpack(pack({"recent": larger.to_state()}))["recent"])
    for one in (larger, again):
        assert offsets(one.before(3, 2640.0)) == [10 * n for n in reversed(range(8, 44))]
        assert one.before(3, 2640.0).since == 60.0 * 8


def test_what_an_event_sees_is_offset_time_amount_and_score() -> None:
    ring = Recent(16, BLOCK)
    feed(ring, [3, 4, 3], [])
    found = ring.before(3, 600.0)
    assert offsets(found) == [20, 0]
    assert found.times.tolist() == [120.0, 0.0]
    assert found.amounts.tolist() == [3.0, 1.0]
    assert found.scores.tolist() == [1.0, 0.0]


def test_what_became_of_an_event_is_known_and_part_of_the_state() -> None:
    ring, unmarked = Recent(16, BLOCK), Recent(16, BLOCK)
    for one in (ring, unmarked):
        feed(one, [3, 4, 3, 0], [])
    ring.mark(0, HELD)
    ring.mark(2, HELD)
    ring.mark(2, ALERTED)
    ring.mark(3, ALERTED)  # it has no entity
    found = ring.before(3, 600.0)
    assert (offsets(found), found.fates.tolist()) == ([20, 0], [ALERTED, HELD])
    assert ring.before(4, 600.0).fates.tolist() == [0]
    assert digest(ring.to_state()) != digest(unmarked.to_state())
    other = Recent(16, BLOCK)
    other.load(unpack(pack(ring.to_state())))
    assert other.before(3, 600.0).fates.tolist() == [ALERTED, HELD]
    assert digest(other.to_state()) == digest(ring.to_state())


@given(
    offset=st.integers(0, 2**47 - 1),
    respect=st.integers(0, len(RESPECTS) - 1),
    fates=st.lists(st.sampled_from([HELD, ALERTED]), max_size=3),
)
def test_what_stands_in_the_fraction_of_an_offset_is_read_back(
    offset: int, respect: int, fates: list[int]
) -> None:
    ring, one = Recent(16, BLOCK), np.zeros(1)
    keys, offsets = np.array([3], dtype=np.uint64), np.array([offset])
    ring.feed(keys, offsets, one, one, one, respects=np.array([respect]))
    for fate in fates:
        ring.mark(0, fate)
    found = ring.before(3, 60.0)
    assert found.offsets.tolist() == [offset]
    assert found.respects.tolist() == [respect]
    assert found.fates.tolist() == [fates[-1] if fates else 0]


def test_an_entity_can_be_forgotten() -> None:
    ring, other = Recent(16, BLOCK), Recent(16, BLOCK)
    feed(ring, [3, 4, 3, 4], [])
    ring.erase(Erased(np.array([3], dtype=np.uint64), np.zeros(0, dtype=np.int64)))
    assert offsets(ring.before(3, 600.0)) == []
    assert offsets(ring.before(4, 600.0)) == [30, 10]
    feed(other, [0, 4, 0, 4], [])
    assert digest(ring.to_state()) == digest(other.to_state())


def test_it_says_since_when_all_events_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Recent(16, BLOCK)
    feed(ring, [3] * 16, [])
    assert ring.before(3, 960.0).since == -np.inf  # the shard has had no others
    feed(ring, [4] * 8, [], 16)
    assert ring.before(3, 1440.0).since == 60.0 * 8
    monkeypatch.setattr(recent, "HISTORY_MAX", 4)
    found = ring.before(3, 1440.0)
    assert offsets(found) == [150, 140, 130, 120]
    assert found.since == 60.0 * 12


@pytest.mark.parametrize(
    "wrong",
    [
        {"used": np.array([99])},
        {"keys": np.zeros(3, dtype=np.uint64)},
        {"slots": 0},
    ],
    ids=["beyond", "torn", "no places"],
)
def test_a_state_that_is_no_ring_is_refused(wrong: dict[str, Any]) -> None:
    ring = Recent(16, BLOCK)
    feed(ring, [3], [])
    state = unpack(pack(ring.to_state()))
    with pytest.raises(ValueError, match="a ring"):
        Recent(16, BLOCK).load({**state, "events": state["events"] | wrong})


def test_bytes_are_those_of_its_arrays() -> None:
    ring = Recent(1000, BLOCK)
    held = sum(array.nbytes for array in vars(ring).values() if isinstance(array, np.ndarray))
    assert held <= bytes_max(1000, BLOCK)[0] + 64
    assert bytes_max(1000, BLOCK)[0] == 1008 * EVENT_BYTES


@pytest.mark.parametrize("begin", [-1, 2], ids=["negative", "beyond"])
def test_a_ring_that_begins_elsewhere_is_refused(begin: int) -> None:
    ring = Recent(16, BLOCK)
    feed(ring, [3], [])
    with pytest.raises(ValueError, match="a ring"):
        Recent(16, BLOCK).load({**unpack(pack(ring.to_state())), "begin": begin})

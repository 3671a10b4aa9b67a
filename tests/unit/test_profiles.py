"""Profiles: bounded, read as they were before an event, independent of how the log is cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.core.features.key_table import SLOTS_MIN, WAYS
from detector.core.features.profile_table import DOUBTED_FROM, HISTORY_MIN, PRIOR_WEIGHT, ProfileTable
from detector.core.state import copied, digest, pack, rows_hash, unpack

DAY_S = 86_400.0
HALF_LIVES_S = np.array([DAY_S, 7 * DAY_S])
START_S = 1_700_000_000.0

Event = tuple[int, float, float]  # key, time, value


def table(numerics: int = 1, keys_max: int = 1024, clip_spreads: float = 2.0) -> ProfileTable:
    made = ProfileTable(HALF_LIVES_S, numerics, keys_max, clip_spreads)
    made.reserve(256)
    return made


def observe(profiles: ProfileTable, events: Sequence[Event], prior: float = 1.0) -> NDArray[np.float32]:
    context = np.full((len(events), profiles.width), -7.0, dtype=np.float32)
    profiles.observe(
        np.array([key for key, _, _ in events], dtype=np.uint64),
        np.array([time for _, time, _ in events], dtype=np.float64),
        np.array([[value] * profiles.numerics for _, _, value in events], dtype=np.float64).reshape(
            len(events), profiles.numerics
        ),
        np.full(2 * profiles.numerics, prior),
        context,
    )
    return context


def same(left: NDArray[np.float32], right: NDArray[np.float32]) -> bool:
    return left.tobytes() == right.tobytes()


@dataclass
class Plain:
    """A profile of one key, slowly and as the text describes it; one numeric."""

    prior: float
    clip_spreads: float
    last: float | None = None
    counts: list[float] = field(default_factory=lambda: [0.0, 0.0])
    means: list[float] = field(default_factory=lambda: [math.nan, math.nan])
    upper: list[float] = field(default_factory=lambda: [0.0, 0.0])
    lower: list[float] = field(default_factory=lambda: [0.0, 0.0])
    there: float = 0.0

    def observe(self, time: float, value: float) -> list[float]:
        gap = math.nan if self.last is None else max(0.0, time - self.last)
        if self.last is not None:
            self.counts = [
                count * 0.5 ** (gap / half_life)
                for count, half_life in zip(self.counts, HALF_LIVES_S, strict=True)
            ]
        before = [gap, *self.counts, *self.means, *self.upper, *self.lower, self.there]
        self.last = time if self.last is None else max(self.last, time)
        counts, there = self.counts, self.there
        self.there += ((not math.isnan(value)) - there) / (counts[-1] + 1)
        self.counts = [count + 1 for count in counts]
        for h, events in enumerate(counts):
            count = events * there
            if not math.isnan(value):
                if math.isnan(self.means[h]):
                    self.means[h] = value
                step = value - self.means[h]
                trust = 1.0
                if count > HISTORY_MIN:
                    own = self.upper[h] if step > 0 else self.lower[h]
                    shrunk = (count * own + PRIOR_WEIGHT * self.prior) / (count + PRIOR_WEIGHT)
                    bound = self.clip_spreads * math.sqrt(shrunk)
                    trust = min(1.0, DOUBTED_FROM * bound / max(abs(step), 1e-300)) ** 2
                    step = max(-bound, min(bound, step))
                share = trust / (count + 1)
                self.means[h] += share * step
                for sides, here in ((self.upper, step > 0), (self.lower, step <= 0)):
                    square = 2 * step * step if here else 0.0
                    sides[h] = (1 - share) * sides[h] + share * (1 - share) * square
        return before


events_of_few_keys = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.floats(-2 * DAY_S, 20 * DAY_S).map(lambda offset: START_S + offset),
        st.floats(-5, 5) | st.just(math.nan),
    ),
    max_size=40,
)


@given(events=events_of_few_keys, prior=st.floats(0.01, 4), clip_spreads=st.floats(0.5, 5))
@settings(max_examples=60, deadline=None)
def test_decay_means_and_spreads_follow_their_definition(
    events: list[Event], prior: float, clip_spreads: float
) -> None:
    profiles = table(clip_spreads=clip_spreads)
    context = observe(profiles, events, prior)
    plain: dict[int, Plain] = {}
    for (key, time, value), row in zip(events, context, strict=True):
        if key == 0:
            expected = [math.nan] + [0.0] * (profiles.width - 1)
        else:
            expected = plain.setdefault(key, Plain(prior, clip_spreads)).observe(time, value)
        np.testing.assert_allclose(row, expected, rtol=2e-3, atol=2e-3)
    assert len(profiles) == len(plain)


@given(events=events_of_few_keys, data=st.data())
@settings(max_examples=40, deadline=None)
def test_context_and_state_do_not_depend_on_how_the_sequence_is_cut(
    events: list[Event], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=6)))
    whole, cut = table(), table()
    together = observe(whole, events)
    pieces = [
        observe(cut, events[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(events)], strict=True)
    ]
    assert same(together, np.concatenate(pieces))
    assert pack(whole.to_state().rows()) == pack(cut.to_state().rows())


def test_context_is_as_before_the_event() -> None:
    profiles = table()
    first, second, third = observe(
        profiles, [(5, START_S, 3.0), (5, START_S + DAY_S, 3.0), (6, START_S + DAY_S, 3.0)]
    )
    for unseen in (first, third):
        assert math.isnan(unseen[0])
        assert not np.nan_to_num(unseen[1:]).any()
    assert second[0] == DAY_S
    assert second[1:5] == pytest.approx([0.5, 0.5 ** (1 / 7), 3.0, 3.0])


def test_a_context_is_written_whole_for_events_without_a_key() -> None:
    profiles = table()
    (row,) = observe(profiles, [(0, START_S, 3.0)])
    assert math.isnan(row[0])
    assert not np.nan_to_num(row[1:]).any()
    assert len(profiles) == 0


def test_a_late_event_decays_nothing_and_keeps_the_last_time() -> None:
    profiles = table(numerics=0)
    observe(profiles, [(5, START_S, 0.0)])
    (late,) = observe(profiles, [(5, START_S - DAY_S, 0.0)])
    assert late[0] == 0.0
    assert late[1] == 1.0
    (now,) = observe(profiles, [(5, START_S + DAY_S, 0.0)])
    assert now[0] == DAY_S


@pytest.mark.parametrize("sign", [1, -1])
def test_an_update_of_a_profile_with_history_is_clipped(sign: int) -> None:
    rng = np.random.default_rng(3)
    usual = [(5, START_S + 60.0 * n, float(value)) for n, value in enumerate(rng.normal(0, 0.1, 50))]
    moved = []
    for far in (0.5, 1.0, 100.0, 1e6):
        profiles = table(clip_spreads=2.0)
        observe(profiles, usual, prior=0.01)
        (before,) = observe(profiles, [(5, START_S + 3000.0, sign * far)], prior=0.01)
        (after,) = observe(profiles, [(5, START_S + 3000.0, 0.0)], prior=0.01)
        moved.append(sign * float(after[3] - before[3]))
    assert moved == sorted(moved, reverse=True), "the farther out, the less is learned"
    assert 0.0 <= moved[-1] < moved[0] <= 2.0 * 0.15 / 50


def test_a_young_profile_is_not_clipped() -> None:
    profiles = table()
    observe(profiles, [(5, START_S, 0.0)] * 3)
    observe(profiles, [(5, START_S, 400.0)])
    (after,) = observe(profiles, [(5, START_S, 0.0)])
    assert after[3] == pytest.approx(100.0)


def test_a_missing_value_changes_no_mean() -> None:
    profiles = table()
    observe(profiles, [(5, START_S, 2.0), (5, START_S, math.nan)])
    (after,) = observe(profiles, [(5, START_S, 2.0)])
    assert after[1] == 2.0
    assert after[3] == 2.0


def test_a_mean_starts_at_the_first_value_that_is_present() -> None:
    profiles = table()
    observe(profiles, [(5, START_S, math.nan)] * 20 + [(5, START_S, 7.0)])
    (after,) = observe(profiles, [(5, START_S, 7.0)])
    assert after[3] == 7.0


def test_spreads_of_the_two_sides_are_apart() -> None:
    rng = np.random.default_rng(5)
    skewed = rng.exponential(1.0, 4000)
    profiles = table(clip_spreads=100.0)
    observe(profiles, [(5, START_S, float(value)) for value in skewed])
    (row,) = observe(profiles, [(5, START_S, 1.0)])
    mean, upper, lower = row[4], row[6], row[8]
    above, below = skewed[skewed > mean] - mean, skewed[skewed <= mean] - mean
    # The mean was still moving at first, hence no more than a tenth.
    assert upper == pytest.approx(2 * np.square(above).sum() / len(skewed), rel=0.1)
    assert lower == pytest.approx(2 * np.square(below).sum() / len(skewed), rel=0.1)
    assert upper > 2 * lower


def test_growth_keeps_every_profile() -> None:
    rng = np.random.default_rng(1)
    keys = rng.integers(1, 1 << 63, 500).tolist()
    profiles = table(keys_max=1 << 16)
    observe(profiles, [(key, START_S, float(key % 97)) for key in keys])
    assert len(profiles) == len(keys)
    slots = profiles.to_state().rows()["slots"]
    for room in (1000, 20_000, 10**9):
        profiles.reserve(room)
        assert profiles.to_state().rows()["slots"] > slots
        slots = profiles.to_state().rows()["slots"]
        assert len(profiles) == len(keys)
    assert slots == 1 << 17  # a bound is a bound, whatever is asked for
    context = observe(profiles, [(key, START_S + 9000, 0.0) for key in keys])
    assert not np.isnan(context[:, 0]).any()
    np.testing.assert_array_equal(context[:, 3], [key % 97 for key in keys])


def test_few_keys_are_lost_before_the_bound_is_reached() -> None:
    rng = np.random.default_rng(1)
    keys = rng.integers(1, 1 << 63, 16_384).tolist()
    profiles = table(numerics=0, keys_max=16_384)
    for start in range(0, len(keys), 256):
        profiles.reserve(256)
        observe(profiles, [(key, START_S + start, 0.0) for key in keys[start : start + 256]])
    assert len(keys) * 0.995 < len(profiles) <= len(keys)


def test_the_table_is_bounded_and_the_longest_unseen_of_a_bucket_goes() -> None:
    profiles = table(numerics=0, keys_max=1024)
    bound = 2 * 1024
    bucket = [((n + 1) * (bound // WAYS)) << 7 for n in range(WAYS + 1)]  # all in one bucket of any size
    for age, key in enumerate(bucket[:WAYS]):
        observe(profiles, [(key, START_S + age, 0.0)])
    observe(profiles, [(bucket[0], START_S + 100, 0.0)])  # the oldest is seen again
    observe(profiles, [(bucket[WAYS], START_S + 101, 0.0)])
    assert len(profiles) == WAYS
    seen = ~np.isnan(
        observe(profiles, [(key, START_S + 102, 0.0) for key in bucket if key != bucket[1]])[:, 0]
    )
    assert seen.all()
    assert np.isnan(observe(profiles, [(bucket[1], START_S + 103, 0.0)])[0, 0])


def test_any_number_of_keys_fits_in_the_bound() -> None:
    profiles = table(numerics=0, keys_max=1024)
    rng = np.random.default_rng(2)
    for step in range(40):
        profiles.reserve(256)
        observe(profiles, [(key, START_S + step, 0.0) for key in rng.integers(1, 1 << 63, 256).tolist()])
    state = profiles.to_state().rows()
    assert len(profiles) == len(state["keys"]) <= 2 * 1024
    assert state["slots"] == 2 * 1024
    assert (state["last"] > START_S + 20).mean() > 0.7  # what goes is old


def test_an_evicted_key_starts_again() -> None:
    profiles = table(keys_max=1024)
    bucket = [((n + 1) * SLOTS_MIN) << 7 for n in range(WAYS + 1)]
    observe(profiles, [(key, START_S + n, 50.0) for n, key in enumerate(bucket)])
    (row,) = observe(profiles, [(bucket[0], START_S + 99, 1.0)])
    assert math.isnan(row[0])
    assert not np.nan_to_num(row[1:]).any()


@pytest.mark.parametrize("numerics", [0, 2])
def test_a_table_continues_from_its_state(numerics: int) -> None:
    rng = np.random.default_rng(4)
    hashes = np.append(rng.integers(1, 1 << 63, 2999), 0)
    events = [
        (int(key), START_S + 100.0 * n, float(value))
        for n, (key, value) in enumerate(
            zip(hashes[rng.integers(0, 3000, 4000)], rng.normal(0, 1, 4000), strict=True)
        )
    ]
    first = table(numerics, keys_max=4096)
    first.reserve(2000)
    observe(first, events[:2000])
    second = table(numerics, keys_max=4096)
    second.load(unpack(pack(first.to_state().rows())))
    assert len(first) == len(second) > 1000
    for profiles in (first, second):
        profiles.reserve(2000)
    assert same(observe(first, events[2000:]), observe(second, events[2000:]))
    assert pack(first.to_state().rows()) == pack(second.to_state().rows())


@given(
    pieces=st.lists(
        st.lists(st.tuples(st.integers(0, 30), st.integers(-9, 9), st.floats(-1e6, 1e6)), max_size=40),
        max_size=8,
    ),
    room=st.integers(0, 4000),
)
@settings(max_examples=40, deadline=None)
def test_the_hash_that_a_table_keeps_is_that_of_its_rows(
    pieces: list[list[tuple[int, int, float]]], room: int
) -> None:
    kept = table(keys_max=1024)
    for number, piece in enumerate(pieces):
        # All in one bucket of the smallest size, so that some go.
        now = START_S + 60.0 * number
        events = [(((key + 1) * SLOTS_MIN) << 7, now + late, value) for key, late, value in piece]
        observe(kept, [(0, START_S, 0.0), *events])
        kept.reserve(room)
        rows = kept.to_state().rows()
        assert kept.to_state().hashed == rows_hash(rows["keys"], rows["last"], rows["stats"])
    again = table(keys_max=1024)
    again.load(kept.to_state().rows())
    assert again.to_state().hashed == kept.to_state().hashed


def test_every_part_of_a_row_is_in_its_hash() -> None:
    profiles = table()
    observe(profiles, [(key, START_S, float(key)) for key in range(1, 9)])
    rows = profiles.to_state().rows()
    before = rows_hash(rows["keys"], rows["last"], rows["stats"])
    for name in ("keys", "last", "stats"):
        for place in range(rows[name].size):
            changed = {**rows, name: rows[name].copy()}
            changed[name].reshape(-1).view(np.uint8)[place * rows[name].itemsize] ^= 1
            assert rows_hash(changed["keys"], changed["last"], changed["stats"]) != before
    swapped = {**rows, "stats": rows["stats"][::-1].copy()}
    assert rows_hash(swapped["keys"], swapped["last"], swapped["stats"]) != before


def test_a_state_has_one_hash_with_tables_and_with_copies() -> None:
    profiles = table()
    observe(profiles, [(key, START_S, float(key)) for key in range(1, 9)])
    tree = {"tables": {"0": profiles.to_state()}, "name": "x", "array": np.arange(3)}
    whole = copied(tree)
    observe(profiles, [(3, START_S + 60, 5.0)])
    assert digest(whole) == digest(unpack(pack(whole)))
    assert digest(whole) != digest({**tree, "tables": {"0": profiles.to_state()}})
    later = {**tree, "tables": {"0": profiles.to_state()}}
    assert digest(later) == digest(copied(later)) == digest(unpack(pack(later)))


def withdrawn(
    profiles: ProfileTable, events: Sequence[Event], context: NDArray[np.float32], strange: list[bool]
) -> None:
    profiles.withdraw(
        np.array([key for key, _, _ in events], dtype=np.uint64),
        np.array([[value] for _, _, value in events]),
        np.ones(2),
        context,
        np.array(strange, dtype=bool),
    )


@given(data=st.data(), events=events_of_few_keys)
@settings(max_examples=60, deadline=None)
def test_what_is_withdrawn_of_a_young_key_is_as_if_it_had_been_missing(
    data: st.DataObject, events: list[Event]
) -> None:
    strange = data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)))
    kept = table()
    context = observe(kept, events)
    young = [bool(row[len(HALF_LIVES_S)] <= HISTORY_MIN) for row in context]
    withdrawn(kept, events, context, strange)
    missing = table()
    observe(
        missing,
        [
            (key, time, math.nan if odd and early else value)
            for (key, time, value), odd, early in zip(events, strange, young, strict=True)
        ],
    )
    rows, wanted = kept.to_state().rows(), missing.to_state().rows()
    for name in ("keys", "last", "stats"):
        np.testing.assert_array_equal(rows[name], wanted[name])
    assert kept.hashed == missing.hashed


def test_what_is_admitted_later_counts_in_the_mean_once() -> None:
    profiles = table()
    events = [(7, START_S + 60.0 * n, value) for n, value in enumerate((1.0, 4.0, 1.0))]
    context = observe(profiles, events)
    withdrawn(profiles, events, context, [False, True, False])
    counts, mean = profiles.row(7)[: len(HALF_LIVES_S)], profiles.row(7)[len(HALF_LIVES_S)]
    assert mean == 1.0
    profiles.admit(np.array([7], dtype=np.uint64), np.array([[4.0]]), np.ones(2), context[1:2])
    row = profiles.row(7)
    assert row[: len(HALF_LIVES_S)].tolist() == counts.tolist()
    assert row[len(HALF_LIVES_S)] == pytest.approx(2.0, rel=1e-3)
    assert profiles.hashed == rows_hash(
        *(profiles.to_state().rows()[name] for name in ("keys", "last", "stats"))
    )


def test_a_value_that_is_seldom_there_is_followed_by_the_events_that_have_it() -> None:
    """A way in km is there in one of four expenses; its mean stayed at the first one, and its spread at 0."""
    ways = [30.0, 90.0, 60.0, 120.0] * 10
    events = [
        (5, START_S + 60.0 * (4 * n + k), way if k == 0 else math.nan)
        for n, way in enumerate(ways)
        for k in range(4)
    ]
    sparse = observe(table(), events)[-4]
    dense = observe(table(), [one for one in events if not math.isnan(one[2])])[-1]
    assert sparse[-1] == pytest.approx(0.25, abs=0.01)
    assert dense[-1] == 1.0
    np.testing.assert_allclose(sparse[3:-1], dense[3:-1], rtol=0.05)

"""Inputs of the encoder: finite, independent of other rows, and as their names state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.config.tree import Event
from detector.config.tree import Features as FeaturesConfig
from detector.core.events.block_reader import Events
from detector.core.events.parser import ParsedEvent
from detector.core.features import (
    DAY_S,
    FRAUD,
    Features,
    FraudRates,
    KeyKind,
    Layout,
    Profiles,
    Rows,
    Units,
    empty_rows,
    swap,
    to_rows,
)
from detector.core.features.feature_kernels import DEVIATION_MAX, LEVEL_SPREAD, SPREAD_MIN, SURPRISE_PRIOR
from detector.core.features.profile_table import PRIOR_WEIGHT
from detector.core.records import Record
from detector.core.state import pack, unpack
from tests.keys import key_of

START_S = 1_699_920_000.0  # midnight, a Tuesday
BLOCK = 32


def schema(entities: int = 2, numerics: int = 2, categories: int = 1, texts: int = 1) -> Event:
    value = {"optional": True}
    return Event.model_validate(
        {
            "id": "id",
            "time": {"path": "time"},
            "entities": [{"name": f"e{n}", "path": f"e{n}", **value} for n in range(entities)],
            "fields": [
                *({"name": f"n{n}", "path": f"n{n}", "type": "numeric"} for n in range(numerics)),
                *({"name": f"c{n}", "path": f"c{n}", "type": "categorical"} for n in range(categories)),
                *({"name": f"t{n}", "path": f"t{n}", "type": "text"} for n in range(texts)),
            ],
        }
    )


CONFIG = FeaturesConfig(half_lives=(DAY_S, 7 * DAY_S))
LAYOUT = Layout(schema(), CONFIG)


def event(
    time: float = START_S,
    entities: tuple[int, ...] = (11, 21),
    numerics: tuple[float, ...] = (1.0, 2.0),
    categories: tuple[int, ...] = (31,),
    grams: tuple[tuple[int, ...], ...] = ((1, 2),),
) -> ParsedEvent:
    keys, kinds = tuple(map(key_of, entities)), tuple(map(key_of, categories))
    return ParsedEvent(Record(0, 0, None, b""), "id", time, keys, numerics, kinds, grams, (), True, 0)


def columns(events: list[ParsedEvent], layout: Layout) -> Events:
    stacked = Events.blank(
        [event.record for event in events],
        entities=len(layout.entities),
        numerics=len(layout.numerics),
        categories=len(layout.categories),
        texts=len(layout.texts),
        points=len(layout.points),
    )
    for row, event in enumerate(events):
        stacked.put(row, event)
    return stacked


def rows_of(events: list[ParsedEvent], layout: Layout = LAYOUT, units: Units | None = None) -> Rows:
    return to_rows(columns(events, layout), layout, units or Units(np.ones(len(layout.numerics))))


finite = st.floats(allow_nan=False, allow_infinity=False)
values = finite | st.floats(-100, 100) | st.just(math.nan)
hashes = st.sampled_from([0, 1, 5, (1 << 64) - 1])
events = st.lists(
    st.builds(
        event,
        st.floats(0, 7e9) | st.floats(START_S, START_S + 30 * DAY_S),
        st.tuples(hashes, hashes),
        st.tuples(values, values),
        st.tuples(hashes),
        st.tuples(st.sampled_from([(), (7,), (1, (1 << 32) - 1)])),
    ),
    min_size=1,
    max_size=BLOCK,
)


def observed(given_events: list[ParsedEvent], units: Units | None = None) -> Rows:
    rows = rows_of(given_events, units=units)
    rows.fraud_rates[:] = np.arange(rows.fraud_rates.size).reshape(rows.fraud_rates.shape) % 97
    profiles = Profiles(LAYOUT, CONFIG)
    profiles.reserve(len(rows))
    profiles.observe(rows)
    return rows


@given(
    given_events=events,
    unit=st.tuples(st.floats(5e-324, 1e308), st.floats(1e-3, 1e3)),
)
@example(given_events=[event(numerics=(1.7e308, -1.7e308))] * 3, unit=(1e-3, 1e-3))
@settings(max_examples=100, deadline=None)
def test_inputs_are_finite_whatever_the_events(
    given_events: list[ParsedEvent], unit: tuple[float, float]
) -> None:
    features = Features(LAYOUT)
    inputs = features.compute(observed(given_events, Units(np.array(unit))))
    assert inputs.shape == (len(given_events), len(features)) == (len(given_events), len(features.names))
    assert inputs.dtype == np.float32
    assert np.isfinite(inputs).all()


@given(given_events=events, others=events, data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_rows_inputs_do_not_depend_on_the_others(
    given_events: list[ParsedEvent], others: list[ParsedEvent], data: st.DataObject
) -> None:
    features = Features(LAYOUT)
    mine, theirs = observed(given_events), observed(others)
    block, other_block = empty_rows(BLOCK, LAYOUT), empty_rows(BLOCK, LAYOUT)
    places = data.draw(st.permutations(range(BLOCK)))[: len(mine)]
    other_block.put(slice(0, len(theirs)), theirs)
    for rows in (block, other_block):
        rows.put(np.array(places), mine)
    one, two = features.compute(block)[places], features.compute(other_block)[places]
    assert one.tobytes() == two.tobytes()


def compute_by_columns(rows: Rows, layout: Layout) -> NDArray[np.float32]:
    """The same as `Features.compute` but for habits and ratios, whole columns at a time."""
    first, profiled = layout.kinds[0], [layout.kind_of(key) for key in (None, *range(len(layout.entities)))]
    profiled = [kind for kind in profiled if kind.numerics]
    numerics, memories = first.numerics, first.memories
    context = [rows.context[:, kind.columns].astype(np.float64) for kind in layout.kinds]
    ends = 1 + memories * (1 + 3 * numerics)
    means, upper, lower = np.split(context[0][:, 1 + memories : ends], 3, axis=1)
    shift = np.nan_to_num(means[:, :numerics] - means[:, (memories - 1) * numerics :], nan=0.0)
    known = context[0][:, memories : memories + 1] >= 2.0
    at = slice((memories - 1) * numerics, None)
    priors = [
        np.where(known, np.maximum(side[:, at], np.float32(SPREAD_MIN**2)), 1.0) for side in (upper, lower)
    ]

    def deviations(kind: KeyKind) -> NDArray[np.float64]:
        own = rows.context[:, kind.columns].astype(np.float64)
        weight = np.repeat(own[:, 1 : 1 + memories], numerics, axis=1)
        weight *= np.tile(own[:, ends : ends + numerics], memories)
        mean, upper, lower = np.split(own[:, 1 + memories : ends], 3, axis=1)
        values = rows.numerics if kind is first else rows.numerics - shift
        difference = np.tile(values, memories) - mean
        above = difference > 0.0
        prior = np.where(above, *(np.tile(side, memories) for side in priors))
        variance = np.where(above, upper, lower)
        shrunk = (weight * variance + PRIOR_WEIGHT * prior) / (weight + PRIOR_WEIGHT)
        floor = np.maximum(SPREAD_MIN, LEVEL_SPREAD * (np.abs(mean) / np.sqrt(1.0 + mean * mean)))
        deviation = difference / np.maximum(np.sqrt(shrunk), floor)
        deviation = np.where(weight > 0, deviation * np.sqrt(weight / (weight + 1.0)), 0.0)
        return np.clip(np.nan_to_num(deviation, nan=0.0), -DEVIATION_MAX, DEVIATION_MAX)

    def count(kind: KeyKind) -> NDArray[np.float64]:
        return rows.context[:, kind.start + kind.memories].astype(np.float64)

    entities, surprises = len(layout.entities), np.zeros(rows.categories.shape)
    by_keys = {(kind.left, kind.right): count(kind) for kind in layout.kinds}
    for c in range(len(layout.categories)):
        share = (by_keys[entities + c, None] + SURPRISE_PRIOR) / (by_keys[None, None] + 1.0)
        if entities:
            share = (by_keys[0, entities + c] + share) / (by_keys[0, None] + 1.0)
        surprises[:, c] = np.where(rows.categories[:, c] == 0, 0.0, -np.log(np.minimum(share, 1.0)))
    own = [deviations(kind) for kind in profiled[1:]]
    parts: list[NDArray[Any]] = [np.nan_to_num(rows.numerics, nan=0.0)]
    parts += [one[:, at] for one in own] + [surprises] + [one[:, : at.start] for one in own]
    parts += [deviations(kind) for kind in profiled[:1]] + [np.isnan(rows.numerics)]
    for kind in layout.kinds[1:]:
        gap, counts = rows.context[:, kind.start :][:, :1], rows.context[:, kind.start + 1 :]
        never = np.isnan(gap)
        longest = np.where(never, layout.half_lives_s[-1], gap)
        parts += [np.log1p(counts[:, : kind.memories]), np.log1p(longest), never]
    phase = 2.0 * np.pi * (rows.clocks[:, None] / layout.cycles_s)
    parts += [np.sin(phase), np.cos(phase), rows.fraud_rates[:, : layout.doubt]]
    return np.concatenate(parts, axis=1, dtype=np.float32, casting="unsafe")


def without_habits(layout: Layout, rows: Rows) -> NDArray[np.float32]:
    features = Features(layout)
    kept = [
        (not column.unusual or column.source == "surprise") and column.source not in ("heat", "ratio")
        for column in features.columns
    ]
    return features.compute(rows)[:, kept]


@given(given_events=events, unit=st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)))
@settings(max_examples=100, deadline=None)
def test_inputs_equal_the_reference_to_the_last_bit(
    given_events: list[ParsedEvent], unit: tuple[float, float]
) -> None:
    rows = observed(given_events, Units(np.array(unit)))
    assert without_habits(LAYOUT, rows).tobytes() == compute_by_columns(rows, LAYOUT).tobytes()


@pytest.mark.parametrize("shape", [(0, 1, 0, 0), (1, 0, 0, 0), (0, 0, 2, 0), (0, 0, 0, 1), (3, 2, 2, 1)])
@pytest.mark.parametrize("half_lives", [(DAY_S,), (DAY_S, 7 * DAY_S, 30 * DAY_S)])
def test_inputs_equal_the_reference_for_every_schema(
    shape: tuple[int, ...], half_lives: tuple[float, ...]
) -> None:
    layout = Layout(schema(*shape), FeaturesConfig(half_lives=half_lives))
    rng = np.random.default_rng(0)
    rows = empty_rows(100, layout)
    rows.clocks[:] = START_S + rng.uniform(0, 30 * DAY_S, 100)
    rows.numerics[:] = rng.normal(0, 2, rows.numerics.shape)
    rows.categories[:] = rng.integers(0, 3, rows.categories.shape)
    rows.context[:] = rng.exponential(2.0, rows.context.shape)
    rows.fraud_rates[:] = rng.random(rows.fraud_rates.shape)
    for array in (rows.numerics, rows.context):
        array[rng.random(array.shape) < 0.1] = np.nan
    for kind in layout.kinds:  # only gaps and means can be missing
        never_missing = slice(kind.start + 1, kind.start + 1 + kind.memories)
        rows.context[:, never_missing] = np.nan_to_num(rows.context[:, never_missing])
        spreads = slice(kind.start + 1 + kind.memories * (1 + kind.numerics), kind.stop)
        rows.context[:, spreads] = np.nan_to_num(rows.context[:, spreads])
    for habit in (*layout.habits, *layout.heats):
        rows.context[:, habit.columns] = np.nan_to_num(rows.context[:, habit.columns])
    assert without_habits(layout, rows).tobytes() == compute_by_columns(rows, layout).tobytes()
    assert np.isfinite(Features(layout).compute(rows)).all()


def test_every_input_has_a_name_of_its_own() -> None:
    for shape in ((0, 1, 0, 0), (1, 0, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (3, 2, 2, 1)):
        layout = Layout(schema(*shape), CONFIG)
        features = Features(layout)
        assert len(set(features.names)) == len(features)
        assert features.compute(empty_rows(3, layout)).shape == (3, len(features))


def test_deviations_are_distances_in_the_profiles_own_spreads() -> None:
    layout = Layout(schema(entities=1, numerics=1, categories=0, texts=0), CONFIG)
    features = Features(layout)
    rows = empty_rows(4, layout)
    everything, own = layout.kinds
    weight, mean, upper, lower, population = 6.0, 2.0, 4.0, 0.25, 9.0
    for kind, sides in ((everything, (population, population)), (own, (upper, lower))):
        context = rows.context[:, kind.columns]
        context[:] = [60.0, weight, weight, mean, mean, sides[0], sides[0], sides[1], sides[1], 1.0]
    rows.context[3, own.columns] = [math.nan, *[0.0] * 9]  # never seen
    rows.numerics[:, 0] = [5.0, 1.0, math.nan, 5.0]
    column = features.names.index("n0 against e0 1d")
    spread_above = math.sqrt((weight * upper + PRIOR_WEIGHT * population) / (weight + PRIOR_WEIGHT))
    spread_below = math.sqrt((weight * lower + PRIOR_WEIGHT * population) / (weight + PRIOR_WEIGHT))
    sure = math.sqrt(weight / (weight + 1))
    expected = [3.0 / spread_above * sure, -1.0 / spread_below * sure, 0.0, 0.0]
    assert features.compute(rows)[:, column] == pytest.approx(expected, rel=1e-5)
    against_all = features.compute(rows)[:, features.names.index("n0 against all 7d")]
    assert against_all[:2] == pytest.approx([3.0 / 3.0 * sure, -1.0 / 3.0 * sure], rel=1e-5)
    missing = features.compute(rows)[:, features.names.index("n0 missing")]
    assert missing.tolist() == [0, 0, 1, 0]


def deviation_of_customer_1(risen: range) -> float:
    """From its profile on the last of 16 days, of which the last two have higher prices for some."""
    rng = np.random.default_rng(0)
    made = [
        event(
            START_S + (day + customer / 100) * DAY_S,
            entities=(customer << 10, 0),  # keys are hashes: their low bits choose nothing
            numerics=(rng.normal(1.0, 0.1) + (customer in risen and day >= 14), math.nan),
        )
        for day in range(16)
        for customer in range(80, 0, -1)
    ]
    column = Features(LAYOUT).names.index("n0 against e0 7d")
    rows = observed(sorted(made, key=lambda each: each.time))
    return float(
        Features(LAYOUT).compute(rows)[rows.entities[:, 0] == np.uint64(key_of(1 << 10))][-1, column]
    )


def test_a_rise_of_all_prices_is_no_deviation() -> None:
    nobody, alone, everybody = (deviation_of_customer_1(range(1, 1 + count)) for count in (0, 1, 80))
    assert abs(nobody) < 1.5
    assert alone > 2.0
    assert everybody - nobody < (alone - nobody) / 2


def test_counts_gaps_and_novelty_are_those_of_the_profiles() -> None:
    first, second, third = event(), event(time=START_S + 3600), event(time=START_S + 7200, entities=(11, 22))
    features = Features(LAYOUT)
    inputs = features.compute(observed([first, second, third]))

    def column(name: str) -> list[float]:
        found: list[float] = inputs[:, features.names.index(name)].tolist()
        return found

    assert column("e0 new") == [1, 0, 0]
    assert column("e1 new") == [1, 0, 1]
    assert column("e0+e1 new") == [1, 0, 1]
    assert column("e0+c0 new") == [1, 0, 0]
    assert column("e0 gap")[1:] == pytest.approx([math.log1p(3600)] * 2)
    assert column("e0 gap")[0] == pytest.approx(math.log1p(7 * DAY_S))
    assert column("e0 count 1d") == pytest.approx(
        [0, math.log1p(0.5 ** (1 / 24)), math.log1p(0.5 ** (1 / 24) + 0.5 ** (2 / 24))]
    )


def test_cycles_return_after_their_period() -> None:
    features = Features(LAYOUT)
    times = [START_S, START_S + DAY_S, START_S + 7 * DAY_S, START_S + DAY_S / 2]
    inputs = features.compute(rows_of([event(time=time) for time in times]))
    day = inputs[:, [features.names.index(f"{trig} of 1d") for trig in ("sin", "cos")]]
    week = inputs[:, [features.names.index(f"{trig} of 7d") for trig in ("sin", "cos")]]
    np.testing.assert_allclose(day[1:3], day[[0, 0]], atol=1e-5)
    np.testing.assert_allclose(day[3], -day[0], atol=1e-5)
    np.testing.assert_allclose(week[2], week[0], atol=1e-5)
    assert np.abs(week[1] - week[0]).max() > 0.1


@pytest.mark.parametrize("missing", [(0, 21), (11, 0), (0, 0)])
def test_a_pair_of_which_one_is_missing_has_no_history(missing: tuple[int, int]) -> None:
    rows = observed([event(), event(entities=missing), event(entities=missing), event()])
    pair = next(kind for kind in LAYOUT.kinds if kind.name == "e0+e1")
    assert np.isnan(rows.context[:3, pair.start]).all()
    assert not rows.context[:3, pair.start + 1 : pair.stop].any()
    assert rows.context[3, pair.start + 1] == 1.0  # only the first one was a pair


def test_pairs_in_either_order_are_different_keys() -> None:
    rows = observed([event(entities=(11, 21)), event(entities=(21, 11))])
    pair = next(kind for kind in LAYOUT.kinds if kind.name == "e0+e1")
    assert np.isnan(rows.context[:, pair.start]).all()


def test_everything_is_one_profile() -> None:
    rows = observed([event(entities=(n + 1, 0)) for n in range(5)])
    assert rows.context[:, LAYOUT.kinds[0].start + 1].tolist() == [0, 1, 2, 3, 4]


def numbers(columns: slice) -> list[int]:
    return list(range(columns.start, columns.stop))


@given(given_events=events, donors=events, data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_swap_changes_only_its_group(
    given_events: list[ParsedEvent], donors: list[ParsedEvent], data: st.DataObject
) -> None:
    count = min(len(given_events), len(donors))
    rows, others = observed(given_events[:count]), observed(donors[:count])
    before = pack(rows.to_state()), pack(others.to_state())
    groups = LAYOUT.groups
    chosen = np.array(data.draw(st.lists(st.integers(0, len(groups) - 1), min_size=count, max_size=count)))
    swapped = swap(rows, others, LAYOUT, chosen)
    assert (pack(rows.to_state()), pack(others.to_state())) == before
    for row, number in enumerate(chosen.tolist()):
        group = groups[number]
        taken: dict[str, list[Any]] = {
            "numerics": numbers(group.numerics),
            "categories": numbers(group.categories),
            "grams": numbers(group.texts),
            "entities": [group.entity] if group.entity is not None else [],
            "context": [column for columns in group.context for column in numbers(columns)],
            "fraud_rates": [column for rated in group.fraud_rates for column in numbers(rated.columns)],
        }
        donor = others if group.clock else rows
        assert swapped.clocks[row] == donor.clocks[row]
        for name, columns in taken.items():
            expected = getattr(rows, name)[row].copy()
            for column in columns:
                expected[column] = getattr(others, name)[row][column]
            np.testing.assert_array_equal(getattr(swapped, name)[row], expected)


def test_every_column_of_values_belongs_to_exactly_one_group() -> None:
    groups = LAYOUT.groups
    assert len({group.name for group in groups}) == len(groups)
    assert [number for g in groups for number in numbers(g.numerics)] == [0, 1]
    assert sorted(g.entity for g in groups if g.entity is not None) == [0, 1]
    assert [number for g in groups for number in numbers(g.categories)] == [0]
    assert [number for g in groups for number in numbers(g.texts)] == [0]
    columns = [c for g in groups for columns in g.context for c in numbers(columns)]
    assert len(columns) == len(set(columns))
    # All but what everything does, and how often the main entity meets something new.
    habits = (*LAYOUT.habits, *LAYOUT.heats)
    general = [h.columns for h in habits if h.key is None or h.name == "novelty"]
    nobodys = {c for columns in (LAYOUT.kinds[0].columns, *general) for c in numbers(columns)}
    assert set(columns) == set(range(LAYOUT.width)) - nobodys
    rates = [c for g in groups for rated in g.fraud_rates for c in numbers(rated.columns)]
    assert sorted(rates) == list(range(LAYOUT.doubt))


# --- labels ----------------------------------------------------------------------------------------------


@given(given_events=events)
@settings(max_examples=30, deadline=None)
def test_inputs_that_need_no_labels_come_first(given_events: list[ParsedEvent]) -> None:
    features = Features(LAYOUT)
    rows = observed(given_events)
    before = features.compute(rows)
    rows.fraud_rates[:] += 1.0
    after = features.compute(rows)
    plain = sum(column.source not in ("fraud rate", "heat") for column in features.columns)
    assert features.plain_count <= plain
    assert after[:, :plain].tobytes() == before[:, :plain].tobytes()
    assert len(features) - plain == LAYOUT.doubt + 1 + len(LAYOUT.entities)
    rates = rows.fraud_rates[:, : LAYOUT.doubt]
    np.testing.assert_array_equal(after[:, plain : plain + LAYOUT.doubt], rates)


def test_entities_and_categories_have_fraud_rates() -> None:
    names = Features(LAYOUT).names
    assert [name for name in names if "rate" in name] == [
        "e0 fraud rate 1d",
        "e0 fraud rate 7d",
        "e1 fraud rate 1d",
        "e1 fraud rate 7d",
        "c0 fraud rate 7d",
    ]
    assert Layout(schema(0, 1, 0, 0), CONFIG).doubt == 0


def test_counts_of_earlier_events_can_be_read_back() -> None:
    rows = observed([event(time=START_S + 3600.0 * n, entities=(11, 21 + n % 2)) for n in range(30)])
    counts = Features(LAYOUT).counts_before(Features(LAYOUT).compute(rows))
    for rated, read in zip(LAYOUT.fraud_rate_kinds, counts, strict=True):
        start = rated.kind.start + 1
        expected = rows.context[:, start : start + rated.memories]
        np.testing.assert_allclose(read, expected, rtol=1e-4, atol=1e-5)
    assert [c.shape for c in counts] == [(30, 2), (30, 2), (30, 1)]


def test_fraud_rates_are_read_for_the_events_own_keys() -> None:
    rates = FraudRates(LAYOUT, CONFIG)
    rows = observed([event(), event(entities=(11, 0)), event(entities=(12, 21)), event(categories=(0,))])
    untouched = rows.copy()
    rates.read(rows)
    np.testing.assert_array_equal(rows.fraud_rates, np.tile(LAYOUT.fraud_rates_unknown, (4, 1)))
    before = [np.zeros((1, rated.memories)) for rated in LAYOUT.fraud_rate_kinds]
    fraud = event(entities=(11, 0), categories=(0,))
    rates.count(
        rows_of([fraud]).keys(), np.array([START_S]), np.array([FRAUD], dtype=np.int8), before, np.ones(1)
    )
    assert len(rates) == 1
    rates.read(rows)
    first, second, third = (rows.fraud_rates[:, rated.columns] for rated in LAYOUT.fraud_rate_kinds)
    assert first[:, 0].tolist() == [0.5, 0.5, 0.0, 0.5]
    assert not second[:, :2].any()
    assert not third[:, :1].any()
    untouched.fraud_rates[:], known = rows.fraud_rates, untouched.fraud_rates.copy()
    for one, other in zip(rows.arrays(), untouched.arrays(), strict=True):
        np.testing.assert_array_equal(one, other)
    untouched.fraud_rates[:] = known
    again = FraudRates(LAYOUT, CONFIG)
    again.load(unpack(pack(rates.to_state())))
    again.read(untouched)
    np.testing.assert_array_equal(untouched.fraud_rates, rows.fraud_rates)


@pytest.mark.parametrize(
    ("seen", "doubtful"), [(0.0, False), (63.0, False), (70.0, False), (130.0, True), (1e6, True)]
)
def test_a_key_with_many_events_that_nobody_judged_is_doubtful(seen: float, doubtful: bool) -> None:
    """It had 20 events, all frauds, when labels judged it."""
    rates = FraudRates(LAYOUT, CONFIG)
    fraud = event(entities=(11, 21), categories=(31,))
    before = [np.full((1, rated.memories), 20.0) for rated in LAYOUT.fraud_rate_kinds]
    rates.count(
        rows_of([fraud]).keys(), np.array([START_S]), np.array([FRAUD], dtype=np.int8), before, np.ones(1)
    )
    rows = rows_of([fraud, event(entities=(12, 22), categories=(32,))])
    rows.context[:, LAYOUT.kind_of(0).count(-1)] = seen
    rates.read(rows)
    assert not rows.fraud_rates[:, LAYOUT.doubt].any()  # as long as nothing is judged
    rates.expect(judged=10_000, unjudged=2000, frauds=100)
    rates.read(rows)
    assert rows.fraud_rates[:, LAYOUT.doubt].tolist() == [float(doubtful), 0.0]
    again = FraudRates(LAYOUT, CONFIG)
    again.load(unpack(pack(rates.to_state())))
    rows.fraud_rates[:] = 7.0
    again.read(rows)
    assert rows.fraud_rates[:, LAYOUT.doubt].tolist() == [float(doubtful), 0.0]
    rates.expect(judged=10_000, unjudged=2000, frauds=10**9)  # as many frauds may be expected
    rates.read(rows)
    assert not rows.fraud_rates[:, LAYOUT.doubt].any()


# --- units -----------------------------------------------------------------------------------------------


@given(
    raw=st.lists(st.floats(-1e15, 1e15) | st.just(math.nan), min_size=1, max_size=20),
    unit=st.floats(1e-6, 1e6),
)
@settings(max_examples=60, deadline=None)
def test_restore_undoes_scale(raw: list[float], unit: float) -> None:
    units = Units(np.array([unit]))
    column = np.array(raw)[:, None]
    np.testing.assert_allclose(units.restore(units.scale(column)), column, rtol=1e-9, atol=1e-9 * unit)


@given(raw=finite, unit=st.floats(5e-324, 1.7e308))
@settings(max_examples=100, deadline=None)
def test_any_finite_number_can_be_scaled_and_restored(raw: float, unit: float) -> None:
    units = Units(np.array([unit]))
    scaled = units.scale(np.array([[raw]]))
    assert np.isfinite(scaled).all()
    assert np.isfinite(units.restore(scaled)).all()
    assert np.sign(scaled[0, 0]) in (np.sign(raw), 0.0)


@given(raw=st.lists(finite | st.just(math.nan), max_size=30))
@settings(max_examples=60, deadline=None)
def test_a_unit_is_always_positive_and_finite(raw: list[float]) -> None:
    units = Units.read(np.array(raw).reshape(len(raw), 1))
    assert np.isfinite(units.units).all()
    assert (units.units > 0).all()


def test_a_unit_is_the_95_percent_quantile_of_magnitudes() -> None:
    column = np.arange(-1000.0, 1001.0)
    both = np.stack([column, np.full(len(column), math.nan)], axis=1)
    assert Units.read(both).units == pytest.approx([950.0, 1.0], rel=1e-3)


def test_units_that_change_again_and_again_stay_numbers() -> None:
    units = Units(np.array([1e5, 1e-5, 7.0]))
    for _ in range(10):
        units = units.times(np.array([1e100, 1e-100, 1.0]))
    values = units.restore(units.scale(np.array([[1e9, -1e-9, 3.0], [0.0, 0.0, 0.0]])))
    assert np.isfinite(values).all()
    assert values[:, 2] == pytest.approx([3.0, 0.0])


def test_profiles_continue_from_their_state() -> None:
    rng = np.random.default_rng(0)
    stream = [
        event(
            START_S + 60.0 * n,
            (int(rng.integers(1, 50)), int(rng.integers(1, 9))),
            tuple(rng.normal(0, 1, 2)),
        )
        for n in range(600)
    ]
    first, second = Profiles(LAYOUT, CONFIG), Profiles(LAYOUT, CONFIG)
    rows = rows_of(stream[:400])
    first.reserve(400)
    first.observe(rows)
    first.update_priors(rows)
    second.load(unpack(pack(first.to_state())))
    assert len(first) == len(second)
    contexts = []
    for profiles in (first, second):
        profiles.reserve(200)
        more = rows_of(stream[400:])
        profiles.observe(more)
        contexts.append(more.context.tobytes())
    assert contexts[0] == contexts[1]
    assert pack(first.to_state()) == pack(second.to_state())

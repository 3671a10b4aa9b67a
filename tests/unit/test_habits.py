"""Habits: what tables count, what columns say of it, and what the score makes of that."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.config.tree import Event, Model
from detector.config.tree import Features as FeaturesConfig
from detector.core.alerts.known import OWN_HISTORY_MIN, PRIOR_WEIGHT, Ranges, Z
from detector.core.codes import RESPECTS
from detector.core.features import (
    DAY_S,
    Features,
    Layout,
    Profiles,
    Rows,
    Units,
    empty_rows,
    population_shift,
    population_variances,
    share_gains,
)
from detector.core.features.feature_kernels import RATIO_SPREAD, SIZE_MIN
from detector.core.features.habit_tables import SHORT_S, BinsTable, NoveltyTable, PaceTable, SharedTable
from detector.core.features.habits import BINS
from detector.core.features.repeat_tables import RepeatsTable
from detector.core.features.rows import ZEROS_MAX, zeros_at_end
from detector.core.model.clusters import Sample
from detector.core.model.encoder import Learned
from detector.core.model.habits_part import COUNTED, EVERY, NATS, NATS_MAX, SAMPLED, USUAL, HabitsPart
from detector.core.model.score_part import Fit, PartSetup
from detector.core.model.useful import Useful
from detector.core.state import rows_hash

LONG_S = 60 * DAY_S
START_S = 1.6e9


SCHEMA = Event.model_validate(
    {
        "id": "id",
        "time": {"path": "time"},
        "entities": [{"name": "card", "path": "card"}, {"name": "shop", "path": "shop"}],
        "fields": [
            {"name": "age", "path": "age", "type": "numeric"},
            {"name": "amount", "path": "amount", "type": "numeric", "unit": "EUR"},
            {"name": "kind", "path": "kind", "type": "categorical"},
        ],
        "exposure": "amount",
    }
)
LAYOUT = Layout(SCHEMA, FeaturesConfig())
FEATURES = Features(LAYOUT)


def key(number: int | np.ndarray) -> np.ndarray:
    """Keys are hashes: spread over all bits."""
    return (np.atleast_1d(number).astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)


def traffic(count: int, seed: int = 0, cards: int = 20, days: float = 60.0) -> Rows:
    """Cards that pay between 9 and 18 o'clock, in one of two kinds of shops; amounts go by the kind."""
    rng = np.random.default_rng(seed)
    rows = empty_rows(count, LAYOUT)
    hours = np.floor(rng.uniform(0, days, count)) * 24 + rng.uniform(9, 18, count)
    rows.times[:] = rows.clocks[:] = START_S - START_S % DAY_S + np.sort(hours) * 3600.0
    card = rng.integers(0, cards, count)
    rows.entities[:, 0] = key(card)
    rows.entities[:, 1] = key(1_000_000 + 10 * card + rng.integers(0, 3, count))
    kind = rng.integers(1, 3, count)
    rows.categories[:, 0] = key(kind)
    rows.numerics[:, 0] = rng.normal(0, 1, count)
    rows.numerics[:, 1] = np.where(kind == 1, 0.3, 2.0) + rng.normal(0, 0.1, count)
    return rows


def observed(rows: Rows) -> Rows:
    profiles = Profiles(LAYOUT, FeaturesConfig())
    profiles.reserve(len(rows))
    profiles.observe(rows)
    return rows


def column(rows: Rows, name: str) -> np.ndarray:
    return FEATURES.compute(rows)[:, FEATURES.names.index(name)]


# --- tables ----------------------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(st.integers(0, 4), st.floats(0, 5e5), st.integers(0, 23), st.booleans()),
    min_size=1,
    max_size=60,
)


@given(steps=steps)
@settings(max_examples=60, deadline=None)
def test_tables_hold_decayed_counts_of_what_came_before(steps: list[tuple[int, float, int, bool]]) -> None:
    keys = np.array([step[0] for step in steps], dtype=np.uint64)
    times = START_S + np.cumsum([step[1] for step in steps])
    bins = np.array([step[2] for step in steps])
    new = np.array([[step[3]] for step in steps])
    pace, hours, novelty = (
        PaceTable(LONG_S, 100),
        BinsTable(24, LONG_S, 100, spread=1.5),
        NoveltyTable(1, LONG_S, 100),
    )
    found = [np.zeros((len(steps), width), dtype=np.float32) for width in (4, 2, 2)]
    pace.observe(keys, times, found[0])
    hours.observe(keys, times, bins, found[1])
    novelty.observe(keys, times, new, found[2])
    around = sum(np.exp(-0.5 * (min(step, 24 - step) / 1.5) ** 2) for step in range(24))
    before: dict[int, list[int]] = defaultdict(list)
    for i, key in enumerate(keys.tolist()):
        earlier = before[key] if key else []
        age = times[i] - times[earlier]
        kept = [0.5 ** (age / half_life) for half_life in (*SHORT_S, LONG_S)]
        counts = [one.sum() for one in kept]
        observed = 1.0 - 0.5 ** ((times[i] - times[earlier[0]]) / LONG_S) if earlier else 0.0
        assert found[0][i] == pytest.approx([*counts, observed], rel=1e-4, abs=1e-5)
        apart = np.minimum((bins[earlier] - bins[i]) % 24, (bins[i] - bins[earlier]) % 24)
        weight = np.exp(-0.5 * (apart / 1.5) ** 2) / around
        assert found[1][i] == pytest.approx([(weight * kept[2]).sum(), counts[2]], rel=3e-3, abs=1e-5)
        met = (kept[2] * new[earlier, 0]).sum() if earlier else 0.0
        assert found[2][i] == pytest.approx([counts[2], met], rel=1e-4, abs=1e-5)
        before[key].append(i)


@pytest.mark.parametrize("cut", [1, 7, 100])
def test_habits_do_not_depend_on_how_the_log_was_cut(cut: int) -> None:
    whole, pieces = observed(traffic(300)), traffic(300)
    profiles = Profiles(LAYOUT, FeaturesConfig())
    profiles.reserve(300)
    for start in range(0, 300, cut):
        profiles.observe(pieces.take(slice(start, start + cut)))
    assert pieces.context.tobytes() == whole.context.tobytes()


def test_habits_are_restored() -> None:
    first, second = traffic(200), traffic(200, seed=1)
    second.times[:] += 100 * DAY_S
    one, other = Profiles(LAYOUT, FeaturesConfig()), Profiles(LAYOUT, FeaturesConfig())
    for profiles in (one, other):
        profiles.reserve(400)
    one.observe(first)
    state = one.to_state()["habits"]
    for number, table in enumerate(other._habits._tables):
        saved = state[f"{number:03d}"]
        if isinstance(table, SharedTable):
            table.load(saved | {"table": saved["table"].rows()})
        else:
            table.load(saved.rows())
    for mine, theirs in zip(one._habits._tables, other._habits._tables, strict=True):
        assert mine.hashed == theirs.hashed == rows_hash(theirs._keys, theirs._times, theirs._stats)


@pytest.mark.parametrize(
    ("amount", "zeros"),
    [
        (12.34, 0),
        (12.3, 1),
        (12.0, 2),
        (120.0, 3),
        (-1200.0, 4),
        (0.0, ZEROS_MAX),
        (math.nan, ZEROS_MAX),
        (1e300, ZEROS_MAX),
    ],
)
def test_zeros_at_the_end_are_counted_in_hundredths(amount: float, zeros: int) -> None:
    assert zeros_at_end(np.array([amount])).tolist() == [zeros]


# --- columns ---------------------------------------------------------------------------------------------


def test_a_run_of_payments_is_above_the_cards_own_pace() -> None:
    rows = traffic(2000)
    last = rows.times[-1]
    rows.times[-12:] = rows.clocks[-12:] = last + np.arange(12) * 20.0
    rows.entities[-12:, 0] = key(1)
    pace = column(observed(rows), "card pace 5min")
    assert pace[-1] > 4.0
    assert np.quantile(pace[500:-12], 0.99) < 0.5 * pace[-1]
    assert (pace >= 0.0).all()


def test_a_busy_hour_of_everybody_is_nobodys_run() -> None:
    """All cards pay ten times as often in the last hour: expected counts rise with everything's."""
    rows = traffic(3000, cards=300)
    rows.times[-600:] = rows.clocks[-600:] = rows.times[-601] + np.linspace(0, 3600.0, 600)
    rows.entities[-600:, 0] = key(np.arange(600) % 300)
    busy = column(observed(rows), "card pace 1h")[-300:]
    rows.entities[-600:, 0] = key(1)
    alone = column(observed(rows), "card pace 1h")[-300:]
    assert np.median(busy) < 0.3 * np.median(alone)


def test_a_device_that_opens_many_accounts_is_strange_and_a_shop_that_always_does_is_not() -> None:
    """Every 40th event is the first one of a card at the busy shop; then five new cards come to another."""
    rows = traffic(4000)
    busy = np.arange(20, 4000, 40)
    rows.entities[busy, 0], rows.entities[busy, 1] = key(10_000 + busy), key(9_000_000)
    rows.times[-5:] = rows.clocks[-5:] = rows.times[-6] + np.arange(5) * 600.0
    rows.entities[-5:, 0], rows.entities[-5:, 1] = key(50_000 + np.arange(5)), key(1_000_000)
    rows = observed(rows)
    met = column(rows, "shop new card 1h")
    assert met[-1] > 2.0 * met[busy[10:]].max()
    assert (np.diff(met[-5:]) > 0.0).all()
    known = met[np.isfinite(rows.context[:, LAYOUT.contacts[0].gap])]
    assert (known == 0.0).all()


def test_new_contacts_of_the_main_entity_are_counted_with_it() -> None:
    rows = traffic(4000)
    rows.times[-6:] = rows.clocks[-6:] = rows.times[-7] + np.arange(6) * 60.0
    rows.entities[-6:, 0], rows.entities[-6:, 1] = key(1), key(60_000 + np.arange(6))
    met = column(observed(rows), "card new shop 1h")
    assert met[-1] > 3.0 * np.quantile(met[500:-6], 0.999)


def test_guests_are_new_to_a_shop_each_time() -> None:
    rows = traffic(2000)
    rows.entities[-8:, 0], rows.entities[-8:, 1] = 0, key(1_000_000)
    rows.times[-8:] = rows.clocks[-8:] = rows.times[-9] + np.arange(8) * 60.0
    met = column(observed(rows), "shop new card 1h")
    assert (np.diff(met[-8:]) > 0.0).all()
    assert met[-1] > 3.0


def test_an_amount_that_comes_again_is_strange_where_amounts_seldom_do() -> None:
    """Card 2 always pays the same; card 1 pays a bill again after three days, and card 3 one of its own."""
    rows = traffic(6000)
    usual = rows.entities[:, 0] == key(2)
    rows.numerics[usual, 1] = 1.25
    rows.entities[-3:, 0] = key(np.array([1, 2, 3]))
    rows.numerics[-3:, 1] = 0.7, 1.25, 0.8
    first = len(rows) - 400
    rows.entities[first, 0], rows.numerics[first, 1] = key(1)[0], 0.7
    rows = observed(rows)
    again = column(rows, "amount of card again")
    assert again[-3] > again[-2] + 3.0
    assert again[-1] == again[first] == 0.0
    habit = LAYOUT.habit_of("repeats", 0)
    assert habit is not None
    assert rows.context[-3, habit.start + 1] == pytest.approx(rows.times[-3] - rows.times[first], rel=1e-6)


@pytest.mark.parametrize("amount", [0.0, math.nan])
def test_nothing_does_not_come_again(amount: float) -> None:
    rows = traffic(500)
    rows.numerics[:, 1] = amount
    assert (column(observed(rows), "amount of card again") == 0.0).all()


def test_the_sooner_an_amount_comes_again_the_stranger_it_is() -> None:
    """Of other repeats half come after a day, and half after a month."""
    repeats = RepeatsTable(LONG_S, 1000)
    gaps = np.tile([DAY_S, 30 * DAY_S], 200)
    times = START_S + np.repeat(np.arange(400) * 3600.0, 2)
    times[1::2] += gaps
    order = np.argsort(times, kind="stable")
    found = np.zeros((800, 3), dtype=np.float32)
    repeats.observe(key(np.repeat(np.arange(400), 2))[order], times[order], found)
    late, pairs = times[order][-1] + DAY_S, key(np.array([3000, 3001]))
    last = np.zeros((4, 3), dtype=np.float32)
    repeats.observe(np.concatenate([pairs, pairs]), late + np.array([0.0, 0.0, 60.0, 20 * DAY_S]), last)
    assert last[2, 0] > 3.0 > last[3, 0] > 0.0
    assert last[2, 1] == 60.0
    assert 0.1 < last[0, 2] < 0.7
    assert np.isnan(last[:2, 1]).all()


def test_an_hour_of_others_is_stranger_than_ones_own() -> None:
    rows = traffic(2000)
    night = rows.copy()
    night.clocks[-1] += 12 * 3600.0 - (rows.clocks[-1] % DAY_S - 13 * 3600.0)
    own, other = (column(observed(one), "hours surprise")[-1] for one in (rows, night))
    assert other > own + 2.0


def test_something_new_is_stranger_for_keys_that_meet_little_new() -> None:
    rows = traffic(2000)
    explorer = rows.entities[:, 0] == key(2)
    rows.entities[explorer, 1] = key(5_000_000 + np.arange(explorer.sum()))
    rows.entities[-2:, 0] = key(np.array([1, 2]))
    rows.entities[-2:, 1] = key(np.array([7_000_000, 8_000_000]))
    novelty = column(observed(rows), "card+shop novelty")
    assert novelty[-2] > novelty[-1] + 2.0
    assert np.median(novelty[~explorer][-500:-2]) == 0.0
    rows.entities[-1, 1] = 0  # missing
    assert column(observed(rows), "card+shop novelty")[-1] == 0.0


def test_an_amount_is_compared_with_its_category() -> None:
    rows = traffic(2000)
    rows.categories[-1:, 0], rows.numerics[-1, 1] = key(1), 2.0
    strange = column(observed(rows), "amount above kind")
    assert abs(strange[-1]) > 3.0 * np.quantile(np.abs(strange[500:-1]), 0.99)


def test_a_tiny_amount_is_far_below_what_the_card_pays_in_the_category() -> None:
    rows = traffic(2000)
    rows.categories[-1:, 0], rows.numerics[-1, 1] = key(2), 0.03
    rows = observed(rows)
    below = column(rows, "amount below card+kind")
    assert below[-1] > 2.0 * np.quantile(below[500:-1], 0.99)
    assert column(rows, "amount above card+kind")[-1] == 0.0


@given(seed=st.integers(0, 1000), missing=st.booleans())
@settings(max_examples=20, deadline=None)
def test_ratios_are_those_of_a_plain_computation(seed: int, missing: bool) -> None:
    rows = observed(traffic(60, seed))
    rows.numerics[-1, 1] = np.nan if missing else -1.0
    kind, level = LAYOUT.kind_of(0, 2), rows.numerics - population_shift(rows.context, LAYOUT)
    weight, mean = rows.context[:, kind.count(-1)], rows.context[:, kind.mean(-1, 1)].astype(float)
    sizes = [np.arcsinh(np.sinh(values) / SIZE_MIN) for values in (level[:, 1], mean)]
    expected = np.nan_to_num((sizes[0] - sizes[1]) * np.sqrt(weight / (weight + 1.0)) / RATIO_SPREAD)
    for side, name in ((1.0, "above"), (-1.0, "below")):
        found = column(rows, f"amount {name} card+kind")
        np.testing.assert_allclose(found, np.maximum(side * expected, 0.0), rtol=1e-5, atol=1e-6)


def test_a_round_amount_is_strange_in_a_category_that_has_none() -> None:
    rows = traffic(4000)
    cash = rows.categories[:, 0] == key(1)
    rows.zeros[:] = np.where(cash, 3, 0)
    rows.zeros[-2:], rows.categories[-2:, 0] = 3, key(np.array([1, 2]))
    rows = observed(rows)
    usual, strange = column(rows, "zeros surprise in kind")[-2:]
    assert strange > usual + 4.0
    weights = Useful(LAYOUT, FEATURES.columns).weights(rows.take(slice(1000, None)))
    assert weights[FEATURES.names.index("zeros surprise in kind")] == 1.0
    assert weights[FEATURES.names.index("zeros surprise")] == 0.0  # all cards pay in both


def test_what_a_keys_own_history_does_not_tell_gains_nothing() -> None:
    rows = observed(traffic(4000))
    mixed = traffic(4000)
    rng = np.random.default_rng(0)
    mixed.clocks[:] = np.floor(mixed.clocks / DAY_S) * DAY_S + rng.uniform(0, DAY_S, len(mixed))
    early = np.isin(mixed.entities[:, 0], key(np.arange(10)))
    apart = mixed.copy()
    apart.clocks[:] = np.floor(apart.clocks / DAY_S) * DAY_S + np.where(early, 8, 20) * 3600.0
    gains = [
        share_gains(one.take(slice(2000, None)), LAYOUT)["hours surprise"]
        for one in (rows, observed(mixed), observed(apart))
    ]
    assert gains[0] < 0.05
    assert gains[1] < 0.05
    assert gains[2] > 0.3


@pytest.mark.parametrize(
    ("name", "unit_s", "young", "old"), [("hours", 3600.0, 0.9, 5.0), ("days", DAY_S, 5.0, 30.0)]
)
def test_hours_and_days_tell_nothing_before_each_was_seen_once(
    name: str, unit_s: float, young: float, old: float
) -> None:
    """Each card has its own hours, or days: all that are seen are new to everybody at first."""

    def gain(days: float) -> float:
        rows = traffic(4000, days=days)
        turn = np.floor(rows.clocks / unit_s).astype(np.int64) % BINS[name]
        rows.entities[:, 0] = key(10 * (turn < BINS[name] // 2) + np.arange(len(rows)) % 10)
        return share_gains(observed(rows).take(slice(2000, None)), LAYOUT)[f"{name} surprise"]

    assert gain(young) == 0.0
    assert gain(old) > 0.1


# --- the part --------------------------------------------------------------------------------------------


def fitted(rows: Rows) -> HabitsPart:
    setup = PartSetup(config=Model(), layout=LAYOUT, features=FEATURES, rng=np.random.default_rng(0))
    part = HabitsPart.make(setup)
    assert part is not None
    inputs = FEATURES.compute(rows)
    part.learn(rows, inputs, np.ones(len(rows), dtype=bool))
    successor = part.copy()
    successor.refit(
        Fit(
            sample=Sample(rows, np.zeros(len(rows), dtype=np.int64)),
            inputs=inputs,
            measured=slice(None),
            learned=Learned({}, {}, 0),
            rng=np.random.default_rng(0),
        )
    )
    return successor


def test_most_events_are_usual_and_no_distance_is_negative() -> None:
    rows = observed(traffic(40_000, cards=200)).take(slice(10_000, None))
    part = fitted(rows)
    distances = part.distances(rows, FEATURES.compute(rows))
    assert distances.shape == (len(rows), 1)
    assert (distances >= 0.0).all()
    assert 0.0 < (distances > 0.0).mean() < 0.3


def test_an_event_alone_is_exactly_as_far_as_among_others() -> None:
    part = fitted(observed(traffic(20_000)).take(slice(5_000, None)))
    rng = np.random.default_rng(0)
    part._weights = rng.uniform(0.1, 2.0, len(part._places))
    inputs = rng.normal(0.0, 9.0, (500, len(FEATURES))).astype(np.float32)
    rows = empty_rows(500, LAYOUT)
    together = part.distances(rows, inputs)
    alone = [part.distances(rows.take(slice(i, i + 1)), inputs[i : i + 1]) for i in range(500)]
    assert np.concatenate(alone).tobytes() == together.tobytes()


def test_more_nats_of_a_pace_are_usual_because_there_are_several() -> None:
    part = fitted(observed(traffic(20_000)).take(slice(5_000, None)))
    sources = np.array([FEATURES.columns[place].source for place in part._places])
    for source in COUNTED:
        alike = sources == source
        assert alike.sum() > 1
        assert part._usual[alike] == pytest.approx(USUAL + np.log(alike.sum()))
    assert (part._usual[~np.isin(sources, COUNTED)] == USUAL).all()


def test_a_column_that_tells_nothing_has_no_weight() -> None:
    part = fitted(observed(traffic(20_000)).take(slice(5_000, None)))
    names = [FEATURES.names[place] for place in part._places]
    weights = dict(zip(names, part._weights.tolist(), strict=True))
    assert weights["hours surprise"] < 0.5  # all keep the same hours
    assert weights["amount above kind"] > 0.5
    assert weights["card pace 5min"] > 0.5


def test_it_says_in_which_respect_an_event_is_unusual() -> None:
    """A large amount, a shop that nobody knows; nothing of usual ones."""
    rows = observed(traffic(20_000))
    part = fitted(rows.take(slice(5_000, None)))
    usual = rows.take(slice(15_000, 15_400))
    told = [RESPECTS[number] for number in part.respects(FEATURES.compute(usual))]
    assert told.count("") > 350
    more = traffic(3)
    more.times[:] = more.clocks[:] = rows.times[-1] - rows.times[-1] % DAY_S + DAY_S + 12 * 3600.0
    more.entities[:], more.categories[:] = rows.entities[-1], rows.categories[-1]
    more.numerics[:] = np.median(rows.numerics[rows.categories[:, 0] == rows.categories[-1, 0]], axis=0)
    more.numerics[0, 1] += 4.0
    more.entities[1, 1] = key(5)[0]
    profiles = Profiles(LAYOUT, FeaturesConfig())
    profiles.reserve(len(rows) + 3)
    profiles.observe(traffic(20_000))
    profiles.observe(more, apart=True)
    found = [RESPECTS[number] for number in part.respects(FEATURES.compute(more))]
    assert found == ["large_there", "new", ""]


@given(sizes=st.lists(st.integers(0, 700), min_size=1, max_size=40), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_the_sample_holds_the_latest_ordinary_events_however_they_came(sizes: list[int], seed: int) -> None:
    setup = PartSetup(config=Model(), layout=LAYOUT, features=FEATURES, rng=np.random.default_rng(0))
    one, other = HabitsPart(setup), HabitsPart(setup)
    count = sum(sizes)
    rows = empty_rows(count, LAYOUT)
    rng = np.random.default_rng(seed)
    inputs = rng.normal(0, 1, (count, len(FEATURES))).astype(np.float32)
    ordinary = rng.random(count) < 0.9
    start = 0
    for size in sizes:
        piece = slice(start, start + size)
        one.learn(rows.take(piece), inputs[piece], ordinary[piece])
        start += size
    other.learn(rows, inputs, ordinary)
    assert one._seen == other._seen == ordinary.sum()
    np.testing.assert_array_equal(one._sample, other._sample)
    kept = inputs[ordinary][::EVERY][-SAMPLED:]
    assert np.isin(np.abs(kept[:, one._places]), one._sample).all()


@given(seed=st.integers(0, 1000), far=st.floats(0.0, 100.0))
@settings(max_examples=10, deadline=None)
def test_nats_beyond_what_is_usual_are_those_of_a_plain_computation(seed: int, far: float) -> None:
    part = PLAIN
    inputs = FEATURES.compute(observed(traffic(40, seed))) * np.float32(1.0 + far)
    columns = part._columns(inputs)
    nats = np.full(columns.shape, NATS[0])
    for low, scale, high in zip(part._knots, part._scales, (*part._knots[1:], np.inf), strict=True):
        nats += (np.clip(columns, low, high) - low) / scale
    expected = np.clip(nats - part._usual, 0.0, NATS_MAX)
    np.testing.assert_array_equal(part._beyond(inputs), expected, strict=True)


PLAIN = fitted(observed(traffic(3000)))


@given(seed=st.integers(0, 1000), kind=st.integers(0, 3))
@settings(max_examples=10, deadline=None)
def test_ranges_are_those_of_a_plain_computation(seed: int, kind: int) -> None:
    of, units = LAYOUT.kinds[kind], Units(np.array([2.0, 30.0]))
    rows = observed(traffic(60, seed, cards=3))
    for row in (rows.take(slice(n, n + 1)) for n in range(len(rows))):
        context, weight = row.context[0], float(row.context[0, of.count(-1)])
        found = Ranges(LAYOUT, units, row)(of)
        if not of.numerics or not weight >= OWN_HISTORY_MIN:
            assert found is None
            continue
        mean = np.full(2, np.nan)
        own = context[of.means(-1)].astype(np.float64)
        shifted = own + population_shift(row.context, LAYOUT)[0, : of.numerics]
        mean[: of.numerics] = np.where((shifted >= 0.0) == (own >= 0.0), shifted, own)
        everyone = population_variances(row.context, LAYOUT)[0].reshape(2, -1)[:, : of.numerics]
        expected = np.tile(mean, (2, 1))
        for side, upper, sign in ((0, False, -1.0), (1, True, 1.0)):
            start = of.variance(-1, 0, upper=upper)
            own = context[start : start + of.numerics].astype(np.float64)
            every = everyone[0 if upper else 1]
            seen = weight * context[of.there(0) : of.there(of.numerics)].astype(np.float64)
            variance = (seen * own + PRIOR_WEIGHT * every) / (seen + PRIOR_WEIGHT)
            expected[side, : of.numerics] += sign * Z * np.sqrt(variance)
            expected[side, : of.numerics][seen < OWN_HISTORY_MIN] = np.nan
        everybodys = context[LAYOUT.kinds[0].means(-1)][: of.numerics].astype(np.float64)
        least = everybodys - Z * np.sqrt(everyone[1].astype(np.float64))
        positive = mean >= 0.0
        positive[: of.numerics] |= least >= 0.0
        expected[0, positive & (expected[0] < 0.0) & (expected[1] >= 0.0)] = 0.0
        np.testing.assert_array_equal(found, units.restore(expected), strict=True)


def test_a_range_of_zeros_does_not_reach_below_0_where_others_have_fallen() -> None:
    """An alert said that 0.00 is usual for this phone number: -0.02 to 0.03."""
    of, row = LAYOUT.kinds[1], observed(traffic(400, cards=3)).take(slice(-1, None))
    row.context[0, of.means(-1)] = 0.0
    everyone = LAYOUT.kinds[0]
    row.context[0, everyone.means(0)] = row.context[0, everyone.means(-1)] - 1.0
    assert (population_shift(row.context, LAYOUT) < 0.0).any()
    found = Ranges(LAYOUT, Units(np.ones(2)), row)(of)
    assert found is not None
    assert (found[0] == 0.0).all()
    assert (found[1] > 0.0).all()  # an alert said: this vendor usually 0 to -2


# --- what only says who ------------------------------------------------------------------------------------


def residents(moved: int = 0) -> Rows:
    """Traffic of which the kind is one for each card, but in the last `moved` events."""
    rows = traffic(20_000, cards=400)
    own = rows.entities[:, 0] % np.uint64(7)
    if moved:
        own[-moved:] = (own[-moved:] + np.uint64(3)) % np.uint64(7)
    rows.categories[:, 0] = key(own)
    return observed(rows)


def test_a_category_that_is_constant_for_each_card_tells_nothing_of_its_events() -> None:
    rows = residents()
    part = fitted(rows.take(slice(5_000, None)))
    names = [FEATURES.names[place] for place in part._places]
    inputs = FEATURES.compute(rows.take(slice(5_000, None)))
    columns = dict(zip(names, part._columns(inputs).T, strict=True))
    assert part._told == pytest.approx(1.0)
    assert columns["kind surprise"].max() < 1e-3  # also of cards with a short history
    assert columns["card+kind novelty"].max() < 1e-3
    weights = dict(zip(names, part._weights.tolist(), strict=True))
    assert not any(weight for name, weight in weights.items() if name.startswith("amount against"))


def test_a_change_of_it_is_seen() -> None:
    rows = residents(moved=20)
    part = fitted(rows.take(slice(5_000, None)))
    names = [FEATURES.names[place] for place in part._places]
    beyond = part._beyond(FEATURES.compute(rows.take(slice(-20, None))))
    assert (beyond[:, names.index("kind surprise")] > 0.0).mean() > 0.5

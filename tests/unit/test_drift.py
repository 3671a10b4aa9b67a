"""Drift is named by field, soon, with its weight; what is usual at these hours is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.core.drift import bins, words
from detector.core.drift.adaptive_window import AdaptiveWindow
from detector.core.drift.columns import Columns, Key, Values
from detector.core.drift.embedding import Placed, measures
from detector.core.drift.labelled import LabelWatch
from detector.core.drift.law import Moments, f_quantile, gamma_quantile, psi
from detector.core.drift.profile import DayProfile
from detector.core.drift.reference import HOURS, Reference, completed_rates, hours_between
from detector.core.drift.watch import DriftWatch
from detector.core.drift.weight import ASKED_MAX, Weights
from detector.core.drifted import Drift
from detector.core.state import misfit, pack, unpack

DAY_S, START_S = 86_400.0, 1_700_000_000.0
COLUMNS = Columns(("amount", "level"), ("kind",), (Key("card", "entities", (0, -1, 0)),))
PER_DAY = 60_000
KINDS = [0.1, 0.2, 0.3, 0.4]
Pieces = Iterator[tuple[Values, np.ndarray]]
Change = Callable[[dict[str, np.ndarray], np.random.Generator], None]


def pieces(
    days: float, change: Change | None = None, from_day: float = 10.0, per_day: float = PER_DAY
) -> Pieces:
    """Events whose amounts, kinds and rate follow the hour and the weekday."""
    rng, time, n = np.random.default_rng(3), START_S, 512
    while time < START_S + days * DAY_S:
        hour, weekend = time / 3600.0 % 24.0, int(time // DAY_S + 3) % 7 >= 5
        rate = per_day / DAY_S * (1.0 + 0.8 * np.sin(hour / 12.0 * np.pi)) * (0.5 if weekend else 1.0)
        times = time + np.cumsum(rng.exponential(1.0 / rate, n))
        made = {
            "times": times,
            "amount": np.exp(rng.normal(3.0 + 0.5 * np.sin(hour / 12.0 * np.pi), 0.8, n)),
            "level": rng.normal(0.0, 1.0, n),
            "kind": rng.choice([11, 12, 13, 14], n, p=KINDS if weekend else KINDS[::-1]),
            "new": (rng.random(n) < 0.02),
            "scores": rng.exponential(0.43, n),
        }
        if change is not None and time >= START_S + from_day * DAY_S:
            change(made, rng)
        numbers = np.stack([made["amount"], made["level"]], axis=1)
        context = np.where(made["new"], np.nan, 0.0).astype(np.float32)[:, None]
        keys = np.ones((n, 1), dtype=np.uint64)
        time = float(made["times"][-1])
        yield Values(numbers, made["kind"].astype(np.uint64)[:, None], keys, context, times), made["scores"]


def follow(watch: DriftWatch, made: Pieces) -> Iterator[Drift]:
    """What is found at each barrier."""
    events = 0
    for values, scores in made:
        watch.add(values, scores)
        watch.end_block(float(values.times[-1]))
        events += len(scores)
        if events >= 8192:
            events = 0
            watch.barrier(float(values.times[-1]), 2.5)
            if watch.found is not None:
                yield watch.found


def doubled(made: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    made["scores"] += made["amount"] > 60.0
    made["amount"] *= 2.0


def unseen(made: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    made["kind"][rng.random(len(made["kind"])) < 0.1] = 99


def gone(made: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    made["level"][:] = np.nan
    made["scores"] += 2.0


def stuck(made: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    made["level"][:] = 0.25


def new_cards(made: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    made["new"] |= rng.random(len(made["new"])) < 0.5


def test_a_stream_with_its_rhythm_does_not_drift() -> None:
    """Also not at the second weekend, which has other kinds and half the events."""
    found = list(follow(DriftWatch(COLUMNS), pieces(12.5)))
    assert not any(one.sentences for one in found)
    assert np.isinf(found[0].fields["amount"].threshold)  # not judged before a week was seen
    assert np.isfinite(found[-1].fields["amount"].threshold)
    assert found[-1].score_changes == 0


def rest_days(made: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """A kind that comes at weekends only."""
    if int(made["times"][0] // DAY_S + 3) % 7 >= 5:
        made["kind"][rng.random(len(made["kind"])) < 0.06] = 99


def test_a_value_that_was_new_at_the_first_weekend_is_no_drift_at_the_next_ones() -> None:
    found = list(follow(DriftWatch(COLUMNS), pieces(19.5, rest_days, from_day=0.0)))
    assert np.isfinite(found[-1].fields["kind"].threshold)
    assert not [said for one in found for said in one.sentences]


def nightly(made: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """Fewer events by day, more at night; those of a block keep their number."""
    times = made["times"]
    factor = 2.4 if times[0] / 3600.0 % 24.0 < 6.0 else 0.53
    made["times"] = times[0] + (times - times[0]) / factor


def test_events_that_move_to_the_night_are_named() -> None:
    found = [one for one in follow(DriftWatch(COLUMNS), pieces(12.0, nightly)) if one.fields["time"].since]
    assert found
    assert [name for name, one in found[-1].fields.items() if one.since] == ["time"]
    assert any("events" in said for one in found for said in one.sentences)


def test_a_young_reference_is_judged_on_days_that_are_alike_and_says_its_age() -> None:
    """Tuesday evening on: Wednesday is learned, Thursday compared, Monday and Tuesday judged."""
    found = list(follow(DriftWatch(COLUMNS), pieces(6.6, doubled, from_day=6.2)))
    said = [text for one in found for text in one.sentences]
    assert any("amount has doubled" in text and "reference of six days)" in text for text in said), said
    weekend = [one for one in found if 4.2 < (one.time - START_S) / DAY_S < 6.0]
    assert weekend
    assert all(np.isinf(one.fields["amount"].threshold) for one in weekend)


@pytest.mark.parametrize(
    ("change", "field", "sentence"),
    [
        (doubled, "amount", "amount has doubled since"),
        (unseen, "kind", "of events have a kind that was never seen before"),
        (gone, "level", "level is missing in 100 % of events instead of 0 %"),
        (stuck, "level", "level is stuck: it is what it was in the event before in 100 %"),
    ],
)
def test_a_drift_is_named_by_its_field_within_three_windows(
    change: Change, field: str, sentence: str
) -> None:
    found = [one for one in follow(DriftWatch(COLUMNS), pieces(10.8, change)) if one.sentences]
    first = next(one for one in found if one.fields[field].since)
    assert first.time < START_S + 10.0 * DAY_S + 3 * 8192 * DAY_S / PER_DAY * 2.0
    assert [name for name, one in first.fields.items() if one.since] == [field]
    assert any(sentence in said for said in first.sentences)
    assert sum(first.fields[field].current) == pytest.approx(sum(first.fields[field].usual))


def test_more_new_entities_than_usual_are_drift_and_fewer_are_none() -> None:
    last = list(follow(DriftWatch(COLUMNS), pieces(10.8, new_cards)))[-1]
    assert last.new_shares["card", "entities"].since
    assert last.since["new_entities"]
    assert any("card that was never seen before" in said for said in last.sentences)

    def fewer(made: dict[str, np.ndarray], rng: np.random.Generator) -> None:
        made["new"][:] = False

    assert not list(follow(DriftWatch(COLUMNS), pieces(10.8, fewer)))[-1].sentences


def test_a_state_goes_on_as_if_nothing_had_happened() -> None:
    whole, made = DriftWatch(COLUMNS), list(pieces(10.5, doubled))
    half = len(made) // 16 // 2 * 16
    for _ in follow(whole, iter(made[:half])):
        pass
    state = unpack(pack(whole.to_state()))
    other = DriftWatch(COLUMNS)
    assert misfit(state, other.to_state()) == ""
    other.load(state)
    assert [*follow(whole, iter(made[half:]))] == [*follow(other, iter(made[half:]))]
    assert pack(whole.to_state()) == pack(other.to_state())


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 511), max_size=6))
def test_counts_do_not_depend_on_how_events_are_cut(cuts: list[int]) -> None:
    def seen(places: list[int]) -> bytes:
        watch = DriftWatch(COLUMNS)
        for values, scores in list(pieces(0.5))[:8]:
            ends = sorted({*places, len(scores)})
            for start, end in zip([0, *ends], ends, strict=False):
                part = Values(*(column[start:end] for column in values))
                watch.add(part, scores[start:end])
        return pack(watch.to_state())

    assert seen(cuts) == seen([])


@given(counts=st.lists(st.integers(0, 1000), min_size=2, max_size=13).filter(lambda found: sum(found) > 0))
def test_an_index_is_not_negative_and_zero_where_nothing_differs(counts: list[int]) -> None:
    now = np.array(counts, dtype=np.float64)
    assert psi(now, now / now.sum()) == pytest.approx(0.0, abs=1e-12)
    assert psi(now, np.full(len(now), 1.0 / len(now))) >= 0.0


def test_the_law_of_independent_events_is_the_chi_square_law() -> None:
    """1e-6 quantile of chi-square with 9 degrees of freedom: 45.1; the index stays below it."""
    assert gamma_quantile(np.array(9.0), np.array(18.0)) == pytest.approx(45.1, rel=0.03)
    rng, shares = np.random.default_rng(0), np.full(10, 0.1)
    found = [10_000 * float(psi(rng.multinomial(10_000, shares).astype(float), shares)) for _ in range(500)]
    assert np.mean(found) == pytest.approx(9.0, rel=0.1)
    assert max(found) < 45.1


@pytest.mark.parametrize(
    ("first", "second", "value"),
    [(1.0, 4.0, 2446.2), (1.0, 28.0, 38.76), (9.0, 9.0, 53.06), (9.0, 45.0, 7.677), (23.0, 138.0, 3.666)],
)
def test_the_law_of_few_days_is_the_f_law(first: float, second: float, value: float) -> None:
    """Values: scipy.stats.f.isf(1e-6, first, second)."""
    assert f_quantile(np.array([first]), np.array([second]))[0] == pytest.approx(value, rel=0.02)


def taught(days: int, jump: float = 0.0) -> Moments:
    rng, moments, every = np.random.default_rng(0), Moments(1), np.ones(1, dtype=bool)
    for day in range(days):
        for _ in range(8):
            beyond = 0.01 * rng.chisquare(9, 1) / 9.0 + jump * (day == days - 1)
            moments.learn(beyond, np.zeros(1), every, day)
    return moments


def test_a_limit_narrows_with_the_days_and_the_last_ones_do_not_raise_it() -> None:
    nine = np.full(1, 9.0)
    limits = [float(taught(days).limit(nine)[0]) for days in (2, 5, 12)]
    assert limits[0] > 4 * limits[1] > 4 * limits[2] > 0.04
    assert taught(12, jump=10.0).limit(nine) == taught(12).limit(nine)  # a day waits for the next one
    assert not taught(1).known.any()
    again = Moments(1)
    again.load(unpack(pack(taught(5).to_state())))
    assert again.limit(nine) == taught(5).limit(nine)


def test_friday_to_sunday_are_known_once_they_were_seen() -> None:
    """Monday noon to Thursday evening: once the same hour of another such day was seen."""
    reference, slots = Reference(1), np.arange(7 * HOURS)
    hours = ((slots >= HOURS) & (slots < 2 * HOURS)).astype(float)  # Tuesday
    reference.follow_rates(hours, np.zeros((len(slots), 2)), taken=True, age_s=DAY_S)
    known = [bool(reference.knows(slots == slot)) for slot in slots]
    assert known == [12 <= slot < 3 * HOURS + 18 or HOURS <= slot < 2 * HOURS for slot in slots]


def test_a_day_with_half_the_events_is_expected_from_its_own_hours() -> None:
    table = np.zeros((7 * HOURS, 2))
    daily = 100.0 + 90.0 * np.cos(np.arange(HOURS) / 12.0 * np.pi)
    table[:, 0] = np.concatenate([daily] * 5 + [daily / 2.0] * 2)
    table[:, 1] = 1.0
    found = completed_rates(table, 1.0).reshape(7, HOURS)
    assert found[0] == pytest.approx(daily, rel=0.12)
    assert found[6] == pytest.approx(daily / 2.0, rel=0.15)


def test_the_hours_of_a_day_are_compared_once_all_were_seen() -> None:
    profile, slots = DayProfile(), np.arange(7 * HOURS)
    usual = np.full(len(slots), 100.0)
    for hour in range(30):
        start = 4 * DAY_S + 3600.0 * hour  # a Monday
        events = usual * (slots == hour) * (3.0 if hour % 24 < 6 else 0.5)
        profile.note(start, start + 3599.0, events, usual * (slots == hour), known=True)
        assert profile.compared()[1] == (hour >= 23)
    assert profile.compared()[0] > 0.5
    assert words.hours(*profile.shares) == (
        "67 % of a day's events come between 00:00 and 06:00 UTC instead of 25 %"
    )


def test_the_thing_that_lowers_more_scores_has_the_weight() -> None:
    """Usually 1 % are high, all for the second thing; then 10 % more are, all for the first one."""
    weights, scores = Weights(2), np.zeros(1000)
    scores[::100] = 4.0
    for _ in range(20):
        weights.count(scores, lambda i: np.array([0.0, 1.0]))
        weights.close(3.0, quiet=True)
    assert not weights.found.any()
    scores[::10] = 4.0
    asked: list[int] = []

    def parts(i: int) -> np.ndarray:
        asked.append(i)
        return np.array([0.0, 1.0]) if i % 100 == 0 else np.array([1.0, 0.0])

    for _ in range(2):
        weights.count(scores, parts)
        weights.close(3.0, quiet=False)
    assert weights.found[0] > 0.8
    assert weights.found.sum() <= 1.0
    assert len(asked) <= 2 * ASKED_MAX
    other = Weights(2)
    other.load(unpack(pack(weights.to_state())))
    assert (other.found == weights.found).all()


def test_new_categories_of_the_last_day_are_not_known_yet() -> None:
    """Else a drift that began just before would be usual at once."""
    cuts = bins.Cuts(0, 1)
    cuts.make(np.zeros((0, 0)), np.zeros((0, 1), dtype=np.uint64))
    key, chosen = np.uint64(77), np.ones(1, dtype=bool)

    def bin_of() -> int:
        return bins._category_bin(key, cuts.tops[0], cuts.seen[0], cuts.fresh[0])

    for _ in range(2):
        assert bin_of() == bins.UNSEEN
        cuts.accept(chosen)
    assert bin_of() == bins.OTHER


def test_a_field_that_comes_back_after_it_was_missing_is_told() -> None:
    usual, now = np.zeros(bins.BINS), np.zeros(bins.BINS)
    usual[bins.MISSING], now[bins.MISSING], now[3] = 1.0, 0.95, 0.05
    assert words.field("amount", words.Moved(now, usual, np.arange(9.0)))


@given(values=st.lists(st.floats(-1e6, 1e6), max_size=60))
def test_bins_ascend_and_a_frequent_value_has_its_own(values: list[float]) -> None:
    edges = bins.decile_edges(np.array(values))
    assert len(edges) <= bins.CUTS
    assert (np.diff(edges) > 0.0).all()
    often = np.array([*values, *[7.0] * (9 * len(values) + 1)])
    edges = bins.decile_edges(often)
    assert {7.0, np.nextafter(7.0, -np.inf)} <= set(edges.tolist())


@given(start=st.floats(0, 1e9), hours=st.floats(0, 500))
def test_hours_of_the_week_add_up(start: float, hours: float) -> None:
    assert hours_between(start, start + 3600.0 * hours).sum() == pytest.approx(hours, abs=1e-3)


def test_the_window_finds_a_lasting_change_and_no_noise() -> None:
    rng, window = np.random.default_rng(1), AdaptiveWindow(0.1)
    assert sum(window.add(value) for value in rng.normal(0.4, 0.05, 3000).tolist()) == 0
    assert sum(window.add(value) for value in rng.normal(0.7, 0.05, 500).tolist()) == 1
    assert 0.2 < window.step < 0.35
    other = AdaptiveWindow(0.1)
    other.load(unpack(pack(window.to_state())))
    after = rng.normal(0.2, 0.05, 200).tolist()
    assert [window.add(value) for value in after] == [other.add(value) for value in after]
    broken = window.to_state()
    broken["used"][0] = 99
    with pytest.raises(ValueError, match="more buckets"):
        other.load(broken)


def labels_of(days: float, stop_day: float = np.inf) -> LabelWatch:
    """Labels come in office hours, many at once."""
    watch, number, time = LabelWatch(("low", "high")), 0, START_S
    while time < START_S + days * DAY_S:
        day, hour = time // DAY_S + 3, time / 3600.0 % 24.0
        watch.alerted(np.array([number]), np.array([time]), [number % 2])
        if time < START_S + stop_day * DAY_S and day % 7 < 5 and int(2 * hour) in (18, 22, 30):
            watch.apply(
                [
                    (n, "fraud" if n % 2 else "legitimate", time, time - 60.0)
                    for n in range(number - 4, number)
                ]
            )
        watch.barrier(time)
        number, time = number + 1, time + 1800.0
    return watch


def test_labels_that_stop_are_drift_and_nights_and_weekends_are_none() -> None:
    for days in (10.0, 12.0, 13.5, 20.0):
        assert not labels_of(days).since
    stopped = labels_of(27.0, stop_day=21.0)
    assert stopped.since
    assert stopped.expected > 20.0
    assert stopped.measures()["delay_seconds_before"] == 60.0
    assert labels_of(20.0).precision() == {"low": 0.0, "high": 1.0}
    other = LabelWatch(("low", "high"))
    other.load(unpack(pack(stopped.to_state())))
    assert (other.since, other.measures()) == (stopped.since, stopped.measures())


def test_where_events_lie_is_compared_with_the_clusters() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(0.0, 3.0, (20, 8)).astype(np.float32)
    own = rng.integers(20, size=400)
    points = (centres[own] + rng.normal(0.0, 0.5, (400, 8))).astype(np.float32)
    clusters = centres, np.full(20, 50), np.full(20, 0.5 * 8**0.5, dtype=np.float32)
    distances = np.linalg.norm(points - centres[own], axis=1)
    usual = measures(Placed(points, own, distances, *clusters))
    assert usual["mean_shift"] < 0.2
    assert usual["mass_shift"] < 0.15
    assert usual["distance"] == pytest.approx(1.0, abs=0.1)
    one = np.zeros(400, dtype=np.int64)
    moved = measures(Placed(points - centres[own] + centres[0] + 5.0, one, distances + 14.0, *clusters))
    assert moved["mean_shift"] > 1.0
    assert moved["mass_shift"] > 0.8
    assert moved["distance"] > 5.0


@pytest.mark.parametrize(
    ("since", "said"),
    [(START_S, "22:13 UTC"), (START_S - DAY_S, "13 November 22:13 UTC")],
)
def test_a_sentence_says_since_when(since: float, said: str) -> None:
    text = words.drift("amount has doubled", since=since, now=START_S, index=0.9, weight=0.61)
    assert text == f"amount has doubled since {said} (PSI 0.9), 61 % of the change in alerts"

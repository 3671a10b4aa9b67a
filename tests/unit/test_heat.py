"""Heat of the main entity: a decayed sum of how far its earlier events lay beyond normal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.config.tree import Event
from detector.config.tree import Features as FeaturesConfig
from detector.core.features import Features, Layout, Rows, empty_rows
from detector.core.features.heat_table import EXCESS_MAX, HeatTable
from detector.core.model.calibration import HEAT_NATS, USUAL_NATS, heated

LAYOUT = Layout(
    Event.model_validate(
        {
            "id": "id",
            "time": {"path": "t"},
            "entities": [{"name": "card", "path": "card"}],
            "fields": [{"name": "amount", "path": "amount", "type": "numeric"}],
        }
    ),
    FeaturesConfig(),
)

HALF_LIVES_S = np.array([3600.0, 86_400.0])
HOUR_S = 3600.0


def table() -> HeatTable:
    made = HeatTable(HALF_LIVES_S, 1000)
    made.reserve(512)
    return made


def observed(made: HeatTable, keys: list[int], hours: list[float], excess: list[float]) -> np.ndarray:
    context = np.full((len(keys), 2), np.nan, dtype=np.float32)
    times = np.array(hours, dtype=np.float64) * HOUR_S
    made.observe(np.array(keys, dtype=np.uint64), times, np.array(excess, dtype=np.float64), context)
    return context


EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.floats(0.0, 100.0), st.floats(-20.0, 40.0)), min_size=1, max_size=40
)


@given(EVENTS, st.integers(0, 40))
def test_it_is_the_decayed_sum_of_bounded_excesses_however_the_log_is_cut(
    events: list[tuple[int, float, float]], cut: int
) -> None:
    events = sorted(events, key=lambda event: event[1])
    keys, hours, excess = ([event[place] for event in events] for place in range(3))
    whole, pieces = table(), table()
    found = observed(whole, keys, hours, excess)
    halves = [
        observed(pieces, keys[part], hours[part], excess[part]) for part in (slice(cut), slice(cut, None))
    ]
    np.testing.assert_array_equal(np.concatenate(halves), found)
    assert pieces.hashed == whole.hashed
    for i, (key, hour, _) in enumerate(events):
        expected = np.zeros(2)
        for other, at, far in events[:i]:
            if other == key != 0:
                expected += min(max(far, 0.0), EXCESS_MAX) * 0.5 ** ((hour - at) * HOUR_S / HALF_LIVES_S)
        np.testing.assert_allclose(found[i], expected, rtol=1e-4, atol=1e-4)


def test_one_absurd_event_is_soon_forgotten() -> None:
    made = table()
    observed(made, [1], [0.0], [1e300])
    soon, later = observed(made, [1, 1], [1.0, 7 * 24.0], [0.0, 0.0])
    assert soon[0] == pytest.approx(EXCESS_MAX / 2)
    assert later.max() < 0.1


def test_who_was_never_beyond_normal_takes_no_slot() -> None:
    made = table()
    observed(made, [1, 2, 3], [0.0, 1.0, 2.0], [-1.0, 0.0, 1.0])
    assert len(made) == 1


def test_a_late_event_does_not_raise_what_it_sees() -> None:
    made = table()
    observed(made, [1], [10.0], [4.0])
    assert observed(made, [1], [5.0], [0.0])[0].tolist() == [4.0, 4.0]


def test_it_is_restored_as_it_was() -> None:
    before, after = table(), table()
    observed(before, [1, 2], [0.0, 1.0], [3.0, 5.0])
    after.load(before.to_state().rows())
    assert after.hashed == before.hashed
    more = [1, 2], [2.0, 3.0], [1.0, 0.0]
    np.testing.assert_array_equal(observed(before, *more), observed(after, *more))


def test_no_heat_changes_no_distance_and_heat_raises_it() -> None:
    plain = np.array([0.0, 1.0, 5.0])
    for width in (0, 2):
        assert heated(plain, np.zeros((3, width), dtype=np.float32)).tolist() == plain.tolist()
    some = np.full((3, 2), 0.75, dtype=np.float32)
    assert heated(plain, some) == pytest.approx(plain + 1.5 * HEAT_NATS / USUAL_NATS)


def context_of(own: float, everything: float, share: float) -> Rows:
    """An event of a card with this heat, which has this share of all events."""
    rows = empty_rows(1, LAYOUT)
    all_heat, card_heat = LAYOUT.heats
    all_pace, card_pace = LAYOUT.habit_of("pace", None), LAYOUT.habit_of("pace", 0)
    assert all_pace is not None
    assert card_pace is not None
    for pace, count in ((all_pace, 1e6), (card_pace, 1e6 * share)):
        rows.context[0, pace.columns.stop - 2 : pace.columns.stop] = count, 1.0
    rows.context[0, all_heat.columns], rows.context[0, card_heat.columns] = everything, own
    return rows


def logarithm(own: float, everything: float, share: float) -> float:
    features = Features(LAYOUT)
    return float(features.compute(context_of(own, everything, share))[0, features.heat][0])


def test_heat_is_compared_with_the_usual_share_of_all_events() -> None:
    assert logarithm(9.0, 0.0, 0.5) == pytest.approx(np.log(10.0))
    assert logarithm(50.0, 100.0, 0.5) == pytest.approx(0.0, abs=1e-4)  # a busy shop
    assert logarithm(10.0, 1000.0, 0.02) == 0.0  # after a shift
    assert logarithm(199.0, 200.0, 0.01) == pytest.approx(np.log(200.0 / 3.0), rel=1e-4)
    assert logarithm(0.0, 100.0, 0.5) == 0.0

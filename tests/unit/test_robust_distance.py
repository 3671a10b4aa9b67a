"""The robust distance finds extremes on any scale, and weighs an entity's profile by how well it predicts."""

from __future__ import annotations

import numpy as np
import pytest

from detector.config.tree import Event
from detector.config.tree import Features as FeaturesConfig
from detector.core.features import Features, Layout, Rows, empty_rows, explained_shares
from detector.core.model.robust_distance import NORMAL_RANGE, RobustDistance
from detector.core.state import pack, unpack

EVENTS = 4096


def layout_of(entities: list[str], numerics: int, categories: int = 0) -> Layout:
    schema = {
        "id": "id",
        "time": {"path": "time"},
        "entities": [{"name": name, "path": name} for name in entities],
        "fields": [{"name": f"x{j}", "path": f"x{j}", "type": "numeric"} for j in range(numerics)]
        + [{"name": f"c{c}", "path": f"c{c}", "type": "categorical"} for c in range(categories)],
    }
    return Layout(Event.model_validate(schema), FeaturesConfig())


def plain(values: np.ndarray) -> tuple[Layout, Rows]:
    layout = layout_of([], values.shape[1])
    rows = empty_rows(len(values), layout)
    rows.numerics[:] = values
    return layout, rows


def fitted(layout: Layout, rows: Rows) -> tuple[RobustDistance, Features]:
    features = Features(layout)
    part = RobustDistance(layout, features, 32_768)
    part.update(rows, features.compute(rows))
    return part, features


def distances(part: RobustDistance, features: Features, rows: Rows) -> np.ndarray:
    return part.distances(features.compute(rows), part.known(rows))


def with_history(count: float, seed: int = 0) -> tuple[Layout, Rows]:
    """Customers, each with amounts around a mean of their own, at terminals that all of them use."""
    layout = layout_of(["customer", "terminal"], 1)
    rng = np.random.default_rng(seed)
    rows = empty_rows(EVENTS, layout)
    means = rng.normal(0.0, 1.0, EVENTS)
    rows.numerics[:, 0] = means + rng.normal(0.0, 0.5, EVENTS)
    for number, known in ((1, means), (2, np.zeros(EVENTS))):
        context = rows.context[:, layout.kinds[number].columns]
        context[:, 1:4] = count
        context[:, 4:7] = known[:, None]
        context[:, 7:-1] = 0.25
        context[:, -1] = 1.0
    return layout, rows


def test_the_same_distance_on_either_side_of_a_skewed_column_is_as_far() -> None:
    rng = np.random.default_rng(0)
    layout, rows = plain(rng.lognormal(0.0, 1.0, (EVENTS, 1)))
    part, features = fitted(layout, rows)
    centre = float(np.median(rows.numerics))
    probe = plain(np.array([[centre - 5.0], [centre + 5.0]]))[1]
    below, above = distances(part, features, probe)
    assert below == pytest.approx(above, rel=1e-3)


def test_distances_do_not_depend_on_a_columns_unit() -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((EVENTS, 3))
    there = []
    for unit in (1.0, 64.0):
        layout, rows = plain(values * unit)
        there.append(distances(*fitted(layout, rows), rows))
    assert there[0] == pytest.approx(there[1], rel=1e-4)


def test_a_column_constant_in_the_core_has_the_spread_of_all_events() -> None:
    """What differs there was trimmed, but it was seen."""
    rng = np.random.default_rng(2)
    core = np.column_stack([rng.standard_normal(EVENTS), np.zeros(EVENTS)])
    layout, rows = plain(core)
    part, features = fitted(layout, rows)
    probe = plain(np.array([[0.0, 0.5]]))[1]
    never_seen_to_vary = distances(part, features, probe)
    seen = core.copy()
    seen[:40, 1] = 5.0
    part.learn(features.compute(plain(seen)[1]))
    part.update(rows, features.compute(rows))
    spread = np.concatenate([core[:, 1], seen[:, 1]]).std()
    assert distances(part, features, probe) == pytest.approx(
        np.full((1, 2), 0.5 / (NORMAL_RANGE * spread) / np.sqrt(2.0)), rel=0.05
    )
    assert (never_seen_to_vary > 10.0).all()


def test_a_column_that_is_mostly_one_value_does_not_dominate() -> None:
    rng = np.random.default_rng(3)
    values = rng.standard_normal((EVENTS, 2))
    values[rng.random(EVENTS) < 0.8, 1] = 0.0
    layout, rows = plain(values)
    part, features = fitted(layout, rows)
    both = distances(part, features, plain(np.array([[3.0, 0.0], [0.0, 3.0]]))[1])
    assert (both[1] < 6.0 * both[0]).all()  # without a least inner half: 30 times and more


def test_a_profile_explains_what_its_means_predict() -> None:
    layout, rows = with_history(count=50.0)
    customer, terminal = explained_shares(rows, layout)[:, 0]
    assert customer == pytest.approx(0.8, abs=0.03)
    assert terminal == pytest.approx(0.0, abs=0.03)


def test_nothing_is_explained_without_history_or_by_means_that_mislead() -> None:
    layout, rows = with_history(count=0.0)
    assert not explained_shares(rows, layout).any()
    layout, rows = with_history(count=50.0)
    rows.context[:, layout.kinds[1].columns][:, 4:7] *= -1.0
    assert not explained_shares(rows, layout).any()
    assert explained_shares(empty_rows(8, layout), layout).shape == (2, 1)


def test_a_deviation_is_weighted_by_what_its_entity_explains() -> None:
    layout, rows = with_history(count=50.0)
    part, features = fitted(layout, rows)

    def moved(kind: int) -> np.ndarray:
        """An ordinary value that lies far from the mean of one of its keys."""
        probe = rows.take(slice(0, 1)).copy()
        probe.numerics[:] = 0.0
        for number in (1, 2):
            probe.context[:, layout.kinds[number].columns][:, 4:7] = 4.0 if number == kind else 0.0
        return distances(part, features, probe)

    assert (moved(1) > 4.0 * moved(2)).all()


def test_the_value_of_a_key_without_history_counts_in_full() -> None:
    layout, rows = with_history(count=50.0)
    part, features = fitted(layout, rows)
    probe = rows.take(slice(0, 2)).copy()
    probe.numerics[:] = 4.0
    probe.context[:, layout.kinds[1].columns][:, 4:7] = 4.0  # as its customer always does
    probe.context[1, layout.kinds[1].columns] = 0.0
    known, unknown = distances(part, features, probe)
    assert (unknown > 1.8 * known).all()


def test_a_missing_value_is_no_distance_and_no_zero() -> None:
    """One event in twenty-five has a way; a usual one was far, because the range was that of 0 and a few."""
    rng = np.random.default_rng(4)
    values = np.column_stack([rng.standard_normal(EVENTS), 5.0 + 0.5 * rng.standard_normal(EVENTS)])
    values[rng.random(EVENTS) < 0.96, 1] = np.nan
    layout, rows = plain(values)
    part, features = fitted(layout, rows)
    missing, usual, far = distances(
        part, features, plain(np.array([[0.0, np.nan], [0.0, 5.0], [0.0, 9.0]]))[1]
    )
    assert usual == pytest.approx(missing, abs=0.1)
    assert (far > 1.0).all()


def test_a_value_is_compared_with_what_is_usual_in_its_category() -> None:
    """A unit of a car wash costs ten times as much as one of diesel, and is no anomaly."""
    layout = layout_of(["card"], 1, categories=1)
    rng = np.random.default_rng(5)
    rows = empty_rows(EVENTS, layout)
    wash = rng.random(EVENTS) < 0.02
    usual = np.arcsinh(np.where(wash, 20.0, 2.0))
    rows.numerics[:, 0] = usual + 0.05 * rng.standard_normal(EVENTS)
    product = layout.kind_of(1)
    rows.context[:, product.count(-1)] = 500.0
    rows.context[:, product.mean(-1, 0)] = usual
    rows.context[:, product.there(0)] = 1.0
    part, features = fitted(layout, rows)
    probe = rows.take(slice(0, 3)).copy()
    probe.numerics[:, 0] = np.arcsinh([20.0, 20.0, 2.0])
    probe.context[:, product.mean(-1, 0)] = np.arcsinh([20.0, 2.0, 2.0])
    washed, dear, fuelled = distances(part, features, probe)
    assert (dear > 2.0 * washed).all()
    assert (dear > 10.0 * fuelled).all()


def test_a_value_that_its_key_never_had_counts_in_full() -> None:
    """Its deviation is 0, as there is nothing to compare it with; so nobody would see it."""
    layout, rows = with_history(count=50.0)
    part, features = fitted(layout, rows)
    probe = rows.take(slice(0, 2)).copy()
    probe.numerics[:] = 4.0
    own = layout.kinds[1]
    probe.context[:, own.columns][:, 4:7] = 4.0
    probe.context[1, own.there(0)] = 0.0
    probe.context[1, own.columns][4:7] = np.nan
    had, never = distances(part, features, probe)
    assert (never > 1.8 * had).all()


def test_a_rows_distances_do_not_depend_on_the_others() -> None:
    layout, rows = with_history(count=3.0)
    part, features = fitted(layout, rows)
    inputs = features.compute(rows)
    together, known = part.distances(inputs, part.known(rows)), part.known(rows)
    alone = np.concatenate([part.distances(inputs[i : i + 1], known[i : i + 1]) for i in range(64)])
    assert np.array_equal(together[:64], alone)


def test_it_continues_from_its_state() -> None:
    layout, rows = with_history(count=3.0)
    part, features = fitted(layout, rows)
    other = RobustDistance(layout, features, 32_768)
    other.load(unpack(pack(part.to_state())))
    inputs = features.compute(rows)
    for one in (part, other):
        one.learn(inputs[:100])
        one.update(rows, inputs)
    known = part.known(rows)
    assert np.array_equal(part.distances(inputs, known), other.distances(inputs, known))


def test_values_are_summed_in_the_order_of_the_rows() -> None:
    """A sum's last bits depend on its order, which numpy chooses by an array's layout in memory."""
    layout = layout_of(["card"], 3)
    features = Features(layout)
    inputs = np.random.default_rng(0).normal(0, 1, (1000, len(features))).astype(np.float32)
    inputs[:, [column.source == "missing" for column in features.columns]] = 0.0
    part = RobustDistance(layout, features, 1000)
    part.learn(inputs)
    values = inputs[:, : len(layout.numerics)].astype(np.float64)
    expected = np.stack([np.ones_like(values), values, np.square(values)]).sum(axis=1)
    assert part.to_state()["moments"].tobytes() == expected.tobytes()


def residents(count: float = 30.0) -> tuple[Layout, Rows, np.ndarray]:
    """Customers whose second value never changes; `away` are rows of customers without a history."""
    layout = layout_of(["customer", "terminal"], 2)
    rng = np.random.default_rng(3)
    rows = empty_rows(EVENTS, layout)
    customer = np.arange(EVENTS) // 4
    homes, away = rng.uniform(-1.0, 1.0, EVENTS)[customer], np.arange(EVENTS) % 10 == 0
    rows.entities[:, 0] = customer + 1
    rows.numerics[:, 0], rows.numerics[:, 1] = rng.normal(0.0, 1.0, EVENTS), homes
    for number, known in ((1, homes), (2, homes + rng.normal(0.0, 0.2, EVENTS))):
        kind = layout.kinds[number]
        for memory in range(kind.memories):
            rows.context[:, kind.count(memory)] = np.where(away, 0.0, count) if number == 1 else count
            rows.context[:, kind.there(0) : kind.there(kind.numerics)] = 1.0
            rows.context[:, kind.mean(memory, 0)] = 0.0
            rows.context[:, kind.mean(memory, 1)] = known
            for upper in (True, False):
                rows.context[:, kind.variance(memory, 0, upper=upper)] = 1.0
                rows.context[:, kind.variance(memory, 1, upper=upper)] = 1e-4
    return layout, rows, away


def test_what_is_constant_for_each_customer_says_nothing_of_its_events() -> None:
    layout, rows, away = residents()
    part, features = fitted(layout, rows)
    inputs = features.compute(rows)
    where = [n for n, c in enumerate(features.columns) if c.place == 1 and c.source in ("value", "deviation")]
    own = {n for n in where if (kind := features.columns[n].kind) is not None and kind.left == 0}
    elsewhere = inputs.copy()
    elsewhere[:, [n for n in where if n not in own]] *= 0.5  # another home, and another terminal's customers
    known = part.known(rows)
    np.testing.assert_allclose(
        part.distances(inputs, known), part.distances(elsewhere, known), rtol=0, atol=1e-3
    )
    moved = inputs.copy()
    moved[:, sorted(own)] += 20.0  # spreads from where the customer always was
    assert (part.distances(moved, known)[~away] > part.distances(inputs, known)[~away]).all()


def test_a_new_customers_home_is_strange_beyond_all_others() -> None:
    layout, rows, away = residents()
    part, features = fitted(layout, rows)
    at, nowhere = rows.copy(), rows.copy()
    at.numerics[:, 1], nowhere.numerics[:, 1] = 0.9, 9.0
    usual, far = distances(part, features, at), distances(part, features, nowhere)
    np.testing.assert_allclose(usual[away], distances(part, features, rows)[away], rtol=0, atol=1e-3)
    assert (far[away] > usual[away] + 0.1).all()


def test_levels_of_accounts_do_not_only_say_which_account_it_is() -> None:
    layout, rows, away = residents()
    rows.numerics[:, 1] += np.random.default_rng(4).normal(0.0, 1e-3, EVENTS)
    part, features = fitted(layout, rows)
    at = rows.copy()
    at.numerics[:, 1] = 0.9
    assert (distances(part, features, at)[away] > distances(part, features, rows)[away]).mean() > 0.8

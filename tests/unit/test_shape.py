"""The shape of normal: several peaks, gaps and missing values; equal for every cut and after a restore."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.config.tree import Event, Model
from detector.config.tree import Features as FeaturesConfig
from detector.core.features import Features, Layout, Rows, empty_rows
from detector.core.model.clusters import Core, Sample
from detector.core.model.encoder import Learned
from detector.core.model.grids import CELLS, GRIDS, Grids
from detector.core.model.histograms import BINS_MAX, Histograms
from detector.core.model.nearest_groups import GROUPS_MAX, GROUPS_MIN, VALUES_MAX, NearestGroups
from detector.core.model.score_part import Fit, PartSetup, ScorePart
from detector.core.model.serving import ServedModel
from detector.core.model.shape import GROUP_SIZES, HELD_OUT, WEIGHTS, ShapePart
from detector.core.model.tails import Tails
from detector.core.state import pack, unpack

CENTRE = len(WEIGHTS)
EVENTS = 2048


def layout_of(numerics: int, *, categories: int = 0, entities: int = 0) -> Layout:
    fields = [{"name": f"x{j}", "path": f"x{j}", "type": "numeric"} for j in range(numerics)]
    fields += [{"name": f"c{j}", "path": f"c{j}", "type": "categorical"} for j in range(categories)]
    schema = {
        "id": "id",
        "time": {"path": "time"},
        "entities": [{"name": f"e{j}", "path": f"e{j}"} for j in range(entities)],
        "fields": fields,
    }
    return Layout(Event.model_validate(schema), FeaturesConfig())


def setup_of(layout: Layout) -> PartSetup:
    rng = np.random.default_rng(0)
    return PartSetup(config=Model(), layout=layout, features=Features(layout), rng=rng)


def rows_of(values: NDArray[np.float64], layout: Layout | None = None) -> Rows:
    """Rows whose numerics have these values, in units."""
    layout = layout or layout_of(values.shape[1])
    rows = empty_rows(len(values), layout)
    rows.numerics[:] = np.arcsinh(values)
    return rows


def fitted(values: NDArray[np.float64], seed: int = 1) -> ShapePart:
    setup = setup_of(layout_of(values.shape[1]))
    part = ShapePart(setup)
    part.refit(fit_of(rows_of(values), setup, seed))
    return part


def fit_of(rows: Rows, setup: PartSetup, seed: int = 1) -> Fit:
    return Fit(
        sample=Sample(rows, np.full(len(rows), -1)),
        inputs=setup.features.compute(rows),
        measured=slice(None, None, HELD_OUT),
        learned=Learned(edges=np.zeros((0, 0), dtype=np.float32), weights={}, step=0),
        rng=np.random.default_rng(seed),
    )


def distances(part: ShapePart, values: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = rows_of(values)
    return part.distances(rows, setup_of(layout_of(values.shape[1])).features.compute(rows))


def spans(part: ShapePart, normal: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances (n, C), shifted and divided as the calibration does it."""
    median, far = np.quantile(distances(part, normal), [0.5, 0.95], axis=0)
    return (distances(part, values) - median) / np.maximum(far - median, 1e-6)


def blob(columns: int = 3, seed: int = 0, count: int = EVENTS) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0.0, 1.0, (count, columns))


def peaks(seed: int = 0) -> NDArray[np.float64]:
    """Two peaks, on both sides of an empty middle."""
    rng = np.random.default_rng(seed)
    return rng.normal(0.0, 0.2, (EVENTS, 3)) + np.where(rng.random((EVENTS, 1)) < 0.5, -2.0, 2.0)


# --- what is far -----------------------------------------------------------------------------------------


def test_far_events_are_far_in_every_column_and_farther_ones_no_nearer() -> None:
    normal = blob()
    part = fitted(normal)
    found = spans(part, normal, np.array([4.0, 40.0, 4e3, 4e100])[:, None] * np.ones(3))
    assert np.isfinite(found).all()
    assert (found[0] > 0.9).all()
    assert (np.diff(found, axis=0) >= 0.0).all()
    unlimited = [*range(len(GROUP_SIZES)), CENTRE]
    assert (np.diff(found[:, unlimited], axis=0) > 0.0).all()


def test_the_middle_between_two_peaks_is_far_from_normal_but_not_from_the_centre() -> None:
    normal = peaks()
    found = spans(fitted(normal), normal, np.zeros((1, 3)))[0]
    assert (found[: len(GROUP_SIZES)] > 2.0).all()
    assert found[CENTRE] < 0.5


def test_an_unusual_combination_of_usual_values_is_far_in_grids_and_groups_only() -> None:
    normal = blob(1) * np.ones(3)  # all columns equal
    found = spans(fitted(normal), normal, np.array([[1.0, -1.0, 1.0]]))[0]
    groups, grids, histograms, tails = found[: len(GROUP_SIZES)], *found[len(GROUP_SIZES) : CENTRE]
    assert (groups > 2.0).all()
    assert grids > 1.0
    assert max(histograms, tails) < 1.0


def test_the_centre_has_a_weight_where_normal_has_one_peak_only() -> None:
    one = fitted(blob(2) * np.random.default_rng(1).lognormal(0.0, 1.0, (EVENTS, 1)))
    assert one.shares[CENTRE] > 0.1
    assert fitted(peaks()).shares[CENTRE] == 0.0
    for part in (one, fitted(peaks())):
        assert sum(part.shares) == pytest.approx(1.0)
        assert len(part.shares) == part.columns


# --- what does not matter --------------------------------------------------------------------------------


def test_distances_do_not_depend_on_how_events_are_cut() -> None:
    part, values = fitted(blob()), blob(seed=3, count=200)
    whole = distances(part, values)
    for pieces in ([1] * 200, [7, 93, 100]):
        cuts = np.split(values, np.cumsum(pieces)[:-1])
        assert np.concatenate([distances(part, cut) for cut in cuts]).tobytes() == whole.tobytes()


def test_units_of_columns_change_nothing_but_the_last_digits() -> None:
    normal, probe = blob(), blob(seed=4, count=300) * 2.0
    unit = np.array([1.0, 1e-6, 1e7])
    assert distances(fitted(normal * unit), probe * unit) == pytest.approx(
        distances(fitted(normal), probe), rel=0.02, abs=0.02
    )


def test_the_order_of_columns_changes_distances_by_no_more_than_another_draw() -> None:
    normal = blob(5) * np.array([1.0, 1.0, 1.0, 3.0, 1.0]) ** 3
    probe = blob(5, seed=4, count=500) * 2.0
    order = [3, 1, 4, 0, 2]
    here = distances(fitted(normal), probe)
    moved = distances(fitted(normal[:, order]), probe[:, order])
    drawn = distances(fitted(normal, seed=9), probe)
    for column in range(CENTRE):
        assert np.abs(here - moved)[:, column].mean() <= 1.5 * np.abs(here - drawn)[:, column].mean() + 1e-6
    assert moved[:, CENTRE] == pytest.approx(here[:, CENTRE])


@pytest.mark.parametrize("columns", [3, 20])
def test_measured_core_events_are_as_far_as_new_ones(columns: int) -> None:
    core = blob(columns, count=400)
    part = fitted(core)
    measured, new = distances(part, core[::HELD_OUT]), distances(part, blob(columns, seed=9))
    medians = np.median(measured, axis=0) - np.median(new, axis=0)
    assert (np.abs(medians) < 0.25 * np.std(new, axis=0)).all()


# --- odd columns -----------------------------------------------------------------------------------------


def test_a_missing_value_is_unusual_where_none_is_missing_and_usual_where_half_are() -> None:
    normal = blob()
    missing = np.array([[np.nan, 0.0, 0.0]])
    rare = spans(fitted(normal), normal, missing)[0]
    normal[::2, 0] = np.nan
    often = spans(fitted(normal), normal, missing)[0]
    assert np.isfinite(rare).all()
    assert np.isfinite(often).all()
    histograms = len(GROUP_SIZES) + 1
    assert rare[histograms] > 1.0 > often[histograms]


@pytest.mark.parametrize("value", [0.0, 7.0, -1e9, np.nan])
def test_a_column_without_variation_hides_nothing_and_takes_part_when_it_moves(value: float) -> None:
    normal = blob()
    normal[:, 1] = value
    part = fitted(normal)
    probe = np.array([[0.0, value, 0.0], [9.0, value, 0.0], [0.0, 2.0 * value + 1.0, 0.0]])
    still, far, moved = spans(part, normal, probe)
    assert np.isfinite([still, far, moved]).all()
    assert (far > still).all()
    if not np.isnan(value):
        assert moved[0] > 2.0 * max(still[0], 1.0)


@pytest.mark.parametrize("count", [1, 2, 3, 17])
def test_a_core_of_few_events_is_enough(count: int) -> None:
    part = fitted(blob(count=count))
    assert np.isfinite(distances(part, blob(seed=2, count=50) * 100.0)).all()


def test_spreads_of_all_events_say_how_strange_a_rare_value_is() -> None:
    """Rare values are trimmed from the core; they were seen all the same."""
    normal = blob()
    normal[:, 1] = 0.0
    seen = normal.copy()
    seen[::20, 1] = 5.0
    setup = setup_of(layout_of(3))
    known, unknown = ShapePart(setup), ShapePart(setup)
    rows = rows_of(seen)
    known.learn(rows, setup.features.compute(rows), np.ones(len(rows), dtype=bool))
    for part in (known, unknown):
        part.refit(fit_of(rows_of(normal), setup))
    probe = np.array([[0.0, 5.0, 0.0]])
    assert (distances(known, probe)[0, :3] < 0.5 * distances(unknown, probe)[0, :3]).all()


def test_surprises_of_categories_are_columns_too() -> None:
    layout = layout_of(1, categories=1)
    setup = setup_of(layout)
    rows = rows_of(blob(1), layout)
    inputs = setup.features.compute(rows)
    surprise = setup.features.names.index("c0 surprise")
    inputs[:, surprise] = np.random.default_rng(2).choice([0.1, 2.5], len(rows), p=[0.9, 0.1])
    part = ShapePart(setup)
    fit = fit_of(rows, setup)
    part.refit(Fit(sample=fit.sample, inputs=inputs, measured=fit.measured, learned=fit.learned, rng=fit.rng))
    two = rows.take(slice(0, 2))
    probe = inputs[:2].copy()
    two.numerics[:] = 0.0
    probe[:, surprise] = 0.1, 9.0
    usual, strange = part.distances(two, probe)
    assert (strange > usual).all()


# --- bounds, state, rule ---------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 3, 128])
def test_bytes_are_bounded(columns: int) -> None:
    part = fitted(blob(columns, count=2 * EVENTS))
    for groups, size in zip(part._groups, GROUP_SIZES, strict=True):
        _, events, count = groups._groups.shape
        assert GROUPS_MIN <= count <= GROUPS_MAX
        assert events == size
        assert groups._groups.size <= VALUES_MAX or count == GROUPS_MIN
    assert part._grids._counts.nbytes == 2 * GRIDS * CELLS
    assert part._histograms._surprise.shape == (columns, BINS_MAX + 2)
    assert len(pack(part.to_state())) < 2_000_000


def test_a_restored_part_goes_on_alike() -> None:
    setup = setup_of(layout_of(3))
    part, again = fitted(blob()), ShapePart(setup)
    core = Core(Model().clusters, setup.layout)
    again.load(unpack(pack(part.to_state())), core)
    probe = blob(seed=5, count=100) * 3.0
    assert distances(again, probe).tobytes() == distances(part, probe).tobytes()
    assert again.shares == part.shares
    assert pack(again.to_state()) == pack(part.to_state())
    for each in (part, again):
        rows = rows_of(blob(seed=6))
        each.learn(rows, setup.features.compute(rows), np.ones(len(rows), dtype=bool))
        each.refit(fit_of(rows, setup, seed=3))
    assert pack(again.to_state()) == pack(part.to_state())


def test_a_copy_is_refitted_apart_and_takes_over_what_was_counted_meanwhile() -> None:
    setup = setup_of(layout_of(3))
    part, probe = fitted(blob()), blob(seed=5, count=100)
    before, state = distances(part, probe), pack(part.to_state())
    successor = part.copy()
    successor.refit(fit_of(rows_of(peaks()), setup))
    assert distances(part, probe).tobytes() == before.tobytes()
    assert pack(part.to_state()) == state
    rows = rows_of(blob(seed=6))
    part.learn(rows, setup.features.compute(rows), np.ones(len(rows), dtype=bool))
    successor.succeed(part, Core(Model().clusters, setup.layout))
    assert successor.to_state()["scaling"]["moments"].tobytes() == part._scaling._moments.sums.tobytes()


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        (layout_of(2), ["shape", "learned"]),
        (layout_of(2, categories=1), ["shape", "learned"]),
        (layout_of(0, categories=1), ["robust", "learned"]),
        (layout_of(2, entities=1), ["robust", "learned", "habits"]),
        (layout_of(0, entities=1), ["learned", "habits"]),
    ],
)
def test_the_shape_decides_where_there_are_numerics_and_no_entities(layout: Layout, names: list[str]) -> None:
    served = ServedModel(Model(), layout, Features(layout), np.random.default_rng(0))
    parts: list[ScorePart] = served._plain
    assert [part.name for part in parts] == names
    assert served.weights.sum() == pytest.approx(1.0)
    assert parts[names.index("learned")].columns == (
        0 if not layout.categories and not layout.entities else 1
    )


@pytest.mark.parametrize("make", [Histograms, Tails], ids=["histograms", "tails"])
def test_columns_by_themselves_are_surprising_beyond_the_ends_and_usual_in_the_middle(
    make: Callable[[], Histograms | Tails],
) -> None:
    part = make()
    part.fit(np.linspace(-1.0, 1.0, 1001, dtype=np.float32)[:, None])
    low, middle, end, high = part.distances(np.array([[-1.5], [0.0], [1.0], [1.5]], dtype=np.float32))
    assert low == pytest.approx(high)
    assert high >= end > middle - 1e-6
    assert high > middle + 3.0


def test_tails_are_the_shares_beyond() -> None:
    part = Tails()
    values = np.sort(np.random.default_rng(0).normal(0.0, 1.0, 5000)).astype(np.float32)
    part.fit(values[:, None])
    probe = values[[3, 40, 700, 2500, 4300, 4990]]
    below = np.searchsorted(values, probe, "right")
    exact = -np.log(np.minimum(1.0, 2.0 * np.minimum(below, 5001 - below) / 5001.0))
    assert part.distances(probe[:, None]) == pytest.approx(exact, abs=0.05)


def test_a_gap_in_a_column_is_as_surprising_as_what_lies_beyond() -> None:
    part = Histograms()
    part.fit(np.concatenate([np.linspace(-3, -2, 500), np.linspace(2, 3, 500)]).astype(np.float32)[:, None])
    gap, beyond, inside = part.distances(np.array([[0.0], [9.0], [2.5]], dtype=np.float32))
    assert gap == pytest.approx(beyond)
    assert gap > inside + 3.0


def test_the_nearest_is_that_of_exact_search() -> None:
    points = blob(4).astype(np.float32)
    part = NearestGroups(64)
    part.fit(points, np.random.default_rng(0))
    probe = blob(4, seed=2, count=20).astype(np.float32)
    pairs = probe[:, :, None, None] - part._groups[None]  # (n, D, S, G)
    exact = np.sqrt(np.square(pairs).sum(axis=1)).min(axis=1).mean(axis=1)
    assert part.distances(probe) == pytest.approx(exact, rel=1e-5)


def test_grids_count_every_core_event() -> None:
    part = Grids()
    part.fit(blob(4).astype(np.float32), np.random.default_rng(0))
    assert (part._counts.sum(axis=1) == EVENTS).all()
    restored = copy(part)
    restored.load(unpack(pack(part.to_state())))
    assert restored._fullness.tobytes() == part._fullness.tobytes()

"""The core is a bounded sample of accepted events that forgets; clusters describe it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.config.tree import Clusters as ClustersConfig
from detector.config.tree import Event
from detector.config.tree import Features as FeaturesConfig
from detector.config.tree import Index as IndexConfig
from detector.core.features import DAY_S, Layout, Rows, empty_rows
from detector.core.model.clusters import Clusters, Core, Exemplars, centres_of, nearest_squares
from detector.core.model.index import Exact
from detector.core.state import pack, unpack

SCHEMA = Event.model_validate(
    {
        "id": "id",
        "time": {"path": "time"},
        "entities": [{"name": "card", "path": "card"}],
        "fields": [
            {"name": "amount", "path": "amount", "type": "numeric"},
            {"name": "country", "path": "country", "type": "categorical"},
        ],
    }
)
LAYOUT = Layout(SCHEMA, FeaturesConfig())
DIMENSION = 8


def config(**changes: int) -> ClustersConfig:
    return ClustersConfig(**{"core_events": 512, "memory_events": 4096, "count_max": 16, **changes})


def learn(core: Core, made: Rows, rng: np.random.Generator) -> None:
    """Take in all of them."""
    core.learn(made, np.arange(len(made)), rng)


def rows(first: int, count: int) -> Rows:
    """Events first, first + 1, ...: the amount tells which."""
    made = empty_rows(count, LAYOUT)
    made.numerics[:, 0] = np.arange(first, first + count)
    made.entities[:, 0] = np.arange(first, first + count) % 7 + 1
    return made


def filled(core: Core, count: int, block: int = 64, seed: int = 0) -> Core:
    rng = np.random.default_rng(seed)
    for first in range(0, count, block):
        learn(core, rows(first, min(block, count - first)), rng)
    return core


def amounts(core: Core) -> np.ndarray:
    return core.filled().numerics[:, 0]


# --- core ------------------------------------------------------------------------------------------------


@given(blocks=st.lists(st.integers(0, 200), max_size=30))
@settings(max_examples=30, deadline=None)
def test_the_core_is_bounded_and_holds_only_accepted_events(blocks: list[int]) -> None:
    core, rng = Core(config(), LAYOUT), np.random.default_rng(0)
    came = 0
    for count in blocks:
        learn(core, rows(came, count), rng)
        came += count
        assert len(core) == min(came, 512)
        held = amounts(core)
        assert len(set(held.tolist())) == len(held)
        assert ((held >= 0) & (held < came)).all()
    if came <= 512:
        np.testing.assert_array_equal(amounts(core), np.arange(came))


def test_the_core_forgets_exponentially() -> None:
    """After `memory_events` accepted events 63 % is renewed, after twice as many 86 %."""
    renewed = {4096: [], 8192: []}  # type: dict[int, list[float]]
    for seed in range(8):
        for events, shares in renewed.items():
            core = filled(Core(config(), LAYOUT), 512 + events, seed=seed)
            shares.append(float((amounts(core) >= 512).mean()))
    assert np.mean(renewed[4096]) == pytest.approx(1 - np.exp(-1), abs=0.03)
    assert np.mean(renewed[8192]) == pytest.approx(1 - np.exp(-2), abs=0.03)


def test_ages_in_the_core_are_spread_as_its_memory_says() -> None:
    core = filled(Core(config(), LAYOUT), 40_000)
    ages = 40_000 - amounts(core)
    assert ages.mean() == pytest.approx(4096, rel=0.15)
    assert np.median(ages) == pytest.approx(4096 * np.log(2), rel=0.2)


def test_a_new_event_is_in_no_cluster_yet() -> None:
    core = filled(Core(config(), LAYOUT), 512)
    core.cluster[:] = 3
    learn(core, rows(512, 400), np.random.default_rng(1))
    new = amounts(core) >= 512
    assert new.any()
    assert (core.cluster[new] == -1).all()
    assert (core.cluster[~new] == 3).all()


def test_draws_are_rows_of_the_core() -> None:
    core = filled(Core(config(), LAYOUT), 40)
    drawn = core.filled().take(core.sample().draw(500, np.random.default_rng(0)))
    assert set(drawn.numerics[:, 0].tolist()) == set(range(40))


@pytest.mark.parametrize("count", [0, 100, 500, 512, 3000])
def test_admitted_events_always_enter(count: int) -> None:
    core = filled(Core(config(), LAYOUT), count)
    core.cluster[:] = 3
    before = set(amounts(core).tolist())
    core.admit(rows(10_000, 20), np.random.default_rng(1))
    assert len(core) == min(count + 20, 512)
    new = amounts(core) >= 10_000
    # Two may draw the same place in a full core.
    assert 18 <= len(set(amounts(core)[new].tolist())) <= 20
    assert set(amounts(core)[~new].tolist()) <= before
    assert (core.cluster[: len(core)][new] == -1).all()


def timed(first: int, count: int) -> Rows:
    made = rows(first, count)
    made.times[:] = made.numerics[:, 0]
    return made


@given(wrong=st.sets(st.integers(0, 250), max_size=60))
@settings(max_examples=30, deadline=None)
def test_frauds_are_removed_and_nothing_else(wrong: set[int]) -> None:
    core = Core(config(), LAYOUT)
    learn(core, timed(0, 200), np.random.default_rng(0))
    core.cluster[:200] = np.arange(200)
    frauds = timed(0, 251).take(sorted(wrong))
    here = [number for number in range(200) if number not in wrong]
    assert core.forget(frauds.times, frauds.entities) == 200 - len(here)
    assert amounts(core).tolist() == here
    assert core.cluster[: len(core)].tolist() == here
    learn(core, timed(1000, 50), np.random.default_rng(0))
    assert amounts(core).tolist() == [*here, *range(1000, 1050)]


def test_of_events_at_the_same_time_only_the_customers_own_is_removed() -> None:
    core = Core(config(), LAYOUT)
    made = rows(0, 100)
    made.times[:] = 5.0
    learn(core, made, np.random.default_rng(0))
    assert core.forget(np.array([5.0]), made.entities[:1]) == 15  # customers are n % 7
    assert not (core.filled().entities[:, 0] == made.entities[0, 0]).any()


def test_a_core_of_nothing_but_fraud_is_kept() -> None:
    """Without anything normal nothing could be scored."""
    core = Core(config(), LAYOUT)
    made = timed(0, 30)
    learn(core, made, np.random.default_rng(0))
    assert core.forget(made.times, made.entities) == 0
    assert len(core) == 30


@pytest.mark.parametrize("count", [0, 100, 3000])
def test_the_core_continues_from_its_state(count: int) -> None:
    first, second = filled(Core(config(), LAYOUT), count), Core(config(), LAYOUT)
    snapshot = first.to_state()
    saved = pack(snapshot)
    second.load(unpack(saved))
    for core in (first, second):
        learn(core, rows(count, 600), np.random.default_rng(5))
    assert pack(first.to_state()) == pack(second.to_state())
    assert pack(snapshot) == saved


# --- clusters --------------------------------------------------------------------------------------------


def embedded(count: int, places: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    middles = rng.normal(0, 10, (places, DIMENSION))
    return (middles[np.arange(count) % places] + rng.normal(0, 0.5, (count, DIMENSION))).astype(np.float32)


def check(clusters: Clusters, core: Core, points: np.ndarray, members_min: int) -> None:
    """Centres, sizes and radii, and who shares them, against the members that the core names."""
    assert len(clusters) == len(clusters.sizes) == len(clusters.radii) > 0
    shared_by = Exemplars(core, LAYOUT, len(clusters)).people
    assert len(shared_by) == len(clusters)
    member = core.cluster[: len(core)]
    assert member.min() >= -1
    assert member.max() < len(clusters)
    for number in range(len(clusters)):
        mine = points[member == number].astype(np.float64)
        assert clusters.sizes[number] == len(mine) >= members_min
        np.testing.assert_allclose(clusters.centres[number], mine.mean(axis=0), rtol=1e-4, atol=1e-4)
        radius = np.sqrt(np.square(mine - mine.mean(axis=0)).sum(axis=1).mean())
        assert clusters.radii[number] == pytest.approx(radius, rel=1e-3, abs=1e-3)
        people = set(core.filled().entities[member == number, 0].tolist())
        assert shared_by[number] == len(people)


def renew(
    clusters: Clusters, core: Core, points: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Cluster the core as it is; returns distances to the nearest centre."""
    core.assign(clusters.update(core.sample(), points, rng))
    return Exact(clusters.centres).search(points, 1)[1][:, 0].astype(np.float64)


@pytest.mark.parametrize("count", [16, 100, 512])
@pytest.mark.parametrize("members_min", [1, 3, 16])
def test_clusters_describe_their_members(count: int, members_min: int) -> None:
    core = filled(Core(config(), LAYOUT), count)
    clusters = Clusters(config(members_min=members_min), IndexConfig(), DIMENSION)
    rng = np.random.default_rng(0)
    for seed in range(3):  # the second and third begin where the clusters were
        points = embedded(count, seed=seed)
        distances = renew(clusters, core, points, rng)
        check(clusters, core, points, members_min)
        assert len(clusters) <= max(1, min(16, count // 16))
        gaps = np.square(points.astype(np.float64)[:, None] - clusters.centres[None]).sum(axis=2)
        np.testing.assert_allclose(distances, np.sqrt(gaps.min(axis=1)), rtol=1e-3, atol=2e-2)
        learn(core, rows(1000 * seed + 1000, 200), rng)
        count = len(core)


def test_many_clusters_are_about_as_tight_as_if_all_had_been_compared_with_all() -> None:
    rng = np.random.default_rng(0)
    count = 8192
    big = config(core_events=count, memory_events=1 << 24, count_max=512)
    middles = rng.normal(0, 5, (900, DIMENSION))
    points = (middles[rng.integers(0, 900, count)] + rng.normal(0, 0.3, (count, DIMENSION))).astype(
        np.float32
    )
    found = {}
    for name, index in {"all": IndexConfig(), "near": IndexConfig(exact_below=64)}.items():
        core, clusters, chance = filled(Core(big, LAYOUT), count), Clusters(big, index, DIMENSION), None
        for seed in range(3):  # barriers: the encoder has moved a little, some of the core is new
            learn(core, rows(count * (seed + 1), 500), np.random.default_rng(seed))
            chance = np.random.default_rng(seed)
            moved = points + chance.normal(0, 0.05, points.shape).astype(np.float32)
            distances = renew(clusters, core, moved, chance)
        check(clusters, core, moved, 3)
        found[name] = np.square(distances).mean()
    assert found["near"] < 1.1 * found["all"]


@pytest.mark.parametrize("members_min", [17, 32, 64])
@pytest.mark.parametrize("count", [16, 64, 256])
def test_one_cluster_always_stays(members_min: int, count: int) -> None:
    core = filled(Core(config(), LAYOUT), count)
    clusters = Clusters(config(members_min=members_min), IndexConfig(), DIMENSION)
    rng = np.random.default_rng(0)
    for seed in range(3):
        points = np.random.default_rng(seed).normal(0, 1, (count, DIMENSION)).astype(np.float32)
        renew(clusters, core, points, rng)
        check(clusters, core, points, 1)


def test_small_clusters_are_dropped() -> None:
    points = embedded(512, places=4)
    points[:2] = 500.0  # two of a kind, far from all
    alone = 0
    for seed in range(40):  # whether they come to a centre of their own is a matter of chance
        core = filled(Core(config(), LAYOUT), 512)
        clusters = Clusters(config(members_min=3), IndexConfig(), DIMENSION)
        distances = renew(clusters, core, points, np.random.default_rng(seed))
        check(clusters, core, points, 3)
        if (core.cluster[:2] == -1).all():
            alone += 1
            assert (distances[:2] > 1000).all()
    assert alone


def test_equal_events_make_one_centre() -> None:
    core = filled(Core(config(), LAYOUT), 512)
    clusters = Clusters(config(), IndexConfig(), DIMENSION)
    renew(clusters, core, np.ones((512, DIMENSION), dtype=np.float32), np.random.default_rng(0))
    assert len(clusters) == 1
    assert clusters.sizes.tolist() == [512]
    assert clusters.radii[0] == pytest.approx(0, abs=1e-3)
    assert Exemplars(core, LAYOUT, 1).people.tolist() == [7]


def test_without_entities_every_event_counts_as_an_entity() -> None:
    schema = Event.model_validate(
        {**SCHEMA.model_dump(mode="json"), "entities": []},
    )
    layout = Layout(schema, FeaturesConfig())
    core = Core(config(), layout)
    learn(core, empty_rows(64, layout), np.random.default_rng(0))
    clusters = Clusters(config(), IndexConfig(), DIMENSION)
    renew(clusters, core, embedded(64), np.random.default_rng(0))
    np.testing.assert_array_equal(Exemplars(core, layout, len(clusters)).people, clusters.sizes)


def test_clusters_return_from_their_state() -> None:
    core = filled(Core(config(), LAYOUT), 512)
    first, second = Clusters(config(), IndexConfig(), DIMENSION), Clusters(config(), IndexConfig(), DIMENSION)
    renew(first, core, embedded(512), np.random.default_rng(0))
    second.load(unpack(pack(first.to_state())))
    assert pack(first.to_state()) == pack(second.to_state())
    again = unpack(pack(core.to_state()))
    other = Core(config(), LAYOUT)
    other.load(again)
    points = embedded(512, seed=4)
    left = renew(first, core, points, np.random.default_rng(1))
    right = renew(second, other, points, np.random.default_rng(1))
    assert left.tobytes() == right.tobytes()
    assert pack(first.to_state()) == pack(second.to_state())


# --- exemplars -------------------------------------------------------------------------------------------


def test_exemplars_are_medians_and_never_an_event() -> None:
    core = Core(config(), LAYOUT)
    made = rows(0, 100)
    rng = np.random.default_rng(0)
    made.numerics[:, 0] = rng.permutation(np.r_[np.arange(50) / 10, np.full(25, np.nan), np.arange(25) + 1e3])
    made.categories[:, 0] = np.where(np.arange(100) < 60, 5, 9)
    made.times[:] = 7 * DAY_S + 86_000 + np.arange(100) * 8  # around midnight
    own = LAYOUT.kinds[1]
    made.context[:, own.start] = np.where(np.arange(100) < 70, 3600.0 + np.arange(100), np.nan)
    made.context[:, own.start + 1] = np.arange(100)
    learn(core, made, rng)
    core.cluster[:100] = np.arange(100) % 2
    exemplars = Exemplars(core, LAYOUT, 2)
    for number in (0, 1):
        mine = np.arange(100) % 2 == number
        typical = exemplars.typical(number)
        assert len(typical) == 1
        assert typical.numerics[0, 0] == np.nanmedian(made.numerics[mine, 0])
        assert typical.categories[0, 0] == 5
        assert not typical.entities.any()
        seen = mine & (np.arange(100) < 70)
        assert typical.context[0, own.start] == np.median(made.context[seen, own.start])
        assert typical.context[0, own.start + 1] == np.median(made.context[seen, own.start + 1])
        midnight = min(typical.times[0], DAY_S - typical.times[0])
        assert midnight < 60
    learn(core, rows(0, 400), rng)
    core.cluster[:] = 0
    assert exemplars.typical(0).categories[0, 0] == 5  # as it was when made


def test_a_cluster_whose_events_have_left_the_core_has_no_entities() -> None:
    core = filled(Core(config(), LAYOUT), 512)
    clusters = Clusters(config(), IndexConfig(), DIMENSION)
    assigned = clusters.update(core.sample(), embedded(512), np.random.default_rng(0))
    for seed in range(20):  # nearly all of the sample is replaced before its clusters are installed
        learn(core, rows(1000 * seed + 1000, 2000), np.random.default_rng(seed))
    core.assign(assigned)
    left = core.cluster[core.cluster >= 0]
    assert len(left) < 50
    exemplars = Exemplars(core, LAYOUT, len(clusters))
    assert exemplars.people.sum() <= len(left)
    assert not exemplars.people[np.setdiff1d(np.arange(len(clusters)), left)].any()
    assert exemplars.everybody == 7


def test_a_value_that_a_cluster_never_has_is_expected_to_be_missing() -> None:
    core = Core(config(), LAYOUT)
    made = rows(0, 20)
    made.numerics[:] = np.nan
    made.context[:, [kind.start for kind in LAYOUT.kinds]] = np.nan
    learn(core, made, np.random.default_rng(0))
    core.cluster[:20] = 0
    typical = Exemplars(core, LAYOUT, 2).typical(0)
    assert np.isnan(typical.numerics[0, 0])
    assert np.isnan(typical.context[0, LAYOUT.kinds[1].start])


@given(
    count=st.integers(1, 200),
    wanted=st.integers(1, 40),
    different=st.integers(1, 50),
    seed=st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_centres_are_within_the_range_of_their_points(
    count: int, wanted: int, different: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(different, DIMENSION))[rng.integers(0, different, count)].astype(np.float32)
    centres = centres_of(points, wanted, rng)
    assert 1 <= len(centres) <= wanted
    assert centres.dtype == np.float32
    assert (centres >= points.min(axis=0) - 1e-5).all()
    assert (centres <= points.max(axis=0) + 1e-5).all()
    squares = nearest_squares(points, centres)
    exact = np.square(points[:, None] - centres[None]).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(squares, exact, atol=1e-3)
    if wanted >= count:
        np.testing.assert_allclose(squares, 0.0, atol=1e-3)


def test_only_the_event_itself_is_forgotten() -> None:
    core = filled(Core(config(), LAYOUT), 64)
    core.rows.times[:64] = np.repeat(np.arange(32.0), 2)
    other = core.rows.entities[1].copy()
    before = [tuple(row) for row in zip(core.rows.times[:64], core.rows.entities[:64, 0], strict=True)]
    taken = core.forget(np.array([0.0, 5.0]), np.array([core.rows.entities[0], core.rows.entities[10]]))
    after = [
        tuple(row)
        for row in zip(core.filled().times.tolist(), core.filled().entities[:, 0].tolist(), strict=True)
    ]
    assert taken == 2
    assert (0.0, int(other[0])) in after
    assert sorted(after) == sorted(set(before) - {before[0], before[10]})

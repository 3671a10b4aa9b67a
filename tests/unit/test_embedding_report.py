"""Reports on the embedding: each figure on points whose figure is known, and each damage under its name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from detector.core.model import quality_of_space as measure
from detector.core.model.encoder import Encoder
from detector.core.model.index import Exact
from detector.core.shard.embedded import Embedded
from detector.core.shard.embedding_report import EmbeddingReport, compared, embedding_report
from detector.rendering.embedding import (
    compared_json,
    compared_lines,
    report_json,
    report_lines,
    report_page,
)
from tests.unit.test_shard import part, restored, undisturbed

Damage = Callable[[Encoder, np.random.Generator], None]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def embedded(back: int = 0) -> Embedded:
    """Of the last checkpoint of a run with labels, or of one so many before it."""
    snapshots = undisturbed().snapshots
    (_, state), _ = restored(snapshots[sorted(snapshots)[-1 - back]])
    return Embedded.of_state(part(), state)


@cache
def healthy() -> EmbeddingReport:
    return embedding_report(embedded(), name="00000/b", before=embedded(1))


# --- figures -----------------------------------------------------------------------------------------------


def neighbours(points: np.ndarray) -> np.ndarray:
    single = points.astype(np.float32)
    return Exact(single).search(single, 11)[0][:, 1:]


def test_the_rank_counts_directions() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5000, 4)) @ np.diag([1.0, 1.0, 1.0, 0.0])
    assert measure.effective_rank(measure.shares_of_variance(points)) == pytest.approx(3.0, abs=0.02)
    line = np.outer(rng.normal(size=300), [1.0, 2.0])
    assert measure.effective_rank(measure.shares_of_variance(line)) == pytest.approx(1.0)
    assert measure.shares_of_variance(np.ones((9, 3))).tolist() == [1.0, 0.0, 0.0]
    assert measure.uniformity(line) > measure.uniformity(points[:300])


def test_neighbours_agree_by_chance_or_always() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat([1, 2, 3], 60)
    points = groups[:, None] * 10.0 + rng.normal(size=(180, 3))
    near = neighbours(points)
    assert measure.purity(groups.astype(np.uint64), near) == pytest.approx(1.0)
    assert measure.purity(rng.permutation(groups).astype(np.uint64), near) == pytest.approx(0.0, abs=0.1)
    assert math.isnan(measure.purity(np.ones(180, dtype=np.uint64), near))
    line = np.linspace(0.0, 1.0, 180)
    assert measure.order_purity(line**9, neighbours(line[:, None])) > 0.9
    assert measure.order_purity(rng.permutation(line), neighbours(line[:, None])) == pytest.approx(
        0.0, abs=0.1
    )
    assert math.isnan(measure.order_purity(np.ones(180), near))


def test_variance_that_says_only_who() -> None:
    rng = np.random.default_rng(2)
    who = np.repeat(np.arange(1, 41), 5).astype(np.uint64)
    places = rng.normal(size=(41, 3))[who]
    assert measure.between(places, who) == pytest.approx(1.0)
    assert measure.between(rng.normal(size=(200, 3)), who) == pytest.approx(0.0, abs=0.05)
    assert math.isnan(measure.between(places, np.arange(1, 201).astype(np.uint64)))


def test_offsets_that_point_the_same_way() -> None:
    rng = np.random.default_rng(3)
    assert measure.resultant(np.tile([1.0, 2.0], (9, 1))) == pytest.approx(1.0)
    assert measure.resultant(rng.normal(size=(9000, 3))) == pytest.approx(0.0, abs=0.05)


def test_areas_and_precisions_of_known_rankings() -> None:
    truth = np.array([True, False, True, False])
    assert measure.area(np.array([4.0, 3.0, 2.0, 1.0]), truth) == pytest.approx(0.75)
    assert measure.area(np.zeros(4), truth) == pytest.approx(0.5)
    assert measure.average_precision(np.array([4.0, 3.0, 2.0, 1.0]), truth) == pytest.approx(5 / 6)
    assert measure.average_precision(np.zeros(4), truth) == pytest.approx(0.5)
    assert math.isnan(measure.area(np.zeros(2), np.array([True, True])))


def test_a_direction_separates_two_classes() -> None:
    rng = np.random.default_rng(4)
    truth = rng.random(400) < 0.2
    points = rng.normal(size=(400, 3)) * [5.0, 1.0, 1.0] + np.outer(truth, [0.0, 4.0, 0.0])
    assert measure.area(points @ measure.direction(points, truth), truth) > 0.98


def test_a_hub_is_near_to_all() -> None:
    even = np.stack([(np.arange(100) + k) % 100 for k in range(1, 11)], axis=1)
    hub = even.copy()
    hub[:, 0] = 0
    assert measure.hubness(even) == pytest.approx(0.0)
    assert measure.hubness(hub) > 5.0


# --- flags -------------------------------------------------------------------------------------------------


def shuffled(encoder: Encoder, rng: np.random.Generator) -> None:
    for name, weight in encoder.weights.items():
        encoder.weights[name] = rng.permutation(weight.ravel()).reshape(weight.shape)


def collapsed(encoder: Encoder, rng: np.random.Generator) -> None:
    out = encoder.weights["out"]
    encoder.weights["out"] = np.outer(out[:, 0], rng.normal(size=out.shape[1])).astype(np.float32)


def dead_units(encoder: Encoder, rng: np.random.Generator) -> None:
    half = len(encoder.weights["hidden_bias"]) // 2 + 1
    encoder.weights["hidden"][:, :half], encoder.weights["hidden_bias"][:half] = 0.0, -1.0


def dead_dimensions(encoder: Encoder, rng: np.random.Generator) -> None:
    encoder.weights["out"][:, : encoder.config.dimension // 2] = 0.0


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (shuffled, "not trained"),
        (collapsed, "collapsed"),
        (dead_units, "dead units"),
        (dead_dimensions, "dead dimensions"),
    ],
)
def test_each_damage_is_flagged_by_its_name(damage: Damage, name: str) -> None:
    harmed = embedded()
    encoder = harmed.space.encoder
    encoder.weights = {key: weight.copy() for key, weight in encoder.weights.items()}
    damage(encoder, np.random.default_rng(5))
    encoder._update_sums()
    assert name in {one.name for one in embedding_report(harmed).flags}


def test_a_healthy_encoder_raises_no_flag() -> None:
    assert healthy().flags == []


# --- the report --------------------------------------------------------------------------------------------


def test_the_same_checkpoint_gives_the_same_report() -> None:
    again = embedding_report(embedded(), name="00000/b", before=embedded(1))
    assert report_json(again) == report_json(healthy())


def test_fields_that_nothing_hangs_on_are_seen_as_such() -> None:
    fields = {one.name: one for one in healthy().fields}
    assert set(fields) == {"amount", "customer", "terminal", "channel", "memo", "time"}
    assert fields["amount"].moved > 0.0
    assert fields["amount"].contrast > 0.5
    assert all(0.0 <= one.contrast <= 1.0 for one in fields.values())


def test_drift_is_said_of_clusters_that_both_versions_have() -> None:
    drift = healthy().drift
    assert 0.0 < drift["shared clusters"] <= 1.0
    assert drift["moved, after a turn"] <= drift["moved"] + 1e-6
    alone = embedding_report(embedded(), before=embedded())
    assert alone.drift["moved"] == pytest.approx(0.0)


def test_labels_are_judged_where_enough_frauds_are_known() -> None:
    known = embedded()
    numbers = known.buffer.stored()
    for number in numbers[::40].tolist():
        known.buffer.put_flags(number, 2)
    found = embedding_report(known)
    assert found.frauds >= 20
    assert set(found.extrinsic) >= {"all parts: AP", "nearest neighbours: AUC", "linear: AP"}
    assert all(0.0 <= found.extrinsic[name] <= 1.0 for name in found.extrinsic if name != "purity of frauds")


def test_what_changed_is_said_in_words_and_figures() -> None:
    before, after = healthy(), replace(healthy(), name="00000/c")
    lines = list(compared_lines(before, after))
    assert lines[1] == "no figure changed by 5% or more"
    worse = replace(after, intrinsic={**after.intrinsic, "effective rank": 1.0, "largest direction": 1.0})
    said = "\n".join(compared_lines(before, worse))
    assert f"effective rank fell from {before.intrinsic['effective rank']:.3f} to 1.000" in said
    assert {one.figure for one in compared(before, worse)} >= {"effective rank", "amount: contrast"}
    assert json.loads(compared_json(before, worse))["changes"]["effective rank"] < 0.0


def test_it_tells_the_judgement_with_which_the_encoder_was_promoted() -> None:
    judged = {"contrast": 0.71, "contrast_before": 0.74}
    lines = list(report_lines(replace(healthy(), judged=judged, refused=2)))
    assert "2 new encoders were refused since the model began" in lines
    shown = lines[lines.index("When it was promoted") + 1 :][:2]
    assert [line.split()[:2] for line in shown] == [["contrast", "0.710"], ["contrast_before", "0.740"]]
    assert "refused" in shown[0]  # with the limit
    assert any("not judged" in line for line in report_lines(replace(healthy(), judged={})))


def test_a_report_is_written_as_lines_a_page_and_json() -> None:
    text = report_page(replace(healthy(), name="<script>"), "t-0")
    assert "<script" not in text
    assert "effective rank" in text
    assert json.loads(report_json(healthy()))["intrinsic"]["effective rank"] > 1.0
    lines = "\n".join(report_lines(healthy()))
    assert "no flag is raised" in lines
    assert "too few to say anything" in lines or "confirmed frauds" in lines

"""The served parts of the score: the labelled one needs known frauds, and all of them restore."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from detector.config.tree import Event, Model
from detector.core.features import DAY_S, Features, Layout, Rows, empty_rows
from detector.core.model.clusters import Core
from detector.core.model.encoder import LabelLearner, PlainLearner
from detector.core.model.labelled_parts import PROTOTYPES_MAX, LabelledPart
from detector.core.model.score_part import Update
from detector.core.model.serving import ServedModel
from detector.core.model.trees import Trees
from detector.core.state import pack, unpack

SCHEMA = Event.model_validate(
    {
        "id": "id",
        "time": {"path": "time"},
        "entities": [{"name": "card", "path": "card"}],
        "fields": [{"name": "amount", "path": "amount", "type": "numeric"}],
    }
)
MODEL = Model.model_validate(
    {
        "encoder": {"hidden": 8, "dimension": 8, "hash_rows": 64, "bins": 4, "learning_rate": 0.01},
        "clusters": {"core_events": 512, "memory_events": 2048, "count_max": 16},
        "barriers": {"block_events": 64},
    }
)
LAYOUT = Layout(SCHEMA, MODEL.features)
FEATURES = Features(LAYOUT)
BLOCK = MODEL.barriers.block_events


def rows(count: int, seed: int = 0, amount: float = 0.0) -> Rows:
    rng = np.random.default_rng(seed)
    made = empty_rows(count, LAYOUT)
    made.times[:] = made.clocks[:] = 1e9 + np.arange(count) * DAY_S / 100
    made.entities[:, 0] = rng.integers(1, 9, count)
    made.numerics[:, 0] = rng.normal(amount, 0.3, count)
    return made


class Trained:
    """Normal amounts lie around 0, frauds around 3."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        config = MODEL.encoder
        self.core = Core(MODEL.clusters, LAYOUT)
        self.core.learn(rows(500), np.arange(500), rng)
        self.plain = PlainLearner(config, FEATURES.plain_count, 0, 0, rng)
        self.labelled = LabelLearner(config, len(FEATURES), 0, 0, LAYOUT.fraud_rate_ends, rng)
        self.served = ServedModel(MODEL, LAYOUT, FEATURES, rng)
        both = Rows.joined([rows(200), rows(40, 1, 3.0)])
        fraud = (np.arange(240) >= 200).astype(np.float32)
        for _ in range(150):
            self.labelled.learn(FEATURES.compute(both), both, fraud, np.ones(240, dtype=np.float32))

    def promote(self, frauds: int) -> ServedModel:
        known = rows(frauds, 2, 3.0)
        rng, sample, copies = np.random.default_rng(1), self.core.sample(), self.served.copies()
        self.served.install(self.served.refitted(copies, sample, self.plain.learned(), rng), self.core)
        self.served.update(
            Update(
                core=self.core,
                learner=self.labelled,
                fraud_inputs=FEATURES.compute(known),
                fraud_hashes=known,
                fraud_offsets=np.arange(frauds) * 10,
                trees=Trees(),
                rng=rng,
            )
        )
        return self.served


class Distances(NamedTuple):
    plain: np.ndarray
    labelled: np.ndarray


def measured(served: ServedModel, asked: Rows) -> Distances:
    inputs = FEATURES.compute(asked)
    return Distances(served.plain_distances(asked, inputs), served.labelled_distances(asked, inputs))


def test_the_confirmed_frauds_that_an_event_is_like_are_named() -> None:
    served = Trained().promote(40)
    fraud, normal = rows(1, 7, 3.0), rows(1, 8)
    near = served.near_frauds(fraud, FEATURES.compute(fraud))
    assert 1 <= len(near) <= 2
    assert all(offset in range(0, 400, 10) and 0.0 <= distance < 1.0 for offset, distance in near)
    assert near[0][1] <= near[-1][1]
    assert not served.near_frauds(normal, FEATURES.compute(normal))
    assert not Trained().promote(0).near_frauds(fraud, FEATURES.compute(fraud))


def test_without_known_frauds_there_is_no_labelled_distance() -> None:
    trained = Trained()
    asked = rows(BLOCK, 5)
    served = trained.promote(0)
    assert not served.knows_labels
    found = measured(served, asked)
    assert np.isnan(found.labelled).all()
    assert np.isfinite(found.plain).all()
    assert trained.promote(5).knows_labels
    assert not trained.promote(0).knows_labels  # all were retracted


@pytest.mark.parametrize("frauds", [1, 5, 400])
def test_events_like_known_frauds_are_far_from_normal(frauds: int) -> None:
    served = Trained().promote(frauds)
    prototypes = served.to_state()["parts"][LabelledPart.name]["prototypes"]
    assert 1 <= len(prototypes) <= min(PROTOTYPES_MAX, max(1, frauds // 4))
    distances = measured(served, Rows.joined([rows(32, 6), rows(32, 7, 3.0)])).labelled
    assert distances[32:].min() > distances[:32].max()


def test_labels_change_no_distance_of_a_part_without_labels() -> None:
    """Only the labelled part sees the fraud rates of an event's keys."""
    served = Trained().promote(20)
    asked = rows(BLOCK, 5)
    before = measured(served, asked)
    asked.fraud_rates[:, : LAYOUT.doubt] = LAYOUT.fraud_rate_ends / 2
    after = measured(served, asked)
    assert before.plain.tobytes() == after.plain.tobytes()
    assert not np.array_equal(before.labelled, after.labelled)


def test_an_event_of_a_doubtful_key_is_not_accused() -> None:
    served = Trained().promote(20)
    fraud = rows(32, 7, 3.0)
    assert (measured(served, fraud).labelled > 0.0).any()
    fraud.fraud_rates[:, LAYOUT.doubt] = 1.0
    assert (measured(served, fraud).labelled <= 0.0).all()


def test_an_events_distances_do_not_depend_on_its_block() -> None:
    served = Trained().promote(20)
    asked, others = rows(BLOCK, 5), rows(BLOCK, 8)
    others.put(slice(10, 13), asked.take(slice(10, 13)))
    alone = measured(served, asked.take(slice(10, 13)))
    for block in (asked, others):
        found = measured(served, block)
        assert found.labelled[10:13].tobytes() == alone.labelled.tobytes()
        assert found.plain[10:13].tobytes() == alone.plain.tobytes()


def test_what_serves_is_restored_from_its_state() -> None:
    trained = Trained()
    first, second = trained.promote(20), ServedModel(MODEL, LAYOUT, FEATURES, np.random.default_rng(9))
    second.load(unpack(pack(first.to_state())), trained.core)
    asked = rows(BLOCK, 5)
    one, other = measured(first, asked), measured(second, asked)
    assert one.labelled.tobytes() == other.labelled.tobytes()
    assert one.plain.tobytes() == other.plain.tobytes()
    assert pack(first.to_state()) == pack(second.to_state())

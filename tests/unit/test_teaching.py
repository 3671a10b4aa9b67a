"""Scores keep their meaning when the labelled parts of the score change."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from detector.config.tree import Calibration as CalibrationConfig
from detector.core.model.calibration import Calibration
from detector.core.shard import teaching
from detector.core.shard.teaching import learn_from_labels

EVENTS, MEMORY = 4000, 2048


class Supervision:
    """Knows a thousand events; the trees are new from `grown` on, and the weight becomes `weight`."""

    def __init__(self, weight: float) -> None:
        self.versions, self.weight, self.grows = (0, 0), weight, False
        self.frauds = SimpleNamespace(inputs=None)
        self.learner = self.fraud_offsets = self.trees = None
        self.plain = np.random.default_rng(1).normal(size=EVENTS)

    def mature(self, now: float) -> None:
        pass

    def train(self, fresh: None) -> None:
        self.versions = (0, int(self.grows))

    def weigh(self, weight: float) -> float:
        return self.weight

    def recent(self, count: int) -> Iterator[tuple[Any, Any, Any]]:
        for piece in np.array_split(self.plain[-count:], 3):
            yield piece, None, piece


class Scorer:
    """A calibration whose labelled distance is the distance without labels, times `factor`."""

    def __init__(self) -> None:
        self.factor = 1.0
        self.calibration = Calibration(CalibrationConfig(memory_events=MEMORY), np.ones(1))
        self.shifts = SimpleNamespace(count=0, comparable=EVENTS)
        self.served = SimpleNamespace(
            knows_labels=True,
            update=lambda update: None,
            labelled_distances=lambda rows, plain: self.factor * plain,
        )

    def share_above(self, distances: Any, score: float) -> float:
        return float((self.calibration.scores(distances) >= score).mean())


def teach(supervision: Supervision, scorer: Scorer, *, warming_up: bool = False) -> None:
    learning = SimpleNamespace(core=None, rng=None)
    parts = cast(Any, supervision), cast(Any, scorer), cast(Any, learning)
    learn_from_labels(*parts, now=0.0, memory=MEMORY, warming_up=warming_up)


@pytest.fixture(autouse=True)
def _no_update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teaching, "Update", lambda **_: None)


def distances_of(supervision: Supervision, scorer: Scorer) -> Any:
    return scorer.calibration.mix(supervision.plain, scorer.factor * supervision.plain)


def test_scores_mean_the_same_after_trees_have_changed_the_labelled_distance() -> None:
    supervision, scorer = Supervision(weight=1.0), Scorer()
    teach(supervision, scorer)  # the weight moves: counted
    before = scorer.share_above(distances_of(supervision, scorer), 1.0)
    assert before == pytest.approx(0.145, abs=0.02)  # .1 of the .95 that are accepted, and all others
    supervision.grows, scorer.factor = True, 5.0
    teach(supervision, scorer)
    assert scorer.share_above(distances_of(supervision, scorer), 1.0) == pytest.approx(before, abs=0.01)


def test_nothing_is_counted_again_where_nothing_changed() -> None:
    supervision, scorer = Supervision(weight=1.0), Scorer()
    teach(supervision, scorer)
    counted = scorer.calibration.all.counts.copy()
    scorer.factor = 5.0
    teach(supervision, scorer)
    assert (scorer.calibration.all.counts == counted).all()


@pytest.mark.parametrize(("weight", "warming_up"), [(0.0, False), (1.0, True)])
def test_trees_without_a_say_change_nothing(weight: float, warming_up: bool) -> None:
    supervision, scorer = Supervision(weight=weight), Scorer()
    supervision.grows = True
    teach(supervision, scorer, warming_up=warming_up)
    assert not scorer.calibration.all.counts.any()

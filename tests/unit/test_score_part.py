"""A part of the score is added from outside: a class, and a row in the table of parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.core.features import Rows
from detector.core.labels.label_weight import WEIGHT_STEP
from detector.core.model import serving
from detector.core.model.calibration import Limit
from detector.core.model.clusters import Core
from detector.core.model.score_part import Explained, Fit, PartSetup, ScorePart, Shown, Update
from tests.unit.test_learning import payments, reports, settings_of
from tests.unit.test_shard import Run, after, drive, one_thread, partition, restored, undisturbed

__all__ = ["one_thread"]  # a fixture for all tests here


class TailPart(ScorePart):
    """How far the first input lies beyond quantiles of the core, and of all events since."""

    name: ClassVar[str] = "tail"
    columns = 2

    def __init__(self, setup: PartSetup) -> None:
        self._high = np.zeros(2)
        self._counted = np.zeros(1)  # changed in place

    def distances(self, rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        return inputs[:, :1].astype(np.float64) - self._high

    def learn(self, rows: Rows, inputs: NDArray[np.float32], accepted: NDArray[np.bool_]) -> None:
        self._counted += accepted.sum()

    def copy(self) -> Self:
        other = type(self).__new__(type(self))
        other._high, other._counted = self._high, self._counted.copy()
        return other

    def refit(self, fit: Fit) -> None:
        self._high = np.quantile(fit.inputs[:, 0], [0.9, 0.99])

    def succeed(self, before: Self, core: Core) -> None:
        self._counted = before._counted

    def gauges(self) -> dict[str, float]:
        return {"tail_counted": float(self._counted[0])}

    def to_state(self) -> dict[str, Any]:
        return {"high": self._high, "counted": self._counted.copy()}

    def load(self, state: Mapping[str, Any], core: Core) -> None:
        self._high, self._counted = state["high"], state["counted"]


class CompromisedPart(ScorePart):
    """A labelled part: how long ago the terminal had a fraud, once frauds are known."""

    name: ClassVar[str] = "compromised"
    labelled: ClassVar[bool] = True

    def __init__(self, setup: PartSetup) -> None:
        self._columns = setup.layout.fraud_rate_kinds[1].columns
        self._frauds = 0

    @property
    def knows(self) -> bool:
        return self._frauds > 0

    def distances(self, rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        if not self.knows:
            return np.full((len(rows), 1), np.nan)
        return rows.fraud_rates[:, self._columns][:, :1].astype(np.float64)

    def explain(self, rows: Rows, inputs: NDArray[np.float32], shown: Shown) -> Explained:
        return Explained(facts={"compromised": float(self.distances(rows, inputs)[0, 0])})

    def update(self, update: Update) -> None:
        self._frauds = len(update.fraud_inputs)

    def to_state(self) -> dict[str, Any]:
        return {"frauds": self._frauds}

    def load(self, state: Mapping[str, Any], core: Core) -> None:
        self._frauds = state["frauds"]


@pytest.fixture
def _tail(monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed()  # is cached for all tests, so it must be made without the part
    monkeypatch.setattr(serving, "PARTS", (*serving.PARTS, TailPart))


@pytest.mark.usefixtures("_tail")
def test_an_added_part_is_refitted_normalised_saved_and_restored() -> None:
    run = drive(partition(), snapshots=True)
    assert run.scores() != undisturbed().scores()
    assert run.partition.gauges["tail_counted"] > 3000
    last = list(run.snapshots.values())[-1].state
    spans = last["calibration"]["span"]
    assert len(spans) == len(undisturbed_state()["calibration"]["span"]) + TailPart.columns
    assert (spans[-2:] != 1.0).all()
    highs = [snapshot.state["served"]["parts"]["tail"]["high"] for snapshot in run.snapshots.values()]
    assert len({tuple(high) for high in highs}) > 5

    position, snapshot = list(run.snapshots.items())[len(run.snapshots) // 2]
    checkpoint, journal = restored(snapshot)
    going = drive(
        partition(journal=journal, until=position, restored=checkpoint), pieces=[7] * 40, snapshots=True
    )
    assert after(going, position) == after(run, position)
    assert going.states() == {at: state for at, state in run.states().items() if at > position}


def undisturbed_state() -> Mapping[str, Any]:
    return list(undisturbed().snapshots.values())[-1].state


@pytest.mark.usefixtures("_tail")
def test_weights_are_relative_and_shared_by_a_parts_columns() -> None:
    shard = partition()._shard
    weights = shard._scorer.served.weights
    assert weights.sum() == pytest.approx(1.0)
    assert weights.tolist() == pytest.approx([0.18, 0.18, 0.04, 0.1, 0.0, 0.25, 0.25])
    assert shard._scorer.served.limits.tolist() == [0, 0, 0, 0, Limit.BESIDE, 0, 0]


def labelled_run(monkeypatch: pytest.MonkeyPatch, *parts: serving.PartFactory) -> Run:
    with monkeypatch.context() as patched:
        patched.setattr(serving, "PARTS", (serving.RobustPart.make, serving.LearnedPart, *parts))
        return drive(partition(settings_of()), payments(), labels=reports(), snapshots=True)


def test_an_added_labelled_part_earns_its_weight_and_adds_its_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    run = labelled_run(monkeypatch, CompromisedPart)
    weights = [snapshot.state["calibration"]["label_weight"] for snapshot in run.snapshots.values()]
    assert weights[0] == 0.0
    assert weights[-1] >= 2 * WEIGHT_STEP
    assert np.isfinite([body["compromised"] for body in run.bodies()][-1])
    assert {"exemplars", "cluster"} <= run.bodies()[-1].keys()


def test_labelled_parts_are_averaged_over_those_that_know_something(monkeypatch: pytest.MonkeyPatch) -> None:
    run = labelled_run(monkeypatch, serving.LabelledPart, CompromisedPart)
    served = run.partition._shard._scorer.served
    block = run.partition._shard._block
    rows, inputs = block.rows.take(slice(0, 8)), block.inputs[:8]
    both = np.concatenate([part.distances(rows, inputs) for part in served._labelled], axis=1)
    assert both.shape == (8, 2)
    assert served.labelled_distances(rows, inputs) == pytest.approx(both.mean(axis=1))
    monkeypatch.setattr(served._labelled[1], "_frauds", 0)
    assert served.labelled_distances(rows, inputs).tolist() == both[:, 0].tolist()

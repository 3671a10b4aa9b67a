"""Estimates of what the score misses, from the answers to a few random alerts.

Whoever looks only at alerts never learns which frauds had none. With `alerts.exploration_share` above 0,
every event that gives no alert for its score gives one with a small known probability p. A fraud among
these stands for 1/p frauds (Horvitz and Thompson 1952); a fraud alerted for its score stands for itself. So

    missed = sum of 1/p over explored frauds          recall = found / (found + missed)

Rules
    - The draw is a hash of the event's number: it does not depend on how the log was cut, nor on the score.
    - Both kinds of alerts are in one table, which drops the oldest, so both sums cover the same time.
    - Where not all alerts are answered, each answered one stands for the others of its kind: p is multiplied
      by the answered share. That is unbiased as long as the answered share does not depend on the truth.
    - There are no estimates before `ANSWERS_MIN` alerts of each kind were answered.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.erasure import Counts, Erased, Keys, without
from detector.core.mixing import GOLDEN, mixed

ALERTS_MAX = 16_384  # alerts in the table, of both kinds
ANSWERS_MIN = 100  # of each kind
BY_SCORE = 1.0  # probability of an alert that was given for its score

_UNANSWERED, _LEGITIMATE, _FRAUD = range(3)
_ANSWERS = {"retracted": _UNANSWERED, "legitimate": _LEGITIMATE, "fraud": _FRAUD}


class Exploration:
    """Draws events of one shard, and estimates from the answers to their alerts."""

    def __init__(self, seed: int, partition: int) -> None:
        self._key = np.uint64(seed << 32 | partition)
        # By offset: p, answer, main entity (hash; 0: none).
        self._alerts: OrderedDict[int, tuple[float, int, int]] = OrderedDict()
        self.estimates: dict[str, float] = {}

    def draw(self, numbers: NDArray[np.int64], probability: float) -> NDArray[np.bool_]:
        """Which of the events with these numbers (n,) give an alert, whatever their score."""
        if probability <= 0.0:
            return np.zeros(len(numbers), dtype=bool)
        uniform = _mixed(numbers.astype(np.uint64) ^ _mixed(self._key)) * 2.0**-64
        chosen: NDArray[np.bool_] = uniform < probability
        return chosen

    def record(self, offset: int, probability: float, entity: int) -> None:
        """Record an alert about a main entity with its probability; `BY_SCORE` if it was not drawn."""
        self._alerts[offset] = probability, _UNANSWERED, entity
        if len(self._alerts) > ALERTS_MAX:
            self._alerts.popitem(last=False)

    def apply(self, labels: Mapping[int, str]) -> None:
        """Apply labels (fraud, legitimate or retracted) by the event's offset, and estimate again."""
        for offset, label in labels.items():
            if offset in self._alerts:
                probability, _, entity = self._alerts[offset]
                self._alerts[offset] = probability, _ANSWERS[label], entity
        self._estimate()

    def _estimate(self) -> None:
        table = np.array([row[:2] for row in self._alerts.values()], dtype=np.float64).reshape(-1, 2)
        probability, answer = table[:, 0], table[:, 1]
        explored = probability < BY_SCORE
        if not explored.any():
            self.estimates = {}
            return
        answered = answer != _UNANSWERED
        self.estimates = {"explored_answers": float((explored & answered).sum())}
        if min((kind & answered).sum() for kind in (explored, ~explored)) < ANSWERS_MIN:
            return
        found, found_error = _total(probability[~explored], answer[~explored])
        missed, missed_error = _total(probability[explored], answer[explored])
        frauds = max(found + missed, 1.0)
        self.estimates |= {
            "missed_frauds": missed,
            "missed_frauds_error": missed_error,
            "recall": found / frauds,
            "recall_error": math.hypot(found * missed_error, missed * found_error) / frauds**2,
        }

    def to_state(self) -> dict[str, Any]:
        """State, as copies."""
        rows = list(self._alerts.values())
        return {
            "offsets": np.array(list(self._alerts), dtype=np.int64),
            "probabilities": np.array([probability for probability, _, _ in rows], dtype=np.float64),
            "answers": np.array([answer for _, answer, _ in rows], dtype=np.int8),
            "entities": np.array([entity for _, _, entity in rows], dtype=np.uint64),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        columns = (state[name].tolist() for name in ("probabilities", "answers", "entities"))
        self._alerts = OrderedDict(zip(state["offsets"].tolist(), zip(*columns, strict=True), strict=True))
        self._estimate()

    def held(self, entities: Keys) -> Counts:
        """Nothing that receipts count: `Priority` has the newest alerts, too."""
        return {}

    def erase(self, erased: Erased) -> None:
        """Drop the alerts about the entities, and estimate again."""
        self._alerts = without(self._alerts, erased)
        self._estimate()


def _total(probability: NDArray[np.float64], answer: NDArray[np.float64]) -> tuple[float, float]:
    """Estimated number of frauds behind alerts of one kind, and its standard error."""
    answered = answer != _UNANSWERED
    chance = probability * answered.mean()
    weights = 1.0 / chance[answer == _FRAUD]
    # Without any fraud the error is that of one fraud: none seen does not mean that there is none.
    counted = weights if len(weights) else 1.0 / chance[answered].mean(keepdims=True)
    return float(weights.sum()), math.sqrt(float((counted**2 - counted).sum()))


def _mixed(numbers: Any) -> Any:
    """Hash uint64, one or many, to evenly spread uint64."""
    with np.errstate(over="ignore"):
        return mixed((numbers + np.uint64(1)) * GOLDEN)

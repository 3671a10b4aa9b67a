"""Priority: the loss to be expected of an alert, for the order of a queue.

    priority = chance of fraud * exposure        (exposure 1 where there is none)

The chance follows the score, as answers say (logistic regression):

    log odds = base + slope * excess

`excess` is the score less the score that the budget's share of all events reaches, and grows with its
logarithm beyond `LINEAR_UP_TO`: one answer about an alert far out says little of all others. Base and slope
are fitted to the answers among the newest `ALERTS_MAX` alerts.

As long as few are answered, both stay near `PRIOR`. A score of 1 more is ten times as rare among normal
events, so the odds of fraud are ten times as high, whatever the share of frauds is (Bayes). That share is
taken as small: a chance near 1 for all alerts would leave their order to the exposure alone.

Where nobody ever answers "legitimate", frauds alone are reported: then silence counts as an answer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.erasure import Counts, Erased, Keys, counted, without

ALERTS_MAX = 4096
BYTES_MAX = ALERTS_MAX * 300  # of Python objects, estimated
# Base and slope before anything is answered, a chance of 1 in 100 where the budget begins, and how far off
# each may be: the variance of a Gaussian, which some five answers outweigh.
PRIOR = np.array([-np.log(99.0), np.log(10.0)])
VARIANCE = 1.0
LINEAR_UP_TO = 2.0  # of the excess: a hundred times as rare
STEPS, HALVINGS = 32, 8  # of Newton's method, at most
ODDS_MAX = 30.0  # of log odds: exp is finite, and no chance is 0 or 1

_NONE, _LEGITIMATE, _FRAUD = range(3)
_ANSWERS = {"retracted": _NONE, "legitimate": _LEGITIMATE, "fraud": _FRAUD}


class Priority:
    """Learns from answers to the alerts of one shard."""

    def __init__(self) -> None:
        # By offset: excess, answer, main entity (hash; 0: none).
        self._alerts: OrderedDict[int, tuple[float, int, int]] = OrderedDict()
        self._weights = PRIOR

    def record(self, offset: int, excess: float, entity: int) -> None:
        """Remember a published alert about an event of a main entity."""
        self._alerts[offset] = excess, _NONE, entity
        if len(self._alerts) > ALERTS_MAX:
            self._alerts.popitem(last=False)

    def apply(self, labels: Mapping[int, str]) -> None:
        """Apply labels (fraud, legitimate or retracted) by the event's offset."""
        known = [offset for offset in labels if offset in self._alerts]
        for offset in known:
            excess, _, entity = self._alerts[offset]
            self._alerts[offset] = excess, _ANSWERS[labels[offset]], entity
        if known:
            self._fit()

    def answer(self, offset: int) -> str | None:
        """The answer to the alert at an offset, fraud or legitimate; None: none is known."""
        _, answer, _ = self._alerts.get(offset, (0.0, _NONE, 0))
        return {_LEGITIMATE: "legitimate", _FRAUD: "fraud"}.get(answer)

    def chance(self, excess: float) -> float:
        """Chance that an alert so far above the budget's score is a fraud, between 0 and 1."""
        return float(_chances(_columns([excess]), self._weights)[0])

    def _fit(self) -> None:
        """Fit to the answers that there are."""
        rows = self._alerts.values()
        answers = np.array([answer for _, answer, _ in rows], dtype=np.int8)
        silence = not (answers == _LEGITIMATE).any() and (answers == _FRAUD).any()
        used = np.ones(len(answers), dtype=np.bool_) if silence else answers != _NONE
        columns, fraud = _columns([excess for excess, _, _ in rows])[used], answers[used] == _FRAUD
        self._weights = _fitted(columns, fraud)

    def to_state(self) -> dict[str, Any]:
        """State, as copies."""
        rows = list(self._alerts.values())
        return {
            "offsets": np.array(list(self._alerts), dtype=np.int64),
            "excesses": np.array([excess for excess, _, _ in rows], dtype=np.float64),
            "answers": np.array([answer for _, answer, _ in rows], dtype=np.int8),
            "entities": np.array([entity for _, _, entity in rows], dtype=np.uint64),
            "weights": self._weights.copy(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        columns = (state[name].tolist() for name in ("excesses", "answers", "entities"))
        self._alerts = OrderedDict(zip(state["offsets"].tolist(), zip(*columns, strict=True), strict=True))
        self._weights = state["weights"].copy()

    def held(self, entities: Keys) -> Counts:
        """Alerts about the entities."""
        return {"alerts": counted(entities, self.to_state()["entities"])}

    def erase(self, erased: Erased) -> None:
        """Drop these alerts, and what their answers taught."""
        self._alerts = without(self._alerts, erased)
        self._fit()


def _columns(excesses: list[float]) -> NDArray[np.float64]:
    """What weights are for, (n, 2)."""
    known = np.array(excesses, dtype=np.float64)
    far = np.maximum(known / LINEAR_UP_TO, 1.0)
    return np.stack([np.ones(len(known)), np.where(far > 1.0, LINEAR_UP_TO * (1.0 + np.log(far)), known)], 1)


def _fitted(columns: NDArray[np.float64], fraud: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights of greatest probability, (2,): steps of Newton's method that make it greater."""
    weights, least = PRIOR, _loss(columns, fraud, PRIOR)
    for _ in range(STEPS):
        chances = _chances(columns, weights)
        slopes = np.einsum("nk,n->k", columns, fraud - chances) - (weights - PRIOR) / VARIANCE
        bends = np.einsum("nj,nk,n->jk", columns, columns, chances * (1.0 - chances))
        step = np.linalg.solve(bends + np.eye(len(PRIOR)) / VARIANCE, slopes)
        tried = [weights + step / (1 << halvings) for halvings in range(HALVINGS)]
        found = next(((loss, at) for at in tried if (loss := _loss(columns, fraud, at)) < least), None)
        if found is None:
            break
        least, weights = found
    return weights


def _loss(columns: NDArray[np.float64], fraud: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """Negative log probability of answers and weights, but for a constant."""
    odds = (columns * weights).sum(axis=1)
    misfit = np.logaddexp(0.0, np.where(fraud, -odds, odds)).sum()
    return float(misfit + np.square(weights - PRIOR).sum() / (2.0 * VARIANCE))


def _chances(columns: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    odds = np.clip((columns * weights).sum(axis=1), -ODDS_MAX, ODDS_MAX)
    chances: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-odds))
    return chances


def priority(chance: float, exposure: float | None) -> float:
    """Expected loss, in units of the exposure."""
    return chance * (1.0 if exposure is None else abs(exposure))

"""Priority: the loss to be expected of an alert, for the order of a queue.

    priority = chance of fraud * exposure        (exposure 1 where there is none)

The chance is that of answered alerts of the same kind: severity, whether the entity's earlier events made it
an alert (heat), and whether it is the first of its case. The newest `ALERTS_MAX` alerts and their answers are
counted. A kind with few answers takes the chance of its severity, that one the chance of all, and the last
one `PRIOR` for its severity:

    chance of a kind = (frauds + WEIGHT * chance of what is above it) / (answers + WEIGHT)

Where nobody ever answers "legitimate", frauds alone are reported: then silence counts as an answer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from detector.core.erasure import Counts, Erased, Keys, counted, without

ALERTS_MAX = 4096
WEIGHT = 8.0  # answers
PRIOR = (0.2, 0.4, 0.6, 0.8)  # by severity, as long as nothing is answered: only their order matters
BYTES_MAX = ALERTS_MAX * 300  # of Python objects, estimated

_NONE, _LEGITIMATE, _FRAUD = range(3)
_ANSWERS = {"retracted": _NONE, "legitimate": _LEGITIMATE, "fraud": _FRAUD}


class Kind(NamedTuple):
    """Kind of an alert."""

    severity: int  # rank
    hot: bool  # it is a candidate by its entity's heat alone
    later: bool  # its case had events before

    @property
    def number(self) -> int:
        return 4 * self.severity + 2 * self.hot + self.later


KINDS = 16


class Priority:
    """Counts answers to the alerts of one shard."""

    def __init__(self) -> None:
        # By offset: kind's number, answer, main entity (hash; 0: none).
        self._alerts: OrderedDict[int, tuple[int, int, int]] = OrderedDict()
        self._counts = np.zeros((KINDS, 3))  # alerts by kind and answer

    def record(self, offset: int, kind: Kind, entity: int) -> None:
        """Remember a published alert about an event of a main entity."""
        self._alerts[offset] = kind.number, _NONE, entity
        self._counts[kind.number, _NONE] += 1
        if len(self._alerts) > ALERTS_MAX:
            _, (number, answer, _) = self._alerts.popitem(last=False)
            self._counts[number, answer] -= 1

    def apply(self, labels: Mapping[int, str]) -> None:
        """Apply labels (fraud, legitimate or retracted) by the event's offset."""
        for offset, label in labels.items():
            if offset in self._alerts:
                number, before, entity = self._alerts[offset]
                self._counts[number, before] -= 1
                self._counts[number, _ANSWERS[label]] += 1
                self._alerts[offset] = number, _ANSWERS[label], entity

    def chance(self, kind: Kind) -> float:
        """Chance that an alert of this kind is a fraud, 0 to 1."""
        counts = self._counts
        silence = not counts[:, _LEGITIMATE].any() and counts[:, _FRAUD].any()
        answers = counts.sum(axis=1) if silence else counts[:, _LEGITIMATE] + counts[:, _FRAUD]
        severity = slice(4 * kind.severity, 4 * kind.severity + 4)
        chance = PRIOR[kind.severity]
        for part in (slice(None), severity, kind.number):
            chance = (counts[part, _FRAUD].sum() + WEIGHT * chance) / (answers[part].sum() + WEIGHT)
        return float(chance)

    def to_state(self) -> dict[str, Any]:
        """State, as copies."""
        rows = list(self._alerts.values())
        return {
            "offsets": np.array(list(self._alerts), dtype=np.int64),
            "kinds": np.array([number for number, _, _ in rows], dtype=np.int8),
            "answers": np.array([answer for _, answer, _ in rows], dtype=np.int8),
            "entities": np.array([entity for _, _, entity in rows], dtype=np.uint64),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        columns = (state[name].tolist() for name in ("kinds", "answers", "entities"))
        self._alerts = OrderedDict(zip(state["offsets"].tolist(), zip(*columns, strict=True), strict=True))
        self._count()

    def held(self, entities: Keys) -> Counts:
        """Alerts about the entities."""
        return {"alerts": counted(entities, self.to_state()["entities"])}

    def erase(self, erased: Erased) -> None:
        """Drop these alerts, and their answers with them."""
        self._alerts = without(self._alerts, erased)
        self._count()

    def _count(self) -> None:
        self._counts[:] = 0.0
        for number, answer, _ in self._alerts.values():
            self._counts[number, answer] += 1


def priority(chance: float, exposure: float | None) -> float:
    """Expected loss, in units of the exposure."""
    return chance * (1.0 if exposure is None else abs(exposure))

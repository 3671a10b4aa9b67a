"""Earlier unusual events of an entity: what made it hot, and what is already gone.

An earlier event is unusual if it was alerted, or if it is of the last day and fewer than one event in
10 ** `UNUSUAL` scores as high. From the others follows what is usual of the entity where a run of frauds has
begun: its profile has learned some of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from detector.core.alerts.known import OWN_HISTORY_MIN
from detector.core.alerts.recent import History
from detector.core.features import DAY_S

UNUSUAL = 2.0  # score
TOLD_MAX = 3  # events that are told


class Earlier(NamedTuple):
    """Earlier unusual events of an entity, as an event sees them."""

    number: int
    told: Sequence[tuple[int, float, float, bool]]  # offset, s before, amount (NaN), alerted; newest first
    sum: float | None  # of all their amounts; None: none has one
    normal: tuple[float, float] | None  # .1 and .9 quantiles of the other amounts, if there are enough

    @property
    def offsets(self) -> set[int]:
        """Those that are told."""
        return {offset for offset, *_ in self.told}


NOTHING = Earlier(0, (), None, None)


def unusual_before(history: History, time: float, since_s: float, alerted: Collection[int]) -> Earlier:
    """Find earlier unusual events.

    Parameters
    ----------
    time
        The event's, s since the epoch.
    since_s
        How far back alerts may be, s.
    alerted
        Offsets of the entity's alerts.
    """
    # A few offsets: quicker than numpy's `isin`.
    known = np.array([offset in alerted for offset in history.offsets.tolist()], dtype=np.bool_)
    recent = (history.scores >= UNUSUAL) & (history.times > time - min(DAY_S, since_s))
    unusual = recent | known & (history.times > time - since_s)
    places = np.flatnonzero(unusual)
    if not len(places):
        return NOTHING
    ranked = places[np.argsort(-(history.scores[places] + 100.0 * known[places]), kind="stable")]
    told = tuple(
        (
            int(history.offsets[n]),
            max(0.0, time - float(history.times[n])),
            float(history.amounts[n]),
            bool(known[n]),
        )
        for n in np.sort(ranked[:TOLD_MAX]).tolist()
    )
    amounts, others = history.amounts[places], history.amounts[~unusual]
    amounts, others = amounts[~np.isnan(amounts)], others[~np.isnan(others)]
    enough = len(others) >= OWN_HISTORY_MIN
    ends = np.sort(others)[[len(others) // 10, -1 - len(others) // 10]].tolist() if enough else (0.0, 0.0)
    return Earlier(
        len(places),
        told,
        round(float(amounts.sum()), 9) if len(amounts) else None,
        (ends[0], ends[1]) if enough else None,
    )

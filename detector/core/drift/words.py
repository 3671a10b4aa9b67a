"""Drift in sentences. All texts are in `english`."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.core.drift import english as texts
from detector.core.drift.bins import CUTS, MISSING, NEW_KEY, OTHER, REPEATED, UNSEEN

FACTOR_MIN = 1.25  # a median that moves by less is not what has changed
ONE_BIN_MIN = 0.9  # a share of events that is nearly all of them


class Moved(NamedTuple):
    """One column: shares of events by bin, in all 1."""

    now: NDArray[np.float64]  # (BINS,)
    usual: NDArray[np.float64]  # (BINS,)
    edges: NDArray[np.float64] | None  # (CUTS,) of a number; None: a category, or repeats
    repeats: bool = False  # whether it is about values that are the same as in the event before

    @property
    def largest(self) -> int:
        """The bin that adds most to the index."""
        p, q = self.now + 1e-6, self.usual + 1e-6
        return int(np.argmax((p - q) * np.log(p / q)))

    @property
    def unseen(self) -> bool:
        """Whether values that were never seen before are most of the change."""
        other = self.edges is not None or self.repeats or self.largest != UNSEEN
        return not other and bool(self.now[UNSEEN] > self.usual[UNSEEN])


def drift(
    what: str, *, since: float, now: float, index: float | None, weight: float, days: float = math.inf
) -> str:
    """A whole sentence.

    Parameters
    ----------
    since, now
        Event times, s.
    index
        The population stability index; None: not said.
    weight
        Part of the change of alerts; below a hundredth it is not said.
    days
        Of the reference: said where it does not know every day of a week.
    """
    said = texts.WEIGHT.format(share=percent(weight)) if weight >= 0.01 else ""
    text = texts.DRIFT if index is not None else texts.DRIFT.replace(" ({index})", "")
    measure = "" if index is None else texts.INDEX.format(psi=f"{index:.2g}")
    if index is not None and days < len(texts.DAYS):
        measure = texts.YOUNG.format(index=measure, days=texts.DAYS[int(days)])
    return text.format(what=what, time=clock(since, now), index=measure, weight=said)


def slow(what: str, days: int, index: float, weight: float) -> str:
    """A whole sentence about what has changed little by little in so many days."""
    said = texts.WEIGHT.format(share=percent(weight)) if weight >= 0.01 else ""
    return texts.SLOWLY.format(
        what=what, days=days, index=texts.INDEX.format(psi=f"{index:.2g}"), weight=said
    )


def field(name: str, moved: Moved) -> str:
    """What has changed in a field."""
    now, usual, most = moved.now, moved.usual, REPEATED if moved.repeats else moved.largest
    shares = {"field": name, "now": percent(now[most]), "usual": percent(usual[most])}
    if moved.repeats:
        return texts.REPEATED.format(**shares)
    if most == MISSING:
        return (texts.MISSING if now[most] > usual[most] else texts.PRESENT).format(**shares)
    if moved.edges is None:
        if most == UNSEEN:
            return texts.UNSEEN.format(**shares)
        if most == OTHER:
            return texts.RARE_ONES.format(**shares)
        return (texts.MORE_OFTEN if now[most] > usual[most] else texts.LESS_OFTEN).format(**shares)
    full = int(np.argmax(now[: CUTS + 1]))
    if now[full] >= ONE_BIN_MIN > usual[full]:
        return _stuck(name, moved, full)
    before, after = median(usual, moved.edges), median(now, moved.edges)
    if before > 0.0 and after > 0.0 and max(after / before, before / after) >= FACTOR_MIN:
        return _factor(name, after / before)
    return _stuck(name, moved, most)


def _factor(name: str, factor: float) -> str:
    if abs(math.log(factor / 2.0)) < 0.1:
        return texts.DOUBLED.format(field=name)
    if abs(math.log(factor * 2.0)) < 0.1:
        return texts.HALVED.format(field=name)
    if factor > 1.0:
        return texts.LARGER.format(field=name, factor=f"{factor:.2g}")
    return texts.SMALLER.format(field=name, share=percent(factor))


def _stuck(name: str, moved: Moved, at: int) -> str:
    edges = moved.edges
    assert edges is not None
    low = edges[at - 1] if at else -math.inf
    high = edges[at] if at < CUTS else math.inf
    shares = {"field": name, "now": percent(moved.now[at]), "usual": percent(moved.usual[at])}
    ends = {"low": f"{low:.4g}", "high": f"{high:.4g}"}
    if low == -math.inf:
        return texts.STUCK_BELOW.format(**shares, **ends)
    if high == math.inf:
        return texts.STUCK_ABOVE.format(**shares, **ends)
    return texts.STUCK_BETWEEN.format(**shares, **ends)


def rate(ratio: float) -> str:
    """How often events come, as a multiple of what is usual."""
    if ratio >= 1.0:
        return texts.MORE_EVENTS.format(factor=f"{ratio:.2g}")
    return texts.FEWER_EVENTS.format(share=percent(ratio))


def hours(now: NDArray[np.float64], usual: NDArray[np.float64]) -> str:
    """At which hours of the day (24,), UTC, more of its events come than usual; two shares, in all 1 each."""
    gain = np.tile(now - usual, 2)
    sums = np.concatenate([[0.0], np.cumsum(gain)])
    ends = [(float(sums[a + n] - sums[a]), -n, a) for a in range(len(now)) for n in range(1, len(now))]
    _, count, start = max(ends)
    chosen = np.arange(start, start - count) % len(now)
    return texts.OTHER_HOURS.format(
        now=percent(float(now[chosen].sum())),
        usual=percent(float(usual[chosen].sum())),
        start=f"{start:02}:00",
        end=f"{(start - count) % len(now):02}:00",
    )


def new_keys(entity: str, kind: str, main: str, now: float, usual: float) -> str:
    """A share of new keys."""
    text = texts.NEW_KEYS if kind == "entities" else texts.NEW_CONTACTS
    return text.format(entity=entity, main=main, now=percent(now), usual=percent(usual))


def scores(step: float) -> str:
    """How far the mean score has moved."""
    return (texts.SCORES_UP if step > 0.0 else texts.SCORES_DOWN).format(step=f"{abs(step):.2g}")


def embedding(shift: float) -> str:
    """How far the mean has moved."""
    return texts.EMBEDDING.format(shift=f"{shift:.2g}")


def silence(expected: float) -> str:
    """How many labels did not come."""
    return texts.NO_LABELS.format(expected=f"{expected:.0f}")


def median(shares: NDArray[np.float64], edges: NDArray[np.float64]) -> float:
    """Median of a number in bins, by linear interpolation; NaN where it lies beyond the outer ends."""
    known = shares[: CUTS + 1]
    total = known.sum()
    if total <= 0.0:
        return math.nan
    below = 0.0
    for at, share in enumerate(known / total):
        if below + share >= 0.5 and share > 0.0:
            low = float(edges[at - 1]) if at else math.nan
            high = float(edges[at]) if at < CUTS else math.inf
            if not math.isfinite(high):  # beyond the last end: at least this
                return low
            if not math.isfinite(low):
                return high
            return low + (0.5 - below) / float(share) * (high - low)
        below += float(share)
    return math.nan


def share_new(shares: NDArray[np.float64]) -> float:
    """Share of new keys among those that are not missing."""
    there = float(shares[0] + shares[NEW_KEY])
    return float(shares[NEW_KEY]) / there if there > 0.0 else 0.0


def percent(share: float) -> str:
    """A share as people write it."""
    if 0.0 < share < 0.001:
        return "less than 0.1 %"
    return f"{100.0 * share:.2g} %" if share < 0.1 else f"{100.0 * share:.0f} %"


def clock(time: float, now: float) -> str:
    """An event time; with the day where it is another one than that of `now`."""
    at, today = (datetime.fromtimestamp(seconds, UTC) for seconds in (time, now))
    text = texts.TODAY if at.date() == today.date() else texts.ANOTHER_DAY
    return text.format(
        day=at.day, month=texts.MONTHS[at.month - 1], hour=f"{at.hour:02}", minute=f"{at.minute:02}"
    )

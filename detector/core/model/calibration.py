"""From distances to one score whose meaning stays the same.

Two stages:

    1. parts to one distance   each distance of the parts without labels is shifted by its accepted median and
                               divided by the span from there to its accepted .95 quantile, as read at the
                               last barrier; then the weighted mean is taken. The labelled parts' distance,
                               in log-odds, times the weight it has earned (see `labels.label_weight`), is
                               a second direction: the distance is the length of both. Far in one of them
                               is far, and what is usual without labels is on the same scale whether or not
                               they know anything, so scores stay comparable when the weight changes. The
                               more weight labels have, the slower grows what is far without them (`mixed`)
    2. distance to score       -log10 of the share of *accepted* events at least as far: a decayed histogram
                               for the body, and above the quantile `tail_from` a Pareto tail (peaks over
                               threshold, Siffer 2017), which neither ends nor underflows

A second histogram of *all* events gives the trim quantile and the alert threshold. Events above the trim
are not accepted. Its memory is long, because a burst would otherwise raise its own threshold. A third
histogram has an eighth of that memory and may only lower both, where it clearly differs. So once a burst is
over, or a shift is followed, far events are not hidden behind it.

Tables are updated at a block's end only: all events of a block are scored by the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Calibration as CalibrationConfig
from detector.core.model.latest import Latest

Doubles = NDArray[np.float64]


class Limit(IntEnum):
    """What limits a distance, shifted and divided by its span, before the mean is taken."""

    NONE = 0
    TANH = 1
    """It changes the mean by at most its weight."""
    LOGARITHM = 2
    """Beyond `LINEAR_UP_TO` spans it grows with its logarithm: the order stays, no part hides the others."""
    BESIDE = 3
    """It is in nats beyond what is usual, and joins the mean as a second direction; see `_joined`."""


LINEAR_UP_TO = 2.0
# Between these quantiles the tail of the mean of accepted events is taken as exponential, where it is joined
# by nats of other distances (`_tail_nats`). So many nats of it are usual, and keep their order.
TAIL_QUANTILES = (0.9, 0.99)
USUAL_NATS = 3.0
# Distance without labels from which on labels limit how fast it grows: `USUAL_NATS`, where there are habits.
FAR = 1.0
# Nats that each of the heats' logarithms adds to a distance.
HEAT_NATS = 1.5
# Quantile of all events above which they are the strangest.
ORDINARY = 0.995
# The histogram's bins are even in asinh(distance * SHARPNESS): linear around the median, logarithmic far
# out. So one grid fits every stream. A bin of 1/64 is 1.6 % of a distance in the tail.
SHARPNESS = 4.0
BIN = 1.0 / 64.0
LOW, HIGH = -8.0, 40.0
BINS = int((HIGH - LOW) / BIN)
EDGES = LOW + BIN * np.arange(BINS + 1, dtype=np.float64)
# Weight of an even prior over all bins: the score increases strictly also where nothing was ever seen.
PRIOR = 1e-3
# The Pareto tail's shape is the mean excess on the asinh scale, measured from this quantile of accepted
# events to `tail_from`. Above 1 the tail's mean is infinite; below .15 twice the distance would be 100
# times as rare.
SHAPE_FROM = 0.9
SHAPE_MIN, SHAPE_MAX = 0.15, 1.0
# Where distances grow with their logarithm, the mean's tail is much the same on all streams. So the shape
# starts from a usual one, worth so many accepted events. A few hundred alone give anything from .3 to .9, and
# then far events of different days cannot be compared. Where habits count, in nats, the shape is always the
# usual one: the measured one drifts with the noise of young habits, and equal distances would score less.
USUAL_SHAPE, USUAL_SHAPE_EVENTS = 0.5, 32_768.0
# A smaller unit of the mean's tail is that of a stream which hardly varies. Of normal deviates, in spans, it
# is .43; on simulated cards it is .42 to .75.
TAIL_MIN = 0.4
# The recent histogram's memory is the long one divided by this. An eighth of 32,768 events holds 4 of the 1
# in 1,000 that the default budget asks for; fewer would be noise alone. A quarter takes a day longer to
# lower the threshold after a shift (docs/explanation/robustness.md).
RECENT_PART = 8
# The recent histogram lowers a quantile only if fewer than this part of the requested share lie beyond it.
# The lower of two equally good estimates would always be too low, and a trim lowered by noise alone cuts
# the upper quantiles of accepted events.
RECENT_SHARE = 0.75


class Sketch:
    """Decayed histogram of distances.

    Parameters
    ----------
    memory_events
        Events after which an event's weight has decayed to 1/e.
    """

    def __init__(self, memory_events: int) -> None:
        self._memory_events = memory_events
        self.counts: Doubles = np.zeros(BINS)

    def recount(self, distances: Doubles) -> None:
        """Count these (n,) instead of all before, as if they had been learned one after another."""
        weights = np.exp((np.arange(len(distances)) + 1 - len(distances)) / self._memory_events)
        self.counts = np.bincount(_bins(distances), weights=weights, minlength=BINS).astype(np.float64)

    def learn(self, distances: Doubles) -> None:
        """Decay, then count distances (n,)."""
        self.add(np.bincount(_bins(distances), minlength=BINS), len(distances))

    def add(self, counts: NDArray[np.int64], events: int) -> None:
        """Decay by `events`, then add their counts per bin, (BINS,)."""
        self.counts *= np.exp(-events / self._memory_events)
        self.counts += counts

    def quantile(self, share: float) -> float:
        """Distance below which `share` of the weight lies; inf while empty.

        A bin that holds more than what is to lie beyond is not cut: its events are equally far.
        """
        total = self.counts.sum()
        if total < 1.0:
            return float("inf")
        place = _place(self.counts, total, share)
        if self.counts[min(int(place), BINS - 1)] > (1.0 - share) * total:
            place = np.floor(place) + 1.0
        return float(np.sinh(LOW + BIN * place) / SHARPNESS)


class Calibration:
    """Both stages and all three histograms.

    Parameters
    ----------
    weights : (P,) float64
        Weight of each distance of the parts without labels; they sum to 1. Parts may change them at barriers.
    limits : (P,) int64
        The `Limit` of each distance; None: there are none.
    """

    def __init__(
        self, config: CalibrationConfig, weights: Doubles, limits: NDArray[np.int64] | None = None
    ) -> None:
        self._config = config
        self.weights = weights
        limits = np.full(len(weights), Limit.NONE) if limits is None else limits
        self._bounded, self._slowed = np.flatnonzero(limits == Limit.TANH), limits == Limit.LOGARITHM
        self._beside = np.flatnonzero(limits == Limit.BESIDE)
        self._tail_nats = _tail_nats(config.trim)
        usual_events = USUAL_SHAPE_EVENTS if self._slowed.any() else 0.0
        self._usual_events = np.inf if len(self._beside) else usual_events
        self.accepted = Sketch(config.memory_events)
        self.all = Sketch(config.memory_events)
        self.recent = Sketch(config.memory_events // RECENT_PART)
        self._latest = Latest()
        self.shift: Doubles = np.zeros(len(weights))
        self.span: Doubles = np.ones(len(weights))
        self.tail: Doubles = np.array([0.0, 1.0])  # of the mean: quantile .9, and units in a nat
        self.label_weight = 0.0  # weight of the labelled parts, in [0, 1]
        self._trim = np.inf
        self._update_tables()

    def update_spans(self, parts: Doubles, least: Doubles) -> None:
        """Read shift and span from the distances (n, P) of core events; spans are at least `least` (P,)."""
        median, far = np.quantile(parts, [0.5, 0.95], axis=0)
        self.shift, self.span = median, np.maximum(far - median, least)
        if len(self._beside):
            low, high = np.quantile(self._mean(parts), TAIL_QUANTILES)
            start, end = self._tail_nats
            self.tail = np.array([low, max((high - low) / (end - start), TAIL_MIN)])

    def combine(self, parts: Doubles) -> Doubles:
        """Put distances (n, P) of the parts without labels together, (n,)."""
        mean = self._mean(parts)
        if not len(self._beside):
            return mean
        start, unit = self.tail
        nats = (mean - start) / unit + self._tail_nats[0]
        return _joined(nats, parts[:, self._beside].sum(axis=1)) / USUAL_NATS

    def excess(self, plain: Doubles) -> Doubles:
        """Nats by which distances (n,) without labels lie beyond the trim; negative below it."""
        beyond: Doubles = (plain - self._trim) * USUAL_NATS
        return beyond

    def _mean(self, parts: Doubles) -> Doubles:
        scaled = (parts - self.shift) / self.span
        if len(self._bounded):
            scaled[:, self._bounded] = np.tanh(scaled[:, self._bounded])
        if self._slowed.any():
            scaled[:, self._slowed] = _slowed(scaled[:, self._slowed])
        combined: Doubles = (scaled * self.weights).sum(axis=1)
        return combined

    def mix(self, plain: Doubles, labelled: Doubles) -> Doubles:
        """Put distances without labels (n,) and labelled ones (n,) together, (n,)."""
        return mixed(plain, labelled, self.label_weight)

    def scores(self, distances: Doubles) -> Doubles:
        """Scores (n,) of distances (n,): -log10 of the share of accepted events at least as far.

        In [0, inf); higher = more anomalous.
        """
        place = np.arcsinh(distances * SHARPNESS)
        body = -np.log10(np.interp(place, EDGES, self._shares))
        tail = self._tail_score + (place - self._tail_place) / (self._shape * np.log(10.0))
        scores: Doubles = np.where(place > self._tail_place, tail, body)
        return scores

    @property
    def trim(self) -> float:
        """Largest distance that is accepted."""
        return float(self._trim)

    @property
    def trim_score(self) -> float:
        """Highest score that is accepted."""
        return float(self.scores(np.array([self._trim]))[0])

    def accepts(self, distances: Doubles) -> NDArray[np.bool_]:
        """Which events, given by distances (n,), are near enough to be learned from as normal."""
        return distances <= self._trim

    def ordinary(self, distances: Doubles) -> NDArray[np.bool_]:
        """Which events, given by distances (n,), are not among the strangest of all."""
        return distances <= self.all.quantile(ORDINARY)

    def quantile(self, share: float) -> float:
        """Distance below which `share` of all events lie; lower if clearly fewer recent ones lie beyond."""
        return min(self.all.quantile(share), self.recent.quantile(1.0 - RECENT_SHARE * (1.0 - share)))

    def threshold(self, share: float) -> float:
        """Distance beyond which `share` of the next events lie, as far as the latest ones tell."""
        return min(self.quantile(1.0 - share), self._latest.limit(share))

    def learn(self, distances: Doubles, accepted: NDArray[np.bool_]) -> None:
        """Count a block's distances (n,), of which `accepted` (n,) are, and update the tables."""
        self._latest.learn(distances)
        bins = _bins(distances)
        counts = np.bincount(bins, minlength=BINS)
        self.all.add(counts, len(bins))
        self.recent.add(counts, len(bins))
        bins = bins[accepted]
        self.accepted.add(np.bincount(bins, minlength=BINS), len(bins))
        self._update_tables()

    def forget(self) -> None:
        """Forget all counts: `restart` follows."""
        for sketch in (self.accepted, self.all, self.recent):
            sketch.counts[:] = 0.0

    def restart(self, distances: Doubles) -> None:
        """Count again from the core's distances (n,): a young model changes too much to keep older counts.

        The core holds accepted events only, so counts beyond the trim are kept.
        """
        self._latest.forget()
        accepted = EDGES[:-1] <= np.arcsinh(self._trim * SHARPNESS)
        for sketch in (self.all, self.recent):
            sketch.counts[accepted] = 0.0
            sketch.learn(distances)
        self._trim = self.quantile(self._config.trim)
        self.accepted.counts[:] = 0.0
        self.accepted.learn(distances[self.accepts(distances)])
        self._update_tables()

    def recount(self, distances: Doubles) -> None:
        """Count again after the weight of labels changed.

        Parameters
        ----------
        distances : (n,) float64
            Distances that recent events would have had with that weight, in log order.
        """
        self._latest.forget()
        self.all.recount(distances)
        self.recent.recount(distances)
        self._trim = self.quantile(self._config.trim)
        self.accepted.recount(distances[self.accepts(distances)])
        self._update_tables()

    def _update_tables(self) -> None:
        self._trim = self.quantile(self._config.trim)
        above = _sums_above(self.accepted.counts, PRIOR / BINS)
        self._shares = above / above[0]
        # The two places must differ, also where the tail begins early.
        shape_from = min(SHAPE_FROM, 1.0 - 2.0 * (1.0 - self._config.tail_from))
        near, start = (
            min(int(np.searchsorted(-above, -above[0] * (1.0 - share))), BINS)
            for share in (shape_from, self._config.tail_from)
        )
        self._tail_place = EDGES[start]
        # By definition. Counts this far out are few and may fall from many to none within one bin.
        self._tail_score = -np.log10(1.0 - self._config.tail_from)
        self._shares[start] = 1.0 - self._config.tail_from
        # Accepted events end at the trim quantile, so their own last excesses would make the tail too thin.
        # The shape is measured where both shares of *all* events are known, and the tail continues from
        # there.
        shares = (
            self._config.trim * (1.0 - np.array([shape_from, self._config.tail_from]))
            + 1.0
            - self._config.trim
        )
        shape = (self._tail_place - EDGES[near]) / np.log(shares[0] / shares[1])
        if self._usual_events:
            shape += (USUAL_SHAPE - shape) / (1.0 + above[0] / self._usual_events)
        self._shape = min(max(float(shape), self._least_shape()), SHAPE_MAX)

    def _least_shape(self) -> float:
        """Shape of a tail that is as thin, where it begins, as distances in nats say; else `SHAPE_MIN`.

        Where a stream hardly varies, all distances lie in one bin, and their counts say nothing of a tail.
        """
        if not len(self._beside):
            return SHAPE_MIN
        start = np.sinh(self._tail_place) / SHARPNESS  # the asinh scale's slope there is about 1 / start
        return max(SHAPE_MIN, float(np.tanh(self._tail_place) / (USUAL_NATS * max(start, FAR))))

    def to_state(self) -> dict[str, Any]:
        """State, as copies."""
        return {
            "accepted": self.accepted.counts.copy(),
            "all": self.all.counts.copy(),
            "recent": self.recent.counts.copy(),
            "latest": self._latest.to_state(),
            "shift": self.shift.copy(),
            "span": self.span.copy(),
            "tail": self.tail.copy(),
            "label_weight": self.label_weight,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned; weights come from the parts."""
        self.accepted.counts, self.all.counts = state["accepted"], state["all"]
        self.recent.counts = state["recent"]
        self._latest.load(state["latest"])
        self.shift, self.span, self.tail = state["shift"], state["span"], state["tail"]
        self.label_weight = state["label_weight"]
        self._update_tables()


def heated(plain: Doubles, heat: NDArray[np.float32]) -> Doubles:
    """Add the heats' logarithms (n, H) to distances (n,) without labels."""
    distances: Doubles = plain + HEAT_NATS / USUAL_NATS * heat.sum(axis=1, dtype=np.float64)
    return distances


def mixed(plain: Doubles, labelled: Doubles, label_weight: float) -> Doubles:
    """Length of distances without labels (n,) and labelled ones (n,), weighted; a NaN of those is 0.

    What is nearer than normal without labels (below 0) stays so, and labels only add to it. With the whole
    weight, distances without labels grow with their logarithm beyond `FAR`: how far out an event lies says
    little of fraud compared with what labels say, and would hide it (docs/explanation/experiments.md). Their
    order stays.
    """
    if label_weight == 0.0:
        return plain.copy()
    known = label_weight * np.fmax(labelled, 0.0)
    beyond = np.maximum(plain, 0.0)
    excess = np.maximum(beyond - FAR, 0.0)
    beyond -= label_weight * (excess - FAR * np.log1p(excess / FAR))
    distances: Doubles = np.hypot(beyond, known) + np.minimum(plain, 0.0)
    return distances


def _tail_nats(trim: float) -> Doubles:
    """Nats of the mean's tail at `TAIL_QUANTILES` of accepted events, which are the share `trim` of all.

    The geometric mean of two readings. By shares of accepted events, the tail would be too thin, because they
    end at the trim: values would hide habits. By shares of all events, a value would count no more than any
    of many columns of habits that is as rare: where habits tell little, their noise would hide it
    (docs/explanation/experiments.md).
    """
    quantiles = np.array(TAIL_QUANTILES)
    nats: Doubles = np.sqrt(np.log1p(-quantiles) * np.log1p(-trim * quantiles))
    return nats


def _joined(nats: Doubles, beside: Doubles) -> Doubles:
    """Join nats (n,) with those of distances in other directions (n,), as the sides of a right angle."""
    usual = np.minimum(nats, USUAL_NATS)
    joined: Doubles = usual + np.hypot(nats - usual, beside)
    return joined


def _slowed(scaled: Doubles) -> Doubles:
    """Let scaled distances grow with their logarithm beyond `LINEAR_UP_TO`; slope and order stay."""
    far = np.maximum(scaled / LINEAR_UP_TO, 1.0)
    slowed: Doubles = np.where(far > 1.0, LINEAR_UP_TO * (1.0 + np.log(far)), scaled)
    return slowed


def _bins(distances: Doubles) -> NDArray[np.int64]:
    place = (np.arcsinh(distances * SHARPNESS) - LOW) / BIN
    return np.clip(place, 0, BINS - 1).astype(np.int64)


@numba.njit(cache=True, nogil=True)
def _place(counts: Any, total: float, share: float) -> float:
    """Place, in bins, at which counts (BINS,) reach a share of their total."""
    below, passed = 0.0, 0.0
    for index in range(len(counts)):
        passed += counts[index]
        above = passed / total
        if above > share or index == len(counts) - 1:
            inside = (share - below) / max(above - below, 1e-300)
            return float(index + min(max(inside, 0.0), 1.0))
        below = above
    return 0.0


@numba.njit(cache=True, nogil=True)
def _sums_above(counts: Any, prior: float) -> Any:
    """Weight at or above each edge, (BINS + 1,), with `prior` added to each bin."""
    above = np.empty(len(counts) + 1)
    above[-1] = prior / 2.0
    passed = 0.0
    for index in range(len(counts) - 1, -1, -1):
        passed += counts[index] + prior
        above[index] = passed
    return above

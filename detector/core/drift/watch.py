"""Drift of one shard: what has changed, since when, and what part of the change of alerts it explains.

    events ─> bins ─> pane ─ at a barrier ─> compared with the reference ─> drift or none
                                                     ^                          │
                                                     └───── quiet columns ──────┘

Rules
    - A pane is closed at a barrier once it has `PANE_EVENTS`, or an hour of event time and
      `PANE_EVENTS_MIN`.
    - A column drifts from two panes above its threshold on, until three are below it.
    - The reference takes in quiet columns only. What has drifted for a week is usual from then on.
    - What changes too slowly for that is found by whole weeks, once a day: see `seasons`.
    - Everything is counted in whole numbers or in log order, so it does not depend on how polls cut the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.drift import bins
from detector.core.drift.adaptive_window import AdaptiveWindow
from detector.core.drift.columns import Columns, Sample, Values
from detector.core.drift.findings import Scores, findings
from detector.core.drift.history import HOURS, History
from detector.core.drift.labelled import BYTES as LABEL_BYTES
from detector.core.drift.labelled import LabelWatch
from detector.core.drift.reference import DAY_S, Reference, hours_between
from detector.core.drift.seasons import DAYS, Seasons
from detector.core.drift.verdicts import PROFILE, RATE, Comparison, Verdicts
from detector.core.drift.weight import Parts, Weights
from detector.core.drifted import Drift

PANE_EVENTS, PANE_EVENTS_MIN, PANE_S = 16_384, 2_048, 3_600.0
SAMPLE_EVENTS = 2_048  # that bins are cut by
CUT_AFTER_EVENTS = 16_384
SCORE_MAX = 4.0  # higher scores count as this one: one event must not move a mean
SCORE_FLOOR = 0.1  # smallest change of the mean score
SCORES_AFTER_S = 8 * DAY_S  # every hour of a week was seen
OTHERS = -RATE  # what is judged besides columns
_ODD = np.uint64(0x9E3779B97F4A7C15)


def bytes_max(columns: Columns) -> int:
    """Bytes that a watch takes at most; nearly all are counts by hour of the week, and the history."""
    count, fields = columns.count, len(columns.numbers) + len(columns.categories)
    by_hour = bins.SLOTS * bins.BINS * (8 + 4) + HOURS * 2 * 4 + 2 * bins.BINS * 8
    by_day = DAYS * columns.fields * bins.BINS * 4 + columns.fields * 20 * 8
    judged = by_day + (count + OTHERS) * 40 * 8 + 5 * bins.SLOTS * 8 + len(columns.things) * 3 * 8
    return (
        judged + count * by_hour + SAMPLE_EVENTS * 8 * fields + 3 * bins.SEEN_BITS // 8 * fields + LABEL_BYTES
    )


class Pane:
    """Counts of the events since the last pane, of C columns."""

    def __init__(self, columns: int) -> None:
        self.counts = np.zeros((bins.SLOTS, columns, bins.BINS), dtype=np.int32)
        self.scores = np.zeros((bins.SLOTS, 2))  # sum of scores, and events
        self.events = 0
        self.began = np.nan  # event time, s

    def restart(self, now: float) -> None:
        """Begin the next one at event time `now`."""
        self.counts[:] = 0
        self.scores[:] = 0.0
        self.events, self.began = 0, now

    def full(self, now: float) -> bool:
        """Whether it can be judged."""
        long = now - self.began >= PANE_S and self.events >= PANE_EVENTS_MIN
        return self.events >= PANE_EVENTS or long

    def to_state(self) -> dict[str, Any]:
        return {
            "counts": self.counts.copy(),
            "scores": self.scores.copy(),
            "numbers": np.array([self.events, self.began]),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.counts, self.scores = state["counts"], state["scores"]
        self.events, self.began = int(state["numbers"][0]), float(state["numbers"][1])


class DriftWatch:
    """See the module's text.

    Parameters
    ----------
    severities
        Names of the severities of alerts, by rank.
    """

    def __init__(self, columns: Columns, severities: Sequence[str] = ()) -> None:
        self.columns = columns
        self.labels = LabelWatch(severities)
        self._cuts = bins.Cuts(len(columns.numbers), len(columns.categories))
        self._reference = Reference(columns.count)
        self._verdicts = Verdicts(columns.count + OTHERS)
        self._seasons = Seasons(columns.rising[: columns.fields])
        self.history = History(columns.count + OTHERS)
        self._weights = Weights(len(columns.things))
        self._placed: dict[str, float] = {}  # where the newest events of the last pane lay
        self._window = AdaptiveWindow(SCORE_FLOOR)
        self._sample = columns.empty()
        self._pane = Pane(columns.count)
        self._values = np.full(len(columns.numbers), np.nan)  # of the event before
        self._last = Comparison.none(columns.count)  # the last pane that was judged
        self._block = np.zeros(2)  # sum of scores less the usual ones, and events, of the block
        self._events = 0  # since the watch began
        self._began = np.nan  # event time of the first event, then at which bins were cut, s
        self._accepted = np.nan  # event time at which new categories last became known
        self._score_since = 0.0
        self._found: Drift | None = None  # made when it is asked for

    @property
    def found(self) -> Drift | None:
        """What the last pane says; None: there was none yet."""
        if self._found is None and self._last.events:
            scores = Scores(self._window.changes, self._window.step, self._score_since)
            parts = (
                self._last,
                self._verdicts,
                self._cuts.edges,
                scores,
                self.labels,
                self._placed,
                self._reference.profile,
                self._seasons,
            )
            weights = dict(zip(self.columns.things, self._weights.found.tolist(), strict=True))
            self._found = findings(self.columns, *parts, weights)
        return self._found

    def add(self, values: Values, scores: NDArray[np.float64], parts: Parts | None = None) -> None:
        """Count n events, in log order, with their scores (n,).

        `parts` says what part each of the things has in a score; None: nobody knows.
        """
        n, pane, cuts = len(scores), self._pane, self._cuts
        if not n:
            return
        if np.isnan(self._began):
            self._began = pane.began = self._accepted = float(values.times[0])
        if not cuts.made:
            self._take_sample(values, n)
        bins.count(*values, self.columns.keys, self._values, *cuts.arrays, pane.counts)
        self._weights.count(scores, parts)
        usual = self._reference.usual_scores
        bins.add_scores(values.times, scores, SCORE_MAX, usual, pane.scores, self._block)
        self._events += n
        pane.events += n

    def _take_sample(self, values: Values, count: int) -> None:
        """Keep a sample of all events so far (Vitter 1985, with a hash of the event's number as the draw)."""
        taken = min(SAMPLE_EVENTS - len(self._sample), count)
        self._sample = self._sample.joined(values, taken)
        rows = np.arange(taken, count)
        numbers = np.uint64(self._events + 1) + rows.astype(np.uint64)
        mixed = numbers * _ODD
        places = ((mixed ^ (mixed >> np.uint64(29))) * _ODD) % numbers
        chosen = places < SAMPLE_EVENTS
        self._sample.put(places[chosen].astype(np.int64), values, rows[chosen])

    def end_block(self, now: float) -> None:
        """Follow the mean score of the block that is complete now."""
        total, count = self._block.tolist()
        self._block[:] = 0.0
        if self._settled(now) and count and self._window.add(total / count):
            self._score_since = now if not self._score_since else self._score_since

    def _settled(self, now: float) -> bool:
        return self._cuts.made and now - self._began >= SCORES_AFTER_S

    def barrier(self, now: float, threshold: float, placed: Callable[[], Mapping[str, float]] = dict) -> None:
        """Judge the pane if it is large enough; before the first one, cut the bins.

        Parameters
        ----------
        now
            Event time, s.
        threshold
            Lowest score of an alert; infinite: there is none yet.
        placed
            Says where the newest events lie in the embedding; asked for at the end of a pane.
        """
        silent = self.labels.since
        self.labels.barrier(now)
        if silent != self.labels.since:
            self._found = None
        if self._cuts.made:
            if self._pane.full(now):
                self._placed = dict(placed())
                self._close(now, threshold)
                self._pane.restart(now)
            return
        day = self._events >= PANE_EVENTS_MIN and now - self._began >= DAY_S
        if day or self._events >= CUT_AFTER_EVENTS:
            self._cuts.make(self._sample.numbers, self._sample.categories)
            for _ in range(2):
                self._cuts.accept(np.ones(len(self.columns.categories), dtype=bool))
            self._sample = self.columns.empty()
            self._pane.restart(now)
            self._began = self._accepted = now

    def _close(self, now: float, threshold: float) -> None:
        """Judge the pane, then let the reference learn from it."""
        reference, verdicts, pane = self._reference, self._verdicts, self._pane
        compared = self._last = self._compared(now)
        self._found = None
        verdicts.judge(compared, pane.began, now - self._began)
        if np.isfinite(verdicts.thresholds).any():
            self.history.note(now, verdicts.index, verdicts.thresholds)
        drifting = verdicts.began[: self.columns.fields] > 0.0
        self._seasons.note(now, pane.counts[:, : self.columns.fields], drifting)
        self._weights.close(threshold, quiet=bool(verdicts.quiet.all()))
        if now - self._score_since > DAY_S:
            self._score_since = 0.0
        quiet, accepted = verdicts.quiet, verdicts.accepted(now)
        self._accept_categories(now, quiet | accepted)
        age_s = max(now - pane.began, 0.0)
        reference.absorb(pane.counts, quiet[:-OTHERS], accepted[:-OTHERS], age_s)
        reference.follow_rates(
            hours_between(pane.began, now),
            pane.scores,
            taken=bool((quiet | accepted)[[RATE, PROFILE]].all()),
            age_s=age_s,
        )

    def _compared(self, now: float) -> Comparison:
        pane = self._pane
        hours = hours_between(pane.began, now)
        usual = self._reference.rates() * hours
        events = pane.scores[:, 1]
        known = self._reference.knows(events > 0.0)
        self._reference.profile.note(pane.began, now, events, usual, known=known)
        index, whole = self._reference.profile.compared()
        return Comparison.of(
            pane.counts.sum(0).astype(np.float64),
            self._reference.usual(pane.counts.sum(-1)),
            rising=self.columns.rising,
            events=pane.events,
            expected=float(usual.sum()),
            profile=(index, self._reference.profile.events, whole),
            shift=self._placed.get("mean_shift", 0.0),
            known=known,
            time=now,
            days=(now - self._began) / DAY_S,
        )

    def _accept_categories(self, now: float, taken: NDArray[np.bool_]) -> None:
        """Let new categories of the time before become known: each pane on the first day, then once a day."""
        if now - self._began < DAY_S or now - self._accepted >= DAY_S:
            first = len(self.columns.numbers)
            self._cuts.accept(taken[first : first + len(self.columns.categories)])
            self._accepted = now

    def to_state(self) -> dict[str, Any]:
        """State right after a barrier."""
        times = [self._began, self._accepted, self._score_since]
        return {
            **{name: getattr(self, f"_{name}").to_state() for name in _PARTS},
            "labels": self.labels.to_state(),
            "history": self.history.to_state(),
            "placed": dict(self._placed),
            "block": self._block.copy(),
            "values": self._values.copy(),
            "usual_scores": self._reference.usual_scores.copy(),
            "events": self._events,
            "times": np.array(times),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        for name in _PARTS[:-2]:
            getattr(self, f"_{name}").load(state[name])
        self.labels.load(state["labels"])
        self.history.load(state["history"])
        self._last = Comparison(**state["last"])
        self._sample = Sample.from_state(state["sample"])
        self._block, self._reference.usual_scores = state["block"], state["usual_scores"]
        self._values, self._placed = state["values"], dict(state["placed"])
        self._events = state["events"]
        self._began, self._accepted, self._score_since = state["times"].tolist()


_PARTS = ("cuts", "reference", "verdicts", "seasons", "window", "weights", "pane", "last", "sample")

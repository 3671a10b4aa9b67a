"""From events to scores.

    events ─> rows ─ profiles, fraud rates ─> context ─ features ─> inputs ─ parts ─> distances ─> scores
                                                                                    └─> heat ─┘

Profiles and heat follow event by event, and each event sees them as they were before it. Everything else here
changes at a block's end or at a barrier only. Heat is learned from the distances without it, and added to
them (`calibration.heated`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Model
from detector.core.alerts.evidence import NearFraud
from detector.core.alerts.falls import parts_of
from detector.core.alerts.severity import SEVERITIES
from detector.core.drift.embedding import SAMPLE, Placed, measures
from detector.core.drift.watch import DriftWatch
from detector.core.events import Events
from detector.core.features import (
    Features,
    FraudRates,
    Heat,
    KeyTable,
    Layout,
    Profiles,
    Rows,
    Units,
    to_rows,
)
from detector.core.labels.feedback import AppliedLabels
from detector.core.model.calibration import Calibration, heated
from detector.core.model.clusters import Core
from detector.core.model.score_part import Explained, Shown
from detector.core.model.serving import Promotion, ServedModel
from detector.core.model.shifts import Shift, ShiftWatch, moved_units
from detector.core.shard.block import Block
from detector.core.shard.watched import columns, values


class Mixed(NamedTuple):
    """Of n events: distances with heat and labels, and their scores. See `Scores`."""

    plain: NDArray[np.float64]
    labelled: NDArray[np.float64]
    distances: NDArray[np.float64]
    scores: NDArray[np.float64]


class Scores(NamedTuple):
    """Of n events; zeros before the first barrier."""

    plain: NDArray[np.float64]  # (n,) distances without labels
    labelled: NDArray[np.float64]  # (n,) labelled distances; NaN: there are none
    distances: NDArray[np.float64]  # (n,) both mixed
    scores: NDArray[np.float64]  # (n,) -log10 of the share of accepted events at least as far
    cold: NDArray[np.float64]  # (n,) what the scores would be without heat


class Scorer:
    """Everything between an event and its score.

    Parameters
    ----------
    rng
        Initialises the encoders that serve.
    """

    def __init__(self, model: Model, layout: Layout, features: Features, rng: np.random.Generator) -> None:
        self._config = model.features
        self.layout = layout
        self.features = features
        self.units = Units(np.ones(len(layout.numerics)))
        self.profiles = Profiles(layout, model.features)
        self.heat = Heat(layout, model.features)
        self.served = ServedModel(model, layout, features, rng)
        self.calibration = Calibration(model.calibration, self.served.weights, self.served.limits)
        self.shifts = ShiftWatch(model.calibration.warm_up_events)
        self.drift = DriftWatch(columns(layout), SEVERITIES)
        self._newest: tuple[Rows, NDArray[np.float32]] | None = None  # of the last block

    def fill(self, block: Block, events: Events, piece: slice, rates: FraudRates) -> None:
        """Write events to a piece of the block, with their context and inputs; profiles learn them."""
        if piece.start == 0:
            self.profiles.reserve(len(block))
            self.heat.reserve(len(block))
        block.rows.put(piece, to_rows(events, self.layout, self.units))
        block.rows.times[piece] = block.times[piece]
        rows = block.rows.take(piece)
        self.profiles.observe(rows)
        rates.read(rows)
        block.inputs[piece] = self.features.compute(rows)

    def look(
        self, events: Events, times: NDArray[np.float64], rates: FraudRates
    ) -> tuple[Rows, NDArray[np.float32], Scores]:
        """Rows, inputs (n, F) and scores of events, each as if it were the next one; nothing changes.

        `times` (n,) are their bounded event times, s.
        """
        rows = replace(to_rows(events, self.layout, self.units), times=times)
        self.profiles.observe(rows, apart=True)
        rates.read(rows)
        inputs = self.features.compute(rows)
        return rows, inputs, self.score(rows, inputs, apart=True)

    def score(self, rows: Rows, inputs: NDArray[np.float32], *, apart: bool = False) -> Scores:
        """Score n new events, given as rows and inputs (n, F), in log order.

        Their heat is read, written to their context and inputs, and learned; with `apart` each event is
        the next one, and nothing is learned.
        """
        if not self.served.ready:
            nothing = np.zeros(len(inputs))
            return Scores(nothing, np.full(len(inputs), np.nan), nothing, nothing, nothing)
        plain = self._plain(rows, inputs)
        self.heat.observe(rows, self.calibration.excess(plain), apart=apart)
        self.features.add_heat(rows, inputs)
        mixed = self._mixed(plain, rows, inputs)
        return Scores(*mixed, self._cold(plain, mixed, rows, inputs))

    def watch(
        self,
        events: Events,
        rows: Rows,
        inputs: NDArray[np.float32],
        scores: NDArray[np.float64],
        alerts: Mapping[int, int],
    ) -> None:
        """Show n events with their scores (n,) to the watch for drift; `alerts`: severities by row."""

        def parts(i: int) -> NDArray[np.float64]:
            row = rows.take(slice(i, i + 1))
            typical = self.explain(row, inputs[i : i + 1], 0).typical
            assert typical is not None
            return parts_of(self.layout, row, typical, float(scores[i]), self.score_rows)

        if self.served.ready:
            self.drift.add(values(events, rows), scores, parts)
        if alerts:
            rows_of = list(alerts)
            self.drift.labels.alerted(events.offsets[rows_of], rows.times[rows_of], list(alerts.values()))

    def look_for_drift(self, now: float, threshold: float) -> None:
        """Judge what came, at a barrier; `threshold`: lowest score of an alert."""

        def placed() -> Mapping[str, float]:
            found = None if self._newest is None else self.served.placed(*self._newest)
            return {} if found is None else measures(Placed(*found))

        self.drift.barrier(now, threshold, placed)

    def apply(self, applied: AppliedLabels) -> None:
        """Let young entities learn the values of cleared alerts, and tell the watch for drift of labels."""
        if applied.cleared is not None:
            self.profiles.admit(applied.cleared)
        answers = zip(applied.answers, applied.times.tolist(), strict=True)
        self.drift.labels.apply([(one.offset, one.label, one.time, time) for one, time in answers])

    def score_rows(self, rows: Rows) -> NDArray[np.float64]:
        """Scores (n,) of rows as they would be with other values, for explanations."""
        inputs = self.features.compute(rows)
        return self._mixed(self._plain(rows, inputs), rows, inputs).scores

    def _plain(self, rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Distances (n,) without labels and without heat."""
        return self.calibration.combine(self.served.plain_distances(rows, inputs))

    def _mixed(self, plain: NDArray[np.float64], rows: Rows, inputs: NDArray[np.float32]) -> Mixed:
        """Add heat and labels to distances (n,) without them."""
        labelled = self.served.labelled_distances(rows, inputs)
        warm = heated(plain, inputs[:, self.features.heat])
        distances = self.calibration.mix(warm, labelled)
        return Mixed(warm, labelled, distances, self.calibration.scores(distances))

    def _cold(
        self, plain: NDArray[np.float64], mixed: Mixed, rows: Rows, inputs: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """What the scores (n,) would be without heat."""
        cold, hot = mixed.scores.copy(), np.flatnonzero(mixed.plain > plain)
        if not len(hot):
            return cold
        without = mixed.labelled[hot]
        if self.served.knows_labels:
            unheated = inputs[hot]
            unheated[:, self.features.heat] = 0.0
            without = self.served.labelled_distances(rows.take(hot), unheated)
        cold[hot] = self.calibration.scores(self.calibration.mix(plain[hot], without))
        return cold

    def explain(self, rows: Rows, inputs: NDArray[np.float32], exemplars_max: int) -> Explained:
        """Explain one event, given as one row, by the parts of the score."""
        return self.served.explain(rows, inputs, Shown(self.units, exemplars_max))

    def near_frauds(self, rows: Rows, inputs: NDArray[np.float32]) -> Sequence[NearFraud]:
        """Confirmed frauds that one event, given as one row, is nearer to than to what is normal."""
        if not self.calibration.label_weight > 0.0:  # the embedding ranks judged events no better than chance
            return ()
        return [NearFraud(*near) for near in self.served.near_frauds(rows, inputs)]

    def learn(self, block: Block, core: Core) -> NDArray[np.bool_]:
        """Learn from a block's distances and inputs; returns which rows are accepted, (B,).

        `core` holds what was accepted before.
        """
        accepted = np.arange(len(block)) < block.filled
        if self.served.ready:
            used = block.used
            self.shifts.learn(
                block.rows.take(used),
                block.distances[used],
                self.calibration,
                self.profiles.population,
                core.filled(),
            )
            accepted &= self.calibration.accepts(block.distances)
            ordinary = self.calibration.ordinary(block.distances[used])
            self.calibration.learn(block.distances[used], accepted[used])
            self.served.learn(block.rows.take(used), block.inputs[used], ordinary)
            self.drift.end_block(float(block.now[block.filled - 1]))
            sample = slice(0, min(block.filled, SAMPLE))
            self._newest = block.rows.take(sample), block.inputs[sample]
        return accepted

    def accepts(self, core: Core) -> NDArray[np.bool_]:
        """Which events of the core would be accepted now, (n,)."""
        rows = core.filled()
        return self.calibration.accepts(self._plain(rows, self.features.compute(rows)))

    def choose_units(self, core: Core) -> None:
        """Read units from the first events, which the core holds, and restart profiles with them."""
        rows = core.filled()
        values = self.units.restore(rows.numerics)
        self.units = Units.read(values)
        rows.numerics[:] = self.units.scale(values)
        self._begin_profiles(rows)

    def _begin_profiles(self, rows: Rows) -> None:
        """Begin profiles with these rows, n of them."""
        self.profiles = Profiles(self.layout, self._config)
        self.profiles.reserve(len(rows))
        self.profiles.observe(rows)
        self.profiles.update_priors(rows)

    def bound_tables(self, model: Model) -> None:
        """Take the bounds of another configuration."""
        self._config = model.features
        profiles, heat = Profiles(self.layout, self._config), Heat(self.layout, self._config)
        for mine, other in zip(_tables(self.profiles, self.heat), _tables(profiles, heat), strict=True):
            mine.bound(other)

    def follow_units(self, shift: Shift) -> None:
        """Take other units; everything is then as it was before the shift."""
        assert shift.factors is not None
        values = self.units.restore(shift.rows.numerics)
        self.units = self.units.times(shift.factors)
        if len(shift.before.population):
            self.profiles.follow_units(shift.before.population, shift.before.time)
        else:  # a model file's core has other units than the first events
            shift.rows.numerics[:] = self.units.scale(values)
            self._begin_profiles(shift.rows)
        if shift.before.calibration is not None:
            self.calibration.load(shift.before.calibration)

    def begin_again(self, shift: Shift, core: Core) -> Rows:
        """Let units, profiles and calibration begin again; returns the events for the core."""
        before, rows = core.filled().numerics, shift.rows
        factors = moved_units(before, rows.numerics, self.units.units)
        values = self.units.restore(rows.numerics)
        self.units = self.units.times(factors)
        rows.numerics[:] = self.units.scale(values)
        self.profiles.begin_again(rows, shift.before.population, factors)
        self.calibration.forget()
        self.served.forget()
        return rows

    def install(self, promotion: Promotion, core: Core, *, restart: bool) -> None:
        """Serve the successors; with `restart` the calibration counts again from the core."""
        self.served.install(promotion, core)
        self.shifts.refitted(core.filled())
        self.calibration.weights = self.served.weights
        self.calibration.update_spans(promotion.measured, self.served.spans_min)
        if restart:
            plain = self.calibration.combine(promotion.measured)
            self.calibration.restart(heated(plain, promotion.heat))

    def figures(self, promotion: Promotion, threshold: float) -> dict[str, float]:
        """Figures of a candidate's scores, see `judgement`; `threshold`: lowest score of an alert."""
        served, calibration = self.served.trial(promotion), copy(self.calibration)
        calibration.weights = served.weights
        calibration.update_spans(promotion.measured, served.spans_min)
        plain = heated(calibration.combine(promotion.measured), promotion.heat)
        distances = calibration.mix(plain, np.full(len(plain), np.nan))
        return {
            "beyond": float((~calibration.accepts(distances)).mean()),
            "alerts": float((calibration.scores(distances) >= threshold).mean()),
        }

    def gauges(self) -> dict[str, float]:
        """Numbers for the metrics."""
        return {
            "profiles": float(len(self.profiles)),
            "trim": self.calibration.trim_score if self.served.ready else 0.0,
            "shifts": float(self.shifts.count),
            "label_weight": self.calibration.label_weight,
            **self.served.gauges(),
        }

    def to_state(self) -> dict[str, Any]:
        """State right after a barrier."""
        return {
            "units": self.units.units.copy(),
            "profiles": self.profiles.to_state(),
            "heat": self.heat.to_state(),
            "served": self.served.to_state(),
            "calibration": self.calibration.to_state(),
            "shifts": self.shifts.to_state(),
            "drift": self.drift.to_state(),
        }

    def load(self, state: Mapping[str, Any], core: Core) -> None:
        """Restore what `to_state` returned, with the core as it was then."""
        self.units = Units(state["units"])
        self.profiles.load(state["profiles"])
        self.heat.load(state["heat"])
        self.served.load(state["served"], core)
        self.calibration.weights = self.served.weights
        self.calibration.load(state["calibration"])
        self.shifts.load(state["shifts"])
        self.drift.load(state["drift"])


def _tables(profiles: Profiles, heat: Heat) -> list[KeyTable]:
    return [*profiles.tables, *profiles.habits.tables, *heat.tables]

"""What labels do at a shard's barrier, and what receipts say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from detector.config.tree import ModelPart
from detector.core.labels.feedback import LabelBook
from detector.core.labels.routing import Mode
from detector.core.labels.supervision import Supervision
from detector.core.model.calibration import RECENT_PART
from detector.core.model.score_part import Update
from detector.core.shard.learning import Learning
from detector.core.shard.scoring import Scorer


def routed(config: ModelPart, partition: int, *, alone: bool) -> tuple[int, int, Mode]:
    """Partition, number of partitions, and how feedback records find their shard."""
    if alone or (config.receipts and config.partitions == 1):
        return partition, 1, "alone"
    return partition, config.partitions, "shared" if config.receipts and config.exchange else "separate"


def learn_from_labels(
    supervision: Supervision,
    scorer: Scorer,
    learning: Learning,
    *,
    now: float,
    memory: int,
    warming_up: bool,
) -> None:
    """Train on labels, update the parts of the score, and weigh the labelled ones.

    Parameters
    ----------
    now
        Event time of the shard, s since the epoch.
    memory
        Events of the calibration's memory.
    """
    before = supervision.versions
    supervision.train(supervision.mature(now))
    frauds = supervision.frauds
    scorer.served.update(
        Update(
            core=learning.core,
            learner=supervision.learner,
            fraud_inputs=frauds.inputs,
            fraud_hashes=frauds,
            fraud_offsets=supervision.fraud_offsets,
            trees=supervision.trees,
            rng=learning.rng,
        )
    )
    changed = supervision.versions != before
    _weigh(supervision, scorer, memory, changed=changed, warming_up=warming_up)


def _weigh(supervision: Supervision, scorer: Scorer, memory: int, *, changed: bool, warming_up: bool) -> None:
    """Give the labelled parts the weight they have earned.

    Recent events are counted again where it moves, and where the parts have changed abruptly: by their
    distances as these parts measure them. Else scores would mean something else until the histograms have
    forgotten (docs/explanation/experiments.md).

    0 while warming up: then only the core is counted, and a model file may know labels that its shard does
    not. 0 without a confirmed fraud: all of them were retracted.
    """
    calibration = scorer.calibration
    before, comparable = calibration.label_weight, scorer.shifts.comparable
    if scorer.shifts.count and comparable < memory // RECENT_PART:
        return  # too few events since a shift to count again
    known = scorer.served.knows_labels and not warming_up
    calibration.label_weight = supervision.weigh(before) if known else 0.0
    if warming_up or (calibration.label_weight == before and not (changed and before > 0.0)):
        return
    recent = min(memory, comparable) if scorer.shifts.count else memory
    pieces = [
        calibration.mix(plain, scorer.served.labelled_distances(rows, inputs))
        for plain, rows, inputs in supervision.recent(recent)
    ]
    calibration.recount(np.concatenate([np.zeros(0), *pieces]))


def standing(
    book: LabelBook, supervision: Supervision, learning: Learning, scorer: Scorer
) -> dict[str, float]:
    """What receipts compare: what is known of labels, and what the score makes of it."""
    return {
        **{f"labels_{label}": float(count) for label, count in book.counts().items()},
        **supervision.replayed(),
        "core_events": float(len(learning.core)),
        "label_weight": scorer.calibration.label_weight,
    }


def learned(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, Sequence[float]]:
    """Before and after, by name."""
    return {name: (before[name], after[name]) for name in before}

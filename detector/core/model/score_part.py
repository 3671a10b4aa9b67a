"""What a part of the score is.

A part gives each event one or more distances to normal. The score is made of all of them:

    parts without labels   each distance is shifted by its median over accepted events and divided by the span
                           from there to its .95 quantile, both read at the last barrier; then the weighted
                           mean is taken. A part's weight is relative to those of the others, and its columns
                           share it. See `calibration`
    labelled parts         give log-odds, or NaN while they know nothing. Their mean is mixed in with the
                           weight that it has earned on judged events. See `labels.label_weight`

The calls that a part gets, in this order:

    1. distances, explain   between two barriers. They change nothing, and a row's result depends on that row
                            alone
    2. learn                after each block
    3. copy                 well before a barrier, unless the part is labelled
    4. refit                on the copy, from a sample of the core, in a background thread; meanwhile the part
                            itself gets 1 and 2
    5. succeed              on the copy at the barrier, where it replaces the part
    6. update               at every barrier, also where nothing was refitted

`forget` comes before 3, at a barrier after a shift of the stream.

To add a part, write a class that inherits from `ScorePart`, and put it in the table `PARTS` of
`detector.core.model.serving`. What it adds to alerts must be in `detector/schemas/alert.v1.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Model
from detector.core.erasure import Erased
from detector.core.features import Features, Layout, Rows, Units
from detector.core.model.calibration import Limit
from detector.core.model.clusters import Core, Sample
from detector.core.model.encoder import Hashes, LabelLearner, Learned
from detector.core.model.trees import Trees

# Parts measure in usual spreads: on the streams of docs/explanation/quality.md the smallest span is .07.
SPAN_MIN = 0.05


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PartSetup:
    """What parts are made of."""

    config: Model
    layout: Layout
    features: Features
    rng: np.random.Generator  # the shard's; parts draw from it in the order of the table


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fit:
    """What parts without labels are refitted from."""

    sample: Sample  # of the core, n rows
    inputs: NDArray[np.float32]  # (n, F) of these rows
    measured: slice  # rows of the sample, evenly spread, that median and span are measured on (`held_out`)
    learned: Learned  # weights of the plain encoder
    rng: np.random.Generator  # of this promotion; parts draw from it in the order of the table

    @property
    def fitted(self) -> NDArray[np.int64]:
        """Rows that are not measured; all of them where all are."""
        rows = np.arange(len(self.inputs))
        kept = np.delete(rows, self.measured)
        return kept if len(kept) else rows


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Update:
    """What parts are brought up to date with at every barrier."""

    core: Core  # as it is now
    learner: LabelLearner  # of the labelled encoder
    fraud_inputs: NDArray[
        np.float32
    ]  # (f, F) of confirmed frauds; none before anything was learned from labels
    fraud_hashes: Hashes  # of the same events
    fraud_offsets: NDArray[np.int64]  # (f,) where they are in the log; -1: in that of a peer
    trees: Trees  # grown from judged events; none before the first ones
    rng: np.random.Generator  # the shard's


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Explained:
    """What a part adds to the explanation of one event."""

    facts: Mapping[str, Any] = field(default_factory=dict)  # fields of the alert
    typical: Rows | None = None  # one row: typical values of events near it; None: unknown to this part
    ends: NDArray[np.float64] | None = None  # (2, J) .1 and .9 quantiles of these events, in their own units
    shown: bool = True  # whether enough entities share `typical` for an alert to show it


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """How an alert shows values."""

    units: Units
    exemplars_max: int


class ScorePart(Protocol):
    """See the module's text. Subclasses override what they need."""

    name: ClassVar[str]
    """Key of its state."""
    labelled: ClassVar[bool] = False
    """Whether it learns from labels: then it has one column, and is never refitted."""
    columns: int = 1
    """Number of its distances, C."""
    weight: float = 1.0
    """Weight in the mean, relative to the other parts; of no effect in labelled parts."""
    limit: Limit = Limit.NONE
    """What limits its distances in the mean."""

    held_out: int = 1
    """At most every so many-th core event is measured, and the part is not fitted to these; 1: it is."""

    @property
    def shares(self) -> tuple[float, ...]:
        """How its columns share its weight, (C,), summing to 1; may change in `refit`."""
        return tuple(1.0 / self.columns for _ in range(self.columns))

    @property
    def spans_min(self) -> tuple[float, ...]:
        """Least span of each of its columns, (C,): a smaller one is that of a stream which hardly varies."""
        return (SPAN_MIN,) * self.columns

    @property
    def knows(self) -> bool:
        """Whether it has learned anything; False in a labelled part before the first confirmed fraud."""
        return True

    def distances(self, rows: Rows, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Distances (n, C) of n events; higher = stranger. Finite; NaN if a labelled part knows nothing."""

    def explain(self, rows: Rows, inputs: NDArray[np.float32], shown: Shown) -> Explained:
        """Explain one event, given as one row, for its alert."""
        return Explained()

    def near_frauds(self, rows: Rows, inputs: NDArray[np.float32]) -> Sequence[tuple[int, float]]:
        """Confirmed frauds that one event is nearer to than to what is normal: offset and distance."""
        return ()

    def learn(self, rows: Rows, inputs: NDArray[np.float32], ordinary: NDArray[np.bool_]) -> None:
        """Learn from a block of n events; `ordinary` (n,) are all but the strangest."""

    def forget(self) -> None:
        """Forget what was counted of all events, because the stream has changed; a refit follows at once."""

    def erase(self, erased: Erased) -> None:
        """Drop what is kept of single events of these entities; a refit, or an update, follows at once."""

    def copy(self) -> Self:
        """Return a copy that shares nothing that `learn` or `refit` change in place."""
        raise NotImplementedError(f"part {self.name} cannot be refitted")

    def refit(self, fit: Fit) -> None:
        """Fit to a sample of the core; only called on copies, in a background thread."""

    def succeed(self, before: Self, core: Core) -> None:
        """Take over what `before` has learned since it was copied, and assign the core's rows anew."""

    def update(self, update: Update) -> None:
        """Bring up to date at a barrier."""

    @property
    def searches(self) -> tuple[bool, ...]:
        """For each index that every event is searched in: whether HNSW answers."""
        return ()

    def gauges(self) -> dict[str, float]:
        """Numbers for the metrics."""
        return {}

    def to_state(self) -> dict[str, Any]:
        """State right after a barrier."""

    def load(self, state: Mapping[str, Any], core: Core) -> None:
        """Restore what `to_state` returned, with the core as it was then."""


PartFactory = Callable[[PartSetup], ScorePart | None]
"""Makes a part; None where the schema has nothing for it."""

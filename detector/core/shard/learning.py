"""Learning without labels: the core, the plain learner, and what the next barrier installs.

    each block         the core takes accepted events in; the learner gets the block
    before a barrier   a sample of the core is taken, and the parts of the score are refitted to it
    at the barrier     the refitted parts are installed; with the encoder of before, if the new one is worse
                       (`judgement`), or if an operator holds it (`versions`)

The learner's steps and the refit run in background threads (`Lanes`). They are started and awaited at fixed
places of the log, so results do not depend on when they ran. After a barrier none is under way.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Model
from detector.core.features import Features, Layout, Rows, empty_rows
from detector.core.jobs import Lanes, Result
from detector.core.labels.feedback import AppliedLabels
from detector.core.labels.replay_buffer import ReplayBuffer
from detector.core.model.clusters import Core
from detector.core.model.encoder import Learned
from detector.core.model.judgement import BROKEN, FRAUDS_MAX, finite, objections
from detector.core.model.learned_part import Events
from detector.core.model.serving import Promotion, ServedModel
from detector.core.model.training import Trainer
from detector.core.model.versions import Version, Versions
from detector.core.shard.block import Block
from detector.core.shard.scoring import Scorer

# Events given to the learner at once, at most: each call moves the interpreter's lock between threads.
TRAINED_AT_ONCE = 2048
# Maximum queued training jobs; a further one waits for the first of them.
TRAININGS_QUEUED_MAX = 4
# Stream ids of derived random generators.
TRAINED, PROMOTED, RETURNED = 1, 2, 3
# Multiples of it are spread evenly modulo 1, however many there are (Knuth 6.4).
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
# Share of the interval between barriers that a refit has. With more the served model is older; with less
# barriers wait for it.
LEAD = 0.75


class Learning:
    """What one shard learns without labels.

    Parameters
    ----------
    partition
        Number of the shard's partition; part of the seeds.
    """

    def __init__(
        self, model: Model, layout: Layout, features: Features, partition: int, lanes: Lanes
    ) -> None:
        self._barriers = model.barriers
        self._layout, self._features = layout, features
        self._partition = partition
        self._lanes = lanes
        self._seed = model.seed, partition
        self.rng = np.random.Generator(np.random.PCG64(self._seed))  # the shard's
        trained = np.random.Generator(np.random.PCG64([*self._seed, TRAINED]))
        self._trainer = Trainer(model, layout, features, self.rng, trained)
        self.core = Core(model.clusters, layout)
        self.versions = Versions()
        self.frauds: ReplayBuffer | None = None  # confirmed ones, to judge candidates by
        self._untrained: list[tuple[Rows, NDArray[np.float32], NDArray[np.bool_]]] = []  # blocks, accepted
        self._trainings: deque[Result[None]] = deque()  # under way
        self._promotion: Result[Promotion] | None = None  # under way, or done and not installed
        self._since_promotion = 0  # events
        self._begun = 0  # version at which the model began, or began again after a shift

    def gauges(self) -> dict[str, float]:
        """Numbers for the metrics."""
        versions = self.versions
        return {
            "encoder_loss": self._trainer.loss,
            "encoder_version": float(versions.number),
            "promotions_refused": float(versions.refused),
            "promotions_held": float(versions.held),
            "core_events": float(len(self.core)),
        }

    def reconfigure(self, model: Model) -> None:
        """Use other settings of barriers."""
        self._barriers = self._trainer.barriers = model.barriers

    def interval(self, version: int) -> int:
        """Events from the barrier that made `version` to the next regular one.

        The first interval of full length is shortened by partition. Otherwise equally busy partitions would
        have all their barriers at the same time.
        """
        barriers, age = self._barriers, self._age(version)
        usual = barriers.interval(age)
        if age == 0 or barriers.young(age) or not barriers.young(age - 1):
            return usual
        blocks = self._partition * GOLDEN % 1.0 * (usual // barriers.block_events)
        return usual - int(blocks) * barriers.block_events

    def _age(self, version: int) -> int:
        """Barriers since the model began, or began again."""
        return max(version - self._begun, 0)

    # --- blocks --------------------------------------------------------------------------------------------

    def learn(self, block: Block, accepted: NDArray[np.bool_], served: ServedModel) -> None:
        """Learn from a block; `accepted` (B,) are the rows near enough to be normal."""
        # An encoder that only finds what is normal near an alert learns enough from the core, at barriers.
        if served.ready and served.encodes:
            self._queue(block, accepted, served.version)
        self.core.learn(block.rows, np.flatnonzero(accepted), self.rng)
        self._since_promotion += block.filled
        if served.ready and self._since_promotion >= self.interval(served.version) - self._lead(
            served.version
        ):
            self._prepare(served)

    def _queue(self, block: Block, accepted: NDArray[np.bool_], version: int) -> None:
        """Queue a block for the learner; near a barrier, which waits for the last job, jobs are small."""
        self._untrained.append((block.rows.copy(), block.inputs.copy(), accepted))
        waiting = len(self._untrained) * len(block)
        to_barrier = self.interval(version) - self._since_promotion - len(block)
        if waiting >= TRAINED_AT_ONCE or waiting > to_barrier:
            self._train_queued()

    def _train_queued(self) -> None:
        if not self._untrained:
            return
        if len(self._trainings) == TRAININGS_QUEUED_MAX:
            self._trainings.popleft()()
        trainer, blocks, self._untrained = self._trainer, self._untrained, []

        def learn() -> None:
            rows, inputs, accepted = zip(*blocks, strict=True)
            trainer.learn(Rows.joined(rows), np.concatenate(inputs), np.concatenate(accepted))

        self._trainings.append(self._lanes.training(learn))

    def _lead(self, version: int) -> int:
        """Events before a regular barrier at which its refit starts; whole blocks.

        A young model is too far behind already, so its barriers wait for the refit.
        """
        if self._barriers.young(self._age(version)):
            return 0
        block = self._barriers.block_events
        return int(self._barriers.every_events * LEAD) // block * block

    def _prepare(self, served: ServedModel) -> None:
        """Start the refit for the next barrier, unless it has been started."""
        if self._promotion is not None:
            return
        self._train_queued()
        trainer, lanes, version = self._trainer, self._lanes, served.version
        copies, sample = served.copies(), self.core.sample()
        rng = np.random.Generator(np.random.PCG64([*self._seed, PROMOTED, version]))
        age = self._age(version)
        learned = lanes.training(lambda: trainer.rehearse(sample, age))
        held = served.learned if self.versions.held and served.ready else None
        frauds = self._newest_frauds()

        def refitted() -> Promotion:
            candidate = learned()
            if held is not None:
                return served.refitted(copies, sample, held, rng)
            if served.ready and not finite(candidate):  # nothing can be fitted to it
                return replace(served.refitted(copies, sample, served.learned, rng), figures=BROKEN)
            return served.refitted(copies, sample, candidate, rng, frauds=frauds)

        self._promotion = lanes.promotion(refitted)

    def _newest_frauds(self) -> Events:
        if self.frauds is None:
            rows = empty_rows(0, self._layout)
            return self._features.compute(rows), rows
        examples = self.frauds.examples
        newest = examples.take(np.arange(max(0, len(examples) - FRAUDS_MAX), len(examples)))
        return newest.inputs, newest

    # --- barriers ------------------------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Whether no job is under way."""
        refitted = self._promotion is None or self._promotion.done()
        return refitted and all(training.done() for training in self._trainings)

    def begin_to_settle(self) -> None:
        """Submit what `settle` would: only where a barrier comes before the next event."""
        self._train_queued()

    def settle(self) -> None:
        """Wait for the learner."""
        self._train_queued()
        while self._trainings:
            self._trainings.popleft()()

    def settle_all(self) -> None:
        """Wait for the learner and for the refit, which is installed later."""
        self.settle()
        if self._promotion is not None:
            promotion = self._promotion()
            self._promotion = Result(lambda: promotion)

    def drop_promotion(self) -> None:
        """Give up a refit that is under way."""
        if self._promotion is not None:
            self._promotion()
            self._promotion = None

    def begin_again(self, rows: Rows, version: int) -> None:
        """Begin with a core of these rows only; the next `promote` refits to it."""
        self.core.restart(rows)
        self._begun = version
        self.refit_now(version)

    def refit_now(self, version: int) -> None:
        """Let the next `promote` refit the parts."""
        self._since_promotion = self.interval(version)

    def promote(self, scorer: Scorer, restart: bool, threshold: float = math.inf) -> None:
        """Install the refitted parts; nothing at a barrier that comes before a refit was started.

        Parameters
        ----------
        restart
            See `Scorer.install`; then the encoder is not judged.
        threshold
            Lowest score of an alert.
        """
        served, self.versions.refusal = scorer.served, ""
        first = not served.ready
        if first and len(self.core):
            scorer.choose_units(self.core)
        if len(self.core) and (first or self._since_promotion >= self.interval(served.version)):
            self._prepare(served)
        if self._promotion is None:
            return
        promotion, self._promotion = self._promotion(), None
        restart = restart or first
        if promotion.figures is not None:
            figures = {**promotion.figures, **({} if restart else scorer.figures(promotion, threshold))}
            if not restart and (reasons := self._objections(figures)):
                self.versions.refuse(reasons)
                promotion = self._refitted(served, served.learned)
            else:
                self._accept(served, promotion.learned, figures)
        scorer.install(promotion, self.core, restart=restart)
        if served.version == self._begun > 0:
            # The events since a shift were all taken in; from here on the core holds accepted ones only.
            self.core.keep(np.flatnonzero(scorer.accepts(self.core)))
        self._since_promotion = 0

    def _objections(self, figures: Mapping[str, float]) -> str:
        serving = self.versions.serving
        return "; ".join(objections(figures, {} if serving is None else serving.figures, self.versions.again))

    def _accept(self, served: ServedModel, learned: Learned, figures: Mapping[str, float]) -> None:
        times = self.core.filled().times
        version = Version(
            number=served.version + 1,
            count=self.versions.count + 1,
            step=learned.step,
            combines=learned.combines,
            first_time=float(times.min()),
            last_time=float(times.max()),
            events=len(times),
            figures=figures,
        )
        self.versions.promoted(version, served.learned if served.ready else None)

    def _refitted(self, served: ServedModel, learned: Learned) -> Promotion:
        """Refit the parts to the core as it is, with an encoder that has served; the learner goes on from it.

        The learner must be settled.
        """
        self._trainer.resume(learned)
        rng = np.random.Generator(np.random.PCG64([*self._seed, RETURNED, served.version]))
        return served.refitted(served.copies(), self.core.sample(), learned, rng)

    def govern(self, scorer: Scorer, *, restart: bool) -> None:
        """Follow the commands that `versions` took at this barrier; see `Scorer.install` for `restart`."""
        asked, self.versions.asked = self.versions.asked, False
        if not asked or not scorer.served.ready:
            return
        self.drop_promotion()  # it may be of another encoder
        learned = self.versions.take_wanted(scorer.served.learned)
        if learned is not None:
            scorer.install(self._refitted(scorer.served, learned), self.core, restart=restart)
            self._since_promotion = 0

    def refit(self, scorer: Scorer, *, restart: bool) -> None:
        """Refit the parts now, once they serve, to the core as it is; see `Scorer.install`."""
        if scorer.served.ready:
            self.drop_promotion()
            self.refit_now(scorer.served.version)
            self.promote(scorer, restart)

    def apply(self, applied: AppliedLabels) -> None:
        """Remove confirmed frauds from the core, and add alerted events that were answered as legitimate."""
        times, keys = applied.fraud_events
        self.core.forget(times, keys[:, : len(self._layout.entities)])
        if applied.cleared is not None:
            self.core.admit(applied.cleared, self.rng)

    # --- state ---------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """State right after a barrier."""
        assert self._promotion is None
        assert not self._trainings
        return {
            "rng": self.rng.bit_generator.state,
            **self._trainer.to_state(),
            "core": self.core.to_state(),
            "since_promotion": self._since_promotion,
            "versions": self.versions.to_state(),
            "begun": self._begun,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self.rng.bit_generator.state = state["rng"]
        self._trainer.load(state)
        self.core.load(state["core"])
        self._since_promotion = state["since_promotion"]
        learner = self._trainer.learner
        self.versions.load(state["versions"], Learned(learner.edges, learner.weights, learner.steps))
        self._begun = state["begun"]

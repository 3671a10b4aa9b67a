"""What shards tell each other, and what they make of it: fraud shares, confirmed frauds, encoders.

A shard sees all events of a main entity, but only its part of a terminal's or a merchant's. Three kinds of
messages make up for that:

    shares    changes of the fraud shares of all keys but the main entity's: known frauds one by one, events
              that matured added up per key
    frauds    events confirmed as fraud, as the encoder saw them (no ids, no entities), by opaque numbers that
              a later message may take back; and how late their labels came
    encoder   weights and bins of the labelled encoder, after it learned

Rules
    - Each shard counts and tells its own events only. Whoever hears of a fraud at a key that is new to it
      adds what it knows of that key from before, tells that, and follows the key from then on: numerator and
      denominator of a share cover the same events, those of all shards. Everything is linear and decayed to
      event times, so neither the order of messages nor a sibling's lead or lag matters much.
    - Weights are averaged only where bins are equal (McMahan 2017): bins that were laid more often win, with
      their weights.
    - Whoever may write to the topic can send anything: names, types, shapes, ranges are checked before
      anything changes. What was made under another schema or model configuration is of no use.
    - Everything is bounded: what a barrier tells, and what is kept of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.features import FRAUD, MATURED, RETRACTED, Changes, Layout
from detector.core.labels.event_buffer import Examples, halves
from detector.core.labels.supervision import DELAYS_MAX, Supervision
from detector.core.model.encoder import Floats

DAY_S = 86_400.0
# Of one barrier, and so of a message; about 650 kB with three memories.
CHANGES_MAX = 16_384
# Bytes of the arrays of other messages.
BYTES_MAX = 800_000
# A sibling's event time may be ahead by so much; what is further is a mistake.
AHEAD_MAX_S = 365.0 * DAY_S
# More events of a key than this, or larger weights, are no honest count and no trained encoder.
COUNT_MAX = 1e9
WEIGHT_MAX = 1e4

Message = tuple[str, Mapping[str, NDArray[Any]]]


class Sharing:
    """One shard's side of it.

    Parameters
    ----------
    model
        Plain values that all shards must agree on to understand each other.
    partition
        Makes the numbers of events differ from those of siblings.
    """

    def __init__(
        self, supervision: Supervision, layout: Layout, model: Mapping[str, Any], partition: int
    ) -> None:
        self._supervision = supervision
        self._layout = layout
        digest = hashlib.blake2b(json.dumps(model, sort_keys=True, default=str).encode(), digest_size=8)
        self._model = np.frombuffer(digest.digest(), dtype="<u8")
        self._partition = partition
        self._trainings = 0  # when the encoder was last told
        self._mass = 0.0  # steps that are in the weights already, since the last barrier; 0: own ones
        self.dropped = 0  # changes that were too many to tell

    def gauges(self) -> dict[str, float]:
        """Numbers for people."""
        return {"untold": float(self.dropped), "told_frauds": float(self._supervision.told_frauds)}

    # --- telling -----------------------------------------------------------------------------------------

    def tell(self) -> list[Message]:
        """What is new since the last barrier."""
        news, numbers, examples = self._supervision.take_news()
        self._mass = 0.0
        messages: list[Message] = []
        changes = self._bounded(self._supervision.risks.merged(news.changes))
        if len(changes):
            messages.append(("shares", changes.to_state()))
        if len(numbers) or news.retracted or news.delays:
            messages.append(("frauds", self._frauds(numbers, news.retracted, examples, news.delays)))
        if self._supervision.trainings > self._trainings:
            self._trainings = self._supervision.trainings
            encoder = self._encoder()
            if sum(array.nbytes for array in encoder.values()) <= BYTES_MAX:
                messages.append(("encoder", encoder))
        return [(kind, {**arrays, "model": self._model}) for kind, arrays in messages]

    def _bounded(self, changes: Changes) -> Changes:
        """Keep labels, then the keys whose matured events are most."""
        if len(changes) <= CHANGES_MAX:
            return changes
        self.dropped += len(changes) - CHANGES_MAX
        weight = np.where(changes.what == MATURED, changes.counts.max(axis=1, initial=0.0), np.inf)
        return changes.take(np.sort(np.argsort(-weight, kind="stable")[:CHANGES_MAX]))

    def _frauds(
        self, numbers: NDArray[np.int64], retracted: list[int], examples: Examples, delays: list[float]
    ) -> dict[str, NDArray[Any]]:
        row_bytes = (
            8
            + 2 * examples.inputs.shape[1]
            + sum(array[:1].nbytes for array in (examples.categories, examples.grams))
        )
        latest = slice(max(0, len(numbers) - BYTES_MAX // (2 * row_bytes)), None)
        return {
            "numbers": self._opaque(numbers[latest]),
            "retracted": self._opaque(np.array(retracted[-CHANGES_MAX:], dtype=np.int64)),
            "inputs": halves(examples.inputs[latest]),
            "categories": examples.categories[latest],
            "grams": examples.grams[latest],
            "delays": np.array(delays[-DELAYS_MAX:], dtype=np.float64),
        }

    def _opaque(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return numbers * np.int64(1 << 16) + np.int64(self._partition)

    def _encoder(self) -> dict[str, NDArray[Any]]:
        learner = self._supervision.learner
        weights = {f"weight {name}": halves(weight) for name, weight in sorted(learner.weights.items())}
        counts = np.array([self._supervision.bins, learner.steps], dtype=np.int64)
        return {**weights, "edges": learner.edges, "counts": counts}

    # --- hearing -----------------------------------------------------------------------------------------

    def hear(self, kind: str, arrays: Mapping[str, NDArray[Any]], now: float) -> bool:
        """Take what a sibling told; False, with nothing changed, if it is of no use here.

        Parameters
        ----------
        now
            How far event time has come here, s.
        """
        if not _is(arrays.get("model"), "<u8", (1,)) or arrays["model"][0] != self._model[0]:
            return False
        if kind == "shares":
            return self._hear_shares(arrays, now)
        if kind == "frauds":
            return self._hear_frauds(arrays)
        return kind == "encoder" and self._hear_encoder(arrays)

    def _hear_shares(self, arrays: Mapping[str, NDArray[Any]], now: float) -> bool:
        risks = self._supervision.risks
        count = len(arrays["keys"]) if "keys" in arrays and arrays["keys"].ndim == 1 else 0
        forms = {
            name: (a.dtype.str, (count, *a.shape[1:]))
            for name, a in Changes.none(risks.memories).to_state().items()
        }
        if not 0 < count <= CHANGES_MAX or not _fit(arrays, forms):
            return False
        told = Changes.from_state(arrays)
        sensible = (
            np.isin(told.kinds, np.array(risks.shared)).all()
            and (told.keys != 0).all()
            and (np.abs(told.times) <= max(now, 0.0) + AHEAD_MAX_S).all()  # NaN is none of these
            and np.isin(told.what, (FRAUD, MATURED, RETRACTED)).all()
            and ((told.counts >= 0.0) & (told.counts <= COUNT_MAX)).all()
            and ((told.events >= 0.0) & (told.events <= COUNT_MAX)).all()
        )
        if sensible:
            self._supervision.add_changes(told, now)
        return bool(sensible)

    def _hear_frauds(self, arrays: Mapping[str, NDArray[Any]]) -> bool:
        nothing = self._supervision.frauds.take(slice(0))
        counts = {
            name: len(arrays[name]) if name in arrays and arrays[name].ndim else 0
            for name in ("numbers", "retracted", "delays")
        }
        rows = counts["numbers"]
        forms = {
            "numbers": ("<i8", (rows,)),
            "inputs": ("<f2", (rows, *nothing.inputs.shape[1:])),
            "categories": ("<u8", (rows, *nothing.categories.shape[1:])),
            "grams": ("<u4", (rows, *nothing.grams.shape[1:])),
            "retracted": ("<i8", (counts["retracted"],)),
            "delays": ("<f8", (counts["delays"],)),
        }
        if not _fit(arrays, forms) or not np.isfinite(arrays["inputs"]).all():
            return False
        delays = arrays["delays"]
        if not ((delays >= 0.0) & (delays <= AHEAD_MAX_S)).all():
            return False
        numbers = arrays["numbers"]
        if len(np.unique(numbers)) < rows:
            return False
        examples = Examples(arrays["inputs"].astype(np.float32), arrays["categories"], arrays["grams"])
        self._supervision.add_frauds(arrays["retracted"], numbers, examples, delays)
        return True

    def _hear_encoder(self, arrays: Mapping[str, NDArray[Any]]) -> bool:
        supervision = self._supervision
        learner = supervision.learner
        forms = {f"weight {name}": ("<f2", weight.shape) for name, weight in learner.weights.items()}
        if not _fit(arrays, {**forms, "edges": ("<f4", learner.edges.shape), "counts": ("<i8", (2,))}):
            return False
        edges = arrays["edges"]
        weights = {name: arrays[f"weight {name}"].astype(np.float32) for name in learner.weights}
        bins, steps = arrays["counts"].tolist()
        if (
            not all((np.abs(weight) <= WEIGHT_MAX).all() for weight in weights.values())
            or not np.isfinite(edges).all()
            or not (np.diff(edges, axis=1) > 0.0).all()
            or not 0 < bins < 64
            or steps < 1
        ):
            return False
        self._average(edges, weights, bins, steps)
        return True

    def _average(self, edges: Floats, weights: Mapping[str, Floats], bins: int, steps: int) -> None:
        supervision = self._supervision
        learner = supervision.learner
        theirs, ours = (bins, edges.tobytes()), (supervision.bins, learner.edges.tobytes())
        if theirs < ours:
            return
        if theirs > ours:
            learner.adopt(edges, weights)
            supervision.bins = bins
            self._mass = float(learner.steps)
            return
        mass = self._mass or float(max(learner.steps, 1))
        more = float(min(steps, learner.steps))  # nobody outweighs this shard
        learner.approach(weights, more / (mass + more))
        self._mass = mass + more

    # --- state -------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """What the future depends on, right after a barrier."""
        return {"trainings": self._trainings, "dropped": self.dropped}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what `to_state` gave."""
        self._trainings, self.dropped = state.get("trainings", 0), state.get("dropped", 0)


def _is(array: NDArray[Any] | None, dtype: str, form: tuple[int, ...]) -> bool:
    return array is not None and array.dtype == np.dtype(dtype) and array.shape == form


def _fit(arrays: Mapping[str, NDArray[Any]], forms: Mapping[str, tuple[str, tuple[int, ...]]]) -> bool:
    return all(_is(arrays.get(name), *form) for name, form in forms.items())

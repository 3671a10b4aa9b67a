"""What shards publish to their peers, and what they learn from it: fraud rates, confirmed frauds, encoders.

A shard sees all events of a main entity, but only its share of the events of a terminal or a merchant. Three
kinds of messages make up for that:

    fraud_rates   changes of the fraud rates of all keys but the main entity's: known frauds one by one,
                  events that matured added up per key
    frauds        events confirmed as fraud, as the encoder saw them (no ids, no entities), by opaque numbers
                  that a later message may retract; and the delays of their labels
    encoder       weights and bins of the labelled encoder, after it learned

Rules
    - Each shard counts and publishes its own events only. A shard that receives a fraud of a key new to it
      adds its earlier events of that key, publishes those, and follows the key from then on. So numerator
      and denominator of a rate cover the same events, those of all shards. All counts are linear and decay
      to event times, so the order of messages and the lead or lag of a peer matter little.
    - Weights are averaged only where bins are equal (McMahan 2017). Bins that were placed more often win,
      with their weights.
    - Whoever may write to the topic can send anything. Names, types, shapes and ranges are checked before
      anything changes. What was made under another schema or model configuration is not used.
    - Everything is limited: what a barrier publishes, and what its receivers store.
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
from detector.core.labels.maturity import DELAYS_MAX
from detector.core.labels.supervision import Supervision
from detector.core.model.encoder import Floats

DAY_S = 86_400.0
# Changes of fraud rates that one barrier publishes, in one message: about 650 kB with three memories.
CHANGES_MAX = 16_384
# Bytes of the arrays of other messages.
BYTES_MAX = 800_000
# A peer's event time may be ahead by this much; anything further is an error.
AHEAD_MAX_S = 365.0 * DAY_S
# Larger counts of one key, and larger weights, are refused: no real stream and no training gives them.
COUNT_MAX = 1e9
WEIGHT_MAX = 1e4

Message = tuple[str, Mapping[str, NDArray[Any]]]


class Peers:
    """What one shard publishes to its peers and receives from them.

    Parameters
    ----------
    model
        Plain values that must be equal at all shards for their messages to be of use.
    partition
        Makes the event numbers of this shard differ from those of its peers.
    """

    def __init__(
        self, supervision: Supervision, layout: Layout, model: Mapping[str, Any], partition: int
    ) -> None:
        self._supervision = supervision
        self._layout = layout
        digest = hashlib.blake2b(json.dumps(model, sort_keys=True, default=str).encode(), digest_size=8)
        self._model = np.frombuffer(digest.digest(), dtype="<u8")
        self._partition = partition
        self._trainings = 0  # of the supervision when the encoder was last published
        self._mass = 0.0  # steps in the averaged weights since the last barrier; 0: own steps only
        self.dropped = 0  # changes beyond CHANGES_MAX

    def gauges(self) -> dict[str, float]:
        """Numbers for the metrics."""
        return {"changes_dropped": float(self.dropped), "peer_frauds": float(self._supervision.peer_frauds)}

    # --- publish -----------------------------------------------------------------------------------------

    def publish(self) -> list[Message]:
        """Messages about changes since the last barrier."""
        fresh, numbers, examples = self._supervision.take_unpublished()
        self._mass = 0.0
        messages: list[Message] = []
        changes = self._bounded(self._supervision.fraud_rates.merged(fresh.changes))
        if len(changes):
            messages.append(("fraud_rates", changes.to_state()))
        if len(numbers) or fresh.retracted or fresh.delays:
            messages.append(("frauds", self._frauds(numbers, fresh.retracted, examples, fresh.delays)))
        if self._supervision.trainings > self._trainings:
            self._trainings = self._supervision.trainings
            encoder = self._encoder()
            if sum(array.nbytes for array in encoder.values()) <= BYTES_MAX:
                messages.append(("encoder", encoder))
        return [(kind, {**arrays, "model": self._model}) for kind, arrays in messages]

    def _bounded(self, changes: Changes) -> Changes:
        """Cut to `CHANGES_MAX`: labels first, then the keys with the most matured events."""
        if len(changes) <= CHANGES_MAX:
            return changes
        self.dropped += len(changes) - CHANGES_MAX
        weight = np.where(changes.statuses == MATURED, changes.counts.max(axis=1, initial=0.0), np.inf)
        return changes.take(np.sort(np.argsort(-weight, kind="stable")[:CHANGES_MAX]))

    def _frauds(
        self, numbers: NDArray[np.int64], retracted: list[int], examples: Examples, delays: list[float]
    ) -> dict[str, NDArray[Any]]:
        """Message about the latest confirmed frauds, as many as `BYTES_MAX` allows."""
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
        """Event numbers that no peer uses."""
        return numbers * np.int64(1 << 16) + np.int64(self._partition)

    def _encoder(self) -> dict[str, NDArray[Any]]:
        learner = self._supervision.learner
        weights = {f"weight {name}": halves(weight) for name, weight in sorted(learner.weights.items())}
        counts = np.array([self._supervision.bins, learner.steps], dtype=np.int64)
        return {**weights, "edges": learner.edges, "counts": counts}

    # --- receive -----------------------------------------------------------------------------------------

    def receive(self, kind: str, arrays: Mapping[str, NDArray[Any]], now: float) -> bool:
        """Apply a peer's message.

        Parameters
        ----------
        arrays
            Read-only; of any name, dtype, shape and value (also not finite).
        now
            Event time of this shard, s.

        Returns
        -------
        bool
            False if the message is of no use here; then nothing has changed.
        """
        if not _is(arrays.get("model"), "<u8", (1,)) or arrays["model"][0] != self._model[0]:
            return False
        if kind == "fraud_rates":
            return self._receive_rates(arrays, now)
        if kind == "frauds":
            return self._receive_frauds(arrays)
        return kind == "encoder" and self._receive_encoder(arrays)

    def _receive_rates(self, arrays: Mapping[str, NDArray[Any]], now: float) -> bool:
        rates = self._supervision.fraud_rates
        count = len(arrays["keys"]) if "keys" in arrays and arrays["keys"].ndim == 1 else 0
        forms = {
            name: (a.dtype.str, (count, *a.shape[1:]))
            for name, a in Changes.none(rates.memories).to_state().items()
        }
        if not 0 < count <= CHANGES_MAX or not _fit(arrays, forms):
            return False
        changes = Changes.from_state(arrays)
        sensible = (
            np.isin(changes.kinds, np.array(rates.shared)).all()
            and (changes.keys != 0).all()
            and (np.abs(changes.times) <= max(now, 0.0) + AHEAD_MAX_S).all()  # False for NaN
            and np.isin(changes.statuses, (FRAUD, MATURED, RETRACTED)).all()
            and ((changes.counts >= 0.0) & (changes.counts <= COUNT_MAX)).all()
            and ((changes.events >= 0.0) & (changes.events <= COUNT_MAX)).all()
        )
        if sensible:
            self._supervision.add_changes(changes, now)
        return bool(sensible)

    def _receive_frauds(self, arrays: Mapping[str, NDArray[Any]]) -> bool:
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

    def _receive_encoder(self, arrays: Mapping[str, NDArray[Any]]) -> bool:
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
        """Average with a peer's encoder, or adopt it if its bins were placed more often."""
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
        more = float(min(steps, learner.steps))  # no peer outweighs this shard
        learner.approach(weights, more / (mass + more))
        self._mass = mass + more

    # --- state -------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """State right after a barrier."""
        return {"trainings": self._trainings, "dropped": self.dropped}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self._trainings, self.dropped = state["trainings"], state["dropped"]


def _is(array: NDArray[Any] | None, dtype: str, form: tuple[int, ...]) -> bool:
    """Whether an array is there, with this dtype and shape."""
    return array is not None and array.dtype == np.dtype(dtype) and array.shape == form


def _fit(arrays: Mapping[str, NDArray[Any]], forms: Mapping[str, tuple[str, tuple[int, ...]]]) -> bool:
    return all(_is(arrays.get(name), *form) for name, form in forms.items())

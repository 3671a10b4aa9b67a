"""An anomaly detector of river: one event at a time, as a dict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from river.base import AnomalyDetector

from detector.api.detector import Detector
from detector.api.fields import event_config
from detector.errors import UsageError

EXAMPLES = 256
"""Examples after which the fields are decided; scores are 0 until so many are learned in any case."""
FIELDS_MAX = 128  # of a configuration


class OnlineDetector(AnomalyDetector):  # type: ignore[misc] - river has no types
    """Streaming anomaly detection with the interface of river's `anomaly` module.

    `score_one` is never negative, and higher is more anomalous: -log10 of the share of normal events at least
    as far. It is 0 until 256 examples are learned, and it changes nothing.

    Parameters
    ----------
    config
        A configuration file, or the same as a dict: then each example is an event with an id and a time.
        None: examples are features without id, time and entities. Numbers are numeric fields, everything else
        is categorical; NaN and infinity are missing. Which features there are is decided by the first 256
        examples (the 128 most frequent ones). An example is one second after the one before.
    seed
        Seed of the model; with `config` only where it is not 0.

    Examples
    --------
    >>> from detector.api.online import OnlineDetector
    >>> model = OnlineDetector()
    >>> for i in range(1000):
    ...     model.learn_one({"a": i % 10, "b": (i % 10) * 2.0})
    >>> model.score_one({"a": 5, "b": -90.0}) > model.score_one({"a": 5, "b": 10.0})
    True
    """

    def __init__(self, config: str | dict[str, Any] | None = None, seed: int = 0) -> None:
        self.config = config
        self.seed = seed
        self._examples: list[dict[Any, Any]] = []  # until the fields are decided
        self._fields: dict[Any, tuple[str, bool]] = {}  # feature -> name in the event, whether it is numeric
        self._detector: Detector | None = None
        if config is not None:
            self._detector = Detector.from_config(config, [f"model.seed={seed}"] if seed else [])

    def score_one(self, x: Mapping[Any, Any]) -> float:
        """Score of an example as the next one, before it is learned.

        Raises
        ------
        UsageError
            With `config`: the example is no event.
        """
        if self._detector is None:
            return 0.0
        (row,) = self._detector.score([self._event(x)])
        if row["rejected"] is not None:
            raise UsageError(f"the event is rejected, {row['rejected']}")
        return float(row["score"])

    def learn_one(self, x: Mapping[Any, Any]) -> None:
        """Learn an example. With `config`, what is no event is left out, as a stream would."""
        if self._detector is not None:
            self._detector.learn([self._event(x)])
            return
        self._examples.append(dict(x))
        if len(self._examples) < EXAMPLES:
            return
        examples, self._examples = self._examples, []
        self._fields = _fields(examples)
        numerics = {name: str(feature) for feature, (name, numeric) in self._fields.items() if numeric}
        categories = {name: str(feature) for feature, (name, numeric) in self._fields.items() if not numeric}
        self._detector = Detector.from_config(event_config(numerics, categories, seed=self.seed))
        for example in examples:
            self._detector.learn([self._event(example)])

    def _event(self, x: Mapping[Any, Any]) -> dict[str, Any]:
        if self.config is not None:
            return dict(x)
        assert self._detector is not None
        number = self._detector.position
        event: dict[str, Any] = {"id": number, "time": number}
        for feature, (name, numeric) in self._fields.items():
            value = x.get(feature)
            if value is None:
                continue
            if not numeric:
                event[name] = str(value)
            elif (number_ := _number(value)) is not None and math.isfinite(number_):
                event[name] = number_
        return event

    @classmethod
    def _unit_test_params(cls) -> Any:
        yield {"seed": 1}

    def _unit_test_skips(self) -> set[str]:
        return set()


def _number(value: Any) -> float | None:
    """A value as a number; None: it is none. A boolean is none: its values have names."""
    if isinstance(value, str | bytes | bool) or type(value).__name__ == "bool":
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _fields(examples: list[dict[Any, Any]]) -> dict[Any, tuple[str, bool]]:
    """The most frequent features: name in the event, and whether all values are numbers."""
    seen: Counter[Any] = Counter()
    texts = set()
    for example in examples:
        for feature, value in example.items():
            if value is not None:
                seen[feature] += 1
                if _number(value) is None:
                    texts.add(feature)
    kept = sorted(seen, key=lambda feature: (-seen[feature], str(feature)))[:FIELDS_MAX]
    ordered = sorted(kept, key=lambda feature: (str(feature), type(feature).__name__))
    return {feature: (f"f{i}", feature not in texts) for i, feature in enumerate(ordered)}

"""A real partition without IO: it processes events, and can be asked for scores without learning.

`Driven.feed` processes events as under Kafka, barriers included. `Driven.would_score` scores any number of
possible next events with the current profiles, and changes nothing. `in_a_copy` runs a function in a fork of
this process, so its changes to the model are discarded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml

from benchmarks.quality.metrics import BoolArray, FloatArray
from detector.config.tree import ModelPart
from detector.core.records import Identity, Record
from detector.core.shard.partition import Partition
from detector.demo.simulation.handbook import SimulationConfig, simulate, to_events

HANDBOOK = Path(__file__).parents[2] / "configs" / "handbook.yaml"
IDENTITY = Identity(topic="transactions", group="benchmark", partition=0, entity_key=b"benchmark")
Event = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fed:
    """Results of n events."""

    score: FloatArray  # (n,)
    alert: BoolArray  # (n,)
    bodies: list[dict[str, Any]]  # of the alerts, in order
    candidates: int  # events that reached the threshold, published or suppressed


class Driven:
    """A partition and its log; every event must be valid."""

    def __init__(self, config: ModelPart) -> None:
        self._partition = Partition(IDENTITY, config, Partition.begin(config, 0), until=0)

    @property
    def position(self) -> int:
        """Number of the next event."""
        return self._partition.position

    @property
    def threshold(self) -> float:
        """Lowest score of a candidate; inf before there is one."""
        return self._partition.gauges["threshold"] or float("inf")

    @property
    def gauges(self) -> dict[str, float]:
        """Numbers that describe the model."""
        return self._partition.gauges

    @property
    def trim(self) -> float:
        """Highest score of an event that is learned as normal; inf before anything is scored."""
        return self._partition.gauges["trim"] or float("inf")

    def feed(self, events: Sequence[Event]) -> Fed:
        """Score events and learn from them, one after another."""
        first = self.position
        records = [
            Record(number, 0, None, msgspec.json.encode(event))
            for number, event in enumerate(events, start=first)
        ]
        score, alert, bodies, held = [np.empty(0)], [np.empty(0, dtype=bool)], [], 0
        while self.position < first + len(records):
            step = self._partition.take(records[self.position - first :][:1024])
            assert not step.outputs.dead_letters, step.outputs.dead_letters[0]
            score += [scored.scores for scored in step.outputs.scored]
            alert += [scored.alerted for scored in step.outputs.scored]
            bodies += [msgspec.json.decode(published.body) for published in step.outputs.alerts]
            held += sum(step.outputs.suppressed.values())
            if step.block_ended and (barrier := self._partition.due({})) is not None:
                self._partition.barrier(barrier, {})
        return Fed(
            score=np.concatenate(score),
            alert=np.concatenate(alert),
            bodies=bodies,
            candidates=len(bodies) + held,
        )

    def would_score(self, events: Sequence[Event]) -> list[float]:
        """Score each of these as if it were the next event, without learning."""
        records = [Record(self.position, 0, None, msgspec.json.encode(event)) for event in events]
        scores: list[float] = self._partition.look(records).scores.tolist()
        return scores


def in_a_copy(question: Callable[[], Any]) -> Any:
    """Run a function in a fork of this process; its result is sent as JSON. POSIX only.

    The fork has only the calling thread, so the function must not need another one.
    """
    answer, sink = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(answer)
            with os.fdopen(sink, "wb") as pipe:
                pipe.write(msgspec.json.encode(question()))
        except BaseException:  # noqa: BLE001 - must not return into the caller's code a second time
            os._exit(1)
        os._exit(0)
    os.close(sink)
    with os.fdopen(answer, "rb") as pipe:
        answer = pipe.read()
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeError("a copy of the model failed")
    return msgspec.json.decode(answer)


def configuration(extra_fields: Sequence[Mapping[str, Any]] = (), **sections: Mapping[str, Any]) -> ModelPart:
    """The Handbook's events under the default configuration, with more fields or other settings."""
    event = yaml.safe_load(HANDBOOK.read_text(encoding="utf-8"))["event"]
    return ModelPart.model_validate(
        {"event": {**event, "fields": [*event["fields"], *extra_fields]}, **sections}
    )


def simulated(config: SimulationConfig) -> tuple[list[dict[str, Any]], np.ndarray[Any, np.dtype[np.int64]]]:
    """All events of a simulation and their scenarios, (n,)."""
    days = list(simulate(config))
    return list(chain.from_iterable(map(to_events, days))), np.concatenate([day.scenario for day in days])

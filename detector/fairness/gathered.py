"""Scored events with their segments, as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

EVENTS_MAX = 5_000_000  # of one report: some 40 bytes each, and 16 for each segment
SAMPLE = 50_000  # events whose inputs are kept, to look for proxies
MISSING = ""  # the group of events without a value


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Gathered:
    """What a report is made of; n events, m of them with their inputs."""

    entities: NDArray[np.int64]  # (n,) number of the main entity; each event is its own where there is none
    scores: NDArray[np.float64]  # (n,)
    alerted: NDArray[np.bool_]  # (n,)
    answers: NDArray[np.int8]  # (n,) 1: fraud, 0: legitimate, -1: no answer
    segments: Mapping[str, tuple[Sequence[str], NDArray[np.int64]]]  # by field: groups, and (n,) which it is
    sampled: NDArray[np.int64]  # (m,) which events have inputs
    inputs: Mapping[str, Sequence[Any]]  # by field of the model: (m,) numbers, texts, or None


@dataclass(kw_only=True, slots=True)
class Gathering:
    """Takes events one by one; those beyond `EVENTS_MAX` are counted and left out.

    Parameters
    ----------
    segments
        Names of the segment fields.
    expected
        About how many events will come. Every so many is sampled for its inputs.
    """

    segments: Sequence[str]
    expected: int
    left_out: int = 0
    _entities: dict[str, int] = field(default_factory=dict)
    _columns: dict[str, list[Any]] = field(default_factory=dict)
    _groups: dict[str, dict[str, int]] = field(default_factory=dict)
    _inputs: dict[str, list[Any]] = field(default_factory=dict)
    _sampled: list[int] = field(default_factory=list)
    _count: int = 0

    def add(
        self,
        *,
        entity: str | None,
        score: float,
        alerted: bool,
        answer: int,
        segments: Mapping[str, str],
        inputs: Mapping[str, Any],
    ) -> None:
        """Take an event; `inputs` has the same fields each time."""
        if self._count == EVENTS_MAX:
            self.left_out += 1
            return
        own = len(self._entities)
        number = self._entities.setdefault(f"\0{self._count}" if entity is None else entity, own)
        for name, value in (("entity", number), ("score", score), ("alerted", alerted), ("answer", answer)):
            self._columns.setdefault(name, []).append(value)
        for name in self.segments:
            groups = self._groups.setdefault(name, {})
            group = groups.setdefault(segments.get(name, MISSING), len(groups))
            self._columns.setdefault(f"segment {name}", []).append(group)
        if self._count % max(1, -(-self.expected // SAMPLE)) == 0 and len(self._sampled) < SAMPLE:
            self._sampled.append(self._count)
            for name, value in inputs.items():
                self._inputs.setdefault(name, []).append(value)
        self._count += 1

    def gathered(self) -> Gathered:
        """All that was taken, as columns."""
        column = self._columns
        return Gathered(
            entities=np.array(column.get("entity", ()), np.int64),
            scores=np.array(column.get("score", ()), np.float64),
            alerted=np.array(column.get("alerted", ()), np.bool_),
            answers=np.array(column.get("answer", ()), np.int8),
            segments={
                name: (list(groups), np.array(column[f"segment {name}"], np.int64))
                for name, groups in self._groups.items()
            },
            sampled=np.array(self._sampled, np.int64),
            inputs=self._inputs,
        )

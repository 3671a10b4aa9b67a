"""One input of the encoder: what it reads, and which parts of the score see it."""

from __future__ import annotations

from dataclasses import dataclass

from detector.core.features.layout import Habit, KeyKind

LONGEST = -1
"""The last memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One input of the encoder."""

    name: str
    source: str  # one of SOURCES
    kind: KeyKind | None = None  # kind of key whose profile or fraud rate is read
    memory: int = LONGEST  # of that profile
    place: int = 0  # column of numerics, of categories, of cycles or of fraud rates, as the source has it
    side: int = 0  # of what is usual: 1 above it, -1 below it, 0 both
    habit: Habit | None = None  # whose context is read
    robust: bool = False  # also a part of the robust distance
    unusual: bool = False  # also a part of the habits' distance, by its magnitude
    encoded: bool = True  # the plain encoder sees it; others come last, and labelled parts see all

"""What is decided about the fields of a stream."""

from __future__ import annotations

from dataclasses import dataclass

Kind = str
"""id, time, entity, ignored, or the kind of a field (see `detector.config.kinds`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What one field of the events is, and why."""

    path: str  # of a field of several parts: their paths, with commas between them
    kind: Kind
    reason: str
    name: str = ""  # of an entity or a field
    optional: bool = False
    format: str = ""  # of a time
    distinct: int = 0  # different values in the sample
    missing: float = 0.0  # share of events without it
    examples: tuple[str, ...] = ()  # shortened, quoted, ASCII


@dataclass(frozen=True, kw_only=True, slots=True)
class Inference:
    """What a sample says about its stream."""

    events: int  # in the sample
    broken: int  # lines that are not an event
    id: Choice
    id_is_own: bool  # as far as the sample shows, a repeated id is a repeated event
    time: Choice
    entities: tuple[Choice, ...]  # the main one first
    fields: tuple[Choice, ...]
    exposure: str | None  # name of the field that is the amount at stake
    ignored: tuple[Choice, ...]

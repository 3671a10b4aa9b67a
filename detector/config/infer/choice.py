"""What is decided about the fields of a stream."""

from __future__ import annotations

from dataclasses import dataclass

from detector.config.infer.numbers import PLAIN
from detector.config.tree import NumberForm

Kind = str
"""id, time, entity, label, ignored, or the kind of a field (see `detector.config.kinds`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What one field of the events is, and why."""

    path: str  # of a field of several parts: their paths, with commas between them; "": there is none
    kind: Kind
    reason: str
    name: str = ""  # of an entity or a field
    optional: bool = True
    use: str = "encode"  # of a field
    display: str = ""  # of a field, if its name says less
    unit: str = ""  # of a field
    number: NumberForm | None = None  # of a numeric field, if it is not the stream's
    missing_texts: tuple[str, ...] = ()  # of a numeric field, if not the usual ones
    format: str = ""  # of a time
    clock: str = ""  # of a time: path of the time of day, if the field has the day alone
    step: str = ""  # of a time that counts, as 1h
    origin: str = ""  # of a time that counts, if not the default
    zone: str = "UTC"  # of a time that states none
    days: bool = False  # a time without a time of day
    distinct: int = 0  # different values in the sample
    missing: float = 0.0  # share of events without it
    examples: tuple[str, ...] = ()  # shortened, quoted, printable


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """A field that says which events were frauds. The model never sees it."""

    path: str
    frauds: frozenset[str]  # values, as text, that mean fraud
    choice: Choice
    sure: bool = True  # its name or values say fraud; otherwise it is only left out


@dataclass(frozen=True, kw_only=True, slots=True)
class Inference:
    """What a sample says about its stream."""

    events: int  # in the sample
    broken: int  # lines that are not an event
    envelope: str  # around the event; "": none
    id: Choice
    id_is_own: bool  # as far as the sample shows, a repeated id is a repeated event
    time: Choice
    entities: tuple[Choice, ...]  # the main one first
    fields: tuple[Choice, ...]
    exposure: str | None  # name of the field that is the amount at stake
    labels: tuple[Label, ...]
    ignored: tuple[Choice, ...]
    number: NumberForm = PLAIN  # of texts that are numbers
    notes: tuple[str, ...] = ()  # what a person should know

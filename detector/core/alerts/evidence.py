"""A fact, and what facts are found from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from detector.core.alerts.case_rows import CaseBefore
from detector.core.alerts.earlier import NOTHING, Earlier
from detector.core.alerts.known import Ranges
from detector.core.alerts.recent import History
from detector.core.events import View
from detector.core.features import Rows

Values = Mapping[str, float | int | str | bool | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """One fact."""

    code: str
    values: Values
    detail: str  # one sentence for people


class NearFraud(NamedTuple):
    """A confirmed fraud near an event."""

    offset: int
    distance: float  # in the embedding that learned from labels; 1: as far as normal events are


class Shared(NamedTuple):
    """Other alerted entities that share something with an event."""

    name: str  # of the entity that they share
    others: int
    since_s: float  # length of the time that was looked at
    latest_s: float = 0.0  # since the latest of their events there
    usual: bool = False  # chance explains so many there
    amounts: Sequence[float] = ()  # of the latest event of some of them, the newest first


class Answer(NamedTuple):
    """The last answer about an entity."""

    label: str  # fraud or legitimate
    time_s: float  # when it was given, since the epoch


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidence:
    """What facts are found from: one event, and what is known beside its row."""

    event: Rows  # one row
    view: View
    amount: float  # of event.exposure; NaN: missing, or there is no such field
    history: History
    near_frauds: Sequence[NearFraud] = ()
    shared: Sequence[Shared] = ()
    answered: Answer | None = None
    earlier: Earlier = NOTHING
    case: CaseBefore | None = None  # the entity's, without this event
    ranges: Ranges | None = None  # of the event; None: they are found anew

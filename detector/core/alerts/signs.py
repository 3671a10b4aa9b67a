"""Signs of fraud that an alert shows, from its reasons and facts: what an analyst looks for first.

The score says how rare an event is; a sign says what the event looks like. None of them moves the score.
Their meaning is in docs/reference/alert.md.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from detector.core.alerts.amounts import is_large
from detector.core.alerts.evidence import Fact
from detector.core.alerts.explain import Reason
from detector.core.alerts.facts import SHORT_WINDOW_S, TIMES_DEAR
from detector.core.alerts.known import EVENTS_MIN, is_impossible
from detector.core.codes import SIGNS

NEW_MIN = 3  # things that are new at once; a journey has two
ONE_OF_MIN = 10.0  # each of which is new in 1 of so many events at most
TIMES_MANY = 20.0  # times the usual number of events; fewer are a tour of shops


def signs_of(
    reasons: Sequence[Reason],
    facts: Sequence[Fact],
    amount: float,
    usual: tuple[float, float] | None,
    there: tuple[float, float] | None,
    case_events: int,
    own: Collection[str] = (),
) -> tuple[str, ...]:
    """Codes of an event's signs.

    Parameters
    ----------
    amount
        NaN: missing, or not shown.
    usual, there
        Ranges of amounts: of the main entity, else everybody's; in the most telling category of the event.
    case_events
        Events of its case, with this one.
    own
        Entities that the main one has nearly alone: what happens there is its own.
    """
    found = {sign for fact in facts if (sign := _of_fact(fact)) is not None}
    met = [fact.values for fact in facts if fact.code == "first_contact"]
    new = [one for one in met if float(one["age_s"] or 0.0) < SHORT_WINDOW_S]
    if sum(float(one["one_of"] or 0.0) >= ONE_OF_MIN for one in new) >= NEW_MIN:
        found.add("several_new")
    busy = [one.of for one in reasons if one.code == "contact" and one.of == one.field]  # so only if busy
    if any(name not in own for name in busy):
        found.add("busy")
    for sign, ends in (("large", usual), ("large_there", there)):
        if ends is not None and is_large(amount, ends, TIMES_DEAR):
            found.add(sign)
    if case_events > 1:
        found.add("again")
    return tuple(sign for sign in SIGNS if sign in found)


def _of_fact(fact: Fact) -> str | None:
    """The sign that one fact is."""
    values = fact.values
    match fact.code:
        case "frauds_there" | "near_fraud":
            return "frauds"
        case "small_then_large":
            return "small_large"
        case "speed":
            km, gap_s = float(values.get("km") or 0.0), float(values.get("gap_s") or 0.0)
            return "two_places" if is_impossible(km, gap_s) else None
        case "repeated" | "newcomers":
            return fact.code
        case "small":
            return "testing" if int(values.get("events") or 0) >= EVENTS_MIN else None
        case "window":
            usual = float(values.get("usual_events") or 0.0)
            short = float(values.get("window_s") or math.inf) <= SHORT_WINDOW_S
            hour = short and values.get("usual_events") is not None
            many = float(values.get("events") or 0) >= max(EVENTS_MIN, TIMES_MANY * usual)
            return "many" if hour and many else None
    return None

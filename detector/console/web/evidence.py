"""What a case's page draws and lists, taken from the bodies of its alerts and updates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from detector.console.views import CaseView
from detector.console.web.drawing import Point, expected_range
from detector.console.web.text import number, seconds, seen
from detector.notify.texts import beside

EVENTS_MAX = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """A reason, with its drawing if it is of a number."""

    name: str
    detail: str
    share: float
    observed: str
    expected: str
    usual: str
    whose: str
    drawn: Markup


@dataclass(frozen=True, kw_only=True, slots=True)
class Happened:
    """An event of the entity, as alerts and updates tell of it."""

    partition: int
    offset: int
    time_s: float
    amount: float | None
    score: float | None
    kind: str  # alert, held (back), or earlier
    alert_id: str | None
    met: str = ""  # beside the newest alert


def reasons(body: Mapping[str, Any]) -> list[Reason]:
    """Give the reasons of an alert, the weightiest first."""
    found = []
    for one in body.get("reasons") or ():
        observed, expected, usual = one.get("observed"), one.get("expected"), one.get("range")
        unit = one.get("unit") or ""
        drawn = Markup("")
        if _is_number(observed) and (usual is not None or _is_number(expected)):
            drawn = expected_range(float(observed), expected if _is_number(expected) else None, usual, unit)
        found.append(
            Reason(
                name=str(one.get("display") or one.get("field")),
                detail=str(one.get("detail", "")),
                share=float(one.get("share", 0)),
                observed=_value(observed, unit),
                expected=_value(expected, unit),
                usual="" if usual is None else f"{number(usual[0])} to {number(usual[1])} {unit}".strip(),
                whose="this one's own habit" if one.get("basis") == "entity" else "events like it",
                drawn=drawn,
            )
        )
    return found


def events(view: CaseView) -> list[Happened]:
    """Give the last events of the case's entity, the newest first: alerted, held back, and earlier ones."""
    found: dict[tuple[int, int], Happened] = {}
    for alert in view.alerts:
        body, source = alert.body, alert.body["source"]
        place = source["partition"], source["offset"]
        time_s = seconds(body.get("event_time")) or alert.published_s
        found[place] = Happened(
            partition=place[0], offset=place[1], time_s=time_s, amount=body.get("exposure"),
            score=body["score"]["raw"], kind="alert", alert_id=alert.id,
        )  # fmt: skip
    for update in view.updates:
        for held in update.get("held_back") or ():
            _add(
                found,
                held["partition"],
                held["offset"],
                held["event_time"],
                held["exposure"],
                held["score"],
                "held",
            )
    for alert in view.alerts:
        for one in alert.body.get("recent") or ():
            partition = alert.body["source"]["partition"]
            _add(found, partition, one["offset"], one["time"], one["amount"], one["score"], "earlier")
    newest = sorted(found.values(), key=lambda one: (one.time_s, one.offset), reverse=True)
    met = _met(view.alerts[0].body) if view.alerts else {}
    return [replace(one, met=met.get((one.partition, one.offset), "")) for one in newest[:EVENTS_MAX]]


def _met(body: Mapping[str, Any]) -> dict[tuple[int, int], str]:
    """What the events before an alert met, beside its event, by partition and offset."""
    partition, entities = body["source"]["partition"], body.get("entities") or {}
    return {(partition, one["offset"]): beside(one, entities) for one in body.get("recent") or ()}


def _add(
    found: dict[tuple[int, int], Happened],
    partition: int,
    offset: int,
    time: object,
    amount: Any,
    score: Any,
    kind: str,
) -> None:
    time_s = seconds(time)
    if (partition, offset) not in found and time_s is not None:
        found[partition, offset] = Happened(
            partition=partition,
            offset=offset,
            time_s=time_s,
            amount=amount,
            score=score,
            kind=kind,
            alert_id=None,
        )


def points(happened: Sequence[Happened]) -> list[Point]:
    """Give the events that have an amount, for the timeline."""
    names = {"alert": "alerted", "held": "held back", "earlier": ""}
    return [
        Point(time_s=one.time_s, amount=float(one.amount), kind=one.kind, name=names[one.kind])
        for one in happened
        if one.amount is not None
    ]


def band(body: Mapping[str, Any]) -> tuple[float, float] | None:
    """Give the usual amounts of the main entity; None where they are not known.

    An alert does not name the field of its exposure: it is one of the event or of a reason with that value.
    """
    exposure, entity = body.get("exposure"), body.get("entity") or {}
    if exposure is None:
        return None
    event = body.get("event") or {}
    names = [str(name) for name, value in event.items() if value == exposure]
    names += [str(one["field"]) for one in body.get("reasons") or () if one.get("observed") == exposure]
    for one in body.get("usual") or ():
        if one.get("of") == entity.get("name"):
            for name in names:
                usual = (one.get("ranges") or {}).get(name)
                if usual is not None and all(map(_is_number, usual)):
                    return usual[0], usual[1]
    return None


def others(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Give the other entities of an event: kind and value."""
    main = (body.get("entity") or {}).get("name")
    return [(k, str(v)) for k, v in (body.get("entities") or {}).items() if v is not None and k != main]


def known_frauds(view: CaseView) -> list[str]:
    """Give what the alerts say of confirmed frauds that are near or at the same place."""
    codes = ("near_fraud", "frauds_there")
    found = (
        fact["detail"] for a in view.alerts for fact in a.body.get("facts") or () if fact.get("code") in codes
    )
    return list(dict.fromkeys(map(str, found)))[:8]


def _value(value: object, unit: str) -> str:
    if value is None:
        return "missing"
    text = number(value) if isinstance(value, int | float) else seen(value, 200)
    return f"{text} {unit}".strip()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

"""The two strongest things that an alert says, in a few words each, for a row of the queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

CHARS_MAX = 40
COUNT = 2
_FACTS = {  # words of facts, by code; the most telling first is the alert's own order
    "frauds_there": "frauds there before",
    "answered": "answered before",
    "earlier": "earlier unusual events",
    "shared": "shared with other alerts",
    "near_fraud": "like a known fraud",
    "small_then_large": "small, then large",
    "small": "small amounts",
    "repeated": "the same amount again",
    "changed": "another than usual",
    "newcomers": "many new contacts",
    "first_contact": "first contact",
    "window": "much in a short time",
    "speed": "too fast between places",
    "little_history": "little history",
    "long_silence": "after a long silence",
}
_REASONS = {
    "place": "unusual place",
    "hour": "unusual hour",
    "activity": "unusual activity",
    "heat": "other unusual events",
    "combination": "rare combination",
    "random": "chosen at random",
}


def chips(body: Mapping[str, Any]) -> list[str]:
    """The first reason and the first fact of an alert; without one of them, more of the other."""
    reasons = list(_of(body.get("reasons"), _reason))
    facts = list(_of(body.get("facts"), lambda fact: _FACTS.get(str(fact.get("code")))))
    ordered = [*reasons[:1], *facts[:1], *reasons[1:], *facts[1:]]
    return list(dict.fromkeys(ordered))[:COUNT]


def _reason(reason: Mapping[str, Any]) -> str | None:
    code, field = reason.get("code"), str(reason.get("display") or reason.get("field") or "")
    if code in _REASONS:
        return _REASONS[str(code)]
    if not field:
        return None
    words = {"above": f"{field} high", "below": f"{field} low"}.get(str(reason.get("direction")))
    said = words or (f"new {field}" if code == "contact" else f"{field} unusual")
    return said if len(said) <= CHARS_MAX else f"{said[: CHARS_MAX - 3]}..."


def _of(given: Any, words: Any) -> Iterator[str]:
    for one in given if isinstance(given, list) else ():
        said = words(one) if isinstance(one, Mapping) else None
        if said:
            yield said

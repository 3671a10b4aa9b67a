"""Filters as URLs: what a saved view is. What makes no sense is left out, as links are edited by hand.

    state=open,snoozed   severity=high   assignee=ann (empty: nobody)   code=heat   segment=channel=web
    min=100   max=5000   since=2026-03-01T08:00Z   until=...   q=C-1027
    order=-severity (with -: the highest first)

What a default says is not in the URL. `read(write(filter))` is the filter, and `write(read(text))` says the
same as `text`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, get_args
from urllib.parse import parse_qsl, urlencode

from detector.console.views import Filter, Order, State
from detector.core.alerts.score_record import iso
from detector.core.alerts.severity import SEVERITIES
from detector.core.codes import CODES
from detector.core.events import read_time

TEXT_CHARS_MAX = 256  # of one value
FIELDS_MAX = 64  # of a URL that are read
STATES: tuple[State, ...] = get_args(State)
ORDERS: tuple[Order, ...] = get_args(Order)
NAMES = ("state", "severity", "assignee", "code", "segment", "min", "max", "since", "until", "q", "order")


def write(asked: Filter) -> str:
    """Write a filter as the query of a URL, without the question mark; empty: the default one."""
    plain = Filter()
    said: dict[str, str | None] = {
        "state": ",".join(asked.states) if asked.states != plain.states else None,
        "severity": SEVERITIES[asked.severity] if asked.severity else None,
        "assignee": asked.assignee,
        "code": asked.code,
        "segment": None if asked.segment is None else "=".join(asked.segment),
        "min": _number_text(asked.amount_min),
        "max": _number_text(asked.amount_max),
        "since": None if asked.since_s is None else iso(asked.since_s),
        "until": None if asked.until_s is None else iso(asked.until_s),
        "q": asked.text or None,
        "order": ("-" if asked.descending else "") + asked.order
        if (asked.order, asked.descending) != (plain.order, plain.descending)
        else None,
    }
    return urlencode({name: value for name, value in said.items() if value is not None})


def read(query: str | Mapping[str, str] | Iterable[tuple[str, str]]) -> Filter:
    """Read a filter from the query of a URL, or from its fields. Of a name that comes twice the last counts.

    Fields of other names are ignored, and so is what makes no sense.
    """
    if isinstance(query, str):
        try:
            query = parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS_MAX)
        except ValueError:
            return Filter()
    given = dict(query.items() if isinstance(query, Mapping) else query)
    found: dict[str, Any] = {}
    for name, read_one in _READERS.items():
        text = given.get(name)
        if text is not None and len(text) <= TEXT_CHARS_MAX:
            found |= read_one(text)
    return Filter(**found)


def _states(text: str) -> dict[str, Any]:
    named = set(text.split(","))
    states = tuple(state for state in STATES if state in named)
    if text == "all":
        states = STATES
    return {"states": states} if states else {}


def _severity(text: str) -> dict[str, Any]:
    return {"severity": SEVERITIES.index(text)} if text in SEVERITIES else {}


def _segment(text: str) -> dict[str, Any]:
    field, equals, value = text.partition("=")
    return {"segment": (field, value)} if field and equals else {}


def _order(text: str) -> dict[str, Any]:
    name = text.removeprefix("-")
    return {"order": name, "descending": text.startswith("-")} if name in ORDERS else {}


def _amount(name: str, text: str) -> dict[str, Any]:
    try:
        value = float(text.replace(",", "").replace("_", "").strip())
    except ValueError:
        return {}
    return {name: value} if math.isfinite(value) else {}


def _time(name: str, text: str) -> dict[str, Any]:
    moment = read_time(text) if text else None
    return {name: moment} if moment is not None else {}


def _number_text(value: float | None) -> str | None:
    return None if value is None else f"{value:.17g}" if float(f"{value:g}") != value else f"{value:g}"


_READERS = {
    "state": _states,
    "severity": _severity,
    "assignee": lambda text: {"assignee": text},
    "code": lambda text: {"code": text} if text in CODES else {},
    "segment": _segment,
    "min": lambda text: _amount("amount_min", text),
    "max": lambda text: _amount("amount_max", text),
    "since": lambda text: _time("since_s", text),
    "until": lambda text: _time("until_s", text),
    "q": lambda text: {"text": text.strip()},
    "order": _order,
}

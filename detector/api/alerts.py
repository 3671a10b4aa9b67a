"""Alerts as objects: what `detector/schemas/alert.v1.json` describes, with a view for notebooks.

The view is HTML without scripts and without outside requests, and every text in it is escaped: events are
data of strangers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, overload

import msgspec

VALUE_CHARS_MAX = 80  # of a value in a view
ROWS_MAX = 100  # of a table in a view
_CELL = "text-align:left;vertical-align:top;padding:2px 10px 2px 0"
COLOURS = {"low": "#57606a", "medium": "#9a6700", "high": "#bc4c00", "critical": "#cf222e"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """Why an event is unusual: one field, and how much of the score follows from it."""

    field: str
    text: str  # a sentence
    share: float  # of the score, 0 to 1; shares of an alert add up to at most 1
    observed: float | str | None
    expected: float | str | None  # None: no single value is expected
    direction: str  # above, below or unusual
    basis: str  # whose habit is expected: entity or cluster
    name: str  # the field as people call it
    unit: str | None


class Alert:
    """One alert.

    Parameters
    ----------
    body
        The alert as published: JSON, UTF-8.

    Attributes
    ----------
    json : bytes
        The same bytes.
    id : str
        TOPIC-PARTITION-OFFSET of the event.
    event_id : str
    event_time : str
        ISO 8601, UTC.
    entity : tuple of (str, str) or None
        Name and value of the main entity.
    severity : str
        low, medium, high or critical.
    score, threshold : float
        -log10 of the share of normal events at least as far; higher is more anomalous.
    quantile : float
        1 - that share.
    warm_up : bool
        The model was young: take the score as a hint.
    reasons : tuple of Reason
        The weightiest first; at least one.
    facts : tuple of str
        What is known of the event beside its score, as sentences.
    event : dict
        Its fields, by alerts.echo; empty with coordinates.
    body : dict
        Everything, as decoded JSON.
    """

    def __init__(self, body: bytes) -> None:
        self.json = body
        self.body: dict[str, Any] = msgspec.json.decode(body)
        score, entity = self.body["score"], self.body["entity"]
        self.id: str = self.body["alert_id"]
        self.event_id: str = self.body["event_id"]
        self.event_time: str = self.body["event_time"]
        self.entity: tuple[str, str] | None = None if entity is None else (entity["name"], entity["value"])
        self.severity: str = self.body["severity"]
        self.score: float = score["raw"]
        self.quantile: float = score["quantile"]
        self.threshold: float = score["threshold"]
        self.warm_up: bool = score["warm_up"]
        self.reasons = tuple(map(_reason, self.body["reasons"]))
        self.facts: tuple[str, ...] = tuple(fact["detail"] for fact in self.body["facts"])
        self.event: dict[str, Any] = self.body["event"] or {}

    def explain(self) -> str:
        """Say in words why the event is unusual; several lines."""
        lines = [f"{self._head()}: score {self.score:.2f}, alerts begin at {self.threshold:.2f}"]
        lines += [f"  {reason.share:4.0%}  {reason.text}" for reason in self.reasons]
        lines += [f"        {fact}" for fact in self.facts]
        if self.body.get("selection") == "exploration":
            lines.append("  chosen at random, to learn what the score misses")
        if self.warm_up:
            lines.append("  the model is young: take the score as a hint")
        return "\n".join(lines)

    def _head(self) -> str:
        who = "" if self.entity is None else f" of {self.entity[0]} {self.entity[1]}"
        return f"{self.severity} alert, event {self.event_id}{who} at {self.event_time}"

    def __repr__(self) -> str:
        return f"<Alert {self.id}: {self.severity}, score {self.score:.2f}, event {self.event_id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alert) and other.json == self.json

    def __hash__(self) -> int:
        return hash(self.json)

    def _repr_html_(self) -> str:
        reasons = "".join(_tr(_bar(reason.share), _text(reason.text)) for reason in self.reasons)
        values = "".join(_tr(_text(name), _text(value)) for name, value in self.event.items())
        notes = self.explain().splitlines()[1 + len(self.reasons) :]
        return (
            "<div style='border-left:4px solid "
            f"{COLOURS.get(self.severity, '#57606a')};padding-left:10px'>"
            f"<b>{_text(self._head())}</b><br>score {self.score:.2f}, alerts begin at {self.threshold:.2f}"
            f"<table>{reasons}</table>"
            + "".join(f"<i>{_text(note.strip())}</i><br>" for note in notes)
            + f"<details><summary>the event</summary><table>{values}</table></details></div>"
        )


class Alerts(Sequence[Alert]):
    """Alerts in the order of their events."""

    def __init__(self, alerts: Sequence[Alert] = ()) -> None:
        self._alerts = tuple(alerts)

    def __len__(self) -> int:
        return len(self._alerts)

    @overload
    def __getitem__(self, index: int) -> Alert: ...
    @overload
    def __getitem__(self, index: slice) -> Alerts: ...
    def __getitem__(self, index: int | slice) -> Alert | Alerts:
        found = self._alerts[index]
        return Alerts(found) if isinstance(found, tuple) else found

    def __iter__(self) -> Iterator[Alert]:
        return iter(self._alerts)

    def of(self, entity: str) -> Alerts:
        """Those whose main entity has this value."""
        return Alerts([alert for alert in self if alert.entity is not None and alert.entity[1] == entity])

    def __repr__(self) -> str:
        return f"<{len(self)} alerts>"

    def _repr_html_(self) -> str:
        names = ("event", "time", "entity", "severity", "score", "reason")
        head = "".join(f"<th style='{_CELL}'>{name}</th>" for name in names)
        rows = "".join(map(_row, self[:ROWS_MAX]))
        rest = len(self) - ROWS_MAX
        more = f"<p>and {rest:,} more</p>" if rest > 0 else ""
        return f"<table><tr>{head}</tr>{rows}</table>{more}"


def _row(alert: Alert) -> str:
    cells = (
        alert.event_id,
        alert.event_time,
        "" if alert.entity is None else alert.entity[1],
        alert.severity,
        f"{alert.score:.2f}",
        alert.reasons[0].text,
    )
    return _tr(*map(_text, cells))


def _tr(*cells: str) -> str:
    return "<tr>" + "".join(f"<td style='{_CELL}'>{cell}</td>" for cell in cells) + "</tr>"


def _reason(found: Mapping[str, Any]) -> Reason:
    return Reason(
        field=found["field"],
        text=found["detail"],
        share=found["share"],
        observed=found["observed"],
        expected=found["expected"],
        direction=found["direction"],
        basis=found["basis"],
        name=found["display"] or found["field"],
        unit=found["unit"],
    )


def _bar(share: float) -> str:
    width = round(80 * min(max(share, 0.0), 1.0))
    return (
        f"<div style='display:inline-block;height:9px;width:{width}px;background:#218bff'></div> {share:.0%}"
    )


def _text(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return escape(text if len(text) <= VALUE_CHARS_MAX * 4 else text[: VALUE_CHARS_MAX * 4] + "...")

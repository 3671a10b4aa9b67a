"""A message in words, for chats, pagers and mail. All of it is plain text of limited length."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from detector.core.alerts.words import respect
from detector.core.codes import RESPECTS
from detector.notify.message import Message

LINE_CHARS_MAX = 400
SENTENCE_CHARS_MAX = 800  # of what is said about an alert
LINES_MAX = 8  # of reasons and facts
_INVISIBLE = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}  # controls, direction marks, unassigned


def line(text: object, chars_max: int = LINE_CHARS_MAX) -> str:
    """Write a value on one line without invisible characters, shortened to `chars_max` characters.

    Examples
    --------
    >>> line("a\\u202eb" + chr(10) + "c")
    'a b c'
    """
    if isinstance(text, float):
        text = f"{text:.15g}"  # more digits are those of the binary number
    shown = "".join(" " if unicodedata.category(c) in _INVISIBLE else c for c in str(text)[: chars_max * 2])
    shown = " ".join(shown.split())
    return shown if len(shown) <= chars_max else shown[: chars_max - 3] + "..."


def title(message: Message) -> str:
    """One line: how severe, who, and how much is at risk."""
    what = "case update" if message.kind == "case" else "alert"
    severe = f"{message.body['severity'].upper()} {what}"
    summary = message.body.get("summary")
    if isinstance(summary, Mapping) and summary.get("headline"):
        return line(f"{severe}: {line(summary['headline'])}")
    entity = message.entity
    who = "an event" if entity is None else f"{line(entity[0])} {line(entity[1], 80)}"
    at_risk = _at_risk(message.body)
    return line(f"{severe}: {who}{at_risk}")


def details(message: Message) -> list[str]:
    """Further lines: facts and reasons, then what is needed to find it again."""
    event, told = message.body.get("event_time"), sentences(message)
    others = _others(message, " ".join(told))
    return [
        *told,
        *([f"with: {others}"] if others else []),
        *([f"event time: {line(event)}"] if event else []),
        f"case: {line(message.case)}",
        f"id: {line(message.id)}",
    ]


def _others(message: Message, told: str) -> str:
    """Entities of the event beside the one that was alerted; empty if the text `told` names all of them."""
    found = message.body.get("entities")
    main = None if message.entity is None else message.entity[0]
    entities = found.items() if isinstance(found, Mapping) else ()
    others = [(name, line(value, 80)) for name, value in entities if value is not None and name != main]
    if all(value in told for _, value in others):
        return ""
    summary = message.body.get("summary")
    if isinstance(summary, Mapping) and summary.get("with"):
        return line(summary["with"], SENTENCE_CHARS_MAX)
    return ", ".join(f"{line(name)} {value}" for name, value in others)


def sentences(message: Message) -> list[str]:
    """What is said about it: the sentences of its summary, else those of its facts and reasons."""
    summary = message.body.get("summary")
    if isinstance(summary, Mapping):
        return [line(one, SENTENCE_CHARS_MAX) for one in summary.get("sentences") or ()][:LINES_MAX]
    found = [
        line(one["detail"])
        for key in ("facts", "reasons")
        for one in message.body.get(key) or ()
        if isinstance(one, Mapping) and one.get("detail")
    ]
    return list(dict.fromkeys(found))[:LINES_MAX]


def together(messages: Sequence[Message]) -> str:
    """The title of several messages."""
    if len(messages) == 1:
        return title(messages[0])
    count = dict.fromkeys(("critical", "high", "medium", "low"), 0)
    for message in messages:
        count[message.body["severity"]] += 1
    parts = ", ".join(f"{number} {severity}" for severity, number in count.items() if number)
    return f"{len(messages)} alerts and case updates: {parts}"


def _at_risk(body: Mapping[str, Any]) -> str:
    case = body.get("case")
    number, total = (case.get("number"), case.get("sum")) if isinstance(case, Mapping) else (None, None)
    amount = body.get("exposure")
    said = f", {abs(amount):,.2f} at risk" if isinstance(amount, int | float) else ""
    if isinstance(number, int) and number > 1:
        said += f", {number:,} events in its case"
        said += f" with {total:,.2f}" if isinstance(total, int | float) else ""
    return said


def beside(one: Mapping[str, Any], entities: Collection[str]) -> str:
    """What an event of `recent` met: which `entities` it shares with the alert's event, what was new then.

    And in which respect it was unusual, if that is known.
    """
    same, new = one.get("same") or (), one.get("new") or ()
    told = [name for name in same if name in entities or name in new]
    shared = [line(name) + (" (then new)" if name in new else "") for name in told]
    parts = ("same", shared), ("new", [line(name) for name in new if name not in same])
    met = [f"{which} {', '.join(names)}" for which, names in parts if names]
    return "; ".join([*met, respect(one["why"])] if one.get("why") in RESPECTS[1:] else met)


def cell(value: object) -> str:
    """Write a value for a spreadsheet. A text that it would take as a formula gets an apostrophe in front.

    Examples
    --------
    >>> cell("=1+1"), cell(-5.0), cell(None)
    ("'=1+1", '-5.0', '')
    """
    if value is None or isinstance(value, bool | int | float):
        return "" if value is None else str(value)
    text = line(value, 4096)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text

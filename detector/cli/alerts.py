"""`alerts`: shows what the topic of alerts holds."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from detector.cli.common import (
    ConfigPath,
    Overrides,
    Since,
    check_writable,
    creating,
    err,
    load_config,
    out,
    read_since,
    wrong,
)
from detector.errors import NeedsOperator

if TYPE_CHECKING:  # loads Kafka's client: at run time only in the commands that need it
    from detector.notify import Message

COLUMNS = (
    "alert_id", "case_id", "event_time", "severity", "entity", "value", "exposure", "score", "why",
    "event_id", "topic", "partition", "offset",
)  # fmt: skip
LAST_MAX = 10_000
EARLIER_SHOWN = 5  # events of the entity before an alert

Severity = Annotated[
    Literal["low", "medium", "high", "critical"],
    typer.Option(metavar="NAME", help="Lowest shown: low, medium, high, critical."),
]
Entity = Annotated[
    str | None,
    typer.Option(metavar="VALUE", help="Only alerts of this main entity.", show_default=False),
]


def tail(
    config: ConfigPath,
    last: Annotated[
        int, typer.Option("--last", "-n", metavar="N", min=0, max=LAST_MAX, help="Begin with the last N.")
    ] = 10,
    severity: Severity = "low",
    entity: Entity = None,
    follow: Annotated[bool, typer.Option("--follow/--once", help="Go on as alerts come.")] = True,
    set_: Overrides = None,
) -> None:
    """Show the last alerts and case updates, a line each, and new ones as they come."""
    from detector.wiring.alerts import read_alerts

    newest: deque[Message] = deque(maxlen=last)
    reading = True
    for batch in read_alerts(load_config(config, set_), os.environ, follow=follow):
        chosen = list(_chosen(batch, severity, entity))
        newest.extend(chosen)
        if reading and not batch:
            reading = False
            chosen = sorted(newest, key=lambda one: one.published_s)
        if not reading:
            for message in chosen:
                _show(message)


def show(
    alert: Annotated[str, typer.Argument(metavar="ALERT_ID", help="Id of an alert: TOPIC-PARTITION-OFFSET.")],
    config: ConfigPath,
    json: Annotated[bool, typer.Option("--json", help="Print the record as it was published.")] = False,
    set_: Overrides = None,
) -> None:
    """Show one alert: who, how much, why, and what is known about it."""
    from detector.notify.texts import line
    from detector.wiring.alerts import read_alerts

    read = read_alerts(load_config(config, set_), os.environ, updates=False)
    for message in chain.from_iterable(read):
        if message.id != alert:
            continue
        if json:
            sys.stdout.write(message.raw.decode() + "\n")
            return
        _print(*shown(message))
        return
    raise NeedsOperator(f"no alert {line(alert)} is in the topic; it may be older than what the topic keeps")


def shown(message: Message) -> Iterator[str]:
    """Give the lines of one alert."""
    from detector.notify.texts import details, line, title

    yield title(message)
    yield from (f"  {said}" for said in details(message))
    if recent := message.body.get("recent"):
        entities = message.body.get("entities") or {}
        rows = [
            _earlier(one, str(message.body.get("event_time")), entities) for one in recent[:EARLIER_SHOWN]
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        yield from ("", "before")
        for when, amount, met, rare in rows:
            beside = f"  {met:<{widths[2]}}" if widths[2] else ""
            yield f"  {when:<{widths[0]}}  {amount:>{widths[1]}}{beside}  {rare}".rstrip()
    event = message.body.get("event")
    if isinstance(event, dict):
        width = max(map(len, map(line, event)), default=0)
        yield from ("", "event")
        yield from (f"  {line(key):<{width}}  {line(_value(value))}" for key, value in event.items())


def export(
    config: ConfigPath,
    file: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="A .csv or .jsonl file, also with .gz.")
    ],
    since: Since = None,
    severity: Severity = "low",
    entity: Entity = None,
    set_: Overrides = None,
) -> None:
    """Write alerts to a file: for spreadsheets as CSV, whole as JSON lines."""
    from detector.wiring.alerts import read_alerts

    settings = load_config(config, set_)
    check_writable("--out", file)
    kinds = [suffix for suffix in file.suffixes[-2:] if suffix != ".gz"]
    if not kinds or kinds[-1] not in (".csv", ".jsonl"):
        raise wrong("--out", str(file), "a file whose name ends in .csv or .jsonl, perhaps with .gz")
    read = read_alerts(settings, os.environ, since_s=read_since("--since", since), updates=False)
    messages, count = _chosen(chain.from_iterable(read), severity, entity), 0
    with creating("--out", file) as stream:
        if kinds[-1] == ".csv":
            stream.write(_row(COLUMNS))
        for count, message in enumerate(messages, start=1):  # noqa: B007 - shown below
            stream.write(_row(_cells(message)) if kinds[-1] == ".csv" else message.raw + b"\n")
    err.print(f"{count:,} alerts")


def _chosen(messages: Iterable[Message], severity: str, entity: str | None) -> Iterator[Message]:
    from detector.core.alerts.severity import SEVERITIES

    lowest = SEVERITIES.index(severity)
    for message in messages:
        if message.severity >= lowest and entity in (None, message.entity and message.entity[1]):
            yield message


def _show(message: Message) -> None:
    """One line: the time, what it is, the first thing that is said about it, and its id."""
    from detector.notify.texts import line, sentences, title

    time = line(message.body.get("event_time") or message.time)
    why = next(iter(sentences(message)), "")
    _print(f"{time}  {title(message)}  {why}  [{line(message.id)}]")


def _earlier(one: Mapping[str, Any], time: str, entities: Collection[str]) -> tuple[str, str, str, str]:
    """A row of the table of earlier events: time, amount, what it met, and how unusual it was.

    The last is empty for an event that was neither alerted nor held back and was not unusual, or was more
    than a day before `time`.
    """
    from detector.core.alerts.earlier import UNUSUAL
    from detector.core.alerts.words import one_in
    from detector.core.events import read_time
    from detector.core.features import DAY_S
    from detector.notify.texts import beside, line

    amount, score = one["amount"], one["score"]
    became = {"alerted": "alerted", "held": "in the case"}.get(one.get("case", "none"), "")
    before, now = read_time(one["time"]), read_time(time)
    latest = score >= UNUSUAL and before is not None and now is not None and now - before < DAY_S
    rare = f"1 event in {one_in(score)} as unusual" if became or latest else ""
    told = ", ".join(filter(None, (became, rare)))
    shown = "" if amount is None else f"{amount:,.2f}"
    return line(one["time"]), shown, beside(one, entities), told


def _value(value: object) -> object:
    """A value of an event, also one of several numbers."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return "" if value is None else value


def _row(values: Iterable[object]) -> bytes:
    from detector.notify.texts import cell

    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow([cell(value) for value in values])
    return text.getvalue().encode()


def _cells(message: Message) -> tuple[object, ...]:
    """Values of the columns."""
    from detector.notify.texts import sentences

    body, entity = message.body, message.entity or (None, None)
    score, source = body.get("score") or {}, body.get("source") or {}
    return (
        message.id, message.case, body.get("event_time"), body["severity"], *entity,
        body.get("exposure"), score.get("raw"), "; ".join(sentences(message)),
        body.get("event_id"), source.get("topic"), source.get("partition"), source.get("offset"),
    )  # fmt: skip


def _print(*lines: str) -> None:
    for one in lines:
        out.print(one, markup=False, highlight=False)

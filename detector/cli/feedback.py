"""`feedback` and `cases`: answers to alerts, and what the topics tell of cases."""

from __future__ import annotations

import getpass
import os
import time
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from detector.cli.common import (
    ConfigPath,
    Overrides,
    Since,
    check_readable,
    err,
    load_config,
    out,
    read_since,
    reading,
    wrong,
)
from detector.errors import NeedsOperator

if TYPE_CHECKING:  # loads Kafka's client: at run time only in the commands that need it
    from detector.config.tree import Config
    from detector.notify.cases import Case, Cases

RECORDS_MAX = 10_000  # of one file
READ_S = 30 * 86_400.0  # time up to now whose alerts and updates tell of cases
KINDS = "label, retract_label, snooze, unsnooze, note, assign, close, erase."


def send(
    config: ConfigPath,
    alert: Annotated[
        str | None, typer.Option(metavar="ALERT_ID", help="Alert that is meant.", show_default=False)
    ] = None,
    case: Annotated[
        str | None, typer.Option(metavar="CASE_ID", help="Case: all its alerts.", show_default=False)
    ] = None,
    event: Annotated[
        str | None, typer.Option(metavar="EVENT_ID", help="Event, by its own id.", show_default=False)
    ] = None,
    entity: Annotated[
        str | None, typer.Option(metavar="VALUE", help="Main entity, of erase.", show_default=False)
    ] = None,
    kind: Annotated[str, typer.Option(metavar="KIND", help=KINDS)] = "label",
    label: Annotated[
        str | None, typer.Option(metavar="LABEL", help="fraud or legitimate.", show_default=False)
    ] = None,
    code: Annotated[
        str | None,
        typer.Option(
            metavar="CODE", help="Of a snooze: code of a reason or fact; of close: why.", show_default=False
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Event time of a snooze's end.", show_default=False)
    ] = None,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="Of a note.", show_default=False)] = None,
    assignee: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who takes it.", show_default=False)
    ] = None,
    actor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who says so; else the user.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Records, one JSON object a line.", show_default=False)
    ] = None,
    wait: Annotated[float, typer.Option(metavar="S", min=0, help="Seconds to wait for receipts.")] = 0.0,
    set_: Overrides = None,
) -> None:
    """Send feedback: an answer to an alert, a case or an event; or erase an entity.

    With --file all records of a file are sent. Nothing is sent unless all of them are understood. With --wait
    the receipts are shown: what became of each. Exit code 3: one was not applied, or came too late.
    """
    settings = load_config(config, set_)
    given: dict[str, Any] = {
        "kind": kind, "alert_id": alert, "case_id": case, "event_id": event, "entity": entity, "label": label,
        "code": code, "until": until, "note": note, "assignee": assignee,
    }  # fmt: skip
    asked = {key: value for key, value in given.items() if value is not None}
    if file is not None and len(asked) > 1:
        raise wrong("--file", str(file), "no other option that says what is sent")
    records = [asked] if file is None else _records(file)
    who = actor or getpass.getuser()
    send_records(settings, [{"actor": who, **record} for record in records], wait)


def send_records(settings: Config, records: list[dict[str, Any]], wait: float) -> None:
    """Send feedback records, then print their ids, or for `wait` seconds their receipts.

    Raises
    ------
    NeedsOperator
        One was not applied in that time.
    """
    from detector.wiring.feedback import receipts, send_feedback

    ids = send_feedback(settings, os.environ, records)
    if not wait:
        for id_ in ids:
            out.print(id_, markup=False, highlight=False)
        return
    applied = 0
    for receipt in receipts(settings, os.environ, ids, wait):
        applied += receipt["status"] == "applied"
        said = f"{receipt['status']}, {receipt['outcome']}. {receipt['text']}"
        out.print(_plain(f"{receipt['feedback']['feedback_id']}: {said}"), markup=False, highlight=False)
    if applied < len(ids):
        raise NeedsOperator(f"{len(ids) - applied} of {len(ids)} records were not applied within {wait:g} s")


def list_cases(
    config: ConfigPath,
    last: Annotated[int, typer.Option("--last", "-n", metavar="N", min=1, max=10_000, help="Show N.")] = 20,
    since: Since = None,
    set_: Overrides = None,
) -> None:
    """List the cases that were told of last: who, how many events, how much, how severe.

    What was published in the last 30 days is read, or since --since.
    """
    found = _cases(config, set_, since)
    cases = found.of
    table = Table(box=None, pad_edge=False)
    for name in ("case", "entity", "since", "events", "sum", "largest", "severity", "priority"):
        table.add_column(
            name, justify="right" if name in ("events", "sum", "largest", "priority") else "left"
        )
    for case in sorted(cases.values(), key=lambda one: one.last_time)[-last:]:
        row = (
            case.id, _entity(case), case.first_time, f"{case.events:,}", _amount(case.sum),
            _amount(case.largest), case.severity_name, _amount(case.priority),
        )  # fmt: skip
        table.add_row(*(Text(_plain(text)) for text in row))
    out.print(table)
    if (more := found.left_out + len(cases) - last) > 0:
        err.print(f"{more:,} more cases were told of before; --last shows up to 10,000")


def show_case(
    case: Annotated[str, typer.Argument(metavar="CASE_ID", help="Id of a case: that of its first alert.")],
    config: ConfigPath,
    since: Since = None,
    set_: Overrides = None,
) -> None:
    """Show one case: its totals, and each alert and update.

    What was published in the last 30 days is read, or since --since.
    """
    from detector.notify.texts import line, sentences, title

    found = _cases(config, set_, since, only=case).of.get(case)
    if found is None:
        raise NeedsOperator(
            f"no case {_plain(case)} is in what was read of the topics; it may be older, see --since"
        )
    lines = [
        f"{found.severity_name.upper()} case {found.id}: {_entity(found)}",
        f"  {found.events:,} events from {found.first_time} to {found.last_time}",
        f"  {_amount(found.sum)} in all, the largest {_amount(found.largest)}",
        f"  expected loss {_amount(found.priority)}",
        *(f"  shares something with case {other}" for other in found.related),
        "",
    ]
    for message in found.messages:
        when = message.body.get("event_time") or message.body.get("last_time") or ""
        lines.append(f"{when}  {title(message)}  [{line(message.id)}]")
        lines += [f"    {said}" for said in sentences(message)]
    if found.left_out:
        lines.append(f"{found.left_out:,} earlier alerts and updates are not shown")
    for text in lines:
        out.print(_plain(text) if text else "", markup=False, highlight=False)


def _cases(config: Path, set_: list[str] | None, since: str | None, only: str | None = None) -> Cases:
    """Cases of the topics, or only one of them; older messages than `since` are not read."""
    from detector.notify.cases import fold
    from detector.wiring.alerts import read_alerts

    since_s = time.time() - READ_S if since is None else read_since("--since", since)
    read = chain.from_iterable(read_alerts(load_config(config, set_), os.environ, since_s=since_s))
    return fold(message for message in read if only in (None, message.case))


def _records(file: Path) -> list[dict[str, Any]]:
    check_readable(file)
    records = []
    with reading(file) as stream:
        for number, raw in enumerate(islice(stream, RECORDS_MAX + 1), start=1):
            if number > RECORDS_MAX:
                raise wrong("--file", str(file), f"at most {RECORDS_MAX:,} records")
            if not raw.strip():
                continue
            try:
                record = msgspec.json.decode(raw)
            except (msgspec.DecodeError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise wrong(f"{file}, line {number}", _plain(raw.decode("utf-8", "replace")), "a JSON object")
            records.append(record)
    return records


def _entity(case: Case) -> str:
    return "" if case.entity is None else " ".join(case.entity)


def _amount(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _plain(text: str) -> str:
    from detector.notify.texts import line

    indent = len(text) - len(text.lstrip())
    return " " * indent + line(text, 500)

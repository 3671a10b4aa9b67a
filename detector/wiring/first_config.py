"""What `init-config` needs of the service: opened messages, a trial of what it wrote, labels as feedback."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import IO, Any

import msgspec

from detector.config.infer import Label, is_fraud
from detector.config.tree import Config, Event
from detector.core.events import ParsedEvent, Parser, Rejected
from detector.core.events.formats import make_format
from detector.core.events.formats.base import Format
from detector.core.events.parser import NO_RESOURCES
from detector.core.events.rejection import Bad
from detector.core.records import Record
from detector.ports import Log
from detector.shell.files import Source, read_events
from detector.wiring.common import entity_key
from detector.wiring.file_replay import Replay, replay

TRIAL_EVENTS_MAX = 1_000
DETAILS_MAX = 3  # of rejected events


@cache
def _envelope(name: str) -> Format:
    schema = Event.model_validate(
        {
            "envelope": {"type": name},
            "id": None,
            "time": {"path": None},
            "fields": [{"name": "any", "type": "text", "path": "any"}],
        }
    )
    return make_format(schema, ["any"], NO_RESOURCES)


def open_envelope(name: str, line: bytes) -> dict[str, Any] | None:
    """The event inside of a message, converted as its schema says; None: it is skipped or broken."""
    try:
        event = msgspec.json.decode(_envelope(name).to_json(line, None, ()))
    except Bad:
        return None
    return event if isinstance(event, dict) else None


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of the first events under a configuration."""

    events: int
    scored: int
    alerts: int
    warm_up: int  # events before alerts are serious
    rejected: Mapping[str, int]  # by reason
    details: Sequence[str]  # of the first rejected events, different ones
    unreadable: Mapping[str, int]  # values that could not be read and so are missing, by field


def try_out(config: Config, lines: Sequence[bytes], log: Log) -> Trial:
    """Run events through a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        events, rejected, alerts = (Path(folder, name) for name in ("events.jsonl", "rejected", "alerts"))
        events.write_bytes(b"".join(line.replace(b"\n", b" ") + b"\n" for line in lines[:TRIAL_EVENTS_MAX]))
        plan = Replay(events=events, rejected=rejected, alerts=alerts)
        totals = replay(config, os.environ, plan, log, lambda done: None).telemetry.totals()
        details = [json.loads(line)["detail"] for line in rejected.read_text().splitlines()]
    return Trial(
        events=min(len(lines), TRIAL_EVENTS_MAX),
        scored=totals.scored,
        alerts=sum(totals.alerts.values()),
        warm_up=config.model.calibration.warm_up_events,
        rejected={reason: count for reason, count in totals.rejected.items() if count},
        details=tuple(dict.fromkeys(details))[:DETAILS_MAX],
        unreadable={name: count for name, count in totals.unreadable.items() if count},
    )


def write_labels(
    config: Config, labels: Sequence[Label], source: Source, delay_s: float, out: IO[bytes]
) -> Counter[str]:
    """Write a feedback record for each event that a label calls a fraud.

    Parameters
    ----------
    delay_s
        From the moment at which an event has arrived to its label.

    Returns
    -------
    Counter
        `events`, `labels`, and `rejected`: events that the configuration rejects, so they have no label.
    """
    counted: Counter[str] = Counter()
    schema = config.event
    parser = Parser(schema, entity_key(None))
    sure = [label for label in labels if label.sure]
    format = make_format(schema, [label.path for label in sure], NO_RESOURCES)
    readers = [(format.reader(label.path), label.frauds) for label in sure]
    now = float("-inf")
    with closing(read_events(source)) as lines:
        for offset, line in enumerate(lines):
            counted["events"] += 1
            found = parser.parse(Record(offset, 0, None, line))
            if isinstance(found, Rejected):
                counted["rejected"] += 1
                continue
            now = max(now, found.time)
            event = format.decode(line, None, ())
            if any(is_fraud(read(event), frauds) for read, frauds in readers):
                counted["labels"] += 1
                out.write(msgspec.json.encode(_feedback(config, found, now + delay_s)) + b"\n")
    return counted


def _feedback(config: Config, event: ParsedEvent, time_s: float) -> dict[str, Any]:
    when = datetime.fromtimestamp(time_s, UTC).isoformat().replace("+00:00", "Z")
    if config.event.id is not None:
        return {"time": when, "event_id": event.id, "label": "fraud"}
    place = {"topic": config.topics.transactions, "partition": 0, "offset": event.record.offset}
    return {"time": when, **place, "label": "fraud"}

"""The same simulated events in every format: are scores and alerts the same?

    python -m benchmarks.speed.same_scores [--events 100000]

Events are those of `detector simulate`, read as configs/simulate.yaml says. Each format has its own types
where it has them: a timestamp and nullable fields in Avro and Parquet, a Timestamp and presence in Protobuf.
Scores must be equal byte for byte; alerts too, but for the configuration's hash and the text of the echoed
event.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.speed.formats import protobuf_type
from detector.config.load import load
from detector.config.tree import Config
from detector.core.events.formats.schemas import Schema
from detector.core.records import Headers, Identity, Record
from detector.core.shard.partition import Partition
from detector.demo.simulation import traffic
from detector.shell.files.inputs import EventFile, Source

CONFIG = Path(__file__).parents[2] / "configs" / "simulate.yaml"
POLL_RECORDS = 2000
FRAME = b"\0\0\0\0\x07"
NAMES = (
    "event_id", "event_time", "card", "merchant", "device", "amount", "category", "channel", "country",
    "city", "latitude", "longitude",
)  # fmt: skip
NUMBERS = ("amount", "latitude", "longitude")
Events = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of the events in one format."""

    scored: int
    rejected: int
    scores: str  # SHA-256 of their bytes, in the order of the log
    alerts: tuple[str, ...]  # without what may differ


@dataclass(frozen=True, kw_only=True)
class Form:
    """How the events are written in one format."""

    write: Callable[[Events], Iterator[tuple[bytes, Headers]]]  # values and headers of the records
    event: Mapping[str, Any] = field(default_factory=dict)  # settings of `event`
    resources: Mapping[str, Any] = field(default_factory=dict)


def simulated(count: int) -> Events:
    """The first events of `detector simulate --seed 5`."""
    made = traffic("cards", seed=5, events=count)
    return list(islice((event for day in made.days for event in made.to_events(day)), count))


def _each(encode: Callable[[dict[str, Any]], bytes]) -> Callable[[Events], Iterator[tuple[bytes, Headers]]]:
    return lambda events: ((encode(event), ()) for event in events)


def _json(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event).encode()


def _moment(event: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(event["event_time"]).astimezone(UTC)


def _file(name: str, data: bytes) -> Iterator[tuple[bytes, Headers]]:
    """Records of a file, as `replay` reads it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        file = EventFile(Source(str(path)), 0, 1 << 16)
        try:
            while records := file.read(1000, 1 << 20):
                yield from ((record, ()) for record in records)
        finally:
            file.close()


def _csv(events: Events) -> Iterator[tuple[bytes, Headers]]:
    text = io.StringIO()
    rows = csv.DictWriter(text, NAMES, lineterminator="\n")
    rows.writeheader()
    rows.writerows(events)
    return _file("events.csv", text.getvalue().encode())


def _parquet(events: Events) -> Iterator[tuple[bytes, Headers]]:
    import pyarrow
    import pyarrow.parquet

    rows = [{name: event.get(name) for name in NAMES} | {"event_time": _moment(event)} for event in events]
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    return _file("events.parquet", buffer.getvalue())


def _avro() -> Form:
    import fastavro

    kinds: dict[str, Any] = {name: ["null", "double" if name in NUMBERS else "string"] for name in NAMES} | {
        "event_time": {"type": "long", "logicalType": "timestamp-millis"}
    }
    fields = [{"name": name, "type": kind} for name, kind in kinds.items()]
    schema = {"type": "record", "name": "Payment", "fields": fields}
    parsed = fastavro.parse_schema(schema)

    def encode(event: dict[str, Any]) -> bytes:
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, parsed, event | {"event_time": _moment(event)})
        return FRAME + buffer.getvalue()

    schemas = {7: Schema("AVRO", json.dumps(schema))}
    return Form(write=_each(encode), event={"format": "avro"}, resources={"schemas": schemas})


def _protobuf() -> Form:
    kinds = dict.fromkeys(NAMES, "optional string") | dict.fromkeys(NUMBERS, "optional double")
    kinds["event_time"] = "google.protobuf.Timestamp"
    fields = " ".join(f"{kind} {name} = {place};" for place, (name, kind) in enumerate(kinds.items(), 1))
    text = f'syntax = "proto3"; import "google/protobuf/timestamp.proto"; message Payment {{ {fields} }}'
    schema, payment = protobuf_type(text, "Payment")

    def encode(event: dict[str, Any]) -> bytes:
        seconds = int(_moment(event).timestamp())
        message = payment(**(event | {"event_time": {"seconds": seconds}}))
        return FRAME + b"\0" + bytes(message.SerializeToString())

    return Form(write=_each(encode), event={"format": "protobuf"}, resources={"schemas": {7: schema}})


def _cloud(event: dict[str, Any]) -> bytes:
    return _json(
        {"specversion": "1.0", "id": event["event_id"], "source": "/shop", "type": "pay", "data": event}
    )


def _binary(events: Events) -> Iterator[tuple[bytes, Headers]]:
    for event in events:
        yield _json(event), (("ce_specversion", b"1.0"), ("ce_id", event["event_id"].encode()))


def _debezium(event: dict[str, Any]) -> bytes:
    source = {"connector": "postgresql", "table": "payments", "lsn": 5}
    return _json({"before": None, "after": event, "source": source, "op": "c", "ts_ms": 1})


def forms() -> dict[str, Form]:
    """All formats by name; JSON first."""
    return {
        "JSON": Form(write=_each(_json)),
        "CSV": Form(write=_csv),
        "Parquet": Form(write=_parquet),
        "Avro": _avro(),
        "Protobuf": _protobuf(),
        "CloudEvents, structured": Form(write=_each(_cloud), event={"envelope": {"type": "cloudevents"}}),
        "CloudEvents, binary": Form(write=_binary, event={"envelope": {"type": "cloudevents"}}),
        "Debezium": Form(write=_each(_debezium), event={"envelope": {"type": "debezium"}}),
    }


def outcome(
    form: Form,
    events: Events,
    *,
    model: Mapping[str, Any] | None = None,
    alerts: Mapping[str, Any] | None = None,
) -> Outcome:
    """Score the events in one format; `model` and `alerts` have settings other than the defaults."""
    config = load(CONFIG).model_dump()
    config["event"] |= form.event
    config["model"] |= model or {}
    config["alerts"] |= alerts or {}
    config["registry"] = {"url": "http://not-asked"}
    settings = Config.model_validate(config).model_part(1)
    identity = Identity(
        topic="payments", group="same", partition=0, entity_key=b"same", resources=form.resources
    )
    partition = Partition(identity, settings, Partition.begin(settings, 0), until=0)
    written = zip(events, form.write(events), strict=True)
    log = (
        Record(offset, 0, event["card"].encode(), value, headers)
        for offset, (event, (value, headers)) in enumerate(written)
    )
    digest, scored, rejected = hashlib.sha256(), 0, 0
    published: list[str] = []
    while records := list(islice(log, POLL_RECORDS)):
        while records:
            step = partition.take(records)
            for part in step.outputs.scored:
                digest.update(part.scores.tobytes())
                scored += len(part.scores)
            rejected += len(step.outputs.dead_letters)
            published += [_comparable(alert.body) for alert in step.outputs.alerts]
            records = records[step.consumed :]
            if step.block_ended and (barrier := partition.due({})) is not None:
                partition.barrier(barrier, {})
        if len(partition.journal.barriers) > 100:  # as after a checkpoint
            partition.rebase("00000/0-0", partition.position)
    return Outcome(scored=scored, rejected=rejected, scores=digest.hexdigest(), alerts=tuple(published))


def _comparable(body: bytes) -> str:
    """An alert without the configuration's hash, and the echoed event as values, not texts."""
    alert = json.loads(body)
    del alert["model"]["config"]
    event = {name: value for name, value in alert["event"].items() if value not in (None, "")}
    alert["event"] = {name: float(value) if name in NUMBERS else str(value) for name, value in event.items()}
    return json.dumps(alert, sort_keys=True)


def compared(outcomes: Mapping[str, Outcome]) -> Sequence[tuple[str, Outcome, bool]]:
    """Each outcome with whether it is the first one's."""
    first = next(iter(outcomes.values()))
    return [(name, found, found == first) for name, found in outcomes.items()]


def main() -> None:
    """Print a table. The exit code is 1 if a format differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    events = simulated(parser.parse_args().events)
    found = {name: outcome(form, events) for name, form in forms().items()}
    print(
        "| format | scored | rejected | SHA-256 of the scores | alerts | equal |\n|---|---|---|---|---|---|"
    )
    rows = compared(found)
    for name, of_form, equal in rows:
        print(
            f"| {name} | {of_form.scored:,} | {of_form.rejected} | `{of_form.scores[:16]}` | "
            f"{len(of_form.alerts)} | {'yes' if equal else 'NO'} |"
        )
    if not all(equal for _, _, equal in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

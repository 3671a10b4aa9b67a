"""Cost of reading the same events in every format, as a ratio to JSON in the same run.

    python -m benchmarks.speed.formats [--events 20480] [--rounds 15]

The cost is that of `BlockReader.read` over blocks of 512 records: bytes to columns as the model takes
them. Rounds alternate between the formats, and the best round of each counts, so that a busy machine
disturbs all of them alike.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from io import BytesIO
from typing import Any

from detector.config.tree import Event
from detector.core.events import BlockReader
from detector.core.events.formats.schemas import Schema
from detector.core.records import Headers, Record
from detector.shell.registry import compile_protobuf

BLOCK_EVENTS = 512
KEY = b"benchmark"
TREE: dict[str, Any] = {
    "id": "id",
    "time": {"path": "time"},
    "entities": [{"name": "card", "path": "card"}, {"name": "terminal", "path": "terminal"}],
    "fields": [
        {"name": "amount", "path": "amount", "type": "numeric"},
        {"name": "distance", "path": "distance", "type": "numeric"},
        {"name": "channel", "path": "channel", "type": "categorical"},
        {"name": "country", "path": "country", "type": "categorical"},
    ],
}
_START = datetime(2026, 3, 1, tzinfo=UTC)
Encode = Callable[[dict[str, Any]], tuple[bytes, Headers]]


@dataclass(frozen=True, kw_only=True)
class Codec:
    """How the events are written in one format, and read again."""

    encode: Encode  # an event -> value and headers of its record
    changes: Mapping[str, Any] = field(default_factory=dict)  # of `TREE`
    resources: Mapping[str, Any] = field(default_factory=dict)


def events(count: int, seed: int = 7) -> list[dict[str, Any]]:
    """Make payments: amounts in whole cents, times in microseconds, some distances missing."""
    rng = random.Random(seed)
    moment, made = _START, []
    for number in range(count):
        moment += timedelta(microseconds=rng.randrange(20_000_000))
        made.append(
            {
                "id": f"{rng.getrandbits(64):016x}-{number}",
                "time": moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z",
                "card": f"card-{rng.randrange(400)}",
                "terminal": rng.randrange(10_000_000, 10_000_200),
                "amount": round(rng.lognormvariate(3, 1) * (40 if number % 211 == 210 else 1), 2),
                "distance": None if number % 9 == 0 else rng.random() * 100,
                "channel": rng.choice(("web", "shop", "atm")),
                "country": rng.choice(("DE", "FR", "PL", "日本")),
                "note": "not read",
            }
        )
    return made


def cents(event: Mapping[str, Any]) -> int:
    """The amount as an unscaled decimal of scale 2."""
    return round(event["amount"] * 100)


def micros(event: Mapping[str, Any]) -> int:
    """The time as microseconds since 1970."""
    return (datetime.fromisoformat(event["time"]) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )


def _json(event: dict[str, Any]) -> tuple[bytes, Headers]:
    return json.dumps(event, ensure_ascii=False).encode(), ()


def _framed(event: dict[str, Any]) -> tuple[bytes, Headers]:
    return b"\0\0\0\0\x07" + _json(event)[0], ()


def _debezium(event: dict[str, Any]) -> tuple[bytes, Headers]:
    source = {"table": "payments", "ts_ms": 1, "lsn": 5}
    return _json({"before": None, "after": event, "source": source, "op": "c", "ts_ms": 1})


def _field(name: str, kind: str, /, **more: Any) -> dict[str, Any]:
    return {"field": name, "type": kind, "optional": name in ("distance", "note"), **more}


CONNECT_ROW = {
    "type": "struct",
    "optional": True,
    "fields": [
        _field("id", "string"),
        _field("time", "int64", name="io.debezium.time.MicroTimestamp", version=1),
        _field("card", "string"),
        _field("terminal", "int64"),
        _field(
            "amount",
            "bytes",
            name="org.apache.kafka.connect.data.Decimal",
            version=1,
            parameters={"scale": "2"},
        ),
        _field("distance", "double"),
        _field("channel", "string"),
        _field("country", "string"),
        _field("note", "string"),
    ],
}


def _connect_row(event: dict[str, Any]) -> dict[str, Any]:
    raw = cents(event).to_bytes(8, "big", signed=True)
    return event | {"amount": base64.b64encode(raw).decode(), "time": micros(event)}


def _connect(event: dict[str, Any]) -> tuple[bytes, Headers]:
    return _json({"schema": CONNECT_ROW, "payload": _connect_row(event)})


def _debezium_schema(event: dict[str, Any]) -> tuple[bytes, Headers]:
    schema = {"type": "struct", "fields": [{**CONNECT_ROW, "field": "after"}, _field("op", "string")]}
    return _json({"schema": schema, "payload": {"after": _connect_row(event), "op": "c"}})


def _cloud_headers(event: dict[str, Any]) -> Headers:
    return (
        ("ce_specversion", b"1.0"),
        ("ce_id", event["id"].encode()),
        ("ce_time", event["time"].encode()),
    )


def _cloud_binary(event: dict[str, Any]) -> tuple[bytes, Headers]:
    return _json(event)[0], _cloud_headers(event)


def _cloud_structured(event: dict[str, Any]) -> tuple[bytes, Headers]:
    attributes = {"specversion": "1.0", "id": event["id"], "source": "/shop", "time": event["time"]}
    return _json({**attributes, "data": event})


def avro_schema(*, optional: Sequence[str] = ("distance", "note")) -> dict[str, Any]:
    """The events' schema: a decimal, a timestamp, nullable unions."""
    kinds: dict[str, Any] = {
        "id": "string",
        "time": {"type": "long", "logicalType": "timestamp-micros"},
        "card": "string",
        "terminal": "long",
        "amount": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2},
        "distance": "double",
        "channel": {"type": "enum", "name": "Channel", "symbols": ["web", "shop", "atm"]},
        "country": "string",
        "note": "string",
    }
    fields = [
        {"name": name, "type": ["null", kind] if name in optional else kind} for name, kind in kinds.items()
    ]
    return {"type": "record", "name": "Payment", "namespace": "shop", "fields": fields}


def _avro_row(event: dict[str, Any]) -> dict[str, Any]:
    amount = Decimal(cents(event)).scaleb(-2)
    return event | {"amount": amount, "time": datetime.fromisoformat(event["time"])}


def _avro(
    schema: dict[str, Any],
    row: Callable[[dict[str, Any]], dict[str, Any]] = _avro_row,
    headers: Callable[[dict[str, Any]], Headers] = lambda event: (),
    **changes: Any,
) -> Codec:
    import fastavro

    parsed = fastavro.parse_schema(schema)

    def encode(event: dict[str, Any]) -> tuple[bytes, Headers]:
        buffer = BytesIO(b"\0\0\0\0\x07")
        buffer.seek(0, 2)
        fastavro.schemaless_writer(buffer, parsed, row(event))
        return buffer.getvalue(), headers(event)

    schemas = {7: Schema("AVRO", json.dumps(schema))}
    return Codec(encode=encode, changes={"format": "avro", **changes}, resources={"schemas": schemas})


def _debezium_avro_schema() -> dict[str, Any]:
    row = avro_schema() | {"name": "Value"}
    source = {
        "type": "record",
        "name": "Source",
        "fields": [{"name": "table", "type": "string"}, {"name": "lsn", "type": ["null", "long"]}],
    }
    fields = [
        {"name": "before", "type": ["null", row]},
        {"name": "after", "type": ["null", "Value"]},
        {"name": "source", "type": source},
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": ["null", "long"]},
    ]
    return {"type": "record", "name": "Envelope", "namespace": "shop", "fields": fields}


def _debezium_avro_row(event: dict[str, Any]) -> dict[str, Any]:
    source = {"table": "payments", "lsn": 5}
    return {"before": None, "after": _avro_row(event), "source": source, "op": "c", "ts_ms": 1}


PROTOBUF_SCHEMA = """
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "confluent/type/decimal.proto";
enum Channel { web = 0; shop = 1; atm = 2; }
message Payment {
  string id = 1;
  google.protobuf.Timestamp time = 2;
  string card = 3;
  int64 terminal = 4;
  confluent.type.Decimal amount = 5;
  optional double distance = 6;
  Channel channel = 7;
  string country = 8;
  optional string note = 9;
}
"""
"""The events' schema as Connect would write it: a decimal, a timestamp, an enumeration, presence."""


@cache
def protobuf_type(text: str, name: str) -> tuple[Schema, Any]:
    """Compile a schema; returns it as formats get it, and the class of one of its messages."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    compiled = compile_protobuf(text)
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled).file:
        pool.AddSerializedFile(file.SerializeToString())
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    return Schema("PROTOBUF", text, compiled=compiled), made


def _protobuf() -> Codec:
    schema, payment = protobuf_type(PROTOBUF_SCHEMA, "shop.Payment")

    def encode(event: dict[str, Any]) -> tuple[bytes, Headers]:
        seconds, micro = divmod(micros(event), 1_000_000)
        amount = {"value": cents(event).to_bytes(8, "big", signed=True), "precision": 12, "scale": 2}
        more = {"time": {"seconds": seconds, "nanos": micro * 1000}, "amount": amount}
        return b"\0\0\0\0\x07\0" + payment(**(event | more)).SerializeToString(), ()

    return Codec(encode=encode, changes={"format": "protobuf"}, resources={"schemas": {7: schema}})


def codecs() -> dict[str, Codec]:
    """Every way to write the events, by name; JSON first."""

    def envelope(kind: str) -> dict[str, Any]:
        return {"envelope": {"type": kind}}

    return {
        "json": Codec(encode=_json),
        "json framed": Codec(encode=_framed),
        "debezium": Codec(encode=_debezium, changes=envelope("debezium")),
        "debezium, schema": Codec(encode=_debezium_schema, changes=envelope("debezium")),
        "connect": Codec(encode=_connect, changes=envelope("connect")),
        "cloudevents, binary": Codec(encode=_cloud_binary, changes=envelope("cloudevents")),
        "cloudevents, structured": Codec(encode=_cloud_structured, changes=envelope("cloudevents")),
        "avro": _avro(avro_schema()),
        "debezium, avro": _avro(_debezium_avro_schema(), _debezium_avro_row, **envelope("debezium")),
        "cloudevents, avro": _avro(avro_schema(), headers=_cloud_headers, **envelope("cloudevents")),
        "protobuf": _protobuf(),
    }


def records(codec: Codec, made: Sequence[dict[str, Any]]) -> list[Record]:
    """The events as records of one format."""
    written = [codec.encode(event) for event in made]
    return [
        Record(offset, 1_772_323_200_000 + offset, event["card"].encode(), value, headers)
        for offset, (event, (value, headers)) in enumerate(zip(made, written, strict=True))
    ]


def _read_all(reader: BlockReader, sent: Sequence[Record]) -> float:
    """Read all blocks; s of CPU per event."""
    begun = time.process_time()
    for first in range(0, len(sent), BLOCK_EVENTS):
        _, rejected = reader.read(sent[first : first + BLOCK_EVENTS])
        if rejected:
            raise SystemExit(f"rejected: {next(iter(rejected.values()))}")
    return (time.process_time() - begun) / len(sent)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=40 * BLOCK_EVENTS)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    made = events(arguments.events)
    all_codecs = codecs()
    sent = {name: records(codec, made) for name, codec in all_codecs.items()}
    readers = {
        name: BlockReader(Event.model_validate({**TREE, **codec.changes}), KEY, resources=codec.resources)
        for name, codec in all_codecs.items()
    }
    best = dict.fromkeys(all_codecs, float("inf"))
    for _ in range(arguments.rounds):
        for name, reader in readers.items():
            best[name] = min(best[name], _read_all(reader, sent[name]))
    print("| format | bytes/event | us/event | ratio to JSON |\n|---|---|---|---|")
    for name, seconds in best.items():
        size = sum(len(record.value or b"") for record in sent[name]) / len(made)
        print(f"| {name} | {size:.0f} | {seconds * 1e6:.2f} | {seconds / best['json']:.2f} |")


if __name__ == "__main__":
    main()

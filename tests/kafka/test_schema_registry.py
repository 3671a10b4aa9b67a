"""A real registry (Apicurio) and a real Kafka: Avro, Protobuf, JSON Schema; outage, evolution, bad bytes."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest

from benchmarks.speed.formats import TREE, cents, events, micros, protobuf_type
from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Daemon, Deployment
from tests.kafka.registry import Apicurio, RegistryMissing
from tests.kafka.waiting import PATIENCE_S, poll_until

AWAY_S = 10.0  # several attempts, each of a second, with pauses that grow
OLD, NEW, BAD = 600, 300, 40  # events before and after the change of the schema, and of each kind of bad ones
UNKNOWN = 999_999  # an id that the registry does not give
Write = Callable[[dict[str, Any]], bytes]


@pytest.fixture(scope="module")
def registry() -> Iterator[Apicurio]:
    made = Apicurio()
    try:
        made.__enter__()
    except RegistryMissing as missing:
        pytest.skip(str(missing).splitlines()[0])
    yield made
    made.remove()


def framed(number: int, body: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + body


# --- producers: an old and a new schema with a reference are registered; how events are written is returned


def avro(registry: Apicurio, name: str) -> tuple[Write, Write]:
    channel = {"type": "enum", "name": "Channel", "namespace": "shop", "symbols": ["web", "shop", "atm"]}
    registry.register(f"{name}-channel", json.dumps(channel), "AVRO")
    reference = {"name": "shop.Channel", "subject": f"{name}-channel", "version": 1}

    def schema(*added: dict[str, Any]) -> dict[str, Any]:
        kinds: dict[str, Any] = {
            "id": "string",
            "time": {"type": "long", "logicalType": "timestamp-micros"},
            "card": "string",
            "terminal": "long",
            "amount": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2},
            "channel": "shop.Channel",
            "country": "string",
        }
        fields = [*added, *({"name": field, "type": kind} for field, kind in kinds.items())]
        return {"type": "record", "name": "Payment", "namespace": "shop", "fields": fields}

    def writer(*added: dict[str, Any]) -> Write:
        wanted = schema(*added)
        number = registry.register(f"{name}-value", json.dumps(wanted), "AVRO", [reference])
        named: dict[str, Any] = {}
        fastavro.parse_schema(channel, named_schemas=named)
        parsed = fastavro.parse_schema(wanted, named_schemas=named)

        def write(event: dict[str, Any]) -> bytes:
            buffer = BytesIO()
            amount = cents(event).to_bytes(8, "big", signed=True)
            raw = event | {"time": micros(event), "amount": amount}
            fastavro.schemaless_writer(buffer, parsed, raw)
            return framed(number, buffer.getvalue())

        return write

    distance = {"name": "distance", "type": ["null", "double"], "default": None}
    return writer(), writer(distance)


PROTO_CHANNEL = 'syntax = "proto3"; package shop; enum Channel { web = 0; shop = 1; atm = 2; }'
PROTO = """
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/type/decimal.proto";
%s
message Payment {
  string id = 1;
  google.protobuf.Timestamp time = 2;
  string card = 3;
  int64 terminal = 4;
  google.type.Decimal amount = 5;
  Channel channel = 7;
  string country = 8;
%s}
"""


def protobuf(registry: Apicurio, name: str) -> tuple[Write, Write]:
    registry.register(f"{name}-channel", PROTO_CHANNEL, "PROTOBUF")
    reference = {"name": "shop/channel.proto", "subject": f"{name}-channel", "version": 1}
    inline = "enum Channel { web = 0; shop = 1; atm = 2; }"

    def writer(added: str) -> Write:
        text = PROTO % ('import "shop/channel.proto";', added)
        number = registry.register(f"{name}-value", text, "PROTOBUF", [reference])
        message = protobuf_type(PROTO % (inline, added), "shop.Payment")[1]
        names = {field.name for field in message.DESCRIPTOR.fields}

        def write(event: dict[str, Any]) -> bytes:
            seconds, micro = divmod(micros(event), 1_000_000)
            more = {
                "time": {"seconds": seconds, "nanos": micro * 1000},
                "amount": {"value": str(event["amount"])},
            }
            raw = {field: value for field, value in (event | more).items() if field in names}
            return framed(number, b"\0" + bytes(message(**raw).SerializeToString()))

        return write

    return writer(""), writer("  optional double distance = 6;\n")


def json_schema(registry: Apicurio, name: str) -> tuple[Write, Write]:
    dialect = {"$schema": "http://json-schema.org/draft-07/schema#"}
    channel = {**dialect, "type": "string", "enum": ["web", "shop", "atm"]}
    registry.register(f"{name}-channel", json.dumps(channel), "JSON")
    reference = {"name": "channel.json", "subject": f"{name}-channel", "version": 1}

    def writer(**added: Any) -> Write:
        properties = {"id": {"type": "string"}, "channel": {"$ref": "channel.json"}, **added}
        schema = {**dialect, "type": "object", "properties": properties}
        number = registry.register(f"{name}-value", json.dumps(schema), "JSON", [reference])

        def write(event: dict[str, Any]) -> bytes:
            kept = {field: value for field, value in event.items() if field != "distance" or added}
            return framed(number, json.dumps(kept).encode())

        return write

    return writer(), writer(distance={"type": ["number", "null"]})


def totals(daemon: Daemon) -> tuple[float, float]:
    """Scored and rejected."""
    scored, rejected = (daemon.metric(f"detector_events_{name}_total") for name in ("scored", "rejected"))
    return scored, rejected


@pytest.mark.xdist_group("registry")  # one registry for all
@pytest.mark.parametrize("format_", [avro, protobuf, json_schema])
def test_a_registry_that_is_away_a_new_schema_and_bad_bytes(
    format_: Callable[[Apicurio, str], tuple[Write, Write]],
    registry: Apicurio,
    kafka: KafkaBroker,
    tmp_path: Path,
    topic_name: str,
) -> None:
    name = format_.__name__
    with_schemas = name != "json_schema"
    config = {
        "event": {**TREE, "format": name if with_schemas else "json"},
        "registry": {"url": registry.url, "timeout": 1.0, "retries": 1},
    }
    with Deployment(kafka.bootstrap, tmp_path, topic_name, partitions=2, config=config) as made:
        old, new = format_(registry, topic_name)
        stream = events(OLD + NEW)
        made.produce((event["card"].encode(), old(event)) for event in stream[:OLD])
        daemon = made.start()
        made.await_done()
        assert poll_until(lambda: totals(daemon) == (OLD, 0))

        registry.suspend()
        began_s = time.monotonic()
        try:
            made.produce((event["card"].encode(), new(event)) for event in stream[OLD:])
            if with_schemas:
                assert poll_until(lambda: "registry" in daemon.page("/readyz")[1])
                time.sleep(AWAY_S)
                assert totals(daemon) == (OLD, 0)
                assert daemon.page("/readyz")[0] == 503
        finally:
            registry.resume()
        made.await_done()
        assert poll_until(lambda: totals(daemon) == (OLD + NEW, 0))
        away_s = time.monotonic() - began_s

        good = new(stream[0])
        bad = [good[:5] + b"\xff" * 40, good[:-1] + b"\xff\xff"]
        if with_schemas:
            bad.append(good[:1] + UNKNOWN.to_bytes(4, "big") + good[5:])
        sent = [(b"card-1", value) for value in bad for _ in range(BAD)]
        made.produce(sent)
        made.await_done()
        assert poll_until(lambda: sum(totals(daemon)) == OLD + NEW + len(sent))

        dead = made.published("dead_letter")
        assert Counter(letter.value for letter in dead) == Counter(value for _, value in sent)
        reasons = {dict(letter.headers)["detector_reason"].decode() for letter in dead}
        assert reasons == {"malformed"}
        assert set(made.scored_events().values()) == {1}
        assert daemon.stop(PATIENCE_S) == 0

        # One line each, whatever the number of records.
        rejected = daemon.logged("events_rejected")
        assert 1 <= len(rejected) <= 2  # one partition has them all; a minute may have gone by
        if with_schemas:
            waiting = [line for line in daemon.logged("not_ready") if "registry" in line["reason"]]
            assert 1 <= len(waiting) <= 1 + away_s / 60  # once a minute
            assert len(daemon.logged("schema_read")) == 2
            assert [line["schema"] for line in daemon.logged("schema_refused")] == [UNKNOWN]

"""The client of a schema registry, against a small one in this process; and what the runner makes of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import ValidationError

from detector.config.tree import Config, Registry
from detector.core.events.formats.schemas import Schema
from detector.core.records import Record
from detector.errors import CredentialsError, RegistryUnavailable
from detector.shell.registry import SCHEMAS_MAX, UNKNOWN_S, RegistryClient, protoc
from detector.testing import FakeClock
from tests.unit.runner_world import World
from tests.unit.test_avro import EVENT, TREE, record_schema, written

AVRO = json.dumps(record_schema())


@dataclass
class FakeRegistry:
    """Answers by path; `status` other than 200 is given to everything."""

    answers: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    asked: list[str] = field(default_factory=list)
    logins: set[str | None] = field(default_factory=set)
    url: str = ""


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    state = FakeRegistry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            state.logins.add(self.headers.get("Authorization"))
            answer = state.answers.get(self.path)
            status = state.status if state.status != 200 else 404 if answer is None else 200
            body = answer if isinstance(answer, bytes) else json.dumps(answer or {}).encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", state.url + "/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def client(
    registry: FakeRegistry, clock: FakeClock | None = None, *, compiles: bool = False, **settings: Any
) -> RegistryClient:
    tree = {"url": registry.url + "/", "retries": 1, **settings}
    checked = Registry.model_validate(tree)
    return RegistryClient(checked, "secret", None, clock or FakeClock(), compiles=compiles)


def framed(*numbers: int) -> list[Record]:
    return [Record(0, 0, None, b"\0" + number.to_bytes(4, "big") + b"x") for number in numbers]


def test_a_schema_is_fetched_once_with_what_it_refers_to(registry: FakeRegistry) -> None:
    registry.answers = {
        "/schemas/ids/7": {"schema": "A", "references": [{"name": "b", "subject": "s/b", "version": 2}]},
        "/subjects/s%2Fb/versions/2": {
            "schema": "B",
            "references": [{"name": "c", "subject": "c", "version": 1}],
        },
        "/subjects/c/versions/1": {"schema": "C"},
    }
    found = client(registry)
    assert found.missing([*framed(7, 7), Record(0, 0, None, b"{}"), Record(0, 0, None, None)]) == {7}
    found.fetch({7})
    assert found.table == {7: Schema("AVRO", "A", (("c", "C"), ("b", "B")))}
    assert found.missing(framed(7)) == set()
    assert len(registry.asked) == 3


def test_credentials_are_sent_and_their_refusal_ends_the_service(registry: FakeRegistry) -> None:
    registry.answers = {"/schemas/ids/1": {"schema": "A", "schemaType": "JSON"}}
    tree = {"username": "ann", "password": {"env": "X"}}
    found = client(registry, **tree)
    found.fetch({1})
    assert found.table[1] == Schema("JSON", "A")
    assert registry.logins == {"Basic YW5uOnNlY3JldA=="}
    registry.status = 401
    with pytest.raises(CredentialsError, match="registry"):
        found.fetch({2})


def test_an_unknown_id_is_asked_for_again_later(registry: FakeRegistry) -> None:
    clock = FakeClock()
    found = client(registry, clock)
    found.fetch({5})
    assert found.table[5] == "the registry does not know it"
    assert found.missing(framed(5)) == set()
    clock.sleep(UNKNOWN_S + 1)
    assert found.missing(framed(5)) == {5}
    registry.answers = {"/schemas/ids/5": {"schema": "A"}}
    found.fetch({5})
    assert found.table[5] == Schema("AVRO", "A")
    clock.sleep(UNKNOWN_S + 1)
    assert found.missing(framed(5)) == set()


@pytest.mark.parametrize("status", [302, 429, 500, 503])
def test_other_answers_are_tried_again_and_then_the_registry_is_unavailable(
    registry: FakeRegistry, status: int
) -> None:
    registry.answers, registry.status = {"/schemas/ids/1": {"schema": "A"}}, status
    with pytest.raises(RegistryUnavailable, match=f"HTTP {status}"):
        client(registry).fetch({1})
    assert registry.asked == ["/schemas/ids/1"] * 2


def test_answers_that_are_no_schema(registry: FakeRegistry) -> None:
    for answer in (b"<html>", {"x": 1}, b"[]"):
        registry.answers = {"/schemas/ids/1": answer}
        with pytest.raises(RegistryUnavailable):
            client(registry).fetch({1})
    circle = {"schema": "A", "references": [{"name": "a", "subject": "a", "version": 1}]}
    for answer in (circle, {"schema": "A", "references": [5]}, {"schema": "A" * (1 << 20)}):
        registry.answers = {"/schemas/ids/1": answer, "/subjects/a/versions/1": circle}
        found = client(registry)
        found.fetch({1})
        assert isinstance(found.table[1], str)


def test_protobuf_schemas_are_compiled_with_what_they_import(registry: FakeRegistry) -> None:
    text = 'syntax = "proto3"; import "card.proto"; message Payment { Card card = 1; }'
    card = 'syntax = "proto3"; message Card { string number = 1; }'
    imported = [{"name": "card.proto", "subject": "card", "version": 1}]
    registry.answers = {
        "/schemas/ids/1": {"schemaType": "PROTOBUF", "schema": text, "references": imported},
        "/schemas/ids/2": {"schemaType": "PROTOBUF", "schema": text},
        "/subjects/card/versions/1": {"schemaType": "PROTOBUF", "schema": card},
    }
    found = client(registry, compiles=True)
    found.fetch({1, 2})
    schema, refused = found.table[1], found.table[2]
    assert isinstance(schema, Schema)
    assert b"Payment" in schema.compiled
    assert b"card.proto" in schema.compiled
    assert isinstance(refused, str)
    assert "cannot be compiled" in refused
    other = client(registry)  # for a format that cannot use it
    other.fetch({1})
    assert other.table[1] == Schema("PROTOBUF", text, (("card.proto", card),))


def test_a_compiler_that_does_not_end_holds_the_partition(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.answers = {"/schemas/ids/1": {"schemaType": "PROTOBUF", "schema": "message A {}"}}
    monkeypatch.setattr(protoc, "COMPILE_S_MAX", 0.0)
    with pytest.raises(RegistryUnavailable, match="could not be compiled"):
        client(registry, compiles=True).fetch({1})


def test_nobody_there() -> None:
    nobody = FakeRegistry(url="http://127.0.0.1:1")
    with pytest.raises(RegistryUnavailable, match="unavailable"):
        client(nobody).fetch({1})


def test_the_cache_is_bounded_and_drops_what_was_not_used(registry: FakeRegistry) -> None:
    found = client(registry)
    found.table.update({number: Schema("AVRO", "A") for number in range(SCHEMAS_MAX)})
    registry.answers = {"/schemas/ids/5000": {"schema": "A"}}
    found.missing(framed(0))
    found.fetch(found.missing(framed(5000)))
    assert len(found.table) == SCHEMAS_MAX
    assert {0, 5000} <= found.table.keys()
    assert 1 not in found.table


# --- the runner --------------------------------------------------------------------------------------------


def world(**event: Any) -> World:
    barriers = {"block_events": 16, "every_events": 64, "early_events_min": 32}
    tree = {
        "event": {**TREE, "duplicates": None, **event},
        "model": {"barriers": barriers},
        "registry": {"url": "http://registry"},
        "topics": {"scores": "scores"},
    }
    return World(config=Config.model_validate(tree))


def test_a_registry_that_is_away_holds_the_partition_and_nothing_is_rejected(registry: FakeRegistry) -> None:
    there = world()
    new = record_schema(added="long")
    for number in range(40):
        record = written(record_schema()) if number < 20 else written(new, EVENT | {"added": 1}, 2)
        there.broker.append(0, record.value, key=b"4711", timestamp_ms=1)
    unknown = b"\0\0\0\0\x09" + (written(record_schema()).value or b"")[5:]
    there.broker.append(0, unknown, key=b"4711", timestamp_ms=1)
    registry.answers = {"/schemas/ids/1": {"schema": AVRO}, "/schemas/ids/2": {"schema": json.dumps(new)}}
    registry.status = 503
    runner = there.runner(schemas=client(registry, there.clock))
    for _ in range(10):  # half a minute
        runner.turn()
    totals = there.telemetry.totals()
    assert (totals.received, totals.scored) == (0, 0)
    assert there.broker.published == []
    assert "registry" in runner.status().reason
    waiting = [line for line in there.log.lines if "registry" in str(line)]
    registry.status = 200
    for _ in range(20):
        runner.turn()
    totals = there.telemetry.totals()
    assert (totals.received, totals.scored, totals.rejected["malformed"]) == (41, 40, 1)
    assert len(waiting) == 1


def test_avro_needs_a_registry() -> None:
    with pytest.raises(ValidationError, match="registry"):
        Config.model_validate({"event": TREE})
    with pytest.raises(ValidationError, match="http"):
        Registry.model_validate({"url": "registry:8081"})

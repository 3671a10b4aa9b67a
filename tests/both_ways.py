"""Records read one by one and as blocks, which must agree."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from detector.config.tree import Event
from detector.core.events import BlockReader, ParsedEvent, Parser, Rejected
from detector.core.records import Record

KEY = b"a secret of the tests"


def read_both_ways(
    schema: Mapping[str, Any], schemas: Mapping[int, Any], sent: Sequence[Record]
) -> list[ParsedEvent | Rejected]:
    """Read records of `event: schema` by the schemas of a registry; both ways must agree."""
    event, resources = Event.model_validate(schema), {"schemas": schemas}
    parser, reader = Parser(event, KEY, resources=resources), BlockReader(event, KEY, resources=resources)
    found = [parser.parse(one) for one in sent]
    events, rejected = reader.read(list(sent))
    for row, one in enumerate(found):
        assert repr(rejected.get(row) or events[row]) == repr(one)
        if isinstance(one, ParsedEvent):
            msgspec.json.decode(parser.view(sent[row]).document)
    return found


def read_as_json(schema: Mapping[str, Any], document: Any) -> tuple[Any, ...]:
    """What an event is that comes as JSON, without its record."""
    parser = Parser(Event.model_validate({**schema, "format": "json"}), KEY)
    parsed = parser.parse(Record(0, 0, b"4711", json.dumps(document).encode()))
    assert isinstance(parsed, ParsedEvent), parsed
    return parsed[1:]


def reason(found: ParsedEvent | Rejected) -> tuple[str, str]:
    """Reason and detail of a rejection."""
    assert isinstance(found, Rejected), found
    return found.reason, found.detail

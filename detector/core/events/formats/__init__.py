"""Event formats, chosen by `event.format`, and envelopes, chosen by `event.envelope`.

A new format is a class in a module of its own, one line here, and one line in `detector.config.formats`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detector.config.tree import Event
from detector.core.events.formats.avro import Avro
from detector.core.events.formats.base import Format
from detector.core.events.formats.envelopes import ENVELOPES
from detector.core.events.formats.json import Json
from detector.core.events.formats.protobuf import Protobuf

FORMATS: dict[str, type[Format]] = {"json": Json, "avro": Avro, "protobuf": Protobuf}
"""By the name in the configuration."""


def make_format(schema: Event, paths: Sequence[str], resources: Mapping[str, Any]) -> Format:
    """Make the object that reads records of a configured stream; see `Format` for the parameters."""
    kind = FORMATS[schema.format]
    if schema.envelope is None:
        return kind(paths, schema.limits, resources)
    return ENVELOPES[schema.envelope.type](kind, schema.envelope, paths, schema.limits, resources)

"""Event formats that a configuration may name.

`detector.core.events.formats.FORMATS` has the code of each. A new format is one line here, one line there,
and a module of its own (docs/how-to/extending.md).
"""

from __future__ import annotations

FORMATS: dict[str, str] = {
    "json": "one JSON object per record (RFC 8259, UTF-8), with or without a registry's frame",
    "avro": "Avro with a schema registry's frame; needs `registry`",
    "protobuf": "Protobuf with a schema registry's frame; needs `registry`",
}
"""Names, with what a record's value is."""

WITH_SCHEMAS = ("avro", "protobuf")
"""Formats that read the schemas of a registry."""

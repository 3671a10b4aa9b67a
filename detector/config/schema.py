"""The JSON Schema of a configuration, and what it allows in words."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from detector.config.tree import Config, Name, Secret, ShadowName, Topic
from detector.config.words import Loc

Schema = dict[str, Any]


def json_schema() -> Schema:
    """JSON Schema (draft 2020-12) of a configuration file, for editors."""
    return copy.deepcopy(_schema())


@functools.cache
def _schema() -> Schema:
    schema: Schema = json.loads(json.dumps(Config.model_json_schema()), object_hook=_standard)
    schema |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "detector configuration"}
    return schema


def _standard(node: Schema) -> Schema:
    """Rename limits beside an `anyOf`: pydantic leaves its own names there, which JSON Schema lacks."""
    if "anyOf" not in node:
        return node
    names = {"gt": "exclusiveMinimum", "le": "maximum", "minLength": "minItems", "maxLength": "maxItems"}
    return {names.get(key, key): value for key, value in node.items()}


def schema_at(loc: Loc) -> Schema | None:
    """Schema of the value at a place; of alternatives, the structured one. None: an unknown key."""
    node = _resolved(_schema())
    for step in loc:
        if isinstance(step, int):
            items = node.get("prefixItems", [])
            inner = items[step] if step < len(items) else node.get("items")
        else:
            inner = node.get("properties", {}).get(step)
        if inner is None:
            return None
        node = _resolved(inner)
    return node


def _resolved(node: Schema) -> Schema:
    """Replace references and alternatives; `or_text` and `or_null` mark that a text or null is allowed."""
    if "$ref" in node:
        node = {**_schema()["$defs"][node["$ref"].rpartition("/")[2]], **node}
    if "anyOf" in node:
        branches = sorted(
            (_resolved(branch) for branch in node["anyOf"]), key=lambda b: b["type"] == "string"
        )
        kinds = [branch["type"] for branch in branches]
        marks = {
            "or_null": "null" in kinds,
            "or_text": kinds[-1] == "string" and len(kinds) - ("null" in kinds) > 1,
        }
        node = {**node, **next(branch for branch in branches if branch["type"] != "null"), **marks}
    return node


def property_paths(loc: tuple[str, ...] = ()) -> Iterator[str]:
    """Every key of the tree that is not inside a list, dotted."""
    for key in (schema_at(loc) or {}).get("properties", {}):
        yield ".".join((*loc, key))
        yield from property_paths((*loc, key))


_PATTERNS = {
    TypeAdapter(Name).json_schema()["pattern"]: (
        "a name of letters, digits and _ that does not begin with a digit, at most 64 characters"
    ),
    TypeAdapter(Topic).json_schema()[
        "pattern"
    ]: "a topic name: letters, digits and . _ -, at most 249 characters",
    TypeAdapter(ShadowName).json_schema()[
        "pattern"
    ]: "a name: small letters, digits and -, at most 32 characters",
}


def plain_pattern(pattern: str) -> str:
    """Describe what a pattern matches."""
    return _PATTERNS.get(pattern, "host:port")


def describe(schema: Schema) -> str:
    """Describe the allowed values in words."""
    text = _describe_type(schema)
    return f"{text}, or null" if schema.get("or_null") else text


def _describe_type(schema: Schema) -> str:
    match schema.get("type"):
        case "string" if "enum" in schema:
            return f"one of: {', '.join(schema['enum'])}"
        case "string" if "pattern" in schema:
            return plain_pattern(schema["pattern"])
        case "string":
            return "a text" + _describe_size(schema.get("minLength"), schema.get("maxLength"), "characters")
        case "integer":
            return "a whole number" + _describe_bounds(schema)
        case "number" if schema.get("or_text"):
            return "a duration like 500ms, 30s, 15m, 12h or 7d, or seconds" + _describe_bounds(schema)
        case "number":
            return "a number" + _describe_bounds(schema)
        case "boolean":
            return "true or false"
        case "array" if schema.get("or_text"):
            return "host:port, or a list of them"
        case "array":
            items = describe(_resolved(schema.get("items") or schema["prefixItems"][0]))
            size = _describe_size(schema.get("minItems"), schema.get("maxItems"), "items")
            return f"a list{size}, each {items}"
        case "object" if set(schema["properties"]) == set(Secret.model_fields):
            return "where the secret is kept: {env: NAME} or {file: PATH}"
        case "object":
            return f"a mapping with the keys {', '.join(schema['properties'])}"
        case _:
            return "something else"


def _describe_bounds(schema: Schema) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:.15g}" for key, sign in signs.items() if key in schema]
    return f" {' and '.join(bounds)}" if bounds else ""


def _describe_size(low: int | None, high: int | None, unit: str) -> str:
    if high is None:
        return f" of at least {low} {unit}" if low else ""
    return f" of {high} {unit}" if low == high else f" of {low or 0} to {high} {unit}"

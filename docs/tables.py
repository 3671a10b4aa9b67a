"""What docs/generate.py writes: tables and sections of the reference, made from the code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import detector
from detector.cli.program import app
from detector.config.schema import describe, property_paths, schema_at

SCHEMAS = Path(detector.__file__).parent / "schemas"
_SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_SECRET = {"env", "file"}
# What the page says once, above the tables.
_SHORT = {
    "a duration like 500ms, 30s, 15m, 12h or 7d, or seconds > 0 and <= 315360000": "a duration",
    "a name of letters, digits and _ that does not begin with a digit, at most 64 characters": "a name",
    "a topic name: letters, digits and . _ -, at most 249 characters": "a topic",
    "where the secret is kept: {env: NAME} or {file: PATH}": "a secret",
}


# --- configuration ---------------------------------------------------------------------------------------


def configuration() -> str:
    """A section for each part of the configuration, with a table of its keys."""
    top = [path for path in property_paths() if "." not in path]
    single = [path for path in top if not _keys((path,))]
    lines: list[str] = []
    for path in top:
        if path not in single:
            lines += _section((path,))
    return "\n".join(["## Top level", "", *_key_table((), single), *lines])


def _section(loc: tuple[str | int, ...]) -> list[str]:
    """One mapping: what it is, its keys, then the mappings in it."""
    schema = schema_at(loc) or {}
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)[1:].replace(
        "[0]", "[]"
    )
    level = 2 + min(len([step for step in loc if isinstance(step, str)]) - 1, 2)
    keys = _keys(loc)
    inner = [(*loc, key) for key in keys if _keys((*loc, key)) or _keys((*loc, key, 0))]
    described = [_first(schema)] if schema.get("description") else []
    if schema.get("or_null"):
        described += [f"Null or a mapping; default: {_default(schema)}."]
    lines = ["", f"{'#' * level} {name}", "", " ".join(described), ""]
    lines += _key_table(loc, [key for key in keys if (*loc, key) not in inner])
    for place in inner:
        lines += _section(place) if _keys(place) else _section((*place, 0))
    return lines


def _keys(loc: tuple[str | int, ...]) -> list[str]:
    """The keys of a mapping; of a secret none, because it is written in one line."""
    keys = list((schema_at(loc) or {}).get("properties", {}))
    return [] if set(keys) == _SECRET else keys


def _key_table(loc: tuple[str | int, ...], keys: list[str]) -> list[str]:
    if not keys:
        return []
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key in keys:
        schema = schema_at((*loc, key)) or {}
        given = (schema_at(loc) or {}).get("properties", {})[key]  # its own description, not that of its type
        text = given.get("description") or schema.get("description", "")
        cells = (f"`{key}`", _value(schema), _default(schema), " ".join(text.split()))
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return lines


def _value(schema: dict[str, Any]) -> str:
    text = describe(schema)
    for long, short in _SHORT.items():
        text = text.replace(long, short)
    return text


def _default(schema: dict[str, Any]) -> str:
    if "default" not in schema:
        return "required"
    value = schema["default"]
    if schema.get("type") == "number" and schema.get("or_text"):
        return f"`{_duration(value)}`"
    items = schema.get("items")
    if isinstance(value, list) and value and isinstance(items, dict) and "anyOf" in items:
        return f"`[{', '.join(_duration(item) for item in value)}]`"
    if isinstance(value, list):
        return f"`[{', '.join(map(str, value))}]`"
    text = json.dumps(value) if not isinstance(value, str) else value
    return f"`{text}`" if text else "an empty text"


def _duration(seconds: float) -> str:
    for unit, size in _SECONDS.items():
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _first(schema: dict[str, Any]) -> str:
    return " ".join(str(schema["description"]).split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# --- commands --------------------------------------------------------------------------------------------


def commands() -> str:
    """A section for each command, with its options, from the program itself."""
    lines: list[str] = []
    for words, command in _commands(typer.main.get_command(app), ("detector",)):
        context = command.context_class(command, info_name=" ".join(words))
        pieces = " ".join(command.collect_usage_pieces(context)).replace("{", "").replace("}", "")
        lines += [f"## {' '.join(words)}", "", f"    {' '.join(words)} {pieces}", ""]
        lines += [*_paragraphs(command.help), ""]
        rows = [row for param in command.get_params(context) if (row := _option(param))]
        lines += ["| option | meaning | default |", "|---|---|---|", *rows, ""] if rows else []
    return "\n".join(lines).rstrip()


def _commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "commands"):
        yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*words, name))


def _paragraphs(text: str | None) -> list[str]:
    """Texts of a docstring; lines of a paragraph become one."""
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n")).split("\n")


def _option(param: Any) -> str | None:
    if "--help" in param.opts:
        return None
    value = param.metavar
    if value is None:  # choices
        value = "|".join(
            str(getattr(choice, "value", choice)) for choice in param.type_descriptor.choices or ()
        )
    argument = param.param_type_name == "argument"
    names = (
        [value] if argument else [f"{name} {value}".rstrip() for name in [*param.opts, *param.secondary_opts]]
    )
    shown = [f"env var `{param.envvar}`"] if getattr(param, "envvar", None) else []
    default = param.default if not callable(param.default) else None
    if param.required:
        shown.insert(0, "required")
    elif default not in (None, False, (), []):
        shown.insert(0, f"`{getattr(default, 'value', default)}`")
    text = " ".join((param.help or "").split())
    return f"| {_cell(', '.join(f'`{name}`' for name in names))} | {_cell(text)} | {', '.join(shown)} |"


# --- alerts ----------------------------------------------------------------------------------------------


def alert() -> str:
    """A table of everything in an alert, from its JSON schema."""
    return _schema("alert.v1.json")


def case_updated() -> str:
    """A table of everything in an update of a case."""
    return _schema("case.updated.v1.json")


def _schema(file: str) -> str:
    schema = json.loads((SCHEMAS / file).read_text())
    lines = ["| field | type | meaning |", "|---|---|---|"]
    lines += [
        f"| `{path}` | {_cell(kind)} | {_cell(text)} |" for path, kind, text in _fields(schema, schema, "")
    ]
    return "\n".join(lines)


def _fields(node: dict[str, Any], root: dict[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    for name, given in node.get("properties", {}).items():
        inner = _resolved(given, root)
        here = f"{path}{name}"
        optional = [] if name in node.get("required", ()) else ["may be absent"]
        yield here, ", ".join([_kind(inner), *optional]), inner.get("description", "")
        if inner.get("type") == "array":
            yield from _fields(_resolved(inner["items"], root), root, f"{here}[].")
        else:
            yield from _fields(inner, root, f"{here}.")


def _resolved(node: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        node = {**root["$defs"][node["$ref"].rpartition("/")[2]], **node}
    if "oneOf" in node:  # null, or something else
        thing = next(branch for branch in node["oneOf"] if branch["type"] != "null")
        node = {**thing, **node, "type": [thing["type"], "null"]}
    return node


def _kind(node: dict[str, Any]) -> str:
    if "const" in node:
        return str(node["const"])
    if "enum" in node:
        return " | ".join(node["enum"])
    kinds = node["type"] if isinstance(node["type"], list) else [node["type"]]
    return " or ".join(kinds)

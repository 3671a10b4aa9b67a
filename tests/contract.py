"""What a new version of a message's JSON schema may change: nothing that is there, it may only add."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def broken(frozen: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what a schema has removed, renamed, given another type, or newly required since it was frozen."""
    return list(_broken(frozen, now, frozen, now, ""))


def _broken(
    frozen: Mapping[str, Any],
    now: Mapping[str, Any],
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    path: str,
) -> Iterator[str]:
    old, new, here = _resolved(old, frozen), _resolved(new, now), path or "the body"
    for rule in ("type", "enum", "const", "format", "pattern", "additionalProperties"):
        if rule == "additionalProperties" and isinstance(old.get(rule), Mapping):
            yield from _broken(frozen, now, old[rule], new.get(rule, {}), f"{path}.*")
        elif _as_set(old.get(rule)) != _as_set(new.get(rule)):
            yield f"{here}: {rule} was {old.get(rule)!r} and is {new.get(rule)!r}"
    for name, child in old.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        if name not in new.get("properties", {}):
            yield f"{below}: removed"
        else:
            yield from _broken(frozen, now, child, new["properties"][name], below)
    required, before = set(new.get("required", ())), set(old.get("required", ()))
    inside = f"{path}." if path else ""
    if old.get("properties"):
        yield from (f"{inside}{name}: newly required" for name in sorted(required - before))
        yield from (f"{inside}{name}: no longer required" for name in sorted(before - required))
    if "items" in old:
        yield from _broken(frozen, now, old["items"], new.get("items", {}), f"{path}[]")
    branches, others = old.get("oneOf", ()), new.get("oneOf", ())
    if len(branches) != len(others):
        yield f"{here}: other alternatives"
    for one, other in zip(branches, others, strict=False):
        yield from _broken(frozen, now, one, other, path)


def _resolved(node: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in node:
        return {**root["$defs"][node["$ref"].rpartition("/")[2]], **node}
    return node


def _as_set(value: Any) -> Any:
    return frozenset(value) if isinstance(value, list) else value

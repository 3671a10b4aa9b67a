"""Which settings a model in training depends on: where they change, it begins anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from detector.config.tree import ModelPart

WORDED = ("display", "unit", "currency", "labels", "echo", "pseudonym")
"""Keys of entities and fields that only say how alerts show them."""


def shape(config: ModelPart) -> dict[str, Any]:
    """Settings that a model in training depends on, as plain values.

    Without those of how alerts are made and worded, which events enter, and when the model learns.
    """
    event = config.event.model_dump(
        exclude={
            "format": True,
            "exposure": True,
            "limits": True,
            "duplicates": True,
            "reversals": True,
            "time": {"late"},
        }
    )
    for value in (*event["entities"], *event["fields"]):
        for name in WORDED:
            value.pop(name, None)
    return {"event": event, "model": config.model.model_dump(exclude={"labels", "barriers"})}


def differences(before: ModelPart, after: ModelPart) -> list[tuple[str, str, str]]:
    """Settings that differ: key, value before, value after."""
    return list(differing("", before.model_dump(), after.model_dump()))


def differing(path: str, before: Any, after: Any) -> Iterator[tuple[str, str, str]]:
    """Leaves of two plain trees that differ: path, value before, value after."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from differing(f"{path}.{key}" if path else key, before.get(key), after.get(key))
    elif isinstance(before, (list, tuple)) and isinstance(after, (list, tuple)) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differing(f"{path}.{number}", one, other)
    elif before != after:
        yield path, _shown(before), _shown(after)


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        named = [item.get("name", item) if isinstance(item, dict) else item for item in value]
        return f"[{', '.join(map(str, named))}]"
    return str(value)

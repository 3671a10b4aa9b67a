"""A configuration for examples that are only features: no entities; id and time say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detector.config.tree import UNREADABLE
from detector.errors import UsageError

DISPLAY_CHARS_MAX = 64


def event_config(
    numerics: Mapping[str, str], categories: Mapping[str, str] | None = None, *, seed: int = 0
) -> dict[str, Any]:
    """A configuration as nested mappings.

    Parameters
    ----------
    numerics, categories
        Names of fields in the event, and what people call them.
    """
    named = [(name, shown, "numeric") for name, shown in numerics.items()]
    named += [(name, shown, "categorical") for name, shown in (categories or {}).items()]
    if not named:
        raise UsageError("got examples without features, expected at least one")
    fields = []
    for name, shown, kind in named:
        field = {"name": name, "path": name, "type": kind, "optional": True}
        display = UNREADABLE.sub(" ", shown).strip()[:DISPLAY_CHARS_MAX]
        fields.append({**field, "display": display} if display else field)
    event = {"id": "id", "time": {"path": "time", "format": "epoch_s"}, "fields": fields, "duplicates": None}
    return {"event": event, "model": {"seed": seed}}

"""Original events, as the transactions topic holds them, without what the configuration hides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detector.config.tree import Event as EventConfig
from detector.console.reading import body_of
from detector.console.views import Event
from detector.core.records import Record

HIDDEN = "(hidden)"
GONE = "No longer retained: the topic has deleted this event."
NOT_YET = "The topic has no event there."
UNREADABLE = "It is not JSON, which this page could show."


def hidden_names(event: EventConfig) -> frozenset[str]:
    """Last parts of the paths of fields that no alert shows, or shows as hashes only."""
    fields = [field.path for field in event.fields if not field.echo or field.pseudonym]
    entities = [entity.path for entity in event.entities if entity.pseudonym]
    paths = [path.strip() for text in (*fields, *entities) for path in text.split(",")]
    return frozenset(path.rpartition(".")[2] for path in paths)


def event_of(partition: int, offset: int, record: Record | None, hidden: frozenset[str]) -> Event:
    """An event by its record; None: there is none at this place."""
    if record is None or record.value is None:
        return Event(partition=partition, offset=offset, value=None, why=NOT_YET)
    value = body_of(record.value)
    if value is None:
        return Event(partition=partition, offset=offset, value=None, why=UNREADABLE)
    return Event(partition=partition, offset=offset, value=_without(value, hidden))


def _without(value: Any, hidden: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return {name: HIDDEN if name in hidden else _without(inner, hidden) for name, inner in value.items()}
    return [_without(inner, hidden) for inner in value] if isinstance(value, list) else value

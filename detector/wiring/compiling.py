"""Compile all kernels: those that a configuration needs, or those that any needs."""

from __future__ import annotations

from collections.abc import Iterator

from detector.config.kinds import KINDS
from detector.config.tree import Config, Event, ModelPart
from detector.core.shard.rehearsal import rehearse
from detector.shell.kafka import rehearse_batch

SCHEMAS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("card", "shop"), tuple(KINDS)),
    ((), ("numeric",)),
    ((), tuple(KINDS)),
    ((), ("categorical", "text")),
    (("card",), ("numeric",)),
    (("card",), ("categorical",)),
)
"""Entities, and types of fields, that between them use every part of the score."""


def compile_for(config: Config) -> None:
    """Compile what a service with this configuration calls. Takes half a minute of CPU time, or a second
    where it was done before.
    """
    rehearse_batch()
    for _ in rehearse(config.model_part(1)):
        pass


def compile_all() -> Iterator[str]:
    """Compile what any configuration calls; yields what was compiled for, after each step."""
    rehearse_batch()
    yield "Kafka's record batches"
    for entities, types in SCHEMAS:
        for _ in rehearse(ModelPart(event=schema(entities, types), exchange=True, partitions=2)):
            pass
        yield f"{' and '.join(entities) or 'no entity'}; {', '.join(types)}"


def schema(entities: tuple[str, ...], types: tuple[str, ...]) -> Event:
    """Make a schema with these entities, and two fields of each type."""
    fields = [
        {"name": f"{type_}_{number}", "type": type_, "path": _path(type_, f"{type_}{number}")}
        for type_ in types
        for number in (1, 2)
    ]
    return Event.model_validate(
        {
            "id": "id",
            "time": {"path": "time"},
            "entities": [{"name": name, "path": name} for name in entities],
            "fields": fields,
            "exposure": "numeric_1" if "numeric" in types else None,
        }
    )


def _path(type_: str, name: str) -> str:
    return ", ".join(f"{name}_{part}" for part in KINDS[type_].parts)

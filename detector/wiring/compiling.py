"""Compile all kernels: those that a configuration needs, or those that any needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.event import Listener, install_listener

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


COMPILING = "compiling for this machine: about half a minute the first time, less for a new kind of stream"
SAID_AFTER_S = 1.0
"""Time spent on compiling after which somebody who waits is told."""


class _Compilation(Listener):
    """Adds up how long numba compiles, and calls a function once if that is long.

    Kernels that are read from the cache on disk are not compiled, so they do not count.
    """

    def __init__(self, say: Callable[[], None], clock: Callable[[], float]) -> None:
        self._say, self._clock = say, clock
        self._depth, self._began_s, self._spent_s = 0, 0.0, 0.0  # one kernel compiles those it calls
        self._said = False

    def on_start(self, event: Any) -> None:
        if self._depth == 0:
            self._began_s = self._clock()
        self._depth += 1
        self._look()

    def on_end(self, event: Any) -> None:
        self._look()
        self._depth -= 1
        if self._depth == 0:
            self._spent_s += self._clock() - self._began_s

    def _look(self) -> None:
        if not self._said and self._spent_s + self._clock() - self._began_s >= SAID_AFTER_S:
            self._said = True
            self._say()


@contextmanager
def watching_compilation(
    say: Callable[[], None], clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Call a function once if kernels are really compiled meanwhile, and that takes more than a second."""
    with install_listener("numba:compile", _Compilation(say, clock)):
        yield


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

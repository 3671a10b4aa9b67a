"""The model configuration that follows from the number of the topic's partitions, and its copy in the store.

Each partition has its part of the alert budget of a day, so its configuration depends on how many there are.
A replay needs each configuration that was in force: it is stored before the first journal that names it is
committed.
"""

from __future__ import annotations

from concurrent.futures import Future
from math import inf

from detector.config.tree import Config, ModelPart
from detector.core.recovery.generations import config_name
from detector.errors import OutsideError
from detector.shell.runner.shared import Shared

FOLLOW_S = 1.0  # between two looks at the number of the topic's partitions


class ModelConfigs:
    """Model configurations of this process, and which of them the store is known to hold."""

    def __init__(self, shared: Shared, config: Config) -> None:
        self._config = config
        self._owned, self._stream, self._objects = shared.owned, shared.stream, shared.objects
        self._calls, self._executor = shared.calls, shared.executor
        self._clock, self._log = shared.clock, shared.log
        self._stored: set[str] = set()  # by hash
        self._storing: tuple[str, Future[None]] | None = None  # a configuration's hash, and its write
        self._followed_s = -inf  # monotonic, of the last look at the topic

    def store(self, wanted: ModelPart) -> None:
        """Store a configuration, unless it is known to be stored.

        Raises
        ------
        StoreUnavailable
        """
        name = wanted.hash()
        if self._objects.available and name not in self._stored:
            self._objects.put(config_name(name), wanted.canonical())
            self._stored.add(name)

    def follow_topic(self) -> None:
        """Change the wanted configuration of owned partitions when the topic has more partitions."""
        now_s = self._clock.monotonic()
        if not self._owned or now_s - self._followed_s < FOLLOW_S:
            return
        self._followed_s = now_s
        try:
            count = self._calls.ask(self._stream.partitions_count)
        except OutsideError:  # the next poll reports it
            return
        behind = [owned for owned in self._owned.values() if owned.topic_partitions != count]
        wanted = self._config.model_part(count)
        if not behind or not self._is_stored(wanted):
            return
        for owned in behind:
            owned.partition.want(wanted)
            owned.topic_partitions = count
        self._log.info("partitions_count_changed", count=count)

    def _is_stored(self, wanted: ModelPart) -> bool:
        """Whether the store holds it; if not, a write in the background begins."""
        name = wanted.hash()
        if not self._objects.available or name in self._stored:
            return True
        if self._storing is None:
            write = self._executor.submit(self._objects.put, config_name(name), wanted.canonical())
            self._storing = name, write
        stored, writing = self._storing
        if not writing.done():
            return False
        self._storing = None
        try:
            writing.result()
        except OutsideError as error:
            self._log.warning("configuration_not_stored", config=stored, reason=str(error))
            return False
        self._stored.add(stored)
        return stored == name

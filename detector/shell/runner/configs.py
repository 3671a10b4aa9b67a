"""The model configuration that follows from the number of the topic's partitions, and its copy in the store.

Each partition has its part of the alert budget of a day, so its configuration depends on how many there are.
A replay needs each configuration that was in force: it is stored before the first journal that names it is
committed.

A partition whose journal ends with another configuration gets ours at its next barrier. That is logged and
shown on /readyz for a day: two services with one group and different configurations would otherwise discard
each other's models without a word.
"""

from __future__ import annotations

from concurrent.futures import Future
from math import inf

from detector.config.tree import Config, ModelPart
from detector.config.words import first_of
from detector.core.recovery.generations import config_name
from detector.core.shard.model_shape import differences, shape
from detector.errors import NeedsOperator, OutsideError
from detector.shell.runner.shared import Shared

SHOWN_S = 86_400.0  # a change is shown on /readyz for so long, as long as the partition is owned
NAMED_MAX = 8  # settings that a warning names
FOLLOW_S = 1.0  # between two looks at the number of the topic's partitions


class ModelConfigs:
    """Model configurations of this process, and which of them the store is known to hold."""

    def __init__(self, shared: Shared, config: Config) -> None:
        self._config = config
        self._wanted: tuple[Config, int, ModelPart] | None = None  # the last answer of `wanted`
        self._owned, self._stream, self._objects = shared.owned, shared.stream, shared.objects
        self._calls, self._executor = shared.calls, shared.executor
        self._clock, self._log = shared.clock, shared.log
        self._stored: set[str] = set()  # by hash
        self._storing: tuple[str, Future[None]] | None = None  # a configuration's hash, and its write
        self._followed_s = -inf  # monotonic, of the last look at the topic
        self._followed: ModelPart | None = None  # wanted by every owned partition
        self._changes: dict[int, tuple[float, str]] = {}  # by partition: monotonic time, and what changed

    def reconfigure(self, config: Config) -> None:
        """Let another configuration take effect, soon; safe from threads."""
        self._config, self._followed_s = config, -inf

    def wanted(self, partitions: int) -> ModelPart:
        """The model configuration of now, for a topic with so many partitions.

        Raises
        ------
        NeedsOperator
            Nobody could say that an event is unknown: shards must hear of each other for that.
        """
        known, config = self._wanted, self._config
        if partitions > 1 and config.topics.receipts is not None and config.topics.exchange is None:
            raise NeedsOperator(
                f"topics.receipts is set, and the topic has {partitions} partitions: set topics.exchange, by "
                "which shards tell each other what they have answered, or topics.receipts: null"
            )
        if known is None or known[0] is not config or known[1] != partitions:
            known = self._wanted = config, partitions, config.model_part(partitions)
        return known[2]

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

    def note_change(self, number: int, before: ModelPart, wanted: ModelPart) -> None:
        """Log and show that a partition gets another configuration than its journal ends with."""
        found = [
            f"{key}: {there} -> {here}"
            for key, there, here in differences(before, wanted)
            if key != "partitions"
        ]
        if not found:
            return
        anew = shape(before) != shape(wanted)
        self._log.warning(
            "model_begins_anew" if anew else "configuration_changed",
            partition=number,
            before=before.hash(),
            now=wanted.hash(),
            changed=found[:NAMED_MAX],
            changes=len(found),
        )
        effect = "its model begins anew" if anew else "its model stays"
        self._note(number, f"another configuration than before, {effect} ({first_of(found, NAMED_MAX)})")

    def note_bare_start(self, number: int, lost: int) -> None:
        """Log and show that a partition's model begins with nothing, although there was one."""
        reason = (
            f"the log lost {lost} events and no checkpoint could be read"
            if lost
            else "nothing is committed, but the store has checkpoints: were the group's offsets deleted?"
        )
        self._log.warning("model_begins_anew", partition=number, reason=reason)
        self._note(number, f"its model begins anew: {reason}")

    def warnings(self) -> list[str]:
        """What /readyz says of changed configurations and models that begin anew."""
        now_s = self._clock.monotonic()
        shown: dict[str, list[int]] = {}
        for number, (since_s, said) in self._changes.items():
            if number in self._owned and now_s - since_s < SHOWN_S:
                shown.setdefault(said, []).append(number)
        return [f"{_partitions(numbers)}: {said}" for said, numbers in shown.items()]

    def _note(self, number: int, said: str) -> None:
        self._changes[number] = self._clock.monotonic(), said

    def follow_topic(self) -> None:
        """Let owned partitions want the configuration of now: it or the topic may have changed."""
        now_s = self._clock.monotonic()
        if not self._owned or now_s - self._followed_s < FOLLOW_S:
            return
        self._followed_s = now_s
        try:
            count = self._calls.ask(self._stream.partitions_count)
        except OutsideError:  # the next poll reports it
            return
        wanted = self.wanted(count)
        if wanted is self._followed and all(o.topic_partitions == count for o in self._owned.values()):
            return
        name = wanted.hash()
        behind = [o for o in self._owned.values() if o.partition.wanted != name]
        if behind and not self._is_stored(wanted):
            return
        for owned in behind:
            owned.partition.want(wanted)
        if any(owned.topic_partitions != count for owned in self._owned.values()):
            self._log.info("partitions_count_changed", count=count)
        for owned in self._owned.values():
            owned.topic_partitions = count
        self._followed = wanted

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


def _partitions(numbers: list[int]) -> str:
    return f"partition{'s' if len(numbers) > 1 else ''} {', '.join(map(str, sorted(numbers)))}"

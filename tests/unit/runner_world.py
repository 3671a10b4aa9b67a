"""A world in memory that outlives the runners on it: what the runner's tests share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from detector.config.tree import Config
from detector.core.records import Identity
from detector.core.recovery.checkpoint import read_manifest
from detector.core.recovery.generations import store_prefix
from detector.core.recovery.journal import METADATA_BYTES_MAX, Journal
from detector.core.reporting.telemetry import Telemetry
from detector.core.shard.warm_start import Model
from detector.errors import BrokerUnavailable
from detector.ports import Message
from detector.shell.kafka import EndsWatch
from detector.shell.runner.loop import Runner
from detector.testing import (
    FakeClock,
    InlineExecutor,
    MemoryBroker,
    MemoryLog,
    MemorySideLog,
    MemoryStore,
    MemoryStream,
)
from tests.chain import ChainShard

BLOCK = 16


TIGHT = 364  # bytes of metadata: room for some barriers


TALKATIVE = {"topics": {"feedback": "feedback", "scores": "scores", "exchange": "exchange"}}


class Crash(BaseException):
    """The process ends here."""


def config(**changes: Any) -> Config:
    barriers = {"block_events": BLOCK, "every_events": 4 * BLOCK, "early_events_min": 2 * BLOCK}
    tree: dict[str, Any] = {
        "event": {
            "id": "id",
            "time": {"path": "t"},
            "fields": [{"name": "x", "path": "x", "type": "numeric"}],
        },
        "model": {"barriers": barriers},
        "topics": {"feedback": "feedback", "scores": "scores"},
        "checkpoints": {"interval": 0.5},
    }
    return Config.model_validate(tree | changes)


class MemoryEnds:
    """Tells where the logs of a `MemoryBroker` end."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def ask(self, partitions: Collection[int]) -> Mapping[int, int]:
        if self._broker.down:
            raise BrokerUnavailable("the broker is away")
        return {number: self._broker.end(number) for number in partitions}

    def close(self) -> None:
        pass


@dataclass(kw_only=True)
class World:
    """Everything that outlives a process."""

    partitions: int = 1
    config: Config = field(default_factory=config)
    metadata_bytes_max: int = METADATA_BYTES_MAX
    poll_records_max: int = 50
    hook: Callable[[str], None] = lambda step: None

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.broker = MemoryBroker(self.partitions, lambda step: self.hook(step))
        self.store = MemoryStore(lambda step: self.hook(step))
        self.feedback = MemorySideLog()
        self.exchange = MemorySideLog()
        self.broker.sides = {"exchange": self.exchange}
        self.log = MemoryLog()
        self.telemetry = Telemetry()
        self.executor = InlineExecutor()
        self.ends = EndsWatch(MemoryEnds(self.broker), self.telemetry, self.log, self.clock.monotonic)

    def produce(self, count: int, start: int = 0) -> None:
        for number in range(start, start + count):
            partition = number % self.partitions
            now_ms = int(self.clock.now_s * 1000)
            value = b"" if number % 29 == 5 else b"event %d" % number
            self.broker.append(partition, value, timestamp_ms=now_ms)
            if number % 37 == 0:
                self.broker.gap(partition, 2)

    def runner(self, **changes: Any) -> Runner:
        self.stream = MemoryStream(self.broker, self.clock, poll_records_max=self.poll_records_max)
        arguments: dict[str, Any] = {
            "config": self.config,
            "topic": "transactions",
            "group": "group/1",
            "entity_key": b"secret",
            "stream": self.stream,
            "store": self.store,
            "sides": {"feedback": self.feedback}
            | ({"exchange": self.exchange} if self.config.topics.exchange else {}),
            "clock": self.clock,
            "telemetry": self.telemetry,
            "log": self.log,
            "executor": self.executor,
            "metadata_bytes_max": self.metadata_bytes_max,
        }
        return Runner(**(arguments | changes))

    def finish(self) -> None:
        """Let one undisturbed process do the rest."""
        self.hook = lambda step: None
        self.broker.closed = True
        self.runner().run()

    @contextmanager
    def without_checkpoints(self) -> Iterator[None]:
        """No checkpoint is written inside, also none at a stop: a restart replays."""
        self.executor.held = True
        yield
        self.executor.drop()
        self.executor.held = False

    def alerts(self) -> list[bytes]:
        found = [m for m in self.broker.published if m.topic == "alerts"]
        return [m.value for m in sorted(found, key=lambda m: (m.partition, m.offset)) if m.value]

    def journal(self, partition: int = 0) -> Journal:
        return Journal.from_text(self.broker.committed[partition].metadata)

    def newest(self) -> str:
        return self.journal().checkpoint

    def path(self, name: str) -> str:
        return store_prefix("group/1", "transactions", self.broker.ids.cluster) + name


def until(condition: Callable[[], bool], *runners: Runner, turns: int = 200) -> None:
    for _ in range(turns):
        if condition():
            return
        for runner in runners:
            runner.turn()
    raise AssertionError("the condition did not become true")


def crash_after(steps: int) -> Callable[[str], None]:
    """Make a hook that crashes after so many steps."""
    left = steps

    def hook(step: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash

    return hook


def crash_in_a_warm_start(world: World, steps: int, model: Callable[[], Model]) -> None:
    """Begin with a model, crash after so many steps, and run again to the end."""
    runner = world.runner(warm_start=model())
    world.hook = crash_after(steps)
    with pytest.raises(Crash):
        until(lambda: False, runner)
    world.hook = lambda step: None
    world.broker.evict(world.stream)
    world.broker.closed = True
    # A committed journal names its origin: only partitions without one read the file again.
    again = None if len(world.broker.committed) == 2 else model()
    world.runner(warm_start=again).run()


def names(world: World) -> list[str]:
    return [name.removesuffix(".state") for name in world.store.objects if name.endswith(".state")]


def audited(world: World, messages: list[bytes] | None = None) -> list[bytes]:
    """Alerts of a replay from the beginning, by the full chain of journals.

    Parameters
    ----------
    messages
        Takes the messages that shards publish to peers.
    """
    alerts: list[bytes] = []
    wanted = world.config.model_part(world.partitions)
    for number, committed in sorted(world.broker.committed.items()):
        journal = Journal.from_text(committed.metadata)
        while journal.checkpoint:
            manifest = read_manifest(world.store.objects[world.path(f"{journal.checkpoint}.json")])
            journal = manifest.since.joined(journal)
        identity = Identity(topic="transactions", group="group/1", partition=number, entity_key=b"secret")
        shard = ChainShard(
            wanted,
            identity,
            position=journal.position,
        )
        plan = list(journal.barriers)
        records = list(world.broker.records(number))
        while records:
            taken = shard.take(records, silent=False)
            del records[: taken.consumed]
            alerts += [alert.body for alert in taken.outputs.alerts]
            if taken.block_ended and plan and plan[0].position == shard.position:
                barrier = plan.pop(0)
                topics = {"feedback": world.feedback, "exchange": world.exchange}
                shard.barrier({side: topics[side].read(*wanted) for side, wanted in barrier.sides.items()})
                if messages is not None:
                    messages += shard.exchange.collect()[0]
        assert not plan
    return alerts


def in_order(world: World) -> list[Message]:
    return sorted(world.broker.published, key=lambda m: (m.topic, m.partition, m.offset))


def model_config() -> Config:
    fields = [{"name": name, "path": name, "type": "numeric"} for name in ("x", "y")]
    barriers = {"block_events": 64, "every_events": 128, "early_events_min": 64}
    return config(
        event={
            "id": "id",
            "time": {"path": "t"},
            "entities": [{"name": "card", "path": "card"}],
            "fields": fields,
        },
        model={
            "barriers": barriers,
            "clusters": {"core_events": 512, "count_max": 16, "memory_events": 1024},
            "encoder": {"dimension": 8, "hidden": 8},
            "calibration": {"memory_events": 1024, "warm_up_events": 256},
        },
        alerts={"budget": {"share": 0.02}, "cooldown": "1m"},
        checkpoints={"interval": 0.002},
    )

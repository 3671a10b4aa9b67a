"""Whatever happens to the loop, every alert comes out once, and as if nothing had happened."""

from __future__ import annotations

import gc
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.config.tree import Config
from detector.core.alerts.score_record import decode_score
from detector.core.labels import peer_messages as exchange_module
from detector.core.records import Identity
from detector.core.recovery.checkpoint import Snapshot, read_manifest
from detector.core.recovery.journal import METADATA_BYTES_MAX, Journal
from detector.core.reporting.telemetry import Telemetry
from detector.core.shard import partition as partition_module
from detector.core.shard.shard import Shard
from detector.errors import BrokerUnavailable, NeedsOperator
from detector.ports import Committed, Message
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
TIGHT = 384  # bytes of metadata: room for some barriers


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
            "feedback": self.feedback,
            "exchange": self.exchange if self.config.topics.exchange else None,
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

    def alerts(self) -> list[bytes]:
        found = [m for m in self.broker.published if m.topic == "alerts"]
        return [m.value for m in sorted(found, key=lambda m: (m.partition, m.offset)) if m.value]

    def journal(self, partition: int = 0) -> Journal:
        return Journal.from_text(self.broker.committed[partition].metadata)

    def newest(self) -> str:
        return self.journal().checkpoint

    def path(self, name: str) -> str:
        return f"group%2F1/transactions/{name}"


@pytest.fixture(autouse=True)
def _chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "Shard", ChainShard)


@pytest.fixture(scope="module")
def undisturbed() -> Callable[..., list[bytes]]:
    """Alerts of a run in which nothing happens."""
    known: dict[tuple[int, int], list[bytes]] = {}

    def run(count: int, partitions: int = 1) -> list[bytes]:
        if (count, partitions) not in known:
            world = World(partitions=partitions)
            world.produce(count)
            world.finish()
            known[count, partitions] = world.alerts()
        return known[count, partitions]

    return run


def until(condition: Callable[[], bool], *runners: Runner, turns: int = 200) -> None:
    for _ in range(turns):
        if condition():
            return
        for runner in runners:
            runner.turn()
    raise AssertionError("it did not come to that")


def names(world: World) -> list[str]:
    return [name.removesuffix(".state") for name in world.store.objects if name.endswith(".state")]


# --- laws ---------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_any_cutting_of_the_log_into_polls_gives_the_same(
    cuts: list[int], undisturbed: Callable[..., list[bytes]]
) -> None:
    world = World()
    world.produce(400)
    runner = world.runner()
    for cut in cuts:
        world.stream.poll_records_max = cut
        runner.turn()
    runner.stop()
    runner.run()
    world.finish()
    assert world.alerts() == undisturbed(400)


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_crash_at_any_step_changes_nothing(
    partitions: int, undisturbed: Callable[..., list[bytes]]
) -> None:
    steps = 0
    while True:
        world = World(partitions=partitions)
        world.produce(400)
        left = steps

        def hook(step: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crash

        world.hook = hook
        runner = world.runner()
        world.broker.closed = True
        try:
            while not runner.turn():
                pass
        except Crash:
            world.broker.evict(world.stream)
            world.finish()
            assert world.alerts() == undisturbed(400, partitions)
            steps += 1
        else:
            break
    assert steps > 30


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_many_crashes_labels_lost_answers_and_damage(data: st.DataObject) -> None:
    """The journal tells it all: a fresh replay of log and journal gives the alerts that were published."""
    keep_all = config(checkpoints={"interval": 0.5, "keep": 1000})
    world = World(partitions=2, metadata_bytes_max=TIGHT, config=keep_all)
    produced = 0
    for _ in range(data.draw(st.integers(1, 8))):
        left = data.draw(st.integers(0, 60))

        def hook(step: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crash

        runner = world.runner()
        world.hook = hook
        try:
            for _ in range(data.draw(st.integers(1, 12))):
                count = data.draw(st.integers(0, 90))
                world.produce(count, produced)
                produced += count
                if data.draw(st.booleans()):
                    world.feedback.append(b"label %d" % produced)
                if data.draw(st.integers(0, 5)) == 0:
                    world.broker.fail_commits(applied=data.draw(st.booleans()))
                if data.draw(st.integers(0, 5)) == 0:
                    world.store.fail = data.draw(st.integers(1, 4))
                runner.turn()
        except Crash:
            pass
        world.hook = lambda step: None
        world.broker.evict(world.stream)
    world.store.fail = 0
    world.broker.heal()
    world.finish()
    received = [
        (m.partition, m.offset) for m in world.broker.published if m.topic in ("scores", "dead_letter")
    ]
    expected = [(p, r.offset) for p in range(2) for r in world.broker.records(p)]
    assert sorted(received) == expected
    assert audited(world) == world.alerts()


def audited(world: World, told: list[bytes] | None = None) -> list[bytes]:
    """Alerts of a replay from the beginning by the full chain of journals; `told` takes what shards told."""
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
            labels_end=journal.labels,
            told_end=journal.exchange,
        )
        plan = list(journal.barriers)
        records = list(world.broker.records(number))
        while records:
            consumed, outputs, ended = shard.take(records, silent=False)
            del records[:consumed]
            alerts += [alert.body for alert in outputs.alerts]
            if ended and plan and plan[0].position == shard.position:
                barrier = plan.pop(0)
                labels = world.feedback.read(shard.labels_end, barrier.labels)
                heard = world.exchange.read(shard.told_end, barrier.exchange)
                shard.barrier(labels, barrier.labels, heard, barrier.exchange)
                if told is not None:
                    told += shard.exchange.collect()[0]
        assert not plan
    return alerts


# --- exchange -----------------------------------------------------------------------------------------------

TALKATIVE = {"topics": {"feedback": "feedback", "scores": "scores", "exchange": "exchange"}}


def barriers_seen(world: World) -> list[tuple[int, int, int]]:
    """Partition, offset and model version of every score."""
    scores = [decode_score(m.value or b"") for m in world.broker.published if m.topic == "scores"]
    return sorted((score.partition, score.offset, score.model_version) for score in scores)


def counts_of_messages(world: World) -> Counter[str]:
    return Counter({name: n for name, n in world.telemetry.totals().exchange.items() if n})


def test_shards_hear_each_other_at_barriers_that_come_anyway() -> None:
    world = World(partitions=2, config=config(**TALKATIVE))
    world.produce(800)
    world.finish()
    alone = World(partitions=2)
    alone.produce(800)
    alone.finish()
    journals = [world.journal(number) for number in range(2)]
    assert world.alerts() != alone.alerts()
    assert barriers_seen(world) == barriers_seen(alone)
    told = [m.value for m in world.broker.published if m.topic == "exchange"]
    assert told == [value for _, value in world.exchange.read(0, 1000)]
    assert all(0 < journal.end("exchange") <= len(told) for journal in journals)
    counts = counts_of_messages(world)
    assert counts["told"] == len(told)
    assert 0 < counts["heard"] < counts["told"]
    assert counts.keys() == {"told", "heard", "own"}
    again: list[bytes] = []
    keep_all = World(partitions=2, config=config(checkpoints={"keep": 1000}, **TALKATIVE))
    keep_all.produce(800)
    keep_all.finish()
    assert audited(keep_all, again) == keep_all.alerts() == world.alerts()
    assert sorted(again) == sorted(told)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_shards_that_exchange_survive_crashes_lost_answers_and_damage(data: st.DataObject) -> None:
    """What is published, and told, is what an undisturbed replay of log, journal and exchange gives."""
    keep_all = config(checkpoints={"interval": 0.5, "keep": 1000}, **TALKATIVE)
    partitions = data.draw(st.integers(2, 3))
    world = World(partitions=partitions, metadata_bytes_max=TIGHT + 64, config=keep_all)
    produced = 0
    for _ in range(data.draw(st.integers(1, 6))):
        left = data.draw(st.integers(0, 80))

        def hook(step: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crash

        runners = [world.runner()]
        streams = [world.stream]
        if data.draw(st.booleans()):
            runners.append(world.runner())
            streams.append(world.stream)
        world.hook = hook
        try:
            for _ in range(data.draw(st.integers(1, 10))):
                count = data.draw(st.integers(0, 120))
                world.produce(count, produced)
                produced += count
                if data.draw(st.booleans()):
                    world.feedback.append(b"label %d" % produced)
                if data.draw(st.integers(0, 4)) == 0:
                    world.exchange.append(data.draw(st.binary(max_size=40)))
                if data.draw(st.integers(0, 5)) == 0:
                    world.broker.fail_commits(applied=data.draw(st.booleans()))
                if data.draw(st.integers(0, 5)) == 0:
                    world.store.fail = data.draw(st.integers(1, 4))
                world.exchange.down = data.draw(st.integers(0, 5)) == 0
                for runner in runners:
                    runner.turn()
        except Crash:
            pass
        world.hook = lambda step: None
        for stream in streams:
            world.broker.evict(stream)
    world.store.fail = 0
    world.exchange.down = False
    world.broker.heal()
    world.finish()
    received = [
        (m.partition, m.offset) for m in world.broker.published if m.topic in ("scores", "dead_letter")
    ]
    expected = [(p, r.offset) for p in range(partitions) for r in world.broker.records(p)]
    assert sorted(received) == expected
    told: list[bytes] = []
    assert audited(world, told) == world.alerts()
    assert sorted(told) == sorted(
        m.value for m in world.broker.published if m.topic == "exchange" and m.value
    )


def test_an_exchange_that_is_away_holds_only_barriers_back_that_need_it() -> None:
    world = World(partitions=2, config=config(**TALKATIVE))
    runner = world.runner()
    until(lambda: runner.status().ready, runner)  # it listens from here on
    world.exchange.append(b"junk")
    world.exchange.down = True
    world.produce(2 * 5 * BLOCK)
    until(lambda: runner.status().reason == "the side topic is away", runner)
    assert not world.journal().barriers
    assert world.broker.committed[0].offset < world.broker.records(0)[-1].offset
    world.exchange.down = False
    runner.stop()
    runner.run()
    world.finish()
    assert counts_of_messages(world)["malformed"] == 2


def test_what_one_barrier_hears_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "HEARD_RECORDS_MAX", 4)
    monkeypatch.setattr(exchange_module, "HEARD_BYTES_MAX", 20)
    world = World(config=config(checkpoints={"interval": 1e6}, **TALKATIVE))
    runner = world.runner()
    until(lambda: runner.status().ready, runner)  # it listens from here on
    for value in [b"8 bytes."] * 3 + [b"30 bytes".ljust(30)] + [b""] * 6:
        world.exchange.append(value)
    world.broker.sides.clear()  # its own messages shall not be there
    world.produce(8 * 4 * BLOCK)
    until(lambda: len(world.journal().barriers) > 5, runner)
    assert [barrier.exchange for barrier in world.journal().barriers][:6] == [2, 3, 4, 8, 10, 10]


def test_switching_the_exchange_on_and_off_is_a_change_of_configuration() -> None:
    world = World(partitions=2, config=config(checkpoints={"interval": 1e-6, "keep": 1000}))
    world.produce(300)
    runner = world.runner()
    until(lambda: world.broker.committed.keys() == {0, 1}, runner)
    runner.stop()
    runner.run()
    assert not json.loads(world.broker.committed[0].metadata).get("e")
    silent = world.config
    world.config = config(checkpoints={"interval": 1e-6, "keep": 1000}, **TALKATIVE)
    world.produce(600, 300)
    world.finish()
    assert world.journal().config_end == world.config.model_part(2).hash() != silent.model_part(2).hash()
    assert world.journal().end("exchange") > 0
    told = world.exchange.log_end()
    world.broker.closed = False
    world.config = silent
    world.produce(600, 900)
    world.finish()
    assert world.journal().config_end == silent.model_part(2).hash()
    assert world.exchange.log_end() == told


def test_an_exchange_that_is_gone_but_needed_is_refused() -> None:
    world = World(partitions=2, config=config(checkpoints={"interval": 1e6}, **TALKATIVE))
    world.produce(800)
    world.finish()
    assert world.journal().needed("exchange") is not None
    world.config = config()
    with pytest.raises(NeedsOperator, match=r"set topics\.exchange again"):
        world.runner().run()
    world.config = config(**TALKATIVE)
    world.exchange.trim(world.exchange.log_end())
    with pytest.raises(NeedsOperator, match="the exchange topic from offset"):
        world.runner().run()


def test_a_group_that_begins_anew_does_not_hear_its_former_life() -> None:
    world = World(partitions=2, config=config(**TALKATIVE))
    world.produce(800)
    world.finish()
    first = world.alerts()
    world.broker.committed.clear()
    world.broker.published.clear()
    world.finish()
    assert world.alerts() == first


# --- membership ---------------------------------------------------------------------------------------------


def test_a_commit_with_an_old_membership_publishes_nothing(
    undisturbed: Callable[..., list[bytes]],
) -> None:
    world = World(partitions=2)
    world.produce(400)
    first = world.runner()
    until(lambda: world.broker.commits > 2, first)
    published: list[Message] = []

    def overtake(step: str) -> None:
        if step == "commit:before":  # the first one pauses right here, and loses its session
            world.hook = lambda step: None
            world.broker.evict(zombie)
            until(lambda: world.broker.commits > 6, second)
            published.extend(world.broker.published)

    zombie, second = world.stream, world.runner()
    world.hook = overtake
    until(lambda: bool(published), first)
    assert world.broker.published == published
    assert world.telemetry.commit_failures == 1
    world.broker.closed = True
    second.run()
    assert world.alerts() == undisturbed(400, 2)


def test_partitions_move_between_members(undisturbed: Callable[..., list[bytes]]) -> None:
    world = World(partitions=3, poll_records_max=10)
    world.produce(400)
    runners = [world.runner()]
    until(lambda: world.broker.commits > 4, *runners)
    runners.append(world.runner())
    until(lambda: bool(runners[1].status().partitions), *runners)
    until(lambda: all(runner.status().ready for runner in runners), *runners)
    assert [len(runner.status().partitions) for runner in runners] == [2, 1]
    runners[0].stop()
    runners[0].run()
    runners.append(world.runner())
    runners.append(world.runner())
    runners.append(world.runner())
    for _ in range(10):
        for runner in runners[1:]:
            runner.turn()
    idle = runners[-1].status()
    assert idle.ready
    assert idle.partitions == ()
    world.broker.closed = True
    for runner in runners[1:]:
        runner.run()
    assert world.alerts() == undisturbed(400, 3)


# --- commits beside the loop --------------------------------------------------------------------------------


class SlowCommits:
    """Commits made on a thread that waits until it is let go; a hook of a `World`."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.let_go = threading.Event()
        self.released_by = ""

    def __call__(self, step: str) -> None:
        if step == "commit:before":
            assert self.let_go.wait(10.0)
        if step == self.released_by:
            self.let_go.set()
        self.steps.append(step)


def slow_commits(partitions: int = 1) -> tuple[World, Runner, SlowCommits]:
    """A world in which the commit of its first ten records is under way."""
    world, slow = World(partitions=partitions), SlowCommits()
    runner = world.runner(stream=MemoryStream(world.broker, world.clock, commits_beside=True))
    until(lambda: len(world.broker.committed) == partitions and not runner._under_way, runner)
    world.hook = slow
    world.produce(10)
    until(lambda: runner._under_way is not None, runner)
    return world, runner, slow


def test_turns_come_while_a_commit_is_under_way() -> None:
    world, runner, slow = slow_commits()
    world.produce(5, start=10)
    runner.turn()
    assert runner._owned[0].partition.position >= 15
    assert world.broker.committed[0].offset == 0
    assert world.telemetry.totals().scored == 0
    slow.let_go.set()
    until(lambda: world.telemetry.totals().received == 15, runner)
    assert world.broker.committed[0].offset >= 15


def test_a_commit_waits_for_the_one_before_it() -> None:
    world, runner, slow = slow_commits()
    slow.released_by = "poll:after"
    world.produce(5, start=10)
    world.clock.sleep(1.0)
    runner.turn()
    assert slow.steps.index("poll:after") < slow.steps.index("commit:after")
    runner.stop()
    runner.run()
    offsets = [m.offset for m in world.broker.published if m.topic in ("scores", "dead_letter")]
    assert sorted(offsets) == offsets
    assert len(offsets) == len(set(offsets)) == 15
    assert world.telemetry.totals().received == 15


def test_nothing_that_is_committed_is_read_back_while_a_commit_is_under_way() -> None:
    world, runner, slow = slow_commits()
    slow.released_by = "poll:after"
    world.broker.grow(1)
    runner.turn()
    assert "committed" in slow.steps
    assert slow.steps.index("commit:after") < slow.steps.index("committed")


def test_what_is_taken_away_during_its_commit_still_counts() -> None:
    world, runner, slow = slow_commits(partitions=2)
    slow.let_go.set()
    assert runner._under_way
    runner._under_way.answer.result(10.0)
    world.runner(telemetry=Telemetry()).turn()
    runner.turn()
    assert len(runner._owned) == 1
    runner.stop()
    runner.run()
    assert world.telemetry.totals().received == 10


def test_a_commit_beside_the_loop_that_fails_is_a_failed_commit() -> None:
    world, runner, slow = slow_commits()
    world.broker.fail_commits()
    slow.let_go.set()
    until(lambda: world.log.events().count("commit_failed") == 1, runner)
    until(lambda: world.telemetry.totals().received == 10, runner)
    offsets = [m.offset for m in world.broker.published if m.topic in ("scores", "dead_letter")]
    assert len(offsets) == len(set(offsets)) == 10


# --- checkpoints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["state", "json"])
@pytest.mark.parametrize("fault", ["tear", "corrupt", "lose"])
def test_a_damaged_checkpoint_costs_only_a_longer_replay(
    what: str, fault: str, undisturbed: Callable[..., list[bytes]]
) -> None:
    world = World(poll_records_max=20, config=config(checkpoints={"interval": 0.001}))
    world.produce(400)
    runner = world.runner()
    until(lambda: world.broker.committed.get(0, Committed(offset=0, metadata="")).offset > 300, runner)
    assert len(names(world)) >= 2
    runner.stop()
    runner.run()
    newest = world.newest()
    getattr(world.store, fault)(world.path(f"{newest}.{what}"))
    world.finish()
    assert world.alerts() == undisturbed(400)
    assert ("checkpoint_damaged" in world.log.events()) == (what == "state")


def test_all_checkpoints_damaged_goes_back_to_the_bare_start(
    undisturbed: Callable[..., list[bytes]],
) -> None:
    world = World(poll_records_max=20, config=config(checkpoints={"interval": 0.001, "keep": 1000}))
    world.produce(400)
    runner = world.runner()
    until(lambda: world.broker.committed.get(0, Committed(offset=0, metadata="")).offset > 300, runner)
    for name in list(world.store.objects):
        if name.endswith(".state"):
            world.store.lose(name)
    world.broker.evict(world.stream)
    world.finish()
    assert world.alerts() == undisturbed(400)


def test_no_usable_checkpoint_needs_an_operator() -> None:
    world = World(poll_records_max=20, config=config(checkpoints={"interval": 0.001}))
    world.produce(400)
    runner = world.runner()
    until(lambda: bool(names(world) and world.journal().checkpoint), runner)
    world.store.objects.clear()
    world.broker.evict(world.stream)
    again = world.runner()
    with pytest.raises(NeedsOperator, match="no usable checkpoint"):
        again.run()
    assert world.stream.closed


def test_a_restore_that_was_overtaken_needs_no_operator(undisturbed: Callable[..., list[bytes]]) -> None:
    """It stood still while others went on, and what it was about to read is no longer kept."""
    world = World(poll_records_max=20, config=config(checkpoints={"interval": 0.001, "keep": 2}))
    world.produce(400)
    first = world.runner()
    until(lambda: 0 in world.broker.committed and bool(world.newest()), first)
    first.stop()
    first.run()
    state = world.path(f"{world.newest()}.state")
    slow, frozen = world.runner(), world.stream
    second = world.runner()

    def overtake(step: str) -> None:
        if step == "get":
            world.hook = lambda step: None
            world.broker.evict(frozen)
            until(lambda: state not in world.store.objects, second)

    world.hook = overtake
    slow.turn()
    assert state not in world.store.objects
    until(lambda: slow.status().ready and second.status().ready, slow, second)
    world.broker.closed = True
    for runner in (second, slow):
        runner.run()
    assert world.alerts() == undisturbed(400)


def test_generations_beyond_those_kept_are_deleted() -> None:
    world = World(poll_records_max=20, config=config(checkpoints={"interval": 0.001, "keep": 2}))
    world.produce(1000)
    world.finish()
    assert len(names(world)) == 2
    assert world.path(world.newest()) in names(world)
    assert len([name for name in world.store.objects if "/config/" not in name]) == 6


def test_a_full_journal_waits_for_the_checkpoint_and_changes_nothing(
    undisturbed: Callable[..., list[bytes]],
) -> None:
    world = World(metadata_bytes_max=TIGHT, poll_records_max=20)
    world.produce(1500)
    world.executor.held = True
    runner = world.runner()
    until(lambda: any(line.state == "waiting" for line in runner.status().partitions), runner)
    assert not runner.status().ready
    stuck = world.broker.committed[0]
    for _ in range(20):
        runner.turn()
    assert world.broker.committed[0] == stuck
    assert world.stream.paused == {0}
    world.executor.held = False
    world.executor.release()
    until(lambda: runner.status().ready, runner, turns=4)
    world.broker.closed = True
    runner.run()
    assert world.alerts() == undisturbed(1500)
    assert max(len(c.metadata) for c in world.broker.committed.values()) <= TIGHT


def test_a_journal_that_has_room_has_room_under_its_first_checkpoint(
    undisturbed: Callable[..., list[bytes]],
) -> None:
    """Its name takes what barriers just left, while no snapshot is taken that could make room again."""
    for turns in range(8, 22):
        world = World(
            metadata_bytes_max=340, poll_records_max=50, config=config(checkpoints={"interval": 0.001})
        )
        world.produce(1000)
        world.executor.held = True
        runner = world.runner()
        for _ in range(turns):
            runner.turn()
        world.executor.held = False
        world.executor.release()
        world.broker.closed = True
        runner.run()
        assert world.alerts() == undisturbed(1000)


def snapshots() -> list[Snapshot]:
    return [found for found in gc.get_objects() if isinstance(found, Snapshot)]


def test_a_store_that_hangs_holds_no_snapshots_of_shards_that_are_gone() -> None:
    before = {id(found): found for found in snapshots()}  # other tests' worlds
    world = World(poll_records_max=200)
    world.executor.held = True
    runner = world.runner()
    for number in range(20):
        world.produce(150)
        world.clock.sleep(1.0)
        until(lambda: runner.status().ready, runner)
        runner.turn()
        if number % 2:
            world.broker.fail_commits()
    gc.collect()
    assert len([found for found in snapshots() if id(found) not in before]) <= 1
    world.executor.held = False
    world.executor.release()

    def named() -> bool:
        world.clock.sleep(1.0)
        world.produce(150)
        return bool(world.newest())

    until(named, runner)


def test_a_store_that_is_away_is_tried_again(undisturbed: Callable[..., list[bytes]]) -> None:
    world = World(metadata_bytes_max=TIGHT, poll_records_max=20)
    world.produce(1500)
    runner = world.runner()
    runner.turn()
    world.store.fail = 10**9
    until(lambda: "checkpoint_failed" in world.log.events(), runner)
    until(lambda: not runner.status().ready, runner)
    world.store.fail = 0
    world.broker.closed = True
    runner.run()
    assert world.alerts() == undisturbed(1500)


# --- the world is away --------------------------------------------------------------------------------------


def test_a_broker_that_is_away_is_waited_for(undisturbed: Callable[..., list[bytes]]) -> None:
    world = World(poll_records_max=20)
    world.produce(400)
    runner = world.runner()
    until(lambda: world.broker.commits > 3, runner)
    assert runner.status().ready
    world.broker.down = True
    slept_s = world.clock.slept_s
    for _ in range(12):
        runner.turn()
        assert runner.status().reason == "the broker is away"
        assert not runner.status().ready
    assert 20 < world.clock.slept_s - slept_s < 60  # exponential with a cap
    assert world.telemetry.heartbeat is not None
    assert world.clock.monotonic() - world.telemetry.heartbeat <= 0.5
    world.broker.down = False
    until(lambda: runner.status().ready, runner, turns=2)
    world.broker.closed = True
    runner.run()
    assert world.alerts() == undisturbed(400)


def test_the_same_trouble_is_logged_once_a_minute() -> None:
    world = World()
    world.broker.down = True
    runner, began_s = world.runner(), world.clock.now_s
    for _ in range(100):
        runner.turn()
    told = world.log.events().count("not_ready")
    assert 2 <= told <= 1 + (world.clock.now_s - began_s) // 60


def test_records_of_a_poll_that_failed_are_read_again(undisturbed: Callable[..., list[bytes]]) -> None:
    world = World(partitions=2, poll_records_max=20)
    world.produce(400)
    runner = world.runner()
    calls = 0

    def hook(step: str) -> None:
        nonlocal calls
        if step == "poll:after":
            calls += 1
            if calls % 3 == 0:
                raise BrokerUnavailable("the answer came too late")

    world.hook = hook
    world.broker.closed = True
    runner.run()
    assert world.alerts() == undisturbed(400, 2)


@pytest.mark.parametrize("applied", [False, True])
def test_after_a_failed_commit_only_what_is_committed_counts(
    applied: bool, undisturbed: Callable[..., list[bytes]]
) -> None:
    world = World(partitions=2, poll_records_max=20)
    world.produce(400)
    runner = world.runner()
    until(lambda: world.broker.commits > 3, runner)
    world.broker.fail_commits(2, applied=applied)
    world.broker.closed = True
    runner.run()
    assert world.alerts() == undisturbed(400, 2)
    assert world.telemetry.commit_failures == 2


def test_commits_that_keep_failing_are_tried_ever_more_rarely(
    undisturbed: Callable[..., list[bytes]],
) -> None:
    world = World(poll_records_max=20)
    world.produce(400)
    runner = world.runner()
    until(lambda: world.broker.commits > 3, runner)
    world.broker.fail_commits(8)
    slept_s = world.clock.slept_s
    until(lambda: world.telemetry.commit_failures == 8, runner)
    assert world.clock.slept_s - slept_s > 0.1 * (2**6 - 1)
    world.broker.closed = True
    runner.run()
    assert world.alerts() == undisturbed(400)


def test_feedback_that_is_away_holds_the_barrier_back() -> None:
    world = World(poll_records_max=20)
    world.produce(200)
    world.feedback.append(b"label")
    world.feedback.down = True
    runner = world.runner()
    until(lambda: runner.status().reason == "the side topic is away", runner)
    assert world.broker.committed[0].offset < 64
    world.feedback.down = False
    world.broker.closed = True
    runner.run()
    assert world.journal().end("labels") == 1
    assert world.telemetry.partitions[0].labels["applied"] == 1
    assert audited(world) == world.alerts()


# --- what only an operator can mend -------------------------------------------------------------------------


def test_offsets_of_another_consumer_are_refused() -> None:
    world = World()
    world.broker.committed[0] = Committed(offset=7, metadata="")
    with pytest.raises(NeedsOperator, match="something else committed it"):
        world.runner().run()


def test_a_log_that_lost_what_recovery_needs_is_refused() -> None:
    world = World()
    world.produce(100)
    world.finish()
    world.broker.trim(0, 50)
    with pytest.raises(NeedsOperator, match=r"partition 0: going on needs the log from offset 0, .* 50"):
        world.runner().run()


def test_a_quiet_partition_renews_its_origin_before_the_log_forgets() -> None:
    world = World()
    world.produce(10)
    runner = world.runner()
    until(lambda: 0 in world.broker.committed, runner)
    assert not world.newest()
    world.clock.sleep(2 * 86_400.0)
    until(lambda: bool(world.newest()), runner)
    assert world.journal().position == world.broker.records(0)[-1].offset + 1
    runner.stop()
    runner.run()
    world.broker.trim(0, world.journal().position)
    world.produce(10, start=10)
    world.finish()
    numbers = world.telemetry.partitions[0]
    assert numbers.scored + sum(numbers.rejected.values()) == numbers.received == 20


def test_labels_that_were_gone_before_they_were_seen_stop_nobody() -> None:
    world = World()
    for _ in range(40):
        world.feedback.append(b"label")
    world.produce(100)
    runner = world.runner(feedback=None)
    until(lambda: 0 in world.broker.committed, runner)
    runner.stop()
    runner.run()
    world.feedback.trim(30)
    world.produce(100, start=100)
    world.finish()
    assert world.telemetry.partitions[0].labels["applied"] == 10


def test_feedback_that_lost_what_recovery_needs_is_refused() -> None:
    world = World(config=config(checkpoints={"interval": 1e6}))
    world.feedback.append(b"label")
    world.produce(100)
    world.finish()
    world.feedback.trim(1)
    with pytest.raises(NeedsOperator, match=r"feedback topic from offset 0, .* 1 now"):
        world.runner().run()
    with pytest.raises(NeedsOperator, match=r"set topics\.feedback again"):
        world.runner(feedback=None).run()


def test_another_configuration_takes_effect_at_a_barrier_and_is_journaled() -> None:
    world = World(poll_records_max=20, config=config(checkpoints={"interval": 1e6}))
    world.produce(200)
    runner = world.runner()
    until(lambda: world.broker.committed.get(0, Committed(offset=0, metadata="")).offset > 60, runner)
    runner.stop()
    runner.run()
    old = world.config.model_part(1).hash()
    world.config = config(alerts={"reasons_max": 2}, checkpoints={"interval": 1e6})
    world.finish()
    assert [b.cause for b in world.journal().barriers].count("config") == 1
    assert world.journal().configs == {old, world.config.model_part(1).hash()}
    world.produce(100, 200)
    world.finish()
    received = [
        (m.partition, m.offset) for m in world.broker.published if m.topic in ("scores", "dead_letter")
    ]
    assert len(received) == len(set(received)) == 300
    del world.store.objects[world.path(f"config/{old}.json")]
    with pytest.raises(NeedsOperator, match="names configurations"):
        world.runner().run()


def test_the_number_of_partitions_is_asked_for_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.produce(100)
    runner = world.runner()
    until(lambda: runner.status().ready, runner)
    asked: list[float] = []
    monkeypatch.setattr(
        world.stream, "partitions_count", lambda: asked.append(world.clock.monotonic()) or world.partitions
    )
    began_s = world.clock.monotonic()
    for _ in range(50):
        runner.turn()
    assert 2 <= len(asked) <= world.clock.monotonic() - began_s + 1


@pytest.mark.parametrize("left", [0, 30])
def test_a_log_that_ends_below_what_is_committed_is_refused(left: int) -> None:
    world = World()
    world.produce(100)
    world.finish()
    until = world.broker.committed[0].offset
    world.broker.cut(0, left)
    message = (
        rf"partition 0: .* committed offset {until}, .* ends at {left} now: .* delete the group's offsets"
    )
    with pytest.raises(NeedsOperator, match=message):
        world.runner().run()


def test_partitions_that_are_added_change_what_the_others_want() -> None:
    world = World(config=config(checkpoints={"interval": 1e6}, alerts={"budget": {"per_day": 90}}))
    world.produce(100)
    runner = world.runner()
    until(lambda: runner.status().ready, runner)
    world.broker.grow(2)
    world.store.fail = 10**9
    wanted = world.config.model_part(3).hash()

    def known() -> bool:
        journal = Journal.from_text(world.broker.committed[0].metadata)
        kept = [name for name in world.store.objects if "/config/" in name]
        assert all(any(used in name for name in kept) for used in journal.configs)
        return journal.config_end == wanted

    def give(count: int) -> None:
        for _ in range(count):
            for number in range(2 * BLOCK):
                world.broker.append(0, b"more %d" % number)
            runner.turn()
            known()

    give(20)
    world.clock.sleep(2.0)
    give(20)
    assert not known()
    assert "configuration_not_kept" in world.log.events()
    world.store.fail = 0
    until(lambda: len(runner.status().partitions) == 3 and runner.status().ready, runner)
    world.clock.sleep(1.0)
    give(3)
    assert known()
    world.broker.closed = True
    runner.stop()
    runner.run()
    world.finish()
    assert world.journal().config_end == wanted


# --- what is told -------------------------------------------------------------------------------------------


def test_numbers_add_up_and_messages_are_in_order() -> None:
    world = World(partitions=2)
    world.produce(400)
    blocks: list[tuple[int, Mapping[str, float]]] = []
    runner = world.runner(observe=lambda partition, signals: blocks.append((partition, signals)))
    while not runner.turn():
        for numbers in world.telemetry.partitions.values():
            assert numbers.received == numbers.scored + sum(numbers.rejected.values())
        world.broker.closed = True
        world.clock.sleep(0.02)
    published = world.broker.published
    for number, numbers in world.telemetry.partitions.items():
        of = {topic: sum(m.topic == topic and m.partition == number for m in published) for topic in TOPICS}
        assert numbers.received == 200
        assert numbers.scored == of["scores"]
        assert numbers.rejected["empty"] == of["dead_letter"] > 0
        assert numbers.alerts["high"] == of["alerts"] > 0
        assert numbers.replayed == 0
        assert numbers.lag_records == 0
        assert numbers.lag_seconds == 0.0
        assert numbers.journal_bytes == len(world.broker.committed[number].metadata)
        assert numbers.gauges["version"] > 0
    assert int(world.telemetry.latency.counts.sum()) == sum(m.topic == "scores" for m in published)
    assert {"poll", "score", "commit"} - {"poll"} <= set(world.telemetry.stages)
    assert world.telemetry.owned == {0, 1}
    assert {partition for partition, _ in blocks} == {0, 1}
    assert set(blocks[0][1]) == {"score_mean", "rejected_share"}


TOPICS = ("alerts", "dead_letter", "scores")


def test_a_score_says_all() -> None:
    world = World()
    world.produce(3)
    world.finish()
    message = next(m for m in world.broker.published if m.topic == "scores" and m.offset == 3)
    assert json.loads(message.value or b"") == {
        "event_id": "3",
        "event_time": "1970-01-01T00:00:03Z",
        "score": 3 / 7,
        "quantile": 0.0,
        "alert": json.loads(message.value or b"")["alert"],
        "model_version": 0,
        "topic": "transactions",
        "partition": 0,
        "offset": 3,
    }
    assert message.headers == (("content-type", b"application/json"),)


def test_stopping_commits_what_is_done_and_leaves() -> None:
    world = World(poll_records_max=200)
    world.produce(200)
    runner = world.runner()

    def stop(step: str) -> None:
        if step == "commit:after" and world.broker.committed[0].offset > 0:
            runner.stop()

    world.hook = stop
    runner.run()
    assert world.stream.closed
    assert 0 < world.broker.committed[0].offset < 200
    assert runner.status().reason == "stopped"


class Frozen:
    """A call that is not answered before the test is over."""

    def __init__(self, world: World) -> None:
        self.stopped_s = -1.0
        self._world = world
        self._over = threading.Event()

    def __call__(self, runner: Runner) -> None:
        self.stopped_s = self._world.clock.monotonic()
        runner.stop()
        self._world.clock.sleep(3.5)
        self._over.wait(10)

    def thaw(self) -> None:
        self._over.set()


@pytest.mark.parametrize(
    ("call", "times"),
    [("poll", 0), ("commit", 3), ("committed", 0), ("beginning", 0), ("log_end", 0), ("store", 0)],
)
def test_a_stop_does_not_wait_for_a_world_that_is_frozen(
    call: str, times: int, monkeypatch: pytest.MonkeyPatch, undisturbed: Callable[..., list[bytes]]
) -> None:
    world = World(partitions=2, poll_records_max=20, config=config(checkpoints={"interval": 0.001}))
    world.produce(400)
    first = world.runner()
    until(lambda: len(world.broker.committed) == 2 and bool(world.newest()), first)
    assert world.broker.committed[0].offset < 150
    world.broker.evict(world.stream)
    runner, frozen, left = world.runner(), Frozen(world), times
    target, name = (world.store, "get") if call == "store" else (world.stream, call)
    answer = getattr(target, name)

    def freeze(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            frozen(runner)
            raise BrokerUnavailable("nobody hears this")
        return answer(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(target, name, freeze)
        runner.run()
    assert world.clock.monotonic() - frozen.stopped_s < 10
    assert world.stream.closed
    assert ("not_committed_at_stop" in world.log.events()) == (call == "commit")
    frozen.thaw()
    world.finish()
    assert world.alerts() == undisturbed(400, 2)


def test_a_stop_ends_restoring_after_the_step_it_is_in() -> None:
    world = World(partitions=3, poll_records_max=20, config=config(checkpoints={"interval": 0.001}))
    world.produce(600)
    world.finish()
    runner = world.runner()
    steps: list[str] = []

    def stop(step: str) -> None:
        if step == "get":
            steps.append(step)
            runner.stop()

    world.hook = stop
    runner.run()
    assert len(steps) == 1


def test_the_heart_beats_between_the_steps_of_restoring() -> None:
    world = World(partitions=3, poll_records_max=20, config=config(checkpoints={"interval": 0.001}))
    world.produce(600)
    world.finish()
    runner = world.runner()
    ages: list[float] = []

    def slow(step: str) -> None:
        if step in ("get", "put:before"):
            beat = world.telemetry.heartbeat
            assert beat is not None
            ages.append(world.clock.monotonic() - beat)
            world.clock.sleep(25.0)

    world.hook = slow
    until(lambda: runner.status().ready, runner)
    assert len(ages) > 6
    assert max(ages) < 1.0


def test_a_journal_is_written_as_text_once_per_change(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()
    to_text, from_text = Journal.to_text, Journal.from_text

    def counted_to_text(journal: Journal) -> str:
        calls["to_text"] += 1
        return to_text(journal)

    def counted_from_text(text: str) -> Journal:
        calls["from_text"] += 1
        return from_text(text)

    world = World(poll_records_max=3)
    world.produce(600)
    world.broker.closed = True
    runner = world.runner(store=None, metadata_bytes_max=10**9, commit_interval_s=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "to_text", counted_to_text)
        patch.setattr(Journal, "from_text", counted_from_text)
        runner.run()
    journals = 1 + len(world.journal().barriers)
    assert world.broker.commits > 100
    assert calls["from_text"] == 0
    assert calls["to_text"] <= 2 * journals  # one for the text, one for its size with one more


def test_the_committed_offset_goes_past_gaps_at_the_end() -> None:
    world = World()
    world.produce(10)
    world.broker.gap(0, 3)
    runner = world.runner()
    until(lambda: world.broker.committed.get(0, Committed(offset=0, metadata="")).offset == 15, runner)
    runner.stop()
    runner.run()
    again = world.runner()
    until(lambda: again.status().ready, again)
    assert world.telemetry.partitions[0].lag_records == 0


@pytest.mark.parametrize("fault", ["stop", "poll"])
def test_a_committed_offset_does_not_go_back_into_a_gap(fault: str) -> None:
    world = World()
    world.produce(10)
    world.broker.gap(0, 3)
    runner = world.runner()
    until(lambda: world.broker.committed.get(0, Committed(offset=0, metadata="")).offset == 15, runner)
    if fault == "stop":  # when more was polled, but not processed
        world.produce(5, 10)
        world.hook = lambda step: runner.stop() if step == "poll:after" else None
    else:  # after a poll that failed, so that the stream was sent back
        world.broker.down = True
        runner.turn()
        world.broker.down = False
        runner.stop()
    runner.run()
    assert world.broker.committed[0].offset == 15


def test_nothing_is_committed_when_nothing_changed() -> None:
    world = World()
    world.produce(10)
    runner = world.runner()
    until(lambda: world.broker.commits > 1, runner)
    commits = world.broker.commits
    for _ in range(50):
        runner.turn()
    assert world.broker.commits == commits


def test_without_a_store_it_runs_all_the_same(undisturbed: Callable[..., list[bytes]]) -> None:
    world = World()
    world.produce(400)
    world.broker.closed = True
    world.runner(store=None, metadata_bytes_max=10**9, commit_interval_s=0.0).run()
    assert world.alerts() == undisturbed(400)


# --- the model itself ---------------------------------------------------------------------------------------


def test_the_model_is_restored_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real shard: crashes, damage, labels and failed commits change no byte of any alert or score."""
    monkeypatch.setattr(partition_module, "Shard", Shard)
    rng = np.random.default_rng(7)
    events = [
        {"id": str(n), "t": 1_600_000_000 + 60 * n, "card": f"c{n % 40}", "x": float(x), "y": float(y)}
        for n, (x, y) in enumerate(np.exp(rng.normal(size=(2500, 2)) + 4 * (rng.random((2500, 1)) < 0.01)))
    ]
    label = b'{"time": 1, "label": "fraud", "event_id": "70"}'

    def world() -> World:
        made = World(partitions=2, poll_records_max=120, config=model_config())
        for n, event in enumerate(events):
            value = b"{" if n % 97 == 13 else json.dumps(event).encode()
            made.broker.append(n % 2, value, key=b"c%d" % (n % 40))
        made.feedback.append(label)
        return made

    undisturbed = world()
    undisturbed.finish()
    assert len(undisturbed.alerts()) > 10

    disturbed = world()
    steps = iter(rng.integers(5, 60, 8).tolist())
    for number, left in enumerate(steps):

        def hook(step: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crash

        runner = disturbed.runner()
        disturbed.hook = hook
        with pytest.raises(Crash):
            until(lambda: False, runner)
        disturbed.hook = lambda step: None
        disturbed.broker.evict(disturbed.stream)
        if number == 5:
            disturbed.store.corrupt(disturbed.path(f"{disturbed.newest()}.state"), 1000)
        if number == 6:
            disturbed.broker.fail_commits(2, applied=True)
    disturbed.finish()
    assert "checkpoint_damaged" in disturbed.log.events()
    assert in_order(disturbed) == in_order(undisturbed)


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


def test_a_stream_whose_ids_are_not_unique_is_warned_of() -> None:
    world = World()
    runner = world.runner()
    numbers = world.telemetry.partitions[0]
    numbers.received, numbers.irregular["duplicate"] = 2000, 200
    until(lambda: runner.status().ready, runner)
    assert runner.status().warnings == ()
    numbers.irregular["duplicate"] = 201
    runner.turn()
    (warning,) = runner.status().warnings
    assert "201 of 2000 events" in warning
    assert "event.duplicates: null" in warning
    runner.stop()
    runner.run()

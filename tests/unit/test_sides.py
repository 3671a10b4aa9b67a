"""Side inputs: one table, and a third one that is added to it from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from detector.config.tree import Topics
from detector.core.records import Identity, Outputs, Record
from detector.core.recovery.journal import Barrier, Journal
from detector.core.recovery.sides import SIDES, Side, SideInput, SideRange, SideRecords
from detector.core.shard import partition as partition_module
from detector.core.shard.partition import Partition
from detector.core.shard.replay import follow
from detector.core.shard.shard import Shard
from detector.errors import NeedsOperator
from detector.testing import MemorySideLog
from tests.chain import ChainShard
from tests.sides import named
from tests.unit.runner_world import BLOCK, World, config, until
from tests.unit.test_shard import IDENTITY, part

RULES = [(position, b"rule %d" % position) for position in range(9)]


class RuledShard(ChainShard):
    """A shard with a handler for one more side input."""

    def side_handlers(self) -> dict[Side, Callable[[SideRecords], Mapping[str, int]]]:
        return {**super().side_handlers(), "rules": self._rule}

    def _rule(self, records: SideRecords) -> dict[str, int]:
        for _, value in records:
            self._push(b"rule", value)
        return {"ruled": len(records)} if records else {}


@pytest.fixture
def _rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add it: the table and the handler; `Runner.sides` takes its log."""
    monkeypatch.setitem(SIDES, "rules", SideInput(records_max=lambda _: 2, causes_barriers=True))
    monkeypatch.setattr(partition_module, "Shard", RuledShard)


def test_each_side_input_has_a_handler_and_a_topic() -> None:
    assert Shard(part(), IDENTITY, position=0).side_handlers().keys() == SIDES.keys()
    assert SIDES.keys() <= Topics.model_fields.keys()


@pytest.mark.usefixtures("_rules")
def test_a_third_side_is_in_the_text_of_the_journal() -> None:
    before = '{"v":1,"k":"","p":7,"c":"000000000000","s":[1,2],"b":[[9,1],[9,0,1]]}'
    journal = Journal.from_text(before)
    assert journal.to_text() == before
    assert journal.end("rules") == 0
    barrier = Barrier(position=30, cause="side_input", sides={"rules": SideRange(3, 5)})
    later = journal.extended(barrier)
    assert Journal.from_text(later.to_text()) == later
    assert len(later.to_text()) <= journal.bytes_next_max()
    assert later.needed("rules") == 3
    assert later.rebased("K", 30).sides == {"exchange": 2, "feedback": 3, "rules": 5}


def records(count: int) -> list[Record]:
    return [Record(offset, 0, None, b"event %d" % offset) for offset in range(count)]


def opened(journal: Journal | None = None, *, stop: int = 0) -> Partition:
    """A live partition, or one that replays `journal` up to `stop` with outputs."""
    identity = Identity(topic="transactions", group="g", partition=0, entity_key=b"secret")
    wanted = config().model_part(1)
    journal = journal or Partition.begin(wanted, 0)
    return Partition(identity, wanted, journal, until=stop, silent_until=0)


def live() -> tuple[Partition, list[Outputs]]:
    """Outputs of a partition to which one rule comes with each block."""
    partition, outputs, log = opened(), [], records(12 * BLOCK)
    while log:
        step = partition.take(log)
        del log[: step.consumed]
        outputs.append(step.outputs)
        available = {"rules": SideRange(0, min(partition.position // BLOCK, len(RULES)))}
        if step.block_ended and (barrier := partition.due(available)) is not None:
            outputs.append(partition.barrier(barrier, named(barrier, {"rules": RULES})))
    return partition, outputs


def alerts(outputs: Iterator[Outputs]) -> list[bytes]:
    return [alert.body for each in outputs for alert in each.alerts]


@pytest.mark.usefixtures("_rules")
def test_a_third_side_causes_barriers_and_is_applied_a_few_records_at_a_time() -> None:
    partition, outputs = live()
    barriers = partition.journal.barriers
    assert {barrier.cause for barrier in barriers} == {"side_input"}  # each after two blocks, not after four
    assert [barrier.sides["rules"] for barrier in barriers][:4] == [(0, 2), (2, 4), (4, 6), (6, 8)]
    assert sum(each.side_outcomes.get("rules", {}).get("ruled", 0) for each in outputs) == len(RULES)


@pytest.mark.usefixtures("_rules")
def test_a_third_side_is_applied_again_by_a_replay() -> None:
    lived, outputs = live()
    journal = Journal.from_text(lived.journal.to_text())

    def read(side: Side, wanted: SideRange) -> SideRecords:
        assert side == "rules"
        return RULES[slice(*wanted)]

    replayed = opened(journal, stop=lived.position)
    again = [passed.outputs for passed in follow(replayed, [records(lived.position)], read)]
    assert alerts(iter(again)) == alerts(iter(outputs)) != []
    assert (replayed.state_hash, replayed.mismatches) == (lived.state_hash, 0)
    changed = opened(journal, stop=lived.position)
    list(follow(changed, [records(lived.position)], lambda *_: [(0, b"another rule")]))
    assert changed.mismatches == 1


@pytest.mark.usefixtures("_rules")
def test_a_third_side_survives_restarts_of_the_runner() -> None:
    def run(*, restart: bool) -> World:
        world, rules = World(), MemorySideLog()
        for _, value in RULES:
            rules.append(value)
        world.produce(40 * BLOCK)
        sides = {"feedback": world.feedback, "rules": rules}
        if restart:
            runner = world.runner(sides=sides)
            until(lambda: bool(world.broker.committed) and world.journal().end("rules") > 3, runner)
            runner.stop()
            runner.run()
        world.broker.closed = True
        world.runner(sides=sides).run()
        return world

    undisturbed, restarted = run(restart=False), run(restart=True)
    assert restarted.alerts() == undisturbed.alerts() != []
    assert restarted.journal().end("rules") == len(RULES)
    plain = World()
    plain.produce(40 * BLOCK)
    plain.finish()
    assert plain.alerts() != undisturbed.alerts()


@pytest.mark.usefixtures("_rules")
def test_a_third_side_that_a_replay_needs_must_be_configured() -> None:
    world, rules = World(config=config(checkpoints={"interval": 1e6})), MemorySideLog()
    rules.append(b"rule")
    world.produce(8 * BLOCK)
    world.broker.closed = True
    with world.without_checkpoints():
        world.runner(sides={"rules": rules}).run()
    assert world.journal().needed("rules") == 0
    with pytest.raises(NeedsOperator, match=r"records 0 to 1 of the rules topic .* set topics\.rules again"):
        world.runner(sides={}).run()

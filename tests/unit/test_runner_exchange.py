"""Shards that exchange messages are a function of log, journal and exchange, whatever happens."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.core.alerts.score_record import decode_score
from detector.core.recovery.sides import SIDES
from detector.errors import NeedsOperator
from tests.unit.runner_world import (
    BLOCK,
    TALKATIVE,
    TIGHT,
    Crash,
    World,
    audited,
    config,
    crash_after,
    until,
)

pytestmark = pytest.mark.usefixtures("chain")


def barriers_seen(world: World) -> list[tuple[int, int, int]]:
    """Partition, offset and model version of every score."""
    scores = [decode_score(m.value or b"") for m in world.broker.published if m.topic == "scores"]
    return sorted((score.partition, score.offset, score.model_version) for score in scores)


def counts_of_messages(world: World) -> Counter[str]:
    return Counter({name: n for name, n in world.telemetry.totals().exchange.items() if n})


def test_shards_apply_messages_of_peers_at_regular_barriers() -> None:
    world = World(partitions=2, config=config(**TALKATIVE))
    world.produce(800)
    world.finish()
    alone = World(partitions=2)
    alone.produce(800)
    alone.finish()
    journals = [world.journal(number) for number in range(2)]
    assert world.alerts() != alone.alerts()
    assert barriers_seen(world) == barriers_seen(alone)
    published = [m.value for m in world.broker.published if m.topic == "exchange"]
    assert published == [value for _, value in world.exchange.read(0, 1000)]
    assert all(0 < journal.end("exchange") <= len(published) for journal in journals)
    counts = counts_of_messages(world)
    assert counts["published"] == len(published)
    assert 0 < counts["applied"] < counts["published"]
    assert counts.keys() == {"published", "applied", "own"}
    again: list[bytes] = []
    keep_all = World(partitions=2, config=config(checkpoints={"keep": 1000}, **TALKATIVE))
    keep_all.produce(800)
    keep_all.finish()
    assert audited(keep_all, again) == keep_all.alerts() == world.alerts()
    assert sorted(again) == sorted(published)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_shards_that_exchange_survive_crashes_lost_answers_and_damage(data: st.DataObject) -> None:
    """Outputs and messages are those of an undisturbed replay of log, journal and exchange."""
    keep_all = config(checkpoints={"interval": 0.5, "keep": 1000}, **TALKATIVE)
    partitions = data.draw(st.integers(2, 3))
    world = World(partitions=partitions, metadata_bytes_max=TIGHT + 64, config=keep_all)
    produced = 0
    for _ in range(data.draw(st.integers(1, 6))):
        hook = crash_after(data.draw(st.integers(0, 80)))
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
    published: list[bytes] = []
    assert audited(world, published) == world.alerts()
    assert sorted(published) == sorted(
        m.value for m in world.broker.published if m.topic == "exchange" and m.value
    )


def test_an_exchange_that_is_away_holds_back_only_barriers_that_need_it() -> None:
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


def test_messages_of_one_barrier_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(SIDES["exchange"], records_max=lambda _: 4, bytes_max=20)
    monkeypatch.setitem(SIDES, "exchange", small)
    world = World(config=config(checkpoints={"interval": 1e6}, **TALKATIVE))
    runner = world.runner()
    until(lambda: runner.status().ready, runner)  # it listens from here on
    for value in [b"8 bytes."] * 3 + [b"30 bytes".ljust(30)] + [b""] * 6:
        world.exchange.append(value)
    world.broker.sides.clear()  # its own messages shall not be there
    world.produce(8 * 4 * BLOCK)
    until(lambda: len(world.journal().barriers) > 5, runner)
    assert [barrier.sides.get("exchange") for barrier in world.journal().barriers][:6] == [
        (0, 2),
        (2, 3),
        (3, 4),
        (4, 8),
        (8, 10),
        None,
    ]


def test_switching_the_exchange_on_and_off_is_a_change_of_configuration() -> None:
    world = World(partitions=2, config=config(checkpoints={"interval": 1e-6, "keep": 1000}))
    world.produce(300)
    runner = world.runner()
    until(lambda: world.broker.committed.keys() == {0, 1}, runner)
    runner.stop()
    runner.run()
    assert world.journal().end("exchange") == 0
    silent = world.config
    world.config = config(checkpoints={"interval": 1e-6, "keep": 1000}, **TALKATIVE)
    world.produce(600, 300)
    world.finish()
    assert world.journal().config_end == world.config.model_part(2).hash() != silent.model_part(2).hash()
    assert world.journal().end("exchange") > 0
    published = world.exchange.log_end()
    world.broker.closed = False
    world.config = silent
    world.produce(600, 900)
    world.finish()
    assert world.journal().config_end == silent.model_part(2).hash()
    assert world.exchange.log_end() == published


def test_an_exchange_that_is_gone_but_needed_is_refused() -> None:
    world = World(partitions=2, config=config(checkpoints={"interval": 1e6}, **TALKATIVE))
    world.produce(800)
    with world.without_checkpoints():
        world.finish()
    assert world.journal().needed("exchange") is not None
    world.config = config()
    with pytest.raises(NeedsOperator, match=r"set topics\.exchange again"):
        world.runner().run()
    world.config = config(**TALKATIVE)
    world.exchange.trim(world.exchange.log_end())
    with pytest.raises(NeedsOperator, match="the exchange topic from offset"):
        world.runner().run()


def test_a_group_that_is_reset_ignores_its_earlier_messages() -> None:
    world = World(partitions=2, config=config(**TALKATIVE))
    world.produce(800)
    world.finish()
    first = world.alerts()
    world.broker.committed.clear()
    world.broker.published.clear()
    world.finish()
    assert world.alerts() == first

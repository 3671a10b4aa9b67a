"""Commits of the runner: one at a time, at the right offset, and only what they carry counts."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest

from detector.core.recovery.journal import Journal
from detector.core.reporting.telemetry import Telemetry
from detector.ports import Committed
from detector.shell.runner.loop import Runner
from detector.testing import (
    MemoryStream,
)
from tests.unit.runner_world import (
    World,
    until,
)

pytestmark = pytest.mark.usefixtures("chain")


class SlowCommits:
    """A hook of a `World`: commits wait until `let_go` is set."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.let_go = threading.Event()
        self.released_by = ""

    def __call__(self, step: str) -> None:
        if step == "commit:before":
            self.let_go.wait()
        if step == self.released_by:
            self.let_go.set()
        self.steps.append(step)


def slow_commits(partitions: int = 1) -> tuple[World, Runner, SlowCommits]:
    """A world with the commit of its first ten records under way."""
    world, slow = World(partitions=partitions), SlowCommits()
    runner = world.runner(stream=MemoryStream(world.broker, world.clock, commits_in_background=True))
    until(lambda: len(world.broker.committed) == partitions and not runner._committer.under_way, runner)
    world.hook = slow
    world.produce(10)
    until(lambda: runner._committer.under_way is not None, runner)
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


def test_committed_offsets_are_read_after_the_commit_under_way_has_ended() -> None:
    world, runner, slow = slow_commits()
    slow.released_by = "poll:after"
    world.broker.grow(1)
    runner.turn()
    assert "committed" in slow.steps
    assert slow.steps.index("commit:after") < slow.steps.index("committed")


def test_a_partition_revoked_during_its_commit_is_still_counted() -> None:
    world, runner, slow = slow_commits(partitions=2)
    slow.let_go.set()
    assert runner._committer.under_way
    runner._committer.under_way.answer.result()
    world.runner(telemetry=Telemetry()).turn()
    runner.turn()
    assert len(runner._owned) == 1
    runner.stop()
    runner.run()
    assert world.telemetry.totals().received == 10


def test_a_commit_in_the_background_that_fails_is_a_failed_commit() -> None:
    world, runner, slow = slow_commits()
    world.broker.fail_commits()
    slow.let_go.set()
    until(lambda: world.log.events().count("commit_failed") == 1, runner)
    until(lambda: world.telemetry.totals().received == 10, runner)
    offsets = [m.offset for m in world.broker.published if m.topic in ("scores", "dead_letter")]
    assert len(offsets) == len(set(offsets)) == 10


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


def test_commits_that_keep_failing_are_retried_with_backoff(
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
    world.ends.look()
    numbers = world.telemetry.partitions[0]
    assert numbers.log.lag(numbers.standing.processed) == 0


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

"""The world in memory keeps to the rules that the runner depends on."""

from __future__ import annotations

from concurrent.futures import Executor
from contextlib import suppress

import pytest

from detector.errors import BrokerUnavailable, CommitFailed, NeedsOperator, StoreUnavailable
from detector.ports import (
    CheckpointStore,
    Clock,
    Commit,
    Committed,
    Log,
    Message,
    Poll,
    SideLog,
    Stream,
)
from detector.testing import (
    STEPS,
    STEPS_AFTER,
    FakeClock,
    InlineExecutor,
    MemoryBroker,
    MemoryLog,
    MemorySideLog,
    MemoryStore,
    MemoryStream,
    no_hook,
)


def commit(poll: Poll, offset: int, partition: int = 0) -> Commit:
    message = Message(topic="alerts", key=None, value=b"", headers=(), partition=partition, offset=offset)
    positions = {partition: Committed(offset=offset, metadata="journal")}
    return Commit(messages=(message,), positions=positions, membership=poll.membership)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_the_classes_fit_the_ports(clock: FakeClock) -> None:
    stream: Stream = MemoryStream(MemoryBroker(), clock)
    store: CheckpointStore = MemoryStore()
    side: SideLog = MemorySideLog()
    time: Clock = clock
    log: Log = MemoryLog()
    executor: Executor = InlineExecutor()
    assert all((stream, store, side, time, log, executor))


def test_records_come_in_order_and_positions_go_past_gaps(clock: FakeClock) -> None:
    broker = MemoryBroker()
    for value in (b"a", b"b"):
        broker.append(0, value)
        broker.gap(0, 2)
    stream = MemoryStream(broker, clock, poll_records_max=1)
    assert [change.kind for change in stream.poll(0).changes] == ["assigned"]
    stream.seek(0, 0)
    assert [record.offset for record in stream.poll(0).records[0]] == [0]
    assert stream.position(0) == 3
    assert [record.offset for record in stream.poll(0).records[0]] == [3]
    assert stream.position(0) == stream.log_end(0) == 6
    stream.pause([0])
    broker.append(0, b"c")
    assert not stream.poll(100).records
    stream.resume([0])
    assert stream.poll(100).records


def test_time_passes_when_nothing_comes(clock: FakeClock) -> None:
    stream = MemoryStream(MemoryBroker(), clock)
    stream.poll(0)
    before = clock.monotonic()
    stream.poll(250)
    assert clock.monotonic() - before == pytest.approx(0.25)


def test_a_commit_is_one_step_and_fenced_by_generation(clock: FakeClock) -> None:
    broker = MemoryBroker(2)
    first, second = MemoryStream(broker, clock), MemoryStream(broker, clock)
    old = first.poll(0)
    first.commit(commit(old, 5))
    assert broker.committed[0].offset == 5
    second.poll(0)
    with pytest.raises(CommitFailed, match="generation"):
        first.commit(commit(old, 6))
    assert len(broker.published) == 1
    assert broker.committed[0].offset == 5


def test_a_partition_is_given_up_before_it_is_given(clock: FakeClock) -> None:
    broker = MemoryBroker(2)
    first, second = MemoryStream(broker, clock), MemoryStream(broker, clock)
    assert first.poll(0).changes[0].partitions == (0, 1)
    assert second.poll(0).changes == ()
    assert not second.settled() or first.settled()
    (revoked,) = first.poll(0).changes
    assert (revoked.kind, revoked.partitions) == ("revoked", (1,))
    assert not second.settled()
    (assigned,) = second.poll(0).changes
    assert (assigned.kind, assigned.partitions) == ("assigned", (1,))
    assert first.settled()
    assert second.settled()
    broker.evict(second)
    assert first.poll(0).changes[0].partitions == (1,)
    lost, *_ = second.poll(0).changes
    assert (lost.kind, lost.partitions) == ("lost", (1,))
    first.close()
    assert [change.kind for change in second.poll(0).changes] == ["assigned"]


@pytest.mark.parametrize("applied", [False, True])
def test_a_commit_can_fail_with_and_without_effect(clock: FakeClock, applied: bool) -> None:
    broker = MemoryBroker()
    stream = MemoryStream(broker, clock)
    poll = stream.poll(0)
    broker.fail_commits(applied=applied)
    with pytest.raises(CommitFailed):
        stream.commit(commit(poll, 1))
    assert (0 in broker.committed) == bool(broker.published) == applied
    stream.commit(commit(poll, 2))
    assert broker.commits == 1 + applied


def test_everything_fails_while_the_broker_is_away(clock: FakeClock) -> None:
    broker = MemoryBroker()
    stream = MemoryStream(broker, clock)
    poll = stream.poll(0)
    broker.down = True
    for call in (lambda: stream.poll(0), lambda: stream.committed([0]), lambda: stream.beginning(0)):
        with pytest.raises(BrokerUnavailable):
            call()
    with pytest.raises(CommitFailed):
        stream.commit(commit(poll, 1))


def test_retention_and_the_end_of_a_finite_log(clock: FakeClock) -> None:
    broker = MemoryBroker()
    for _ in range(3):
        broker.append(0, b"")
    broker.trim(0, 2)
    stream = MemoryStream(broker, clock)
    stream.poll(0)
    assert (stream.beginning(0), stream.start(0), stream.log_end(0)) == (2, 2, 3)
    stream.seek(0, 2)
    assert len(stream.poll(0).records[0]) == 1
    assert not stream.poll(0).exhausted
    broker.closed = True
    assert stream.poll(0).exhausted


def test_a_log_can_lose_its_end_and_a_topic_can_grow(clock: FakeClock) -> None:
    broker = MemoryBroker()
    for _ in range(3):
        broker.append(0, b"")
    stream = MemoryStream(broker, clock)
    assert stream.poll(0).changes[0].partitions == (0,)
    assert stream.log_end(0) == 3
    broker.cut(0, 1)
    assert (stream.log_end(0), len(broker.records(0))) == (1, 1)
    assert broker.append(0, b"") == 1
    broker.grow(2)
    assert stream.partitions_count() == 3
    assert stream.poll(0).changes[0].partitions == (1, 2)
    broker.down = True
    with pytest.raises(BrokerUnavailable):
        stream.log_end(0)


def test_a_lost_answer_may_be_late(clock: FakeClock) -> None:
    broker = MemoryBroker()
    stream = MemoryStream(broker, clock)
    poll, before = stream.poll(0), clock.monotonic()
    broker.fail_commits(2, applied=True, after_s=70.0)
    with pytest.raises(CommitFailed):
        stream.commit(commit(poll, 1))
    assert clock.monotonic() - before == 70.0
    assert [applied.positions[0].offset for applied in broker.applied] == [1]
    broker.heal()
    stream.commit(commit(poll, 2))
    assert broker.commits == 2


def test_a_poll_that_fails_keeps_its_changes_for_the_next_one(clock: FakeClock) -> None:
    broker = MemoryBroker()
    broker.append(0, b"a")
    stream = MemoryStream(broker, clock)

    def fail(step: str) -> None:
        if step == "poll:after":
            raise BrokerUnavailable("the answer came too late")

    broker.hook = fail
    with pytest.raises(BrokerUnavailable):
        stream.poll(0)
    broker.hook = no_hook
    poll = stream.poll(0)
    assert [change.kind for change in poll.changes] == ["assigned"]
    assert not poll.records  # the position has moved
    assert stream.position(0) == broker.end(0) == 1


def test_every_step_has_its_hook(clock: FakeClock) -> None:
    steps: list[str] = []
    broker, store, side = (
        MemoryBroker(1, steps.append),
        MemoryStore(steps.append),
        MemorySideLog(steps.append),
    )
    stream = MemoryStream(broker, clock)
    poll = stream.poll(0)
    stream.committed([0])
    for call in (stream.beginning, stream.start, stream.log_end):
        call(0)
    stream.partitions_count()
    stream.commit(commit(poll, 1))
    store.put("a", b"")
    store.get("a")
    store.list("")
    store.delete("a")
    side.refresh()
    side.beginning()
    side.log_end()
    side.read(0, 0)
    assert sorted(steps) == sorted(STEPS + STEPS_AFTER)


def test_the_wall_clock_can_be_set_back(clock: FakeClock) -> None:
    monotonic, time = clock.monotonic(), clock.time()
    clock.jump_wall(-60.0)
    assert (clock.monotonic(), clock.time()) == (monotonic, time - 60.0)


def test_a_store_with_faults() -> None:
    steps: list[str] = []
    store = MemoryStore(steps.append)
    store.put("a/1", b"0123")
    store.put("b/1", b"x")
    store.fail = 1
    with pytest.raises(StoreUnavailable):
        store.put("a/2", b"")
    assert store.list("a/") == ["a/1"]
    store.tear("a/1")
    assert store.get("a/1") == b"01"
    store.corrupt("a/1")
    assert store.get("a/1") != b"01"
    store.delete("a/1")
    store.delete("a/1")
    with pytest.raises(KeyError):
        store.get("a/1")
    assert steps[:2] == ["put:before", "put:after"]


def test_feedback_is_seen_after_a_refresh() -> None:
    log = MemorySideLog()
    log.append(b"a")
    assert log.end(0.0) == 0
    log.refresh()
    assert log.read(0, log.end(0.0)) == [(0, b"a")]
    log.trim(1)
    assert log.beginning() == 1
    with pytest.raises(NeedsOperator):
        log.read(0, 1)


def test_readers_of_a_side_topic_see_it_each_for_itself() -> None:
    log = MemorySideLog()
    reader = log.reader()
    for value in (b"a", b"b", b"c"):
        log.append(value)
    log.refresh()
    assert reader.end(0.0) == 0
    reader.lag = 2
    reader.refresh()
    assert (reader.end(0.0), log.end(0.0)) == (1, 3)
    reader.down = True
    assert log.read(1, 2) == [(1, b"b")]
    with pytest.raises(BrokerUnavailable):
        reader.read(0, 1)


def test_what_is_published_to_a_side_topic_can_be_read_back(clock: FakeClock) -> None:
    broker = MemoryBroker()
    log = broker.sides["exchange"] = MemorySideLog()
    stream = MemoryStream(broker, clock)
    stream.poll(0)
    message = Message(topic="exchange", key=None, value=b"value", headers=(), partition=0, offset=3)
    broker.fail_commits()
    for _ in range(2):
        with suppress(CommitFailed):
            stream.commit(Commit(messages=[message], positions={}, membership=broker.generation))
    assert (log.end(0.0), log.log_end()) == (0, 1)
    log.refresh()
    assert log.end(0.0) == 1
    assert log.read(0, 1) == [(0, b"value")]


def test_submitted_calls_run_at_once_or_at_release() -> None:
    executor = InlineExecutor()
    assert executor.submit(int, "1").result() == 1
    assert isinstance(executor.submit(int, "x").exception(), ValueError)
    executor.held = True
    first, second, third = (executor.submit(int, text) for text in "234")
    assert executor.waiting == 3
    executor.release(1)
    assert (first.result(), second.done()) == (2, False)
    executor.release()
    assert third.result() == 4
    dropped = executor.submit(int, "5")
    executor.drop()
    executor.release()
    assert not dropped.done()

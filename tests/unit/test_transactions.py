"""Which transactions may be ended, and how; the coordinator's log; how long outputs are hidden."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition

from detector.config.tree import Config
from detector.core.reporting.telemetry import Telemetry
from detector.errors import CredentialsError
from detector.shell.kafka.output_watch import OutputWatch, StableOffsetAges
from detector.shell.kafka.state_log import STATES, StateEntry, read_entry, state_partition
from detector.shell.kafka.transactions import (
    ENDED,
    Coordinated,
    Fate,
    Hanging,
    OpenTransaction,
    client_id,
    id_prefix,
    ids_of_members,
    judge,
    transactional_id,
)
from detector.shell.logs import get_logger

GROUP = "cards"
ID = transactional_id(GROUP, "a")
PLACES = [("alerts", 0), ("alerts", 1), ("scores", 0)]


@dataclass
class Coordinator:
    """One transactional id in a coordinator that may leave markers out; the partitions it writes to."""

    epoch: int = 0
    state: str = "Empty"
    added: frozenset[tuple[str, int]] = frozenset()
    log: list[StateEntry] = field(default_factory=list)
    open: dict[tuple[str, int], int] = field(default_factory=dict)  # epoch of what is open on a partition
    truth: dict[tuple[str, int], Fate] = field(default_factory=dict)  # of the last one there that ended

    def note(self, state: str, partitions: frozenset[tuple[str, int]]) -> None:
        self.state, self.added = state, partitions
        self.log.append(
            StateEntry(
                transactional_id=ID,
                producer_id=7,
                producer_epoch=self.epoch,
                state=state,
                partitions=partitions,
                updated_ms=len(self.log),
            )
        )

    def begin(self, partitions: frozenset[tuple[str, int]]) -> None:
        self.note("Ongoing", partitions)
        for at in partitions:
            self.open[at] = self.epoch

    def end(self, fate: Fate, lost: frozenset[tuple[str, int]], *, bumps: bool) -> None:
        """`bumps`: ended by a timeout or by another producer, or with transaction.version 2."""
        partitions = self.added
        self.epoch += bumps
        self.note("PrepareCommit" if fate == "commit" else "PrepareAbort", partitions)
        for at in partitions:
            self.truth[at] = fate
            if at not in lost:
                self.open.pop(at, None)
        self.note("CompleteCommit" if fate == "commit" else "CompleteAbort", frozenset())

    def found(self, at: tuple[str, int]) -> OpenTransaction:
        return OpenTransaction(
            topic=at[0],
            partition=at[1],
            producer_id=7,
            producer_epoch=self.open[at],
            coordinator_epoch=-1,
            start_offset=100,
            last_timestamp_ms=0,
        )

    def now(self, id_: str = ID) -> Coordinated:
        return Coordinated(
            transactional_id=id_,
            state=self.state,
            producer_id=7,
            producer_epoch=self.epoch,
            partitions=self.added,
        )


Places = frozenset[tuple[str, int]]
Step = tuple[Places, Fate, bool, Places]
places = st.frozensets(st.sampled_from(PLACES), min_size=1)
steps = st.lists(st.tuples(places, st.sampled_from(["commit", "abort"]), st.booleans(), places), max_size=8)


def lived(
    transactions: list[tuple[frozenset[tuple[str, int]], Fate, bool, frozenset[tuple[str, int]]]],
) -> Coordinator:
    coordinator = Coordinator()
    for partitions, fate, bumps, lost in transactions:
        coordinator.begin(partitions)
        coordinator.end(fate, lost, bumps=bumps)
    return coordinator


@given(steps)
def test_a_hanging_transaction_ends_as_the_coordinator_ended_it(transactions: list[Step]) -> None:
    coordinator = lived(transactions)
    for at in coordinator.open:
        verdict = judge(coordinator.found(at), coordinator.now(), coordinator.log, group=GROUP)
        assert verdict.fate == coordinator.truth[at]


@given(steps, places)
def test_a_transaction_under_way_is_never_ended(transactions: list[Step], partitions: Places) -> None:
    coordinator = lived(transactions)
    coordinator.begin(partitions)
    for at in coordinator.open:
        assert judge(coordinator.found(at), coordinator.now(), coordinator.log, group=GROUP).fate is None


@given(steps, places)
def test_a_transaction_that_began_after_the_state_was_asked_is_never_ended(
    transactions: list[Step],
    partitions: Places,
) -> None:
    coordinator = lived(transactions)
    before = coordinator.now()
    coordinator.begin(partitions)
    for at in partitions:
        assert judge(coordinator.found(at), before, coordinator.log, group=GROUP).fate is None


@given(steps, st.sampled_from(STATES))
def test_nothing_is_ended_while_a_transaction_is_under_way(transactions: list[Step], state: str) -> None:
    coordinator = lived(transactions)
    coordinator.state = state
    for at in coordinator.open:
        fate = judge(coordinator.found(at), coordinator.now(), coordinator.log, group=GROUP).fate
        assert (fate is not None) == (state in ENDED)


@given(steps)
def test_without_the_coordinators_log_nothing_is_ended(transactions: list[Step]) -> None:
    coordinator = lived(transactions)
    for at in coordinator.open:
        assert judge(coordinator.found(at), coordinator.now(), [], group=GROUP).fate is None


@given(
    steps, st.sampled_from(["card-a", "cards", "cards-a", "other-cards-a", transactional_id("cards-eu", "0")])
)
def test_a_transaction_of_another_group_is_never_ended(transactions: list[Step], id_: str) -> None:
    coordinator = lived(transactions)
    for at in coordinator.open:
        assert judge(coordinator.found(at), coordinator.now(id_), coordinator.log, group=GROUP).fate is None


def test_a_transaction_with_an_epoch_unknown_to_the_coordinator_is_not_ended() -> None:
    coordinator = lived([(frozenset(PLACES), "abort", False, frozenset(PLACES))])
    coordinator.open = dict.fromkeys(PLACES, 5)
    assert judge(coordinator.found(PLACES[0]), coordinator.now(), coordinator.log, group=GROUP).fate is None


@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_no_id_is_taken_for_one_of_another_group(group: str, suffix: str, member: str) -> None:
    other = f"{group}-{suffix}"
    assert transactional_id(group, member).startswith(group)  # the prefix that operators grant
    assert not transactional_id(other, member).startswith(id_prefix(group))
    assert transactional_id("cards", "eu-0") != transactional_id("cards-eu", "0")


def test_a_member_is_alive_under_the_id_that_its_client_shows() -> None:
    assert transactional_id(GROUP, "eu-0") in ids_of_members(GROUP, [client_id("eu-0"), client_id("eu-1")])
    assert transactional_id(GROUP, "eu-2") not in ids_of_members(GROUP, [client_id("eu-0")])


# --- the coordinator's log ---------------------------------------------------------------------------------

KEY = struct.pack(">hh7s", 0, 7, b"cards-a")
PLAIN = struct.pack(">hqhib", 0, 7, 3, 15_000, 3) + struct.pack(">ih6siii", 1, 6, b"alerts", 2, 0, 4)
COMPACT = struct.pack(">hqhib", 1, 7, 3, 15_000, 3) + b"\x02\x07alerts\x03" + struct.pack(">iib", 0, 4, 0)
TIMES = struct.pack(">qq", 1000, 900)


@pytest.mark.parametrize(
    "value", [PLAIN + TIMES, COMPACT + TIMES + b"\x00", COMPACT + TIMES + b"\x01\x00\x01x"]
)
def test_both_formats_are_read(value: bytes) -> None:
    assert read_entry(KEY, value) == StateEntry(
        transactional_id="cards-a",
        producer_id=7,
        producer_epoch=3,
        state="PrepareAbort",
        partitions=frozenset({("alerts", 0), ("alerts", 4)}),
        updated_ms=1000,
    )


def test_tombstones_and_other_keys_are_passed_over() -> None:
    assert read_entry(KEY, None) is None
    assert read_entry(None, PLAIN) is None
    assert read_entry(struct.pack(">h", 5), PLAIN) is None


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_other_bytes_raise_one_kind_of_error(key: bytes, value: bytes) -> None:
    for start in (b"", PLAIN[:17], COMPACT[:17]):
        try:
            read_entry(key, start + value)
            read_entry(KEY, start + value)
        except struct.error:
            continue


@given(st.binary(max_size=20))
def test_a_truncated_or_changed_entry_raises_one_kind_of_error(junk: bytes) -> None:
    for whole in (PLAIN, COMPACT):
        for end in range(17, len(whole)):
            with pytest.raises(struct.error):
                read_entry(KEY, whole[:end])


@pytest.mark.parametrize(
    ("name", "hash_"),
    [
        ("", 0),
        ("abc", 96_354),
        ("polygenelubricants", 0),  # the lowest number has no positive one
        ("cards-eu-15838", 1_803_122_746),  # of a negative one
        ("grün", 3_185_949),
        ("a\U0001f600", 1_866_116),
    ],
)
def test_partitions_follow_javas_hash(name: str, hash_: int) -> None:
    assert state_partition(name, 2**31) == hash_
    assert state_partition(name, 50) == hash_ % 50


# --- how long outputs are hidden ---------------------------------------------------------------------------

A, B = TopicPartition("alerts", 0), TopicPartition("alerts", 1)


def test_ages_grow_only_while_the_last_stable_offset_stands_still_behind_the_end() -> None:
    ages = StableOffsetAges()
    assert ages.update(10.0, {A: (5, 5), B: (5, 9)}) == {A: 0.0, B: 0.0}
    assert ages.update(13.0, {A: (5, 8), B: (5, 12)}) == {A: 0.0, B: 3.0}
    assert ages.update(15.0, {A: (8, 9), B: (5, 12)}) == {A: 0.0, B: 5.0}
    assert ages.update(17.0, {A: (8, 9), B: (12, 12)}) == {A: 2.0, B: 0.0}


def test_ages_grow_while_no_broker_answers() -> None:
    ages = StableOffsetAges()
    ages.update(10.0, {A: (5, 8), B: (3, 3)})
    assert ages.update(14.0, {}) == {A: 4.0, B: 0.0}
    assert ages.update(16.0, {A: (5, 8), B: (3, 4)}) == {A: 6.0, B: 0.0}


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 3), st.integers(0, 3)), max_size=20))
def test_an_age_is_the_time_since_the_last_move(looks: list[tuple[float, int, int]]) -> None:
    ages = StableOffsetAges()
    now, stable, since = 0.0, 0, None
    for step, moved, behind in looks:
        now += step
        stable += moved
        if not behind:
            since = None
        elif moved or since is None:
            since = now
        [age] = ages.update(now, {A: (stable, stable + behind)}).values()
        assert age == pytest.approx(0.0 if since is None else now - since)


# --- the watch ---------------------------------------------------------------------------------------------


class FakeTransactions:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.stable_and_end = (5, 5)
        self.found: list[Hanging] = []
        self.refuses = False
        self.asked: list[str] = []

    def outputs(self) -> list[TopicPartition]:
        return [A]

    def ends(self, partitions: list[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        return dict.fromkeys(partitions, self.stable_and_end)

    def end_those_of_dead_members(self) -> list[str]:
        self.asked.append("dead")
        return []

    def hanging(self) -> list[Hanging]:
        self.asked.append("hanging")
        return self.found

    def mend(self, hanging: list[Hanging]) -> list[Hanging]:
        self.asked.append("mend")
        if self.refuses:
            raise CredentialsError("Not allowed.")
        self.stable_and_end = (9, 9)
        return hanging


class FakeStream:
    """As much of a stream as the watch knows."""

    def __init__(self) -> None:
        self.fake = FakeTransactions()
        self.taken_over = threading.Event()
        self.between = 0

    def transactions(self) -> FakeTransactions:
        return self.fake

    @contextmanager
    def between_commits(self) -> Iterator[None]:
        self.between += 1
        yield


FIELD = {"name": "x", "path": "x", "type": "numeric"}


class Watched:
    """A watch with a clock of the test's own."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.stream, self.telemetry = FakeStream(), Telemetry()
        config = Config.model_validate(
            {
                "event": {"id": "id", "time": {"path": "t"}, "fields": [FIELD]},
                "kafka": {"transaction_timeout_ms": 15_000},
                "checkpoints": {"url": "memory://"},
            }
        )
        self.watch = OutputWatch(
            config, cast(Any, self.stream), self.telemetry, get_logger("test"), lambda: self.now_s
        )

    def look(self, at_s: float, *, taken_over: bool = False) -> list[str]:
        self.now_s = at_s
        self.stream.fake.asked.clear()
        if taken_over:
            self.stream.taken_over.set()
        self.watch.look()
        return list(self.stream.fake.asked)


def a_hanging_one() -> Hanging:
    coordinator = lived([(frozenset(PLACES), "abort", True, frozenset(PLACES))])
    found = coordinator.found(PLACES[0])
    verdict = judge(found, coordinator.now(), coordinator.log, group=GROUP)
    return Hanging(found=found, transactional_id=ID, verdict=verdict)


def test_nothing_is_looked_for_while_everything_is_visible() -> None:
    watched = Watched()
    assert [watched.look(at_s) for at_s in (0.0, 100.0)] == [[], []]
    assert watched.telemetry.stable_offset_ages == {("alerts", 0): 0.0}
    assert watched.watch.warnings() == ()


def test_dead_members_are_looked_for_whenever_partitions_are_taken_over() -> None:
    assert Watched().look(0.0, taken_over=True) == ["dead"]


def test_hidden_outputs_are_investigated_and_ended_between_two_commits() -> None:
    watched = Watched()
    watched.stream.fake.stable_and_end = (5, 9)
    watched.stream.fake.found = [a_hanging_one()]
    assert watched.look(0.0) == []
    assert watched.look(3.0) == ["dead"]
    assert watched.stream.between == 0
    assert watched.look(7.0) == ["dead", "hanging", "mend"]
    assert watched.stream.between == 1
    assert watched.telemetry.transactions_ended["hanging"] == 1
    assert watched.look(8.0) == []
    assert watched.telemetry.stable_offset_ages == {("alerts", 0): 0.0}


def test_after_a_refusal_the_watch_goes_on_and_the_warning_names_the_command() -> None:
    watched = Watched()
    fake = watched.stream.fake
    fake.stable_and_end, fake.found, fake.refuses = (5, 9), [a_hanging_one()], True
    watched.look(0.0)
    with pytest.raises(CredentialsError):
        watched.look(29.0)
    assert watched.watch.warnings() == ()
    watched.look(31.0)
    [warning] = watched.watch.warnings()
    assert "alerts/0 for 31 s" in warning
    assert "detector doctor --mend" in warning

"""Messages between shards are applied once, limited, and harmless whatever they contain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from threadpoolctl import threadpool_limits

from detector.config.tree import ModelPart
from detector.core.labels import peer_messages as exchange_module
from detector.core.labels.peer_messages import (
    MESSAGE_BYTES_MAX,
    PUBLISHED_MAX,
    Arrays,
    Exchange,
)
from detector.core.records import Identity, Outputs, Record
from detector.core.recovery.checkpoint import Snapshot
from detector.core.recovery.journal import Barrier, Journal
from detector.core.recovery.sides import SIDES, SideRange, SideRecords
from detector.core.shard.partition import Partition
from detector.core.shard.shard import Shard
from detector.core.state import pack, unpack
from tests import talkative
from tests.sides import named
from tests.unit.test_shard import log, part, partition, restored

DTYPES = ("<f2", "<f4", "<f8", "<i4", "<i8", "<u4", "<u8", "|u1", ">f8", "<i4")


def shard(partition: int, topic: str = "transactions", group: str = "group") -> Exchange:
    return Exchange(Identity(topic=topic, group=group, partition=partition, entity_key=b"k"))


class Receiver:
    """Collects what it is given."""

    def __init__(self, answer: bool = True) -> None:
        self.received: list[tuple[str, Arrays]] = []
        self.answer = answer

    def __call__(self, kind: str, arrays: Arrays) -> bool:
        self.received.append((kind, arrays))
        return self.answer


def published(sender: Exchange, position: int, *messages: tuple[str, Arrays]) -> list[tuple[int, bytes]]:
    sender.publish(position, messages)
    return list(enumerate(sender.collect()[0], 100))


def outcomes_of(
    shard_1: Exchange, records: list[tuple[int, bytes]], receive: Receiver | None = None
) -> dict[str, int]:
    shard_1.receive(records, receive or Receiver())
    return shard_1.collect()[1]


COUNTS: tuple[str, Arrays] = ("counts", {"n": np.arange(3)})


@given(
    st.dictionaries(
        st.text(max_size=16),
        st.sampled_from(DTYPES).flatmap(
            lambda dtype: arrays_of.arrays(dtype, arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0))
        ),
        max_size=4,
    )
)
def test_what_is_published_is_what_is_received(arrays: dict[str, Any]) -> None:
    receiver = Receiver()
    records = published(shard(0), 4096, ("kind", arrays))
    assert outcomes_of(shard(1), records, receiver) == {"applied": 1}
    [(kind, received)] = receiver.received
    assert kind == "kind"
    assert received.keys() == arrays.keys()
    for name, array in arrays.items():
        assert received[name].shape == array.shape
        assert not (received[name].size and received[name].flags.writeable)
        np.testing.assert_array_equal(received[name], array)


def test_messages_of_peers_are_applied_once() -> None:
    shard_1 = shard(1)
    first, second = published(shard(0), 256, COUNTS, COUNTS), published(shard(0), 512, COUNTS)
    assert outcomes_of(shard_1, first) == {"applied": 2}
    assert outcomes_of(shard_1, first + second + first) == {"duplicate": 4, "applied": 1}
    assert outcomes_of(shard_1, published(shard(2), 256, COUNTS)) == {"applied": 1}
    assert outcomes_of(shard_1, published(shard(1), 256, COUNTS)) == {"own": 1}
    assert outcomes_of(shard_1, published(shard(0, "other"), 9999, COUNTS)) == {"foreign": 1}
    assert outcomes_of(shard_1, published(shard(0, group="other"), 9999, COUNTS)) == {"foreign": 1}
    assert outcomes_of(shard_1, published(shard(0), 768, COUNTS), Receiver(answer=False)) == {"unfit": 1}


def test_messages_of_barriers_at_one_position_are_all_new() -> None:
    """Barriers by command have no events between them; a restart may come between them, too."""
    sender, shard_1 = shard(0), shard(1)
    for _ in range(3):
        sender.publish(256, [COUNTS, COUNTS])
        assert outcomes_of(shard_1, list(enumerate(sender.collect()[0]))) == {"applied": 2}
        again = shard(0)
        again.load(unpack(pack({"exchange": sender.to_state()}))["exchange"])
        sender = again
    for position in (256, 512):
        sender.publish(position, [COUNTS] * PUBLISHED_MAX)
        assert outcomes_of(shard_1, list(enumerate(sender.collect()[0]))) == {"applied": PUBLISHED_MAX}


def test_the_last_message_of_each_peer_is_state() -> None:
    shard_1, records = shard(1), published(shard(0), 256, COUNTS)
    assert len(shard_1.to_state()["last"]) == 0
    outcomes_of(shard_1, records)
    again = shard(1)
    again.load(unpack(pack({"exchange": shard_1.to_state()}))["exchange"])
    assert outcomes_of(again, records) == {"duplicate": 1}
    again.load(shard(1).to_state())
    assert outcomes_of(again, records) == {"applied": 1}


def changed(value: bytes, **changes: Any) -> bytes:
    names = ("version", "topic", "group", "partition", "position", "number", "kind", "arrays")
    document = dict(zip(names, msgspec.msgpack.decode(value), strict=True)) | changes
    return msgspec.msgpack.encode(list(document.values()))


@pytest.mark.parametrize(
    "changes",
    [
        {"partition": -1},
        {"partition": 1 << 16},
        {"position": -1},
        {"position": 1 << 63},
        {"number": 0.5},
        {"kind": "k" * 65},
        {"kind": None},
        {"topic": "t" * 250},
        {"arrays": []},
        {"arrays": {str(n): ["<f8", [0], b""] for n in range(65)}},
        {"arrays": {"n" * 65: ["<f8", [0], b""]}},
        {"arrays": {"a": ["|O", [1], b"12345678"]}},
        {"arrays": {"a": ["<f8", [2], b"12345678"]}},
        {"arrays": {"a": ["<f8", [-1], b"12345678"]}},
        {"arrays": {"a": ["<f8", [1], b"1234567"]}},
        {"arrays": {"a": ["<f8", [1, 1, 1, 1, 1], b"12345678"]}},
        {"arrays": {"a": ["<f8", [0, 1 << 61, 1 << 61, 1 << 61], b""]}},
        {"arrays": {"a": ["<f8", [1 << 61, 1 << 61], b"12345678"]}},
    ],
)
def test_a_malformed_message_is_counted_and_changes_nothing(changes: dict[str, Any]) -> None:
    [(_, value)] = published(shard(0), 256, COUNTS)
    shard_1, receiver = shard(1), Receiver()
    assert outcomes_of(shard_1, [(0, changed(value, **changes))], receiver) == {"malformed": 1}
    assert (receiver.received, len(shard_1.to_state()["last"])) == ([], 0)
    assert outcomes_of(shard_1, [(0, value)], receiver) == {"applied": 1}


def test_a_message_of_another_version_is_unfit_but_recorded() -> None:
    [(_, value)] = published(shard(0), 256, COUNTS)
    shard_1 = shard(1)
    assert outcomes_of(shard_1, [(0, changed(value, version=2)), (1, value)]) == {"unfit": 1, "duplicate": 1}


@given(
    st.binary(max_size=64) | st.binary(max_size=8).map(lambda end: published(shard(0), 1, COUNTS)[0][1] + end)
)
def test_any_bytes_are_harmless(value: bytes) -> None:
    outcomes = outcomes_of(shard(1), [(0, value)])
    assert outcomes in ({"malformed": 1}, {"applied": 1})


@given(st.data())
def test_any_damage_to_a_message_is_harmless(data: st.DataObject) -> None:
    value = bytearray(published(shard(0), 1, COUNTS)[0][1])
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    assert sum(outcomes_of(shard(1), [(0, bytes(value))]).values()) == 1


def test_messages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    large = np.zeros(MESSAGE_BYTES_MAX, dtype=np.uint8)
    sender = shard(0)
    sender.publish(1, [("large", {"a": large}), COUNTS])
    messages, outcomes = sender.collect()
    assert outcomes == {"published": 1, "too_large": 1}
    assert outcomes_of(shard(1), list(enumerate(messages))) == {"applied": 1}
    monkeypatch.setattr(exchange_module, "MESSAGE_BYTES_MAX", 1 << 30)
    sender.publish(2, [("large", {"a": large})])
    messages, _ = sender.collect()
    monkeypatch.undo()
    assert outcomes_of(shard(1), list(enumerate(messages))) == {"malformed": 1}
    with pytest.raises(ValueError, match="messages at one barrier"):
        shard(0).publish(1, [COUNTS] * (PUBLISHED_MAX + 1))
    for array in (np.array(["text"]), np.zeros((1, 1, 1, 1, 1)), np.array([True]), np.array([None])):
        with pytest.raises(ValueError, match="cannot be packed"):
            shard(0).publish(1, [("kind", {"a": array})])


def test_what_is_collected_is_gone() -> None:
    sender = shard(0)
    sender.publish(1, [COUNTS])
    assert len(sender.collect()[0]) == 1
    assert sender.collect() == ((), {})


def test_a_barrier_receives_limited_bytes_but_at_least_one_message() -> None:
    limit = SIDES["exchange"].bytes_max
    assert limit is not None
    half = b"x" * (limit // 2)
    records = [(3, half), (5, half), (8, b"x"), (9, half)]
    assert bounded(records, 12) == (records[:2], 8)
    assert bounded(records[:2], 8) == (records[:2], 8)
    assert bounded([(3, 3 * half), (5, b"x")], 6) == ([(3, 3 * half)], 5)
    assert bounded([], 12) == ([], 12)


def bounded(records: SideRecords, stop: int) -> tuple[SideRecords, int]:
    labels = SideRange(0, 2)
    barrier = Barrier(position=9, cause="every", sides={"feedback": labels, "exchange": SideRange(2, stop)})
    cut, kept = barrier.within_bytes({"feedback": [(0, b"a"), (1, b"b")], "exchange": records})
    assert cut.sides["feedback"] == labels
    assert len(kept["feedback"]) == 2
    assert (cut.position, cut.sides["exchange"].start) == (9, 2)
    return kept["exchange"], cut.sides["exchange"].stop


# --- the shard ----------------------------------------------------------------------------------------------


def from_a_peer(count: int) -> list[tuple[int, bytes]]:
    sender = shard(7, "payments", "fraud")
    for number in range(count):
        sender.publish(256 * (number + 1), [("chance", {"chance": np.array([number], dtype=np.uint64)})])
    return list(enumerate(sender.collect()[0]))


Went = list[tuple[int, Outputs, bytes]]


def go(driven: Partition, until: int = 1 << 62) -> tuple[Went, list[Snapshot]]:
    """Drive it over the test log; returns each barrier with its outputs and the state after it."""
    messages, went, snapshots = from_a_peer(40), Went(), []
    records: Sequence[Record] = [record for record in log() if driven.position <= record.offset < until]
    while records:
        step = driven.take(records)
        records = records[step.consumed :]
        visible = (driven.position - 1000) // 150
        available = {"exchange": SideRange(0, visible)}
        if step.block_ended and (barrier := driven.due(available)) is not None:
            live = driven.position > driven.until
            outputs = driven.barrier(barrier, named(barrier, {"exchange": messages}))
            if live:
                snapshots.append(driven.snapshot())
                went.append((driven.position, outputs, pack(snapshots[-1].state)))
    return went, snapshots


@pytest.fixture
def _talkative(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Shard, "_receive_message", talkative.receive)
    monkeypatch.setattr(Shard, "_publish", talkative.publish)
    with threadpool_limits(1):
        yield


@pytest.mark.usefixtures("_talkative")
def test_a_shard_that_is_replayed_or_restored_publishes_the_same() -> None:
    wanted = part(exchange=True)
    whole, snapshots = go(partition(wanted))
    assert len(whole) > 8
    assert all(len(outputs.peer_messages) == 2 for _, outputs, _ in whole)
    assert [message.offset for _, outputs, _ in whole for message in outputs.peer_messages][::2] == [
        position - 1 for position, _, _ in whole
    ]
    assert sum(outputs.side_outcomes["exchange"].get("applied", 0) for _, outputs, _ in whole) > 20

    middle = len(whole) // 2
    until = whole[middle][0]
    journal = Journal.from_text(snapshots[middle].since.to_text())
    replayed, _ = go(partition(wanted, journal, until=until))
    assert replayed == whole[middle + 1 :]
    manifest, state = restored(snapshots[middle])[0]
    journal = journal.rebased(manifest.name, until)
    going, _ = go(partition(wanted, journal, until=until, restored=(manifest, state)))
    assert going == whole[middle + 1 :]


@pytest.mark.usefixtures("_talkative")
def test_without_exchange_nothing_is_published_received_or_stored() -> None:
    silent, snapshots = go(partition())
    assert not any(outputs.peer_messages or any(outputs.side_outcomes.values()) for _, outputs, _ in silent)
    assert len(snapshots[-1].state["exchange"]["last"]) == 0
    assert snapshots[-1].since.end("exchange") == 0
    assert part().hash() != part(exchange=True).hash()
    assert ModelPart.model_validate_json(part().canonical()) == part()
    assert ModelPart.model_validate_json(part(exchange=True).canonical()) == part(exchange=True)


@pytest.mark.usefixtures("_talkative")
def test_the_exchange_begins_with_a_journaled_change() -> None:
    on, off = part(exchange=True), part()
    driven = partition(off)
    first, _ = go(driven, until=3000)
    driven.want(on)
    later, _ = go(driven)
    assert not first[-1][1].peer_messages
    assert later[0][1].peer_messages
    assert later[0][1].side_outcomes["exchange"]["applied"] > 0
    changes = [barrier for barrier in driven.journal.barriers if barrier.config is not None]
    assert [barrier.config for barrier in changes] == [on.hash()]

"""What shards publish to their peers: counted once, retractable, limited, and checked before use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.core.features import DAY_S, MATURED, Features, Layout, Profiles, empty_rows
from detector.core.labels import peers as peers_module
from detector.core.labels.event_buffer import EventBuffer
from detector.core.labels.feedback import Answer, AppliedLabels
from detector.core.labels.peers import AHEAD_MAX_S, Message, Peers
from detector.core.labels.supervision import Supervision
from detector.core.records import Outputs, PeerMessage
from detector.core.recovery.checkpoint import Snapshot
from detector.core.recovery.journal import Journal
from detector.core.recovery.sides import SideRange
from detector.core.shard.partition import Partition
from detector.core.state import pack, unpack
from tests.sides import named
from tests.unit.test_shard import IDENTITY, feedback, log, part, partition, restored

DAY = 20_000.0 * DAY_S  # event time at which the tests begin
FRAUD_AGE = -3  # column of a terminal's fraud rate inputs
CUSTOMER, TERMINAL, MERCHANT = 7, 11, 13


class World:
    """The parts of a shard that learn from labels; events are (day, terminal)."""

    def __init__(self, partition: int = 0) -> None:
        config = part().model
        self.layout = Layout(part().event, config.features)
        self.features = Features(self.layout)
        self.profiles = Profiles(self.layout, config.features)
        self.profiles.reserve(256)
        self.buffer = EventBuffer(config.labels, self.layout, len(self.features))
        rng = np.random.default_rng(partition)
        self.supervision = Supervision(config, self.layout, self.features, self.buffer, rng, shares=True)
        self.peers = Peers(self.supervision, self.layout, {"a": 1}, partition)
        self.days: list[float] = []
        self.now = -np.inf

    def see(self, events: Sequence[tuple[float, int]]) -> None:
        rows = empty_rows(len(events), self.layout)
        rows.times[:] = [DAY + day * DAY_S for day, _ in events]
        rows.entities[:, 0], rows.entities[:, 1] = CUSTOMER, [terminal for _, terminal in events]
        rows.numerics[:] = 1.0
        self.profiles.observe(rows)
        distances = np.zeros(len(events))
        first = len(self.days)
        self.buffer.remember(
            ids=np.arange(first, first + len(events), dtype=np.uint64),
            offsets=np.arange(first, first + len(events)),
            rows=rows,
            inputs=self.features.compute(rows),
            plain=distances,
            labelled=distances,
            alerted=np.zeros(len(events), dtype=bool),
        )
        self.days += [day for day, _ in events]
        self.now = max(self.now, float(rows.times.max()))

    def label(self, *numbers: int, label: str = "fraud", delay_days: float = 1.0) -> None:
        answers = [Answer(n, n, label, DAY + (self.days[n] + delay_days) * DAY_S) for n in numbers]
        self.supervision.apply(AppliedLabels.make(answers, self.buffer))

    def mature(self) -> None:
        self.supervision.mature(self.now)

    def publish(self) -> list[Message]:
        return self.peers.publish()

    def receive(self, *messages: Message) -> list[bool]:
        return [self.peers.receive(kind, frozen(arrays), self.now) for kind, arrays in messages]

    def rates(self, terminal: int, day: float) -> NDArray[np.float32]:
        rows = empty_rows(1, self.layout)
        rows.times[:], rows.entities[:, 1] = DAY + day * DAY_S, terminal
        self.supervision.fraud_rates.read(rows)
        rates: NDArray[np.float32] = rows.fraud_rates[0, self.layout.fraud_rate_kinds[1].columns]
        return rates

    def state(self) -> bytes:
        return pack(
            {
                "buffer": self.buffer.to_state(),
                "supervision": self.supervision.to_state(),
                "peers": self.peers.to_state(),
            }
        )

    def load(self, state: Mapping[str, Any]) -> None:
        self.buffer.load(state["buffer"])
        self.supervision.load(state["supervision"])
        self.peers.load(state["peers"])


def frozen(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    copies = {name: array.copy() for name, array in arrays.items()}
    for array in copies.values():
        array.flags.writeable = False
    return copies


def exchange(worlds: Sequence[World], rounds: int = 3) -> None:
    """Every shard receives what every other published in the round before."""
    for _ in range(rounds):
        published = [world.publish() for world in worlds]
        for receiver in worlds:
            for sender, messages in zip(worlds, published, strict=True):
                if sender is not receiver:
                    assert all(receiver.receive(*messages))


# --- fraud rates ------------------------------------------------------------------------------------------


def test_a_fraud_raises_the_terminals_rate_at_a_peer_until_it_is_retracted() -> None:
    sender, receiver = World(0), World(1)
    for world in (sender, receiver):
        world.see([(0.0, TERMINAL), (1.0, TERMINAL), (1.5, MERCHANT)])
    before = receiver.rates(TERMINAL, 2.0)
    sender.label(1)
    assert all(receiver.receive(*sender.publish()))
    raised = receiver.rates(TERMINAL, 2.0)
    assert raised[0] > before[0] == 0.0
    assert raised[FRAUD_AGE] < before[FRAUD_AGE]
    np.testing.assert_array_equal(receiver.rates(MERCHANT, 2.0), before)
    sender.label(1, label="retracted")
    assert all(receiver.receive(*sender.publish()))
    assert receiver.rates(TERMINAL, 2.0)[0] == 0.0


def test_rates_of_the_main_entity_are_not_published() -> None:
    world = World()
    world.see([(0.0, TERMINAL)])
    world.label(0)
    keys = np.concatenate([arrays["keys"] for kind, arrays in world.publish() if kind == "fraud_rates"])
    assert TERMINAL in keys
    assert CUSTOMER not in keys


@pytest.mark.parametrize("seed", range(4))
def test_shards_together_count_what_one_would(seed: int) -> None:
    """Numerator and denominator cover the same events, those of all shards."""
    rng = np.random.default_rng(seed)
    days = np.sort(rng.uniform(0.0, 40.0, 240))
    terminals = rng.choice([TERMINAL, MERCHANT], 240)
    owner = rng.integers(0, 3, 240)
    frauds = rng.random(240) < 0.1
    worlds, alone = [World(n) for n in range(3)], World(9)
    numbers = np.zeros(240, dtype=int)
    for start in range(0, 240, 20):
        for world in [*worlds, alone]:
            mine = np.arange(start, start + 20)
            if world is not alone:
                mine = mine[owner[mine] == worlds.index(world)]
            if len(mine):
                if world is not alone:
                    numbers[mine] = len(world.days) + np.arange(len(mine))
                world.see([(days[i], int(terminals[i])) for i in mine])
            old = np.arange(max(0, start - 60), max(0, start - 40))
            for i in old[frauds[old]]:
                if world is alone:
                    world.label(int(i), delay_days=8.0)
                elif owner[i] == worlds.index(world):
                    world.label(int(numbers[i]), delay_days=8.0)
            world.mature()
        exchange(worlds, rounds=1)
    for world in [*worlds, alone]:
        world.see([(60.0, CUSTOMER)])
        world.mature()
    exchange(worlds)
    for terminal in (TERMINAL, MERCHANT):
        whole = alone.rates(terminal, 60.0)
        assert whole[0] > 0.0
        for world in worlds:
            np.testing.assert_allclose(world.rates(terminal, 60.0)[:-3], whole[:-3], rtol=0.1)
            np.testing.assert_allclose(world.rates(terminal, 60.0)[-3], whole[-3], rtol=1e-3)


def test_published_changes_are_limited_to_labels_and_the_busiest_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers_module, "CHANGES_MAX", 3)
    world = World()
    world.see([(0.1 * n, 100 + n) for n in range(6)])
    world.label(*range(4), delay_days=7.0)
    [arrays] = [arrays for kind, arrays in world.publish() if kind == "fraud_rates"]
    assert len(arrays["keys"]) == 3
    assert world.peers.dropped == 1
    world.see([(20.0, 100), (20.1, 101), (20.2, 102), (20.3, 103), (20.4, 103), (40.0, 99)])
    world.mature()
    [arrays] = [arrays for kind, arrays in world.publish() if kind == "fraud_rates"]
    assert (arrays["statuses"] == MATURED).all()
    assert len(arrays["keys"]) == 3
    assert 103 in arrays["keys"]


# --- confirmed frauds -------------------------------------------------------------------------------------


def test_a_peers_frauds_are_learned_from_until_they_are_retracted() -> None:
    sender, receiver = World(0), World(1)
    sender.see([(0.0, TERMINAL), (1.0, MERCHANT)])
    sender.supervision.learner.steps = receiver.supervision.learner.steps = 1
    sender.label(0, 1)
    messages = sender.publish()
    receiver.see([(0.0, CUSTOMER)])
    assert all(receiver.receive(*messages))
    np.testing.assert_array_equal(receiver.supervision.frauds.inputs, sender.supervision.frauds.inputs)
    assert not any(
        name in ("keys", "entities", "ids") for kind, a in messages if kind == "frauds" for name in a
    )
    assert all(receiver.receive(*messages))  # a repeated message replaces them
    assert len(receiver.supervision.frauds) == 2
    sender.label(0, label="legitimate")
    assert all(receiver.receive(*sender.publish()))
    assert len(receiver.supervision.frauds) == 1


def test_delays_of_peers_count_where_own_labels_are_missing() -> None:
    sender, receiver = World(0), World(1)
    for world in (sender, receiver):
        world.see([(0.0, TERMINAL), (30.0, TERMINAL)])
    assert receiver.supervision.mature(receiver.now).size == 0
    sender.label(0, delay_days=10.0)
    receiver.receive(*sender.publish())
    assert receiver.supervision.mature(receiver.now).size == 1


# --- encoders ---------------------------------------------------------------------------------------------


def trained(world: World, steps: int = 5, bins: int = 1) -> World:
    supervision = world.supervision
    supervision.learner.steps, supervision._trainings, supervision.bins = steps, 1, bins
    return world


def test_weights_are_averaged_where_bins_are_equal_and_adopted_where_they_are_newer() -> None:
    worlds = [trained(World(n)) for n in range(3)]
    for world in worlds:
        world.supervision.learner.edges = worlds[0].supervision.learner.edges.copy()
    mean = np.mean([world.supervision.learner.weights["hidden"] for world in worlds], axis=0)
    exchange(worlds, rounds=1)
    for world in worlds:
        np.testing.assert_allclose(world.supervision.learner.weights["hidden"], mean, atol=1e-3)

    newer = trained(World(5), bins=2)
    newer.supervision.learner.edges += 1.0
    [message] = newer.publish()
    assert worlds[0].receive(message) == [True]
    learner = worlds[0].supervision.learner
    np.testing.assert_array_equal(learner.edges, newer.supervision.learner.edges)
    np.testing.assert_allclose(learner.weights["out"], newer.supervision.learner.weights["out"], atol=1e-3)
    before = worlds[0].state()
    assert worlds[0].receive(trained(World(6)).publish()[0]) == [True]  # older bins are ignored
    assert worlds[0].state() == before


def test_an_encoder_is_published_once_per_training() -> None:
    world = trained(World())
    assert [kind for kind, _ in world.publish()] == ["encoder"]
    assert world.publish() == []


# --- whatever anyone may send -----------------------------------------------------------------------------


def everything() -> dict[str, Mapping[str, NDArray[Any]]]:
    sender = trained(World(0))
    sender.see([(0.0, TERMINAL), (1.0, MERCHANT)])
    sender.label(0, 1)
    return dict(sender.publish())


MESSAGES = everything()
BAD = (np.nan, np.inf, -np.inf)


@settings(max_examples=50)
@given(st.data())
def test_malformed_messages_are_refused_without_change(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(MESSAGES)))
    arrays = {name: array.copy() for name, array in MESSAGES[kind].items()}
    name = data.draw(st.sampled_from(sorted(arrays)))
    array = arrays[name]
    how = data.draw(st.sampled_from(("missing", "dtype", "dimension", "kind")))
    if how == "missing":
        del arrays[name]
    elif how == "dtype":
        arrays[name] = array.astype(
            data.draw(st.sampled_from(sorted({"<i4", "<f4", "<u8"} - {array.dtype.str})))
        )
    elif how == "dimension":
        arrays[name] = array[None]
    else:
        kind = "nobody knows this"
    receiver = World(1)
    receiver.see([(0.0, TERMINAL)])
    before = receiver.state()
    assert receiver.receive((kind, arrays)) == [False]
    assert receiver.state() == before


@settings(max_examples=50)
@given(st.data())
def test_values_out_of_range_are_refused_without_change(data: st.DataObject) -> None:
    places = [("fraud_rates", name) for name in ("times", "counts", "events")]
    places += [("frauds", name) for name in ("inputs", "delays")]
    places += [
        ("encoder", name) for name in MESSAGES["encoder"] if name == "edges" or name.startswith("weight")
    ]
    kind, name = data.draw(st.sampled_from(places))
    arrays = {key: array.copy() for key, array in MESSAGES[kind].items()}
    with np.errstate(over="ignore"):
        value = np.float64(data.draw(st.sampled_from(BAD))).astype(arrays[name].dtype)
    arrays[name].flat[data.draw(st.integers(0, arrays[name].size - 1))] = value
    receiver = World(1)
    receiver.see([(0.0, TERMINAL)])
    before = receiver.state()
    assert receiver.receive((kind, arrays)) == [False]
    assert receiver.state() == before


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("fraud_rates", "kinds", 0),  # the main entity's
        ("fraud_rates", "kinds", 200),
        ("fraud_rates", "keys", 0),
        ("fraud_rates", "statuses", 2),
        ("fraud_rates", "counts", -1.0),
        ("fraud_rates", "counts", 1e30),
        ("fraud_rates", "events", -1.0),
        ("fraud_rates", "times", DAY + AHEAD_MAX_S + 1.0),
        ("frauds", "delays", -1.0),
        ("encoder", "edges", 0.0),  # not ascending
        ("encoder", "counts", 0),
        ("encoder", "weight hidden", 3e4),
        ("encoder", "model", 1),  # another configuration
    ],
)
def test_values_that_make_no_sense_are_refused(kind: str, name: str, value: float) -> None:
    receiver = World(1)
    receiver.see([(0.0, TERMINAL)])
    before = receiver.state()
    arrays = {**MESSAGES[kind], name: np.full_like(MESSAGES[kind][name], value)}
    assert receiver.receive((kind, arrays)) == [False]
    assert receiver.state() == before


def test_what_is_not_published_yet_is_state() -> None:
    world, again = World(1), World(1)
    world.see([(0.0, TERMINAL), (1.0, TERMINAL)])
    world.label(0)
    assert world.receive(*MESSAGES.items()) == [True] * len(MESSAGES)
    state = unpack(world.state())
    again.load(state)
    assert again.state() == world.state()
    one, other = world.publish(), again.publish()
    assert [kind for kind, _ in one] == [kind for kind, _ in other]
    for (_, left), (_, right) in zip(one, other, strict=True):
        assert left.keys() == right.keys()
        assert all(np.array_equal(left[name], right[name]) for name in left)


# --- in whole shards ----------------------------------------------------------------------------------------


Went = list[tuple[int, Outputs, bytes]]


def go(
    driven: Partition, published: Sequence[PeerMessage] = (), poll: int = 300
) -> tuple[Went, list[Snapshot]]:
    """Drive it over the test log; a peer's message is visible from the offset of its barrier on."""
    lines, went, snapshots = feedback(), Went(), []
    topics = {
        "feedback": [(at, line) for at, (_, line) in enumerate(lines)],
        "exchange": [(at, message.value) for at, message in enumerate(published)],
    }
    records = [record for record in log()[:3400] if driven.position <= record.offset]
    while records:
        batch, records = records[:poll], records[poll:]
        while batch:
            step = driven.take(batch)
            batch = batch[step.consumed :]
            labels = sum(first <= driven.position for first, _ in lines)
            visible = sum(message.offset < driven.position for message in published)
            available = {"feedback": SideRange(0, labels), "exchange": SideRange(0, visible)}
            if step.block_ended and (barrier := driven.due(available)) is not None:
                live = driven.position > driven.until
                outputs = driven.barrier(barrier, named(barrier, topics))
                if live:
                    snapshots.append(driven.snapshot())
                    went.append((driven.position, outputs, pack(snapshots[-1].state)))
    return went, snapshots


def test_a_shard_that_is_replayed_or_restored_publishes_and_knows_the_same() -> None:
    labels = {"buffer_events_max": 2048, "labels_max": 512, "per_barrier_max": 64, "maturity_delay": "1d"}
    wanted = part(exchange=True, model={**part().model.model_dump(mode="json"), "labels": labels})
    peer, _ = go(partition(wanted, identity=replace(IDENTITY, partition=IDENTITY.partition + 1)))
    published = [message for _, outputs, _ in peer for message in outputs.peer_messages]
    kinds = {msgspec.msgpack.decode(message.value)[6] for message in published}
    assert kinds == {"fraud_rates", "frauds", "encoder"}

    whole, snapshots = go(partition(wanted), published)
    assert sum(outputs.side_outcomes["exchange"].get("applied", 0) for _, outputs, _ in whole) > 10
    assert not any("unfit" in outputs.side_outcomes["exchange"] for _, outputs, _ in whole)

    middle = len(whole) // 2
    until = whole[middle][0]
    journal = Journal.from_text(snapshots[middle].since.to_text())
    assert go(partition(wanted, journal, until=until), published, poll=77)[0] == whole[middle + 1 :]
    checkpoint, journal = restored(snapshots[middle])
    assert (
        go(partition(wanted, journal, until=until, restored=checkpoint), published)[0] == whole[middle + 1 :]
    )

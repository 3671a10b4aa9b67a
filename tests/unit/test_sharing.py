"""What shards tell each other: counted once everywhere, taken back, bounded, and checked before use."""

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
from detector.core.labels import peers as sharing_module
from detector.core.labels.event_buffer import Memory
from detector.core.labels.feedback import Answer, LabelBook
from detector.core.labels.peers import AHEAD_MAX_S, Message, Sharing
from detector.core.labels.supervision import Supervision
from detector.core.records import Outputs, Told
from detector.core.recovery.checkpoint import Snapshot
from detector.core.recovery.journal import Journal
from detector.core.shard.partition import Partition
from detector.core.state import pack, unpack
from tests.unit.test_shard import IDENTITY, feedback, log, part, partition, restored

DAY = 20_000.0 * DAY_S  # of event time, where the tests begin
SILENCE = part().model.labels.maturity_delay
FRAUD_AGE = -3  # column of a terminal's risk inputs
CUSTOMER, TERMINAL, MERCHANT = 7, 11, 13


class World:
    """One shard, as far as labels go; events are (day, terminal)."""

    def __init__(self, partition: int = 0) -> None:
        config = part().model
        self.layout = Layout(part().event, config.features)
        self.features = Features(self.layout)
        self.profiles = Profiles(self.layout, config.features)
        self.profiles.reserve(256)
        memory = Memory(config.labels, self.layout, len(self.features))
        book = LabelBook(config.labels, "transactions", partition, memory)
        rng = np.random.default_rng(partition)
        self.supervision = Supervision(config, self.layout, self.features, book, memory, rng, shares=True)
        self.sharing = Sharing(self.supervision, self.layout, {"a": 1}, partition)
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
        self.supervision.remember(
            [str(first + i) for i in range(len(events))],
            np.arange(first, first + len(events)),
            rows,
            self.features.compute(rows),
            distances,
            distances,
            np.zeros(len(events), dtype=bool),
        )
        self.days += [day for day, _ in events]
        self.now = max(self.now, float(rows.times.max()))

    def label(self, *numbers: int, label: str = "fraud", delay_days: float = 1.0) -> None:
        self.supervision.apply(
            [Answer(n, n, label, DAY + (self.days[n] + delay_days) * DAY_S) for n in numbers]
        )

    def mature(self) -> None:
        self.supervision.mature(self.now)

    def tell(self) -> list[Message]:
        return self.sharing.tell()

    def hear(self, *messages: Message) -> list[bool]:
        return [self.sharing.hear(kind, frozen(arrays), self.now) for kind, arrays in messages]

    def risk(self, terminal: int, day: float) -> NDArray[np.float32]:
        rows = empty_rows(1, self.layout)
        rows.times[:], rows.entities[:, 1] = DAY + day * DAY_S, terminal
        self.supervision.risks.read(rows)
        risk: NDArray[np.float32] = rows.fraud_rates[0, self.layout.fraud_rate_kinds[1].columns]
        return risk

    def state(self) -> bytes:
        return pack({"supervision": self.supervision.to_state(), "sharing": self.sharing.to_state()})


def frozen(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    copies = {name: array.copy() for name, array in arrays.items()}
    for array in copies.values():
        array.flags.writeable = False
    return copies


def gossip(worlds: Sequence[World], rounds: int = 3) -> None:
    """Every shard hears what every other told in the round before."""
    for _ in range(rounds):
        told = [world.tell() for world in worlds]
        for listener in worlds:
            for teller, messages in zip(worlds, told, strict=True):
                if teller is not listener:
                    assert all(listener.hear(*messages))


# --- fraud shares -----------------------------------------------------------------------------------------


def test_a_fraud_raises_the_terminals_share_at_a_sibling_and_a_retraction_takes_it_back() -> None:
    teller, listener = World(0), World(1)
    for world in (teller, listener):
        world.see([(0.0, TERMINAL), (1.0, TERMINAL), (1.5, MERCHANT)])
    before = listener.risk(TERMINAL, 2.0)
    teller.label(1)
    assert all(listener.hear(*teller.tell()))
    raised = listener.risk(TERMINAL, 2.0)
    assert raised[0] > before[0] == 0.0
    assert raised[FRAUD_AGE] < before[FRAUD_AGE]
    np.testing.assert_array_equal(listener.risk(MERCHANT, 2.0), before)
    teller.label(1, label="retracted")
    assert all(listener.hear(*teller.tell()))
    assert listener.risk(TERMINAL, 2.0)[0] == 0.0


def test_nobody_tells_of_the_main_entity() -> None:
    world = World()
    world.see([(0.0, TERMINAL)])
    world.label(0)
    keys = np.concatenate([arrays["keys"] for kind, arrays in world.tell() if kind == "shares"])
    assert TERMINAL in keys
    assert CUSTOMER not in keys


@pytest.mark.parametrize("seed", range(4))
def test_shards_together_count_what_one_would(seed: int) -> None:
    """Numerator and denominator cover the same events, whoever's they are."""
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
        gossip(worlds, rounds=1)
    for world in [*worlds, alone]:
        world.see([(60.0, CUSTOMER)])
        world.mature()
    gossip(worlds)
    for terminal in (TERMINAL, MERCHANT):
        whole = alone.risk(terminal, 60.0)
        assert whole[0] > 0.0
        for world in worlds:
            np.testing.assert_allclose(world.risk(terminal, 60.0)[:-3], whole[:-3], rtol=0.1)
            np.testing.assert_allclose(world.risk(terminal, 60.0)[-3], whole[-3], rtol=1e-3)


def test_what_is_told_is_bounded_and_keeps_labels_and_the_busiest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing_module, "CHANGES_MAX", 3)
    world = World()
    world.see([(0.1 * n, 100 + n) for n in range(6)])
    world.label(*range(4), delay_days=7.0)
    [arrays] = [arrays for kind, arrays in world.tell() if kind == "shares"]
    assert len(arrays["keys"]) == 3
    assert world.sharing.dropped == 1
    world.see([(20.0, 100), (20.1, 101), (20.2, 102), (20.3, 103), (20.4, 103), (40.0, 99)])
    world.mature()
    [arrays] = [arrays for kind, arrays in world.tell() if kind == "shares"]
    assert (arrays["what"] == MATURED).all()
    assert len(arrays["keys"]) == 3
    assert 103 in arrays["keys"]


# --- confirmed frauds -------------------------------------------------------------------------------------


def test_a_siblings_frauds_are_learned_from_until_they_are_retracted() -> None:
    teller, listener = World(0), World(1)
    teller.see([(0.0, TERMINAL), (1.0, MERCHANT)])
    teller.supervision.learner.steps = listener.supervision.learner.steps = 1
    teller.label(0, 1)
    messages = teller.tell()
    listener.see([(0.0, CUSTOMER)])
    assert all(listener.hear(*messages))
    np.testing.assert_array_equal(listener.supervision.frauds.inputs, teller.supervision.frauds.inputs)
    assert not any(
        name in ("keys", "entities", "ids") for kind, a in messages if kind == "frauds" for name in a
    )
    assert all(listener.hear(*messages))  # the same again replaces
    assert len(listener.supervision.frauds) == 2
    teller.label(0, label="legitimate")
    assert all(listener.hear(*teller.tell()))
    assert len(listener.supervision.frauds) == 1


def test_delays_of_siblings_count_where_own_labels_are_missing() -> None:
    teller, listener = World(0), World(1)
    for world in (teller, listener):
        world.see([(0.0, TERMINAL), (30.0, TERMINAL)])
    assert listener.supervision.mature(listener.now).size == 0
    teller.label(0, delay_days=10.0)
    listener.hear(*teller.tell())
    assert listener.supervision.mature(listener.now).size == 1


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
    gossip(worlds, rounds=1)
    for world in worlds:
        np.testing.assert_allclose(world.supervision.learner.weights["hidden"], mean, atol=1e-3)

    newer = trained(World(5), bins=2)
    newer.supervision.learner.edges += 1.0
    [message] = newer.tell()
    assert worlds[0].hear(message) == [True]
    learner = worlds[0].supervision.learner
    np.testing.assert_array_equal(learner.edges, newer.supervision.learner.edges)
    np.testing.assert_allclose(learner.weights["out"], newer.supervision.learner.weights["out"], atol=1e-3)
    before = worlds[0].state()
    assert worlds[0].hear(trained(World(6)).tell()[0]) == [True]  # older: of no consequence
    assert worlds[0].state() == before


def test_an_encoder_is_told_once_per_training() -> None:
    world = trained(World())
    assert [kind for kind, _ in world.tell()] == ["encoder"]
    assert world.tell() == []


# --- whatever anyone may send -----------------------------------------------------------------------------


def everything() -> dict[str, Mapping[str, NDArray[Any]]]:
    teller = trained(World(0))
    teller.see([(0.0, TERMINAL), (1.0, MERCHANT)])
    teller.label(0, 1)
    return dict(teller.tell())


MESSAGES = everything()
BAD = (np.nan, np.inf, -np.inf)


@settings(max_examples=50)
@given(st.data())
def test_what_is_malformed_is_refused_without_change(data: st.DataObject) -> None:
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
    listener = World(1)
    listener.see([(0.0, TERMINAL)])
    before = listener.state()
    assert listener.hear((kind, arrays)) == [False]
    assert listener.state() == before


@settings(max_examples=50)
@given(st.data())
def test_values_out_of_range_are_refused_without_change(data: st.DataObject) -> None:
    places = [("shares", name) for name in ("times", "counts", "events")]
    places += [("frauds", name) for name in ("inputs", "delays")]
    places += [
        ("encoder", name) for name in MESSAGES["encoder"] if name == "edges" or name.startswith("weight")
    ]
    kind, name = data.draw(st.sampled_from(places))
    arrays = {key: array.copy() for key, array in MESSAGES[kind].items()}
    with np.errstate(over="ignore"):
        value = np.float64(data.draw(st.sampled_from(BAD))).astype(arrays[name].dtype)
    arrays[name].flat[data.draw(st.integers(0, arrays[name].size - 1))] = value
    listener = World(1)
    listener.see([(0.0, TERMINAL)])
    before = listener.state()
    assert listener.hear((kind, arrays)) == [False]
    assert listener.state() == before


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("shares", "kinds", 0),  # the main entity's
        ("shares", "kinds", 200),
        ("shares", "keys", 0),
        ("shares", "what", 2),
        ("shares", "counts", -1.0),
        ("shares", "counts", 1e30),
        ("shares", "events", -1.0),
        ("shares", "times", DAY + AHEAD_MAX_S + 1.0),
        ("frauds", "delays", -1.0),
        ("encoder", "edges", 0.0),  # not ascending
        ("encoder", "counts", 0),
        ("encoder", "weight hidden", 3e4),
        ("encoder", "model", 1),  # another configuration
    ],
)
def test_values_that_make_no_sense_are_refused(kind: str, name: str, value: float) -> None:
    listener = World(1)
    listener.see([(0.0, TERMINAL)])
    before = listener.state()
    arrays = {**MESSAGES[kind], name: np.full_like(MESSAGES[kind][name], value)}
    assert listener.hear((kind, arrays)) == [False]
    assert listener.state() == before


def test_what_was_heard_and_not_yet_told_is_state() -> None:
    world, again = World(1), World(1)
    world.see([(0.0, TERMINAL), (1.0, TERMINAL)])
    world.label(0)
    assert world.hear(*MESSAGES.items()) == [True] * len(MESSAGES)
    state = unpack(world.state())
    again.supervision.load(state["supervision"])
    again.sharing.load(state["sharing"])
    assert again.state() == world.state()
    told, retold = world.tell(), again.tell()
    assert [kind for kind, _ in told] == [kind for kind, _ in retold]
    for (_, left), (_, right) in zip(told, retold, strict=True):
        assert left.keys() == right.keys()
        assert all(np.array_equal(left[name], right[name]) for name in left)


# --- in whole shards ----------------------------------------------------------------------------------------


Went = list[tuple[int, Outputs, bytes]]


def go(driven: Partition, told: Sequence[Told] = (), poll: int = 300) -> tuple[Went, list[Snapshot]]:
    """Drive it over the test log; siblings' messages are there once it has come as far as they had."""
    lines, went, snapshots = feedback(), Went(), []
    records = [record for record in log()[:3400] if driven.position <= record.offset]
    while records:
        batch, records = records[:poll], records[poll:]
        while batch:
            step = driven.take(batch)
            batch = batch[step.consumed :]
            labels = sum(first <= driven.position for first, _ in lines)
            heard = sum(message.offset < driven.position for message in told)
            if step.block_ended and (barrier := driven.due(labels, exchange_end=heard)) is not None:
                live = driven.position > driven.until
                outputs = driven.barrier(
                    barrier,
                    [(at, lines[at][1]) for at in range(*driven.labels_range(barrier))],
                    [(at, told[at].value) for at in range(*driven.exchange_range(barrier))],
                )
                if live:
                    snapshots.append(driven.snapshot())
                    went.append((driven.position, outputs, pack(snapshots[-1].state)))
    return went, snapshots


def test_a_shard_that_is_cut_replayed_or_restored_tells_and_knows_the_same() -> None:
    labels = {"buffer_events_max": 2048, "labels_max": 512, "per_barrier_max": 64, "maturity_delay": "1d"}
    wanted = part(exchange=True, model={**part().model.model_dump(mode="json"), "labels": labels})
    sibling, _ = go(partition(wanted, identity=replace(IDENTITY, partition=IDENTITY.partition + 1)))
    told = [message for _, outputs, _ in sibling for message in outputs.told]
    kinds = {msgspec.msgpack.decode(message.value)[6] for message in told}
    assert kinds == {"shares", "frauds", "encoder"}

    whole, snapshots = go(partition(wanted), told)
    assert sum(outputs.exchange.get("heard", 0) for _, outputs, _ in whole) > 10
    assert not any("unfit" in outputs.exchange for _, outputs, _ in whole)

    middle = len(whole) // 2
    until = whole[middle][0]
    journal = Journal.from_text(snapshots[middle].since.to_text())
    assert go(partition(wanted, journal, until=until), told, poll=77)[0] == whole[middle + 1 :]
    checkpoint, journal = restored(snapshots[middle])
    assert go(partition(wanted, journal, until=until, restored=checkpoint), told)[0] == whole[middle + 1 :]

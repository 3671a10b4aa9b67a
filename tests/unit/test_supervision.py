"""Learning from labels: only from mature events, not from retracted labels, and within limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.quality.metrics import average_precision
from detector.config.tree import Event, Model
from detector.core.events import id_hash
from detector.core.features import DAY_S, Features, Layout, Rows, empty_rows
from detector.core.labels import event_buffer, feedback, maturity, replay_buffer
from detector.core.labels import supervision as module
from detector.core.labels.event_buffer import ALERTED, FRAUD, LEGITIMATE, EventBuffer
from detector.core.labels.feedback import Answer, AppliedLabels
from detector.core.labels.label_weight import AS_GOOD, WEIGHT_STEP, WEIGHTS, best_weight
from detector.core.labels.maturity import DELAY_QUANTILE
from detector.core.labels.supervision import FRAUDS_MIN, Supervision
from detector.core.model.calibration import mixed
from detector.core.state import copied, pack, unpack

SCHEMA = Event.model_validate(
    {
        "id": "id",
        "time": {"path": "time"},
        "entities": [{"name": "card", "path": "card"}, {"name": "terminal", "path": "terminal"}],
        "fields": [{"name": "amount", "path": "amount", "type": "numeric"}],
    }
)
MODEL: dict[str, Any] = {
    "encoder": {"hidden": 8, "dimension": 8, "hash_rows": 64, "bins": 4, "learning_rate": 0.01},
    "labels": {"buffer_events_max": 4096, "maturity_delay": "2d"},
}
MATURITY_S = 2 * DAY_S
PER_DAY = 100
CARDS, TERMINALS = 1 << 32, 1 << 40


class World:
    """Events 0, 1, 2, ..., a hundred a day; event n is of card n % 40 and terminal n % 10."""

    def __init__(self, seed: int = 0) -> None:
        self.model = Model.model_validate(MODEL)
        self.layout = Layout(SCHEMA, self.model.features)
        self.features = Features(self.layout)
        self.buffer = EventBuffer(self.model.labels, self.layout, len(self.features))
        self.rng = np.random.default_rng(seed)
        self.taught = Supervision(self.model, self.layout, self.features, self.buffer, self.rng)

    def rows(self, first: int, count: int) -> Rows:
        numbers = np.arange(first, first + count)
        rows = empty_rows(count, self.layout)
        rows.times[:] = rows.clocks[:] = numbers * (DAY_S / PER_DAY)
        rows.entities[:, 0] = (numbers % 40 + 1) * CARDS
        rows.entities[:, 1] = (numbers % 10 + 1) * TERMINALS
        rows.numerics[:, 0] = np.sin(numbers)
        return rows

    def happen(
        self,
        count: int,
        alerted: list[int] | None = None,
        labelled: NDArray[np.float64] | None = None,
        plain: NDArray[np.float64] | None = None,
    ) -> World:
        """Add `count` events; `alerted` are event numbers."""
        first = self.buffer.events
        rows = self.rows(first, count)
        self.taught.fraud_rates.read(rows)
        self.buffer.remember(
            ids=np.array([id_hash(f"e-{n}", b"") for n in range(first, first + count)], dtype=np.uint64),
            offsets=np.arange(first, first + count) * 2,
            rows=rows,
            inputs=self.features.compute(rows),
            plain=np.zeros(count) if plain is None else plain,
            labelled=np.zeros(count) if labelled is None else labelled,
            alerted=np.isin(np.arange(first, first + count), alerted or []),
        )
        return self

    def answer(self, label: str, *numbers: int, delay_s: float = DAY_S) -> World:
        times = np.array(numbers) * (DAY_S / PER_DAY) + delay_s
        return self.apply(
            [Answer(n, 2 * n, label, time) for n, time in zip(numbers, times.tolist(), strict=True)]
        )

    def apply(self, answers: list[Answer]) -> World:
        self.taught.apply(AppliedLabels.make(answers, self.buffer))
        return self

    def cleared(self, answers: list[Answer]) -> list[float] | None:
        """Times of the alerted events that these answers clear."""
        cleared = AppliedLabels.make(answers, self.buffer).cleared
        return None if cleared is None else cleared.times.tolist()

    def state(self) -> dict[str, Any]:
        return {"buffer": self.buffer.to_state(), "supervision": self.taught.to_state()}

    def load(self, state: Any) -> None:
        self.buffer.load(state["buffer"])
        self.taught.load(state["supervision"])

    def mature(self, now: float | None = None) -> list[int]:
        """Mature at the time after the last event, or at `now`."""
        if now is None:
            now = self.buffer.events * (DAY_S / PER_DAY)
        return self.taught.mature(now).tolist()

    def flags(self, *numbers: int) -> list[int]:
        found: list[int] = self.buffer.column("flags", np.array(numbers)).tolist()
        return found

    def shares(self) -> NDArray[np.float32]:
        """Fraud rates of the cards and terminals of the next 40 events."""
        rows = self.rows(self.buffer.events, 40)
        self.taught.fraud_rates.read(rows)
        columns = [slice(r.columns.start, r.columns.start + r.memories) for r in self.layout.fraud_rate_kinds]
        return np.concatenate([rows.fraud_rates[:, c] for c in columns], axis=1)


def age(number: int, now: float) -> float:
    return now - number * (DAY_S / PER_DAY)


# --- maturity --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["legitimate", "retracted"])
def test_nothing_is_judged_before_the_first_fraud_label(label: str) -> None:
    world = World().happen(500, alerted=[3])
    assert world.mature(1e12) == []
    world.answer(label, 3, 4)
    assert world.mature(1e12) == []
    world.answer("fraud", 5)
    assert world.mature(1e12) == [n for n in range(500) if n != 3 or label == "legitimate"]


@given(
    delays=st.lists(st.floats(0, 20), min_size=FRAUDS_MIN, max_size=60),
    now=st.floats(0, 30).map(lambda days: days * DAY_S),
)
@settings(max_examples=40, deadline=None)
def test_unreported_events_are_judged_after_the_delays_of_unalerted_ones(
    delays: list[float], now: float
) -> None:
    alerted = list(range(200, 240))
    world = World().happen(1000, alerted=alerted)
    for number, delay in enumerate(delays):
        world.answer("fraud", number, delay_s=delay * DAY_S)
    world.answer("fraud", *alerted, delay_s=0.0)  # answers to alerts are quick
    due = max(MATURITY_S, float(np.quantile(delays, DELAY_QUANTILE)) * DAY_S)
    # Within a second, because of rounding.
    judged = set(world.mature(now))
    assert judged >= {n for n in range(1000) if age(n, now) > due + 1}
    assert not judged & {n for n in range(1000) if age(n, now) < due - 1}


def test_delays_of_all_frauds_count_while_few_of_unalerted_ones_are_known() -> None:
    world = World().happen(1000, alerted=list(range(8)))
    world.answer("fraud", *range(8), delay_s=6 * DAY_S)
    world.answer("fraud", 20, delay_s=DAY_S)
    assert max(world.mature(9.5 * DAY_S)) == 350


def test_labels_from_before_their_events_count_as_no_delay() -> None:
    world = World().happen(1000).answer("fraud", *range(10), delay_s=-1e9)
    assert max(world.mature(9.5 * DAY_S)) == 750


@given(
    cuts=st.lists(st.integers(1, 200), max_size=10),
    alerted=st.sets(st.integers(0, 999), max_size=50),
    answered=st.lists(st.tuples(st.integers(0, 999), st.sampled_from(["fraud", "legitimate"])), max_size=20),
)
@settings(max_examples=40, deadline=None)
def test_events_are_judged_once_and_alerts_only_when_answered(
    cuts: list[int], alerted: set[int], answered: list[tuple[int, str]]
) -> None:
    world = World().happen(1000, alerted=sorted(alerted)).answer("fraud", 999)
    for number, label in answered:
        world.answer(label, number)
    known = {number for number, _ in answered} | {999}
    judged: list[int] = []
    now = 0.0
    for cut in [*cuts, 100_000]:
        now += cut * (DAY_S / PER_DAY)
        judged += world.mature(now)
    assert judged == [n for n in range(1000) if n not in alerted or n in known]


def test_older_events_are_judged_as_the_sample_that_is_left_of_them() -> None:
    world = World().happen(100).answer("fraud", 50)
    for _ in range(16):
        world.happen(1000)
    older = world.buffer.older
    judged = world.mature()
    assert judged[: len(older)] == older.numbers.tolist()
    assert judged[len(older) :] == list(range(world.buffer.oldest, judged[-1] + 1))
    assert 50 in judged
    world.happen(4096)
    assert world.mature(0.0) == []
    assert world.mature()[0] > judged[-1]


def test_weights_of_the_sample_stand_for_the_events_that_are_gone() -> None:
    world = World().happen(100).answer("fraud", 50)
    for _ in range(30):
        world.happen(1000)
    stored = world.buffer.stored()
    assert len(stored) < 4096 + 1024 + 2
    assert world.buffer.weights(stored).sum() == pytest.approx(world.buffer.events, rel=0.15)


# --- what is counted ---------------------------------------------------------------------------------------


def test_a_fraud_is_in_rates_replay_buffer_and_flags_until_it_is_retracted() -> None:
    world = World().happen(400, alerted=[7, 9]).answer("fraud", 1, 2)
    before, flags = world.shares(), world.flags(*range(400))
    world.answer("fraud", 7, 33, 47)
    assert world.flags(7, 33) == [ALERTED | FRAUD, FRAUD]
    assert len(world.taught.confirmed) == 5
    assert not np.allclose(world.shares(), before)
    world.answer("retracted", 7, 33).answer("legitimate", 47)
    assert world.flags(7, 33, 47) == [ALERTED, 0, LEGITIMATE]
    assert len(world.taught.confirmed) == 2
    world.answer("retracted", 47)
    assert world.flags(*range(400)) == flags
    np.testing.assert_allclose(world.shares(), before, atol=1e-6)


@given(
    labels=st.lists(
        st.tuples(st.integers(0, 20), st.sampled_from(["fraud", "legitimate", "retracted"])), max_size=30
    ),
    at_once=st.integers(1, 30),
)
@settings(max_examples=40, deadline=None)
def test_the_latest_label_of_an_event_counts(labels: list[tuple[int, str]], at_once: int) -> None:
    """However many are applied together; repeating one changes nothing."""
    world, one_by_one = World().happen(50, alerted=[3, 4]), World().happen(50, alerted=[3, 4])
    for start in range(0, len(labels), at_once):
        world.apply([Answer(n, 2 * n, label, 1e6) for n, label in labels[start : start + at_once]])
    for n, label in labels:
        one_by_one.apply([Answer(n, 2 * n, label, 1e6)] * 2)
    latest = dict(labels)
    value = {"fraud": FRAUD, "legitimate": LEGITIMATE, "retracted": 0}
    expected = [(ALERTED if n in (3, 4) else 0) | value[latest.get(n, "retracted")] for n in range(50)]
    for each in (world, one_by_one):
        assert each.flags(*range(50)) == expected
        assert len(each.taught.confirmed) == sum(label == "fraud" for label in latest.values())
        assert len(each.taught._answers) == sum(latest.get(n) == "legitimate" for n in (3, 4))
        known = sorted(n for n, label in latest.items() if label == "fraud")
        assert sorted(each.taught.confirmed.numbers.tolist()) == known
    np.testing.assert_allclose(world.shares(), one_by_one.shares(), atol=1e-6)


def test_rates_are_frauds_over_judged_events() -> None:
    """Terminal 3: four of its ten events of each day are frauds; the longest memory's rate is near .4."""
    frauds = [n for n in range(1000) if n % 10 == 2 and n // 10 % 10 < 4]
    world = World().happen(1000).answer("fraud", *frauds)
    world.mature(1e12)
    longest = world.shares()[2, -1]
    assert longest == pytest.approx(0.4, abs=0.03)
    assert world.shares()[3, -1] == 0.0


def test_alerts_answered_as_legitimate_are_cleared() -> None:
    world = World().happen(100, alerted=[5, 6, 7])
    answers = [
        Answer(n, 2 * n, label, 0.0) for n, label in ((5, "legitimate"), (6, "fraud"), (9, "legitimate"))
    ]
    assert world.cleared(answers) == world.rows(5, 1).times.tolist()
    assert world.cleared(answers[1:]) is None


def test_alerts_kept_for_an_answer_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_buffer, "ALERTED_MAX", 10)
    monkeypatch.setattr(feedback, "CLEARED_MAX", 4)
    world = World().happen(100, alerted=list(range(50)))
    answers = [Answer(n, 2 * n, "legitimate", 0.0) for n in range(50)]
    assert world.cleared(answers) == world.rows(40, 4).times.tolist()
    assert len(world.buffer.to_state()["alerted"]["numbers"]) == 10


def test_the_replay_buffer_is_bounded_and_drops_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_buffer, "EXAMPLES_MAX", 20)
    world = World().happen(100)
    for number in range(50):
        world.answer("fraud", number)
    assert world.taught.confirmed.numbers.tolist() == list(range(30, 50))
    world.answer("fraud", *range(60, 75))
    assert world.taught.confirmed.numbers.tolist() == [*range(45, 50), *range(60, 75)]
    world.answer("fraud", *range(100))  # more at once than it holds
    assert world.taught.confirmed.numbers.tolist() == list(range(80, 100))
    assert len(world.taught.confirmed.examples) == 20


def test_delays_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maturity, "DELAYS_MAX", 10)
    world = World().happen(100).answer("fraud", *range(10), delay_s=30 * DAY_S)
    assert world.mature(20 * DAY_S) == []
    world.answer("fraud", *range(20, 30), delay_s=DAY_S)  # reports come earlier now
    assert len(world.mature(20 * DAY_S)) == 100
    delays = world.taught.to_state()["maturity"]["delays"]
    assert [len(delays[kind]) for kind in ("all", "unalerted", "peers")] == [10, 10, 0]


# --- training ----------------------------------------------------------------------------------------------


def test_too_few_frauds_teach_nothing() -> None:
    world = World().happen(600).answer("fraud", *range(FRAUDS_MIN - 1))
    drawn = world.rng.bit_generator.state
    world.taught.train(world.taught.mature(1e12))
    assert world.taught.learner.steps == 0
    assert len(world.taught.frauds) == 0
    assert world.rng.bit_generator.state == drawn


def test_training_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 16)
    world = World().happen(3000).answer("fraud", *range(0, 100, 10))
    world.taught.train(world.taught.mature(1e12))
    assert world.taught.learner.steps == module.STEPS_MAX
    assert len(world.taught.frauds) == 10
    world.taught.train(np.zeros(0, dtype=np.int64))  # nothing has matured since
    assert world.taught.learner.steps == module.STEPS_MAX


def test_steps_follow_what_has_matured() -> None:
    world = World().happen(1000).answer("fraud", *range(0, 100, 10))
    world.taught.train(world.taught.mature(1e12))
    assert world.taught.learner.steps == 3 * module.STEPS_PER_BATCH


class Watched(list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]):
    """Amounts, fraud flags and weights that a learner was given."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()

        def learn(inputs: Any, rows: Any, fraud: Any, weight: Any) -> float:
            self.append((inputs[:, 0], fraud, weight))
            return 0.0

        monkeypatch.setattr(world.taught.learner, "learn", learn)


def test_only_judged_events_are_learned_as_legitimate(monkeypatch: pytest.MonkeyPatch) -> None:
    alerted = list(range(1, 1000, 3))
    frauds = list(range(0, 300, 10))
    world = World().happen(1000, alerted=alerted).answer("fraud", *frauds)
    world.answer("legitimate", 1, 4)
    watched = Watched(world, monkeypatch)
    world.taught.train(world.taught.mature(1e12))
    amounts = np.sin(np.arange(1000)).astype(np.float16).astype(np.float32)
    legitimate = set(range(1000)) - set(frauds) - set(alerted) | {1, 4}
    legitimate -= set(frauds)
    allowed = set(amounts[sorted(legitimate)].tolist())
    assert len(watched) > 3
    for given_amounts, fraud, weight in watched:
        assert set(given_amounts[fraud == 0].tolist()) <= allowed
        assert set(given_amounts[fraud == 1].tolist()) <= set(amounts[frauds].tolist())
        assert (weight > 0).all()
        share = weight[fraud == 1].sum() / weight.sum()
        assert share == pytest.approx(len(frauds) / 1000, abs=0.01)


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few frauds are enough for trees."""
    monkeypatch.setattr(module, "GROWN_FRAUDS_MIN", 20)


def taught(frauds: int) -> World:
    world = World().happen(1000).answer("fraud", *range(0, 10 * frauds, 10))
    world.taught.train(world.taught.mature(1e12))
    return world


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize("frauds", [FRAUDS_MIN, 19, 20])
def test_trees_need_frauds(frauds: int) -> None:
    assert (len(taught(frauds).taught.trees) > 0) == (frauds == 20)


@pytest.mark.usefixtures("_few")
def test_without_confirmed_frauds_there_are_no_trees() -> None:
    world = taught(20)
    world.answer("retracted", *range(0, 200, 10))
    assert len(world.taught.trees) == 0


@pytest.mark.usefixtures("_few")
def test_trees_are_grown_anew_once_enough_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROWN_EVERY_MIN", 500)
    world = taught(20)
    first = world.taught.trees
    world.happen(400)
    world.taught.train(world.taught.mature(1e12))
    assert world.taught.trees is first
    again = World(seed=1)
    again.load(unpack(pack(world.state())))
    for each in (world, again):
        each.happen(100)
        each.taught.train(each.taught.mature(1e12))
    assert world.taught.trees is not first
    assert len(again.taught.trees) == len(world.taught.trees) > 0


@pytest.mark.usefixtures("_few")
def test_trees_are_grown_from_judged_events(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(module.Trees, "grow", lambda *values: given.extend(values) or module.Trees())
    monkeypatch.setattr(module, "GROWN_LEGITIMATE_MAX", 200)
    alerted = list(range(1, 1000, 3))
    world = World().happen(1000, alerted=alerted).answer("fraud", *range(0, 300, 10))
    hidden = np.arange(len(world.features)) % 3 == 0
    world.taught.learner.hide(hidden, np.zeros(0, dtype=np.bool_))
    monkeypatch.setattr(world.taught.learner, "hide", lambda *_: None)
    world.answer("legitimate", 1, 4)
    world.taught.train(world.taught.mature(1e12))
    inputs, fraud, weights, usable, _ = given
    amounts = np.sin(np.arange(1000)).astype(np.float16).astype(np.float32)
    legitimate = set(range(1000)) - set(alerted) - set(range(0, 300, 10)) | {1, 4}
    assert set(inputs[~fraud, 0].tolist()) <= set(amounts[sorted(legitimate)].tolist())
    assert set(inputs[fraud, 0].tolist()) == set(amounts[:300:10].tolist())
    assert (~fraud).sum() <= 202
    assert weights[fraud].sum() / weights.sum() == pytest.approx(0.03, abs=0.001)
    assert usable.tolist() == (~hidden).tolist()


def test_a_retracted_fraud_is_learned_as_legitimate(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World().happen(300).answer("fraud", *range(0, 100, 10)).answer("retracted", 50)
    watched = Watched(world, monkeypatch)
    world.taught.train(world.taught.mature(1e12))
    retracted = np.float32(np.float16(np.sin(50)))
    assert any(retracted in amounts[fraud == 0] for amounts, fraud, _ in watched)
    assert not any(retracted in amounts[fraud == 1] for amounts, fraud, _ in watched)


# --- weight of the labelled parts --------------------------------------------------------------------------


def weighed(
    labelled: Any, count: int = 2000, frauds: int = 40, start: float = 0.0, plain: Any = None
) -> World:
    """Every fiftieth event is a fraud; `labelled` makes distances from fraud flags and a generator."""
    rng = np.random.default_rng(4)
    is_fraud = np.arange(count) % 50 == 7
    plain = rng.normal(size=count) if plain is None else plain(is_fraud, rng)
    world = World().happen(count, labelled=labelled(is_fraud, rng), plain=plain)
    world.answer("fraud", *np.flatnonzero(is_fraud)[:frauds].tolist())
    world.mature(1e12)
    return world


def skilled(is_fraud: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.normal(size=len(is_fraud)) + 3.0 * is_fraud


def unskilled(is_fraud: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.normal(size=len(is_fraud))


def settled(world: World, weight: float = 0.0) -> float:
    for _ in range(20):
        moved = world.taught.weigh(weight)
        assert abs(moved - weight) <= WEIGHT_STEP + 1e-12
        assert 0.0 <= moved <= max(WEIGHTS)
        weight = moved
    return weight


def test_a_part_with_skill_gets_weight_step_by_step() -> None:
    world = weighed(skilled)
    assert world.taught.weigh(0.0) == pytest.approx(WEIGHT_STEP)
    assert settled(world) >= 0.5
    assert settled(world, 0.95) == settled(world)


@pytest.mark.parametrize("weight", [0.0, 0.05, 0.5, 0.95])
def test_a_part_without_skill_loses_its_weight(weight: float) -> None:
    assert settled(weighed(unskilled, plain=skilled), weight) == 0.0


def test_a_part_that_loses_what_the_others_see_gets_little_weight() -> None:
    noisy = settled(weighed(lambda f, rng: 9.0 * rng.normal(size=len(f)) + 3.0 * f, plain=skilled))
    assert noisy <= 0.25


@given(st.integers(0, 1000), st.floats(0.0, 4.0), st.floats(0.0, 4.0), st.floats(0.1, 10.0))
@settings(max_examples=30, deadline=None)
def test_what_labels_cost_is_bounded(seed: int, seen: float, known: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    fraud = np.arange(3000) % 50 == 7
    plain, labelled = rng.normal(size=3000) + seen * fraud, scale * (rng.normal(size=3000) + known * fraud)
    weight = best_weight(plain, labelled, fraud, np.ones(len(plain)))
    with_labels, without = (average_precision(fraud, mixed(plain, labelled, each)) for each in (weight, 0.0))
    assert with_labels >= without / AS_GOOD - 1e-9


@pytest.mark.parametrize("frauds", [0, FRAUDS_MIN - 1])
def test_too_few_frauds_give_no_weight(frauds: int) -> None:
    assert settled(weighed(skilled, frauds=frauds), 0.5) == 0.0


def test_events_without_a_labelled_distance_do_not_count() -> None:
    assert settled(weighed(lambda f, _: np.full(len(f), np.nan)), 0.5) == 0.0


def test_alerts_that_nobody_answered_do_not_count() -> None:
    """Otherwise a part that gives alerts would lose weight for frauds that nobody looked at."""
    rng = np.random.default_rng(0)
    labelled = rng.normal(size=2000)
    frauds = np.arange(7, 2000, 50)
    labelled[frauds] += 4.0
    unanswered = list(range(1, 2000, 10))
    labelled[unanswered] = 100.0
    world = World().happen(2000, alerted=unanswered, labelled=labelled, plain=rng.normal(size=2000))
    world.answer("fraud", *frauds.tolist()).mature(1e12)
    assert settled(world) >= 0.5


# --- state -------------------------------------------------------------------------------------------------


def test_the_latest_events_that_are_not_judged_are_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 64)
    world = World().happen(900, plain=np.arange(900.0)).answer("fraud", 5, delay_s=2 * DAY_S)
    assert world.mature()[-1] == 700  # two days, a hundred events each, are too young

    def recent(count: int) -> list[float]:
        return [number for plain, _, _ in world.taught.recent(count) for number in plain.tolist()]

    assert recent(500) == list(range(701, 900))
    assert recent(100) == list(range(800, 900))
    assert world.mature(1e12)[-1] == 899
    assert recent(400) == list(range(850, 900))  # all are judged: an eighth


def test_events_counted_again_are_as_they_were_scored_and_doubtful_as_of_now() -> None:
    world = World().happen(300).answer("fraud", *range(0, 80, 10))
    world.mature()
    world.taught.fraud_rates.expect(judged=100.0, unjudged=1, frauds=1.0)
    _, rows, inputs = next(iter(world.taught.recent(300)))
    count = len(rows)
    held = np.arange(300 - count, 300)
    assert inputs.tolist() == world.buffer.column("inputs", held).tolist()
    assert rows.entities.tolist() == world.rows(300 - count, count).entities.tolist()
    again = world.rows(300 - count, count)
    for rated, before in zip(
        world.layout.fraud_rate_kinds, world.features.counts_before(inputs), strict=True
    ):
        again.context[:, rated.kind.count(-1)] = before[:, -1]
    world.taught.fraud_rates.read(again)
    assert rows.fraud_rates.tolist() == again.fraud_rates.tolist()


def test_learning_goes_on_from_its_state() -> None:
    first = weighed(skilled)
    first.happen(500, alerted=[2010, 2020, 2030]).answer("legitimate", 2010)
    first.taught.train(first.taught.mature(1e12))
    snapshot = copied({**first.state(), "rng": first.rng.bit_generator.state})
    saved = pack(snapshot)
    second = World(seed=9)
    state = unpack(saved)
    second.rng.bit_generator.state = state["rng"]
    second.load(state)
    for world in (first, second):
        world.happen(300, alerted=[2600]).answer("fraud", 2020, 2021).answer("retracted", 57)
        world.answer("legitimate", 2600)
        world.taught.train(world.taught.mature(1e12))
        assert world.cleared([Answer(2030, 4060, "legitimate", 0.0)]) is not None
    assert pack(first.state()) == pack(second.state())
    assert first.taught.weigh(0.2) == second.taught.weigh(0.2)
    assert pack(snapshot) == saved


def test_the_state_before_anything_was_learned_loads() -> None:
    first, second = World(), World(seed=1)
    second.load(unpack(pack(first.state())))
    assert pack(first.state()) == pack(second.state())


def test_ids_are_found_by_their_digest() -> None:
    world = World().happen(10)
    assert world.buffer.find("ids", [id_hash("e-4", b""), id_hash("x", b"")]) == {id_hash("e-4", b""): 4}

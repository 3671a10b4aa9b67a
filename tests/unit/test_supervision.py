"""What labels teach: nothing before they can be trusted, nothing that was taken back, never without bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.config.tree import Event, Model
from detector.core.events.parser import id_hash
from detector.core.features import DAY_S, Features, Layout, Rows, empty_rows
from detector.core.labels import supervision as module
from detector.core.labels.event_buffer import ALERTED, FRAUD, LEGITIMATE, Memory
from detector.core.labels.feedback import Answer, LabelBook
from detector.core.labels.supervision import DELAY_QUANTILE, FRAUDS_MIN, WEIGHT_STEP, WEIGHTS, Supervision
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
SILENCE_S = 2 * DAY_S
PER_DAY = 100
CARDS, TERMINALS = 1 << 32, 1 << 40


class World:
    """Events 0, 1, 2, ..., a hundred a day; event n is of card n % 40 and terminal n % 10."""

    def __init__(self, seed: int = 0) -> None:
        self.model = Model.model_validate(MODEL)
        self.layout = Layout(SCHEMA, self.model.features)
        self.features = Features(self.layout)
        self.memory = Memory(self.model.labels, self.layout, len(self.features))
        book = LabelBook(self.model.labels, "payments", 0, self.memory)
        self.rng = np.random.default_rng(seed)
        self.taught = Supervision(self.model, self.layout, self.features, book, self.memory, self.rng)

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
        """So many events more; `alerted` by number."""
        first = self.memory.events
        rows = self.rows(first, count)
        self.taught.risks.read(rows)
        self.taught.remember(
            np.array([id_hash(f"e-{n}") for n in range(first, first + count)], dtype=np.uint64),
            np.arange(first, first + count) * 2,
            rows,
            self.features.compute(rows),
            np.zeros(count) if plain is None else plain,
            np.zeros(count) if labelled is None else labelled,
            np.isin(np.arange(first, first + count), alerted or []),
        )
        return self

    def answer(self, label: str, *numbers: int, delay_s: float = DAY_S) -> World:
        times = np.array(numbers) * (DAY_S / PER_DAY) + delay_s
        self.taught.apply(
            [Answer(n, 2 * n, label, time) for n, time in zip(numbers, times.tolist(), strict=True)]
        )
        return self

    def mature(self, now: float | None = None) -> list[int]:
        """At the end of all events, or at `now`."""
        if now is None:
            now = self.memory.events * (DAY_S / PER_DAY)
        return self.taught.mature(now).tolist()

    def flags(self, *numbers: int) -> list[int]:
        found: list[int] = self.memory.column("flags", np.array(numbers)).tolist()
        return found

    def shares(self) -> NDArray[np.float32]:
        """Of the cards and terminals of 40 events to come."""
        rows = self.rows(self.memory.events, 40)
        self.taught.risks.read(rows)
        columns = [slice(r.columns.start, r.columns.start + r.memories) for r in self.layout.fraud_rate_kinds]
        return np.concatenate([rows.fraud_rates[:, c] for c in columns], axis=1)


def age(number: int, now: float) -> float:
    return now - number * (DAY_S / PER_DAY)


# --- silence ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["legitimate", "retracted"])
def test_silence_says_nothing_before_the_first_fraud_label(label: str) -> None:
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
def test_silence_is_judged_when_reports_of_unalerted_events_would_have_come(
    delays: list[float], now: float
) -> None:
    alerted = list(range(200, 240))
    world = World().happen(1000, alerted=alerted)
    for number, delay in enumerate(delays):
        world.answer("fraud", number, delay_s=delay * DAY_S)
    world.answer("fraud", *alerted, delay_s=0.0)  # analysts are quick
    due = max(SILENCE_S, float(np.quantile(delays, DELAY_QUANTILE)) * DAY_S)
    # Within a second: which of two equal doubles is the larger is nobody's concern.
    judged = set(world.mature(now))
    assert judged >= {n for n in range(1000) if age(n, now) > due + 1}
    assert not judged & {n for n in range(1000) if age(n, now) < due - 1}


def test_few_reports_of_unalerted_events_are_judged_by_those_of_all() -> None:
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
    told = {number for number, _ in answered} | {999}
    judged: list[int] = []
    now = 0.0
    for cut in [*cuts, 100_000]:
        now += cut * (DAY_S / PER_DAY)
        judged += world.mature(now)
    assert judged == [n for n in range(1000) if n not in alerted or n in told]


def test_events_that_were_forgotten_before_they_were_judged_are_passed_over() -> None:
    world = World().happen(100).answer("fraud", 50)
    for _ in range(6):
        world.happen(1000)
    judged = world.mature()
    assert judged[0] == world.memory.oldest == 6100 - 4096
    assert judged == list(range(judged[0], judged[-1] + 1))
    world.happen(4096)
    assert world.mature(0.0) == []
    assert world.mature()[0] == world.memory.oldest


# --- what is counted ---------------------------------------------------------------------------------------


def test_a_fraud_is_in_shares_bank_and_flags_until_it_is_taken_back() -> None:
    world = World().happen(400, alerted=[7, 9]).answer("fraud", 1, 2)
    before, flags = world.shares(), world.flags(*range(400))
    world.answer("fraud", 7, 33, 47)
    assert world.flags(7, 33) == [ALERTED | FRAUD, FRAUD]
    assert len(world.taught._frauds) == 5
    assert not np.allclose(world.shares(), before)
    world.answer("retracted", 7, 33).answer("legitimate", 47)
    assert world.flags(7, 33, 47) == [ALERTED, 0, LEGITIMATE]
    assert len(world.taught._frauds) == 2
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
def test_what_is_known_of_an_event_is_its_latest_label(labels: list[tuple[int, str]], at_once: int) -> None:
    """However many come together; repeating one changes nothing."""
    world, one_by_one = World().happen(50, alerted=[3, 4]), World().happen(50, alerted=[3, 4])
    for start in range(0, len(labels), at_once):
        world.taught.apply(
            [Answer(n, 2 * n, label, 1e6) for n, label in labels[start : start + at_once]],
        )
    for n, label in labels:
        one_by_one.taught.apply([Answer(n, 2 * n, label, 1e6)] * 2)
    latest = dict(labels)
    value = {"fraud": FRAUD, "legitimate": LEGITIMATE, "retracted": 0}
    expected = [(ALERTED if n in (3, 4) else 0) | value[latest.get(n, "retracted")] for n in range(50)]
    for each in (world, one_by_one):
        assert each.flags(*range(50)) == expected
        assert len(each.taught._frauds) == sum(label == "fraud" for label in latest.values())
        assert len(each.taught._answers) == sum(latest.get(n) == "legitimate" for n in (3, 4))
        known = sorted(n for n, label in latest.items() if label == "fraud")
        assert sorted(each.taught._frauds._numbers.tolist()) == known
    np.testing.assert_allclose(world.shares(), one_by_one.shares(), atol=1e-6)


def test_shares_are_frauds_over_judged_events() -> None:
    """Terminal 3: four of its ten events of each day are frauds; in the longest memory the share is near."""
    frauds = [n for n in range(1000) if n % 10 == 2 and n // 10 % 10 < 4]
    world = World().happen(1000).answer("fraud", *frauds)
    world.mature(1e12)
    longest = world.shares()[2, -1]
    assert longest == pytest.approx(0.4, abs=0.03)
    assert world.shares()[3, -1] == 0.0


def test_answers_that_an_alert_was_none_pardon_its_event() -> None:
    world = World().happen(100, alerted=[5, 6, 7])
    answers = [
        Answer(n, 2 * n, label, 0.0) for n, label in ((5, "legitimate"), (6, "fraud"), (9, "legitimate"))
    ]
    pardoned = world.taught.pardoned(answers)
    assert pardoned is not None
    assert pardoned.times.tolist() == world.rows(5, 1).times.tolist()
    assert world.taught.pardoned(answers[1:]) is None


def test_alerts_kept_for_an_answer_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALERTS_MAX", 10)
    monkeypatch.setattr(module, "PARDONED_MAX", 4)
    world = World().happen(100, alerted=list(range(50)))
    pardoned = world.taught.pardoned([Answer(n, 2 * n, "legitimate", 0.0) for n in range(50)])
    assert pardoned is not None
    assert pardoned.times.tolist() == world.rows(40, 4).times.tolist()
    assert len(world.taught.to_state()["alerts"]["numbers"]) == 10


def test_the_bank_is_bounded_and_its_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BANK_MAX", 20)
    world = World().happen(100)
    for number in range(50):
        world.answer("fraud", number)
    assert world.taught._frauds._numbers.tolist() == list(range(30, 50))
    world.answer("fraud", *range(60, 75))
    assert world.taught._frauds._numbers.tolist() == [*range(45, 50), *range(60, 75)]
    world.answer("fraud", *range(100))  # more at once than it holds
    assert world.taught._frauds._numbers.tolist() == list(range(80, 100))
    assert len(world.taught._frauds.examples) == 20


def test_delays_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DELAYS_MAX", 10)
    world = World().happen(100).answer("fraud", *range(10), delay_s=30 * DAY_S)
    assert world.mature(20 * DAY_S) == []
    world.answer("fraud", *range(20, 30), delay_s=DAY_S)  # habits changed
    assert len(world.mature(20 * DAY_S)) == 100
    assert {len(delays) for delays in world.taught.to_state()["delays"].values()} == {10}


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
    """What a learner was given: amounts, which were frauds, weights."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()

        def learn(inputs: Any, rows: Any, fraud: Any, weight: Any) -> float:
            self.append((inputs[:, 0], fraud, weight))
            return 0.0

        monkeypatch.setattr(world.taught.learner, "learn", learn)


def test_nothing_is_learned_as_legitimate_that_is_not_known_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_fraud_that_was_taken_back_is_learned_as_legitimate(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World().happen(300).answer("fraud", *range(0, 100, 10)).answer("retracted", 50)
    watched = Watched(world, monkeypatch)
    world.taught.train(world.taught.mature(1e12))
    taken_back = np.float32(np.float16(np.sin(50)))
    assert any(taken_back in amounts[fraud == 0] for amounts, fraud, _ in watched)
    assert not any(taken_back in amounts[fraud == 1] for amounts, fraud, _ in watched)


# --- the labelled part's say -------------------------------------------------------------------------------


def weighed(
    labelled: Any, count: int = 2000, frauds: int = 40, start: float = 0.0, plain: Any = None
) -> World:
    """Frauds are every fiftieth event; `labelled` gives distances from which are frauds and a generator."""
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


def test_a_part_with_skill_gets_a_say_step_by_step() -> None:
    world = weighed(skilled)
    assert world.taught.weigh(0.0) == pytest.approx(WEIGHT_STEP)
    assert settled(world) >= 0.5
    assert settled(world, 0.95) == settled(world)


@pytest.mark.parametrize("weight", [0.0, 0.05, 0.5, 0.95])
def test_a_part_without_skill_loses_its_say(weight: float) -> None:
    assert settled(weighed(unskilled, plain=skilled), weight) == 0.0


def test_a_part_that_orders_as_the_others_do_gets_none() -> None:
    same = np.random.default_rng(1).normal(size=2000)
    assert settled(weighed(lambda f, _: same + f, plain=lambda f, _: same + f), 0.3) == 0.0


@pytest.mark.parametrize("frauds", [0, FRAUDS_MIN - 1])
def test_too_few_frauds_give_no_say(frauds: int) -> None:
    assert settled(weighed(skilled, frauds=frauds), 0.5) == 0.0


def test_events_without_a_labelled_distance_do_not_count() -> None:
    assert settled(weighed(lambda f, _: np.full(len(f), np.nan)), 0.5) == 0.0


def test_alerts_that_nobody_answered_do_not_count() -> None:
    """Or the part that raises alerts would be punished for frauds that nobody looked at."""
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


def test_all_that_was_taught_goes_on_from_its_state() -> None:
    first = weighed(skilled)
    first.happen(500, alerted=[2010, 2020, 2030]).answer("legitimate", 2010)
    first.taught.train(first.taught.mature(1e12))
    snapshot = copied({**first.taught.to_state(), "rng": first.rng.bit_generator.state})
    saved = pack(snapshot)
    second = World(seed=9)
    state = unpack(saved)
    second.rng.bit_generator.state = state["rng"]
    second.taught.load(state)
    for world in (first, second):
        world.happen(300, alerted=[2600]).answer("fraud", 2020, 2021).answer("retracted", 57)
        world.answer("legitimate", 2600)
        world.taught.train(world.taught.mature(1e12))
        assert world.taught.pardoned([Answer(2030, 4060, "legitimate", 0.0)]) is not None
    assert pack(first.taught.to_state()) == pack(second.taught.to_state())
    assert first.taught.weigh(0.2) == second.taught.weigh(0.2)
    assert pack(snapshot) == saved


def test_nothing_taught_is_a_state_too() -> None:
    first, second = World(), World(seed=1)
    second.taught.load(unpack(pack(first.taught.to_state())))
    assert pack(first.taught.to_state()) == pack(second.taught.to_state())


def test_ids_are_found_by_their_digest() -> None:
    world = World().happen(10)
    assert world.memory.find("ids", [id_hash("e-4"), id_hash("x")]) == {id_hash("e-4"): 4}

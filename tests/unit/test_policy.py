"""Alerts respect cooldown and budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.config.tree import Alerts as AlertsConfig
from detector.core.alerts.case_rows import Candidate
from detector.core.alerts.cases import Cases, LastAlert
from detector.core.alerts.policy import (
    CAPACITY_MIN,
    STEERING_MAX,
    SUPPRESSED_REASONS,
    Policy,
    Published,
    Suppressed,
)
from detector.core.features import DAY_S
from detector.core.state import pack, unpack

START_S = 1_700_000_000.0
LOW, MEDIUM, HIGH, CRITICAL = range(4)
PLENTY: dict[str, Any] = {"budget": {"share": 0.5, "per_day": None}}


def config(**changes: Any) -> AlertsConfig:
    return AlertsConfig.model_validate(
        {"cooldown": 3600.0, "case_idle_timeout": 7 * DAY_S, **PLENTY, **changes}
    )


@dataclass
class Driver:
    """Gives candidates to a policy and to cases, with a number of other events before each."""

    policy: Policy
    cases: Cases
    events_per_day: float = 1000.0
    event: int = 0

    def __call__(
        self,
        entity: int,
        severity: int = LOW,
        *,
        cold: int | None = CRITICAL,
        time: float = 0.0,
        events: int = 1000,
    ) -> Published | Suppressed:
        """`cold`: at most the severity itself."""
        self.event += events
        held = self.policy.decide(
            self.cases.last_alert(entity),
            severity,
            cold=None if cold is None else min(cold, severity),
            event=self.event,
            time=START_S + time,
            now=START_S + time,
            events_per_day=self.events_per_day,
        )
        candidate = Candidate(
            entity=entity,
            value=str(entity),
            offset=self.event,
            time=START_S + time,
            now=START_S + time,
            exposure=None,
            severity=severity,
            score=4.0,
        )
        if held is None:
            return Published(self.cases.alert(candidate), severity)
        self.cases.hold(candidate, held.reason)
        return held


def driver(**changes: Any) -> Driver:
    return Driver(Policy(config(**changes), 1), Cases(config(**changes), b"key"))


def published(decision: Published | Suppressed) -> Published:
    assert isinstance(decision, Published), decision
    return decision


# --- once per entity ---------------------------------------------------------------------------------------


def test_an_entity_alerts_once_in_the_cooldown() -> None:
    decide = driver()
    published(decide(5, time=0))
    assert decide(5, time=3599) == Suppressed("entity")
    published(decide(6, time=3599))
    published(decide(5, time=3600))
    assert decide(5, time=7199) == Suppressed("entity")


def test_a_late_event_of_an_entity_is_within_the_cooldown() -> None:
    decide = driver()
    published(decide(5, time=0))
    assert decide(5, time=-100) == Suppressed("entity")


def test_only_a_higher_severity_breaks_through() -> None:
    decide = driver()
    published(decide(5, MEDIUM))
    assert decide(5, LOW) == Suppressed("entity")
    assert decide(5, MEDIUM) == Suppressed("entity")
    published(decide(5, HIGH))
    assert decide(5, HIGH) == Suppressed("entity")
    assert decide(5, MEDIUM) == Suppressed("entity")
    published(decide(5, CRITICAL))
    assert decide(5, CRITICAL) == Suppressed("entity")


def test_heat_alone_raises_no_second_alert_of_a_case() -> None:
    decide = driver()
    published(decide(5, LOW, cold=None, time=0))
    assert decide(5, CRITICAL, cold=None, time=2 * DAY_S) == Suppressed("entity")
    published(decide(6, LOW, cold=None, time=2 * DAY_S))  # not alerted yet
    published(decide(5, CRITICAL, cold=LOW, time=3 * DAY_S))
    assert decide(5, LOW, cold=None, time=9 * DAY_S) == Suppressed("entity")
    published(decide(5, LOW, cold=None, time=11 * DAY_S))  # the case has ended


def test_heat_does_not_break_through_the_cooldown() -> None:
    decide = driver()
    published(decide(5, MEDIUM))
    assert decide(5, CRITICAL, cold=MEDIUM) == Suppressed("entity")
    published(decide(5, CRITICAL, cold=HIGH))


def test_within_a_block_each_alert_raises_the_bar() -> None:
    policy = Policy(config(budget={"share": 0.001, "per_day": None}), 1)
    policy.next_share(event=0, now=START_S, events_per_day=1000.0, block_events=512)

    def decide(above: float) -> Suppressed | None:
        return policy.decide(
            None, HIGH, cold=HIGH, above=above, event=0, time=START_S, now=START_S, events_per_day=1000.0
        )

    assert decide(0.1) is None
    assert decide(0.1) == Suppressed("budget")
    assert decide(0.5) is None
    policy.forgive()
    assert decide(0.1) is None


def test_without_an_entity_there_is_no_cooldown() -> None:
    decide = driver()
    cases = [published(decide(0)).case for _ in range(5)]
    assert len({case.case for case in cases}) == 5
    assert all(case.events == 1 for case in cases)


# --- budget ------------------------------------------------------------------------------------------------


def daily(
    budget: dict[str, float | None],
    people: int,
    days: int,
    *,
    partitions: int = 1,
    misjudged: float = 1.0,
    per_day: float = 4000.0,
    block: int = 256,
) -> NDArray[np.int64]:
    """Alerts published on each day, after a fifth of them, of a stream whose threshold follows the policy.

    `misjudged`: how many times more candidates there are than the share that was asked for.
    """
    rng = np.random.default_rng(people)
    policy = Policy(config(budget=budget), partitions)
    count = int(days * per_day)
    times = START_S + np.sort(rng.random(count)) * days * DAY_S
    ranks = rng.random(count)
    entities = 1 + np.floor(people * rng.random(count) ** 2).astype(int)
    alerts = np.zeros(days, dtype=np.int64)
    share, alerted = 0.0, dict[int, LastAlert]()
    for event in range(count):
        now = float(times[event])
        if event % block == 0:
            share = policy.next_share(event=event, now=now, events_per_day=per_day, block_events=block)
        if ranks[event] < share * misjudged:
            entity = int(entities[event])
            decision = policy.decide(
                alerted.get(entity),
                LOW,
                cold=LOW,
                event=event,
                time=now,
                now=now,
                events_per_day=per_day,
            )
            if decision is None:
                alerted[entity] = LastAlert(now, LOW)
                alerts[min(int((now - START_S) / DAY_S), days - 1)] += 1
    return alerts[days // 5 :]


@pytest.mark.parametrize("people", [30, 300, 100_000])
@pytest.mark.parametrize("share", [0.002, 0.01])
def test_the_budget_as_a_share_is_met_in_the_long_run(people: int, share: float) -> None:
    mean = daily({"share": share, "per_day": None}, people, days=30).mean() / (share * 4000.0)
    assert 0.8 <= mean <= 1.05


@pytest.mark.parametrize("people", [30, 300, 100_000])
@pytest.mark.parametrize(("per_day", "partitions"), [(10.0, 1), (80.0, 4)])
def test_the_budget_per_day_is_met_in_the_long_run(people: int, per_day: float, partitions: int) -> None:
    budget = {"share": None, "per_day": per_day}
    mean = daily(budget, people, days=30, partitions=partitions).mean() / (per_day / partitions)
    assert 0.8 <= mean <= 1.05


@pytest.mark.parametrize(("share", "per_day"), [(0.001, 9_600.0), (0.01, 9_600.0), (0.01, 1_000.0)])
@pytest.mark.parametrize("misjudged", [0.5, 1.0, 2.0])
def test_a_days_alerts_are_near_its_budget(share: float, per_day: float, misjudged: float) -> None:
    """Chance alone would put the 5 to 95 % quantiles of ten alerts at .5 and 1.5."""
    budget = {"share": share, "per_day": None}
    ratios = daily(budget, 10_000, days=60, per_day=per_day, misjudged=misjudged) / (share * per_day)
    low, high = np.quantile(ratios, [0.05, 0.95])
    assert 0.7 <= low <= high <= 1.3


@given(
    share=st.floats(1e-4, 0.2),
    per_day=st.floats(10.0, 1e6),
    block=st.integers(16, 4096),
    spent=st.lists(st.integers(0, 30), max_size=30),
)
@settings(max_examples=60, deadline=None)
def test_the_threshold_follows_what_is_left(
    share: float, per_day: float, block: int, spent: list[int]
) -> None:
    """Unused alerts lower it, overdrawn ones raise it, by a factor of 20 at most."""
    policy = Policy(config(budget={"share": share, "per_day": None}), 1)
    event, room = 0, {}
    for number in [*spent, 0]:
        event += block
        aims = {"event": event, "now": START_S, "events_per_day": per_day, "block_events": block}
        lenience = policy.next_share(**aims)
        assert policy.next_share(**aims) == lenience
        room[policy.to_state()["balance"]] = lenience
        for _ in range(number):
            policy.decide(None, LOW, cold=LOW, event=event, time=START_S, now=START_S, events_per_day=per_day)
    shares = [room[balance] for balance in sorted(room)]
    assert shares == sorted(shares)
    assert min(share / STEERING_MAX, 0.5) * (1 - 1e-9) <= shares[0]
    assert shares[-1] <= min(share * STEERING_MAX, 0.5)


@given(
    candidates=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 5), st.sampled_from([LOW, HIGH, CRITICAL])), max_size=80
    ),
    share=st.floats(0.001, 0.05),
)
@settings(max_examples=60, deadline=None)
def test_no_stream_of_candidates_goes_far_beyond_the_budget(
    candidates: list[tuple[int, int, int]], share: float
) -> None:
    """At most what was earned, half a day's alerts more, and for critical ones another day's."""
    decide = driver(budget={"share": share, "per_day": None})
    day = max(CAPACITY_MIN, share * decide.events_per_day)
    spent, urgent = 0, 0
    for gap, entity, severity in candidates:
        decision = decide(entity, severity, time=float(decide.event), events=gap)
        if isinstance(decision, Published):
            spent += 1
            urgent += severity == CRITICAL
            earned = share * decide.event
            bound = earned + day / 2 + (day if urgent else 0)
            assert spent <= bound + 1e-6


@pytest.mark.parametrize("budget", [{"share": 0.01, "per_day": None}, {"share": None, "per_day": 10.0}])
def test_critical_ones_at_most_double_a_days_budget(budget: dict[str, float | None]) -> None:
    decide = driver(budget=budget)
    published(decide(1, events=0))
    decide(2, time=3 * DAY_S, events=3000)  # the balance is full again
    flood = [decide(100 + n, CRITICAL, time=3 * DAY_S, events=0) for n in range(50)]
    assert sum(isinstance(decision, Published) for decision in flood) == 2 * 10 - 1
    assert flood[-1] == Suppressed("budget")
    assert decide(500, HIGH, time=3.9 * DAY_S, events=900) == Suppressed(
        "budget"
    )  # the overdraft is paid back
    published(decide(501, HIGH, time=5.2 * DAY_S, events=1300))


def test_others_do_not_overdraw() -> None:
    decide = driver(budget={"share": 0.01, "per_day": None})
    published(decide(1, events=0))
    decide(2, events=3000)
    flood = [decide(100 + n, HIGH, events=0) for n in range(50)]
    assert sum(isinstance(decision, Published) for decision in flood) == 9


def test_the_balance_holds_one_day() -> None:
    decide = driver(budget={"share": 0.01, "per_day": None})
    decide(1, events=10**6)
    flood = [decide(100 + n, events=0) for n in range(50)]
    assert sum(isinstance(decision, Published) for decision in flood) == 9


@pytest.mark.parametrize("budget", [{"share": 0.0101, "per_day": None}, {"share": None, "per_day": 9.3}])
def test_a_budget_is_used_up_once_only_critical_alerts_are_published(budget: dict[str, float | None]) -> None:
    decide = driver(budget=budget)
    for number in range(50):
        _, used = decide.policy.budget(decide.events_per_day)
        held = isinstance(decide(100 + number, HIGH, events=0), Suppressed)
        assert held == (used >= 1.0)
    assert used < 1.3
    published(decide(200, CRITICAL, events=0))


def test_a_budget_that_is_lowered_forgives_what_was_spent_beyond_it() -> None:
    """Or a partition would be silent for weeks, after a day with many alerts."""
    large = driver(budget={"share": None, "per_day": 4000.0})
    for number in range(500):
        published(large(100 + number, HIGH, events=0))
    small = driver(budget={"share": None, "per_day": 10.0})
    small.policy.load(large.policy.to_state())
    assert small(1, CRITICAL, time=0.0, events=0) == Suppressed("budget")
    _, used = small.policy.budget(small.events_per_day)
    assert 2.0 < used < 2.5
    published(small(2, CRITICAL, time=0.2 * DAY_S))
    published(small(3, HIGH, time=1.5 * DAY_S))


def test_exploration_takes_its_part_of_the_budget() -> None:
    budget = {"share": 0.01, "per_day": None}
    whole, shared = (Policy(config(budget=budget, exploration_share=part), 1) for part in (0.0, 0.2))
    assert whole.explore_probability(1000.0) == 0.0
    assert shared.explore_probability(1000.0) == pytest.approx(0.002)
    aims = {"event": 0, "now": START_S, "events_per_day": 1000.0, "block_events": 256}
    assert shared.next_share(**aims) == pytest.approx(0.8 * whole.next_share(**aims))


def test_a_budget_per_day_is_shared_by_the_partitions() -> None:
    budget = {"share": None, "per_day": 100.0}
    alone, one_of_four = (Policy(config(budget=budget), partitions) for partitions in (1, 4))
    aims = {"event": 0, "now": START_S, "events_per_day": 10_000.0, "block_events": 256}
    assert alone.next_share(**aims) == pytest.approx(0.01)
    assert one_of_four.next_share(**aims) == pytest.approx(0.0025)


# --- bounds and state --------------------------------------------------------------------------------------


candidates = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from([LOW, MEDIUM, CRITICAL]),
        st.floats(-DAY_S, 20 * DAY_S),
        st.integers(0, 3000),
        st.booleans(),
    ),
    max_size=30,
)
budgets = st.sampled_from([{"share": 0.002, "per_day": None}, {"share": None, "per_day": 3.0}])


@given(first=candidates, second=candidates, budget=budgets)
@settings(max_examples=60, deadline=None)
def test_a_policy_goes_on_from_its_state(first: list[Any], second: list[Any], budget: dict[str, Any]) -> None:
    def run(decide: Driver, given_candidates: list[Any]) -> list[Any]:
        decisions = []
        for entity, severity, time, events, block_ends in given_candidates:
            decisions.append(decide(entity, severity, time=time, events=events))
            if block_ends:
                now, per_day = START_S + time, decide.events_per_day
                decisions.append(
                    decide.policy.next_share(
                        event=decide.event, now=now, events_per_day=per_day, block_events=256
                    )
                )
        return decisions

    one = driver(budget=budget, cases_max=16)
    run(one, first)
    one.cases.collect()
    snapshot = {"policy": one.policy.to_state(), "cases": one.cases.to_state()}
    saved = pack(snapshot)
    other = driver(budget=budget, cases_max=16)
    other.event = one.event
    read = unpack(saved)
    other.policy.load(read["policy"])
    other.cases.load(read["cases"])
    assert run(one, second) == run(other, second)
    assert one.cases.collect() == other.cases.collect()
    assert pack(one.policy.to_state()) == pack(other.policy.to_state())
    assert pack(one.cases.to_state()) == pack(other.cases.to_state())
    assert pack(snapshot) == saved


def test_every_reason_of_suppression_is_listed() -> None:
    assert SUPPRESSED_REASONS == ("entity", "budget", "snooze")

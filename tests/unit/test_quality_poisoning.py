"""An attack has the stated amounts, does not change honest traffic, and is judged by scores."""

from __future__ import annotations

from benchmarks.quality.drive import configuration, in_a_copy
from benchmarks.quality.poisoning import (
    FRAUD_FACTOR,
    PER_DAY,
    UNGUARDED,
    USUAL,
    Attack,
    World,
    calm,
    carry_out,
    warm,
)

WARM_DAYS = 8


def test_amounts_rise_to_the_frauds_and_stay() -> None:
    at_once = Attack(cards=1, ramp_events=0, events=10)
    assert at_once.amount(0) == USUAL * FRAUD_FACTOR
    slow = Attack(cards=1, ramp_events=100, events=200)
    assert slow.amount(0) == USUAL
    assert slow.amount(50) == USUAL * FRAUD_FACTOR**0.5
    assert slow.amount(100) == slow.amount(199) == USUAL * FRAUD_FACTOR


def test_the_attack_joins_honest_traffic_in_time_order() -> None:
    world = World(seed=1, customers=30, days=3, cards=10)
    mine = world.attackers(1, [USUAL] * 25)
    assert len({event["CUSTOMER_ID"] for event in mine}) == 10
    both = world.traffic(1, mine)
    times = [event["TX_DATETIME"] for event in both]
    assert times == sorted(times)
    assert [event for event in both if event not in mine] == world.days[1]
    assert {time[:10] for time in times} == {"2018-04-02"}


def test_an_attack_is_judged_against_the_threshold_before_it() -> None:
    world = World(seed=1, customers=100, days=WARM_DAYS + 3, cards=1)
    # A few events a day: the default budget would allow none of them an alert.
    driven = warm(configuration(alerts={"budget": {"share": 0.02}}), world, WARM_DAYS)
    before = driven.threshold
    fraud, usual = driven.would_score([*world.own_frauds(WARM_DAYS), *world.attackers(WARM_DAYS, [USUAL])])
    assert fraud > before > usual
    attack = Attack(cards=1, ramp_events=0, events=2 * PER_DAY)
    learned, alerts = in_a_copy(
        lambda: (lambda done: (done.learned, done.alerts))(carry_out(driven, world, attack, WARM_DAYS))
    )
    assert alerts > 0
    assert learned is None or PER_DAY <= learned <= 2 * PER_DAY
    assert driven.threshold == before  # the copy attacked, the model is as it was
    assert calm(driven, world, WARM_DAYS, 2).alerts == 0


def test_the_guard_can_be_switched_off() -> None:
    config = configuration(model=UNGUARDED)
    assert config.model.features.clip_spreads >= 100
    assert 1.0 - 1e-6 < config.model.calibration.trim < 1.0

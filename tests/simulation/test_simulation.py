"""Whatever happens to the service, it publishes what an undisturbed run publishes."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from tests.simulation.plan import FAULTS, make_plan
from tests.simulation.run import run
from tests.simulation.seeds import REGRESSIONS

SEEDS, CHUNK = 200, 10


@cache
def outcome(seed: int) -> tuple[str, Counter[str]]:
    """Report (empty if every check passed), and counts of what happened."""
    result = run(seed)
    return result.report() if result.violation else "", result.simulation.happened


@pytest.mark.parametrize("start", range(0, SEEDS, CHUNK))
def test_nothing_is_lost_and_nothing_comes_twice(start: int) -> None:
    reports = [outcome(seed)[0] for seed in range(start, start + CHUNK)]
    failed = [report for report in reports if report]
    assert not failed, "\n\n".join(failed)


@pytest.mark.parametrize("seed", [seed for seed in REGRESSIONS if not 0 <= seed < SEEDS])
def test_seeds_that_once_failed_pass(seed: int) -> None:
    report, _ = outcome(seed)
    assert not report, report


def test_every_fault_happens() -> None:
    """A fault that never happens is a test that cannot fail."""
    happened: Counter[str] = Counter()
    for seed in range(SEEDS):
        happened += outcome(seed)[1]
    damages = {
        f"damage_{kind}_{what}"
        for kind in ("tear", "corrupt", "lose", "block", "unsynced")
        for what in ("state", "manifest")
    }
    within = {
        f"crash at {step}" for step in ("get", "put:before", "put:after", "commit:before", "commit:after")
    }
    rare = {"erase", "other_configuration", "partition_added", "evict_within", "work_goes_on_after_death"}
    expected = (set(FAULTS) - {"damage"}) | damages | within | rare
    assert expected <= happened.keys()


def test_there_are_seeds_of_every_kind() -> None:
    plans = [make_plan(seed) for seed in range(SEEDS)]
    kinds = Counter(
        name
        for plan in plans
        for name in ("real", "golden", "threads", "grows", "ages")
        if getattr(plan, name)
    )
    assert min(kinds[name] for name in ("real", "golden", "threads", "grows", "ages")) >= 5
    assert {plan.partitions for plan in plans} == {1, 2, 3, 4}
    assert {plan.members_max for plan in plans} == {1, 2, 3}
    assert any(not plan.faults for plan in plans)
    assert any(plan.faults == set(FAULTS) for plan in plans)


def test_a_seed_repeats_itself() -> None:
    first, second = run(5).simulation, run(5).simulation
    assert list(first.trace) == list(second.trace)
    assert first.broker.published == second.broker.published
    assert first.happened == second.happened

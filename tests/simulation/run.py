"""Seeds from their plan to their checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tests.simulation.checks import check
from tests.simulation.plan import Plan, make_plan
from tests.simulation.world import Simulation, Violation

SHOWN = 150  # last steps of the trace in a report


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Result of one seed."""

    plan: Plan
    simulation: Simulation
    violation: str  # empty: every check passed

    def report(self) -> str:
        """Report: the seed, how to repeat it, the failed check, the last steps."""
        seed = self.plan.seed
        return "\n".join(
            (
                f"seed {seed}; to repeat: python -m tests.simulation --seed {seed}",
                self.violation or "every check passed",
                str(self.plan),
                *list(self.simulation.trace)[-SHOWN:],
                f"seed {seed}: {self.violation}",
            )
        )


def run(seed: int) -> Result:
    """Simulate one seed, and check the result."""
    plan = make_plan(seed)
    simulation = Simulation(plan)
    violation = ""
    try:
        simulation.run()
        check(simulation)
    except Violation as found:
        violation = str(found)
    return Result(plan=plan, simulation=simulation, violation=violation)


def run_all(seeds: Iterable[int]) -> tuple[list[str], Counter[str], int]:
    """Reports of the seeds that failed, counts of what happened, maximum rounds of a drain."""
    reports, happened, rounds = [], Counter[str](), 0
    for seed in seeds:
        result = run(seed)
        if result.violation:
            reports.append(result.report())
        happened += result.simulation.happened
        rounds = max(rounds, result.simulation.rounds_to_drain)
    return reports, happened, rounds

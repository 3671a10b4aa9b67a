"""The simulation finds bugs that are put in on purpose."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Edit, Mutant
from tests.simulation.run import run

SEEDS = 240  # one of these must find the bug


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_step_is_caught(mutant: Mutant) -> None:
    with mutant():
        for seed in range(SEEDS):
            if run(seed).violation:
                return
    pytest.fail(f"none of {SEEDS} seeds found it")


def test_a_mutant_whose_lines_are_gone_is_refused() -> None:
    with pytest.raises(LookupError, match="0 times"):
        Edit(Mutant, "__call__", "no such line", "").function()

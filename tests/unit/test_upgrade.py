"""Checkpoint formats: an earlier one is brought to the current one step by step, another one is refused."""

from __future__ import annotations

import pytest

from detector.core.recovery import upgrade as upgrade_module
from detector.core.recovery.upgrade import FORMAT, check_format, upgrade
from detector.errors import NeedsOperator


def test_the_current_format_stays_as_it_is() -> None:
    state = {"a": 1}
    assert upgrade(state, FORMAT, "k") is state


@pytest.mark.parametrize("number", [0, -1, FORMAT + 1, 99])
def test_another_format_is_refused_with_a_sentence(number: int) -> None:
    message = rf"checkpoint 00003/17-ab has format {number}, this version reads format {FORMAT}: run the"
    with pytest.raises(NeedsOperator, match=message):
        upgrade({}, number, "00003/17-ab")
    with pytest.raises(NeedsOperator, match=message):
        check_format(number, "00003/17-ab")


def test_steps_follow_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it will be at format 3, with the steps from 1 and 2."""
    monkeypatch.setattr(upgrade_module, "FORMAT", 3)
    monkeypatch.setitem(upgrade_module.STEPS, 1, lambda state: {"names": [state["name"]]})
    monkeypatch.setitem(upgrade_module.STEPS, 2, lambda state: {**state, "count": len(state["names"])})
    assert upgrade({"name": "x"}, 1, "k") == {"names": ["x"], "count": 1}
    assert upgrade({"names": ["x", "y"]}, 2, "k") == {"names": ["x", "y"], "count": 2}
    assert upgrade({"names": [], "count": 0}, 3, "k") == {"names": [], "count": 0}
    with pytest.raises(NeedsOperator, match="has format 4, this version reads formats 1 to 3"):
        upgrade({}, 4, "k")

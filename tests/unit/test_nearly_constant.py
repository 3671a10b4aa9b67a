"""Streams that hardly vary: a tiny change is not severe, a real one is."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from benchmarks.quality.drive import Driven
from detector.config.tree import ModelPart

EVENTS = 5_000
ACCOUNTS = 30
SEVERE = 4.0  # a score that one in 10,000 normal events reaches
FIELDS = {
    "amount": {"name": "amount", "path": "amount", "type": "numeric"},
    "kind": {"name": "kind", "path": "kind", "type": "categorical"},
}
Make = Callable[[int, Random], dict[str, Any]]

# What events usually are, changes that are tiny, and real ones.
STREAMS: dict[str, tuple[Make, list[dict[str, Any]], list[dict[str, Any]]]] = {
    "one amount": (
        lambda n, random: {"amount": 10},
        [{"amount": 10.01}, {"amount": 9.99}, {"amount": 10.1}],
        [{"amount": 1_000}, {"amount": 0.1}],
    ),
    "three amounts": (
        lambda n, random: {"amount": random.choice([9.99, 10.0, 10.01])},
        [{"amount": 10.02}, {"amount": 10.1}],
        [{"amount": 1_000}],
    ),
    "an amount with a tiny noise": (
        lambda n, random: {"amount": 100.0 * (1.0 + 1e-4 * random.gauss(0.0, 1.0))},
        [{"amount": 100.1}, {"amount": 101.0}],
        [{"amount": 10_000}, {"amount": 1}],
    ),
    "a large integer, once another": (
        lambda n, random: {"amount": 1_000_001 if n == EVENTS // 2 else 1_000_000},
        [{"amount": 1_000_001}, {"amount": 1_010_000}],
        [{"amount": 100_000_000}],
    ),
    "a rare cent more": (
        lambda n, random: {"amount": 10.01 if random.random() < 5e-4 else 10},
        [{"amount": 10.01}, {"amount": 10.1}],
        [{"amount": 1_000}],
    ),
    "one category, rarely another": (
        lambda n, random: {"kind": "b" if random.random() < 1e-4 else "a"},
        [{"kind": "b"}, {"kind": "c"}],
        [],
    ),
    "one amount and one category": (
        lambda n, random: {"amount": 10, "kind": "a"},
        [{"amount": 10.01}, {"kind": "b"}],
        [{"amount": 1_000}],
    ),
}


@pytest.mark.parametrize("what", STREAMS)
def test_a_tiny_change_is_not_severe_and_a_real_one_is(what: str) -> None:
    make, tiny, real = STREAMS[what]
    random = Random(1)
    fields = [FIELDS[name] for name in make(0, random)]
    config = ModelPart.model_validate(
        {
            "event": {
                "id": "id",
                "time": {"path": "time", "format": "epoch_s"},
                "entities": [{"name": "account", "path": "account"}],
                "fields": fields,
            }
        }
    )
    driven = Driven(config)
    events = [_event(n) | make(n, random) for n in range(EVENTS)]
    fed = driven.feed(events)
    assert all(body["score"]["raw"] < SEVERE and body["severity"] != "critical" for body in fed.bodies)
    usual = _event(EVENTS) | make(0, random)
    assert max(driven.would_score([usual | change for change in tiny])) < SEVERE
    if real:
        assert min(driven.would_score([usual | change for change in real])) >= SEVERE


def _event(n: int) -> dict[str, Any]:
    return {"id": f"u{n}", "time": 1_772_323_200 + 30 * n, "account": f"A{n % ACCOUNTS}"}

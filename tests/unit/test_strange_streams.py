"""Streams that nobody would draw, a few of those of `benchmarks.fuzz.streams`."""

from __future__ import annotations

import pytest

from benchmarks.fuzz.streams import failure


@pytest.mark.parametrize(("seed", "events"), [(7, 3_000), (10, 6_000)])  # 10: entities alone, no fields
def test_nothing_fails_on_a_strange_stream(seed: int, events: int) -> None:
    assert not failure(seed, events)

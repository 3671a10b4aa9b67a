"""Streams that nobody would draw, a few of those of `benchmarks.fuzz.streams`."""

from __future__ import annotations

import pytest

from benchmarks.fuzz.streams import failure


@pytest.mark.parametrize("seed", [3, 7])
def test_nothing_fails_on_a_strange_stream(seed: int) -> None:
    assert not failure(seed, 3_000)

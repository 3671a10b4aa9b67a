"""`python -m tests.talkative`: the service with shards that publish something, and that messages change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.shard.shard import Shard


def receive(shard: Shard, kind: str, arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Advance the shard's generator by what was received, which changes all that it learns."""
    if kind != "chance":
        return False
    shard._learning.rng.random(int(arrays["chance"][0] % np.uint64(97)) + 1)
    return True


def publish(shard: Shard) -> list[tuple[str, Mapping[str, NDArray[Any]]]]:
    """Publish the number of events, and a number that depends on all messages received."""
    chance = shard._learning.rng.bit_generator.state["state"]["state"] & 0xFFFF_FFFF
    counts = {"events": np.array([shard.events]), "chance": np.array([chance], dtype=np.uint64)}
    return [("chance", counts), ("nobody knows this", {})]


if __name__ == "__main__":
    from detector.cli import main

    Shard._receive_message, Shard._publish = receive, publish  # type: ignore[method-assign]
    main()

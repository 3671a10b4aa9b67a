"""`python -m tests.talkative`: the service with shards that tell something, and whom hearing changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.shard.shard import Shard


def hear(shard: Shard, kind: str, arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Move the shard's chance on by what was told: all it learns and tells from here on differs."""
    if kind != "chance":
        return False
    shard._rng.random(int(arrays["chance"][0] % np.uint64(97)) + 1)
    return True


def tell(shard: Shard) -> list[tuple[str, Mapping[str, NDArray[Any]]]]:
    """Tell how many events there were, and what depends on all that was heard."""
    chance = shard._rng.bit_generator.state["state"]["state"] & 0xFFFF_FFFF
    told = {"events": np.array([shard.events]), "chance": np.array([chance], dtype=np.uint64)}
    return [("chance", told), ("nobody knows this", {})]


if __name__ == "__main__":
    from detector.cli import main

    Shard._hear, Shard._tell = hear, tell  # type: ignore[method-assign]
    main()

"""What tests of this folder share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
import structlog

from detector.core.shard import partition as partition_module
from tests.chain import ChainShard
from tests.unit.runner_world import World


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Put logging back as it was before a test that configures it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("detector").setLevel(logging.NOTSET)
    structlog.reset_defaults()


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let partitions have a hash chain for a model."""
    monkeypatch.setattr(partition_module, "Shard", ChainShard)


@pytest.fixture(scope="module")
def undisturbed() -> Callable[..., list[bytes]]:
    """Alerts of a run in which nothing happens."""
    known: dict[tuple[int, int], list[bytes]] = {}

    def run(count: int, partitions: int = 1) -> list[bytes]:
        if (count, partitions) not in known:
            world = World(partitions=partitions)
            world.produce(count)
            world.finish()
            known[count, partitions] = world.alerts()
        return known[count, partitions]

    return run

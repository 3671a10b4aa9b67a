"""A newer build takes over under load, and an older one refuses what the newer one wrote."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from detector.core.recovery import upgrade
from detector.errors import EXIT_NEEDS_OPERATOR
from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Daemon, Deployment
from tests.kafka.next_build import FORMAT
from tests.kafka.test_accidents import CONFIG, KAFKA
from tests.kafka.test_end_to_end import Event, traffic
from tests.kafka.waiting import PATIENCE_S, poll_until

PARTITIONS = 2
OLD, NEW = "detector", "tests.kafka.next_build"


@pytest.fixture
def deployment(kafka: KafkaBroker, tmp_path: Path, topic_name: str) -> Iterator[Deployment]:
    with Deployment(
        kafka.bootstrap, tmp_path, topic_name, partitions=PARTITIONS, config=CONFIG, kafka=KAFKA
    ) as made:
        yield made


def start(deployment: Deployment, build: str) -> Daemon:
    deployment.module = build
    return deployment.start()


def stored(deployment: Deployment) -> dict[str, bytes]:
    """All objects of the checkpoint store."""
    folder = deployment.checkpoints
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(daemon: Daemon) -> None:
    """The process ends with a sentence that says which versions can go on."""
    assert daemon.process.wait(PATIENCE_S) == EXIT_NEEDS_OPERATOR
    last_line = daemon.log().splitlines()[-1]
    assert f"has format {FORMAT}, this version reads format {upgrade.FORMAT}" in last_line
    assert "run the version that wrote it" in last_line
    assert "Traceback" not in daemon.log()


def test_a_newer_build_takes_over_and_an_older_one_refuses_its_checkpoints(deployment: Deployment) -> None:
    """The newer one has another checkpoint format and other scores."""
    events: Iterator[Event] = traffic(13_000)
    old = start(deployment, OLD)
    deployment.produce(islice(events, 3_000))
    deployment.await_done()

    # Upgrade: both run; the newer one restores the older one's checkpoint, or its journal.
    new = start(deployment, NEW)
    deployment.produce(islice(events, 1_000))
    assert poll_until(lambda: old.owns() == new.owns() == 1)
    taken = new.running()
    for _ in range(8):  # longer than between two checkpoints, however fast the machine is
        deployment.produce(islice(events, 500))
        deployment.await_done()

    # Downgrade: the older one gets the partition back, with a checkpoint that it cannot read.
    assert new.stop() == 0
    written = deployment.checkpoints.rglob(f"{min(taken):05d}/*.json")
    assert any(f'"format": {FORMAT}' in manifest.read_text() for manifest in written)
    refused(old)
    deployment.produce(islice(events, 2_000))
    before, committed = stored(deployment), deployment.committed()
    refused(start(deployment, OLD))
    assert stored(deployment) == before
    assert deployment.committed() == committed

    # The newer one goes on, with what both wrote.
    again = start(deployment, NEW)
    assert poll_until(lambda: again.owns() == PARTITIONS)
    deployment.produce(islice(events, 2_000))
    deployment.await_done()
    assert again.stop() == 0

    # The way back across formats: the older one begins at the committed offsets.
    begin = [sys.executable, "-m", "detector", "checkpoint", "begin", "--yes", "-c", str(deployment.config)]
    subprocess.run(begin, check=True)
    old = start(deployment, OLD)
    deployment.produce(events)
    deployment.await_done()
    scored = deployment.scored_events()
    assert len(scored) == 13_000
    assert set(scored.values()) == {1}
    assert deployment.alerts()  # each once
    assert old.stop() == 0

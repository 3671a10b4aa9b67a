"""`checkpoint verify`, `explain` and `checkpoint rollback` against a group on a real Kafka."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Deployment
from tests.kafka.test_end_to_end import traffic
from tests.kafka.waiting import poll_until

PARTITIONS = 2
EVENTS, CHUNK = 8_000, 1_000


def detector(deployment: Deployment, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "detector", *arguments, "--config", str(deployment.config)]
    return subprocess.run(command, capture_output=True, check=False)


def test_what_a_group_did_is_verified_explained_and_taken_back(
    kafka: KafkaBroker, tmp_path: Path, topic_name: str
) -> None:
    kept = {"url": f"file://{tmp_path / 'checkpoints'}", "interval": 0.1, "keep": 100}
    with Deployment(
        kafka.bootstrap, tmp_path, topic_name, partitions=PARTITIONS, config={"checkpoints": kept}
    ) as deployment:
        events = list(traffic(EVENTS + 2_000))
        killed = deployment.start()
        assert poll_until(killed.ready)
        deployment.produce(events[: EVENTS // 2])
        deployment.await_done()
        killed.kill()
        daemon = deployment.start()
        for begin in range(EVENTS // 2, EVENTS, CHUNK):  # each may write a generation of checkpoints
            deployment.produce(events[begin : begin + CHUNK])
            deployment.await_done()
        alerts = deployment.alerts()
        assert len(alerts) > 3

        verified = detector(deployment, "checkpoint", "verify", "--generations", "100")
        assert verified.returncode == 0, verified.stderr
        lines = verified.stdout.decode().splitlines()
        assert len(lines) == PARTITIONS
        # For the barriers since the newest checkpoint, the journal has only the hash of the last one.
        assert all(" 0 different" in line and "from the beginning" in line for line in lines), lines

        for id_, (_, _, body) in list(alerts.items())[:2]:
            source = json.loads(body)["source"]
            at = "--partition", str(source["partition"]), "--offset", str(source["offset"])
            explained = detector(deployment, "explain", "--topic", deployment.topics["transactions"], *at)
            assert explained.stdout.rstrip(b"\n") == body, id_

        running = detector(deployment, "checkpoint", "rollback", "--partition", "0", "--yes")
        assert running.returncode == 3
        assert b"has members: stop all of them first" in running.stderr
        assert daemon.stop() == 0
        taken = detector(deployment, "checkpoint", "rollback", "--partition", "0", "--yes")
        assert taken.returncode == 0, taken.stderr
        again = deployment.start()
        deployment.produce(events[EVENTS:])
        deployment.await_done()
        assert again.stop() == 0
        assert set(deployment.scored_events().values()) == {1}
        assert len(deployment.scored_events()) == EVENTS + 2_000
        verified = detector(deployment, "checkpoint", "verify", "--generations", "2")
        assert verified.returncode == 0, verified.stderr

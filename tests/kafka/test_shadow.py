"""A shadow runs beside a service on a real Kafka, and `detector diff` compares what both have alerted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import KINDS, Deployment
from tests.kafka.test_end_to_end import traffic
from tests.kafka.topics import create_topic, read_all

EVENTS = 4_000


def differences(service: Path, shadow: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "detector", "diff", str(service), str(shadow), "--since", "1h", "--json"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_shadow_alerts_beside_a_service_in_topics_of_its_own(
    kafka: KafkaBroker, tmp_path: Path, topic_name: str
) -> None:
    with Deployment(kafka.bootstrap, tmp_path, topic_name, partitions=2) as service:
        for kind in KINDS[1:]:
            create_topic(kafka.bootstrap, f"{service.topics[kind]}-shadow-v2", 2)
        other = tmp_path / "other.yaml"
        changed = {"shadow": "v2", "alerts": {"budget": {"share": 0.02}}}
        other.write_text(json.dumps(json.loads(service.config.read_text()) | changed))
        service.start()
        own, service.config = service.config, other
        service.start()
        service.produce(traffic(EVENTS))
        service.await_done()
        service.group += "-shadow-v2"
        service.await_done()
        assert 'shadow="v2"' in service.daemons[1].page("/metrics")[1]

        found = differences(own, other)
        assert found["events"] == EVENTS
        for side, suffix in (("a", ""), ("b", "-shadow-v2")):
            assert found[side]["alerts"] == len(read_all(kafka.bootstrap, service.topics["alerts"] + suffix))
        assert len(found["b"]["only"]) > 5  # more budget, more alerts
        assert all("no score" not in one["there"] for one in found["b"]["only"])
        assert found["both"]["alerts"] > 0

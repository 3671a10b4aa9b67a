"""deploy/compose: what it names exists, is pinned, has no rights to spare; only this machine reaches it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from detector.config.load import load
from detector.wiring.memory import needed

FOLDER = Path(__file__).parents[2] / "deploy" / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
each = pytest.mark.parametrize("name", SERVICES)


@each
def test_images_are_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", image) or (
        image == "detector:local" and name == "detector"
    )


@each
def test_only_this_machine_reaches_it(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))
    assert "network_mode" not in SERVICES[name]


@each
def test_it_is_unprivileged(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].partition(":")[0] not in ("", "0", "root")
    assert not {"privileged", "cap_add", "devices", "pid", "ipc"} & set(service)
    if name in ("detector", "prometheus", "grafana"):
        assert service["read_only"] is True


def test_what_is_mounted_exists_and_cannot_be_changed() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            if isinstance(volume, str):
                assert volume.partition(":")[0] in COMPOSE["volumes"]
            else:
                assert (FOLDER / volume["source"]).exists()
                assert volume["read_only"] is True


def test_the_dashboards_are_all_there() -> None:
    mounted = {
        Path(volume["source"]).name
        for volume in SERVICES["grafana"]["volumes"]
        if isinstance(volume, dict) and volume["source"].endswith(".json")
    }
    assert mounted == {path.name for path in (FOLDER.parent / "grafana").glob("*.json")}


def test_the_daemon_has_its_topics_and_its_memory() -> None:
    config = load(FOLDER / "detector.yaml")
    [script] = SERVICES["topics"]["command"]
    [line] = re.findall(r"for topic in (.+); do", script)
    created = dict(one.split(":") for one in line.split())
    assert set(created) == {name for name in config.topics.model_dump().values() if name is not None}
    assert int(created["transactions"]) == config.memory_partitions_max
    assert config.kafka.bootstrap_servers == ("broker:9092",)
    limit = int(SERVICES["detector"]["mem_limit"].removesuffix("g")) << 30
    assert needed(config).total <= limit


def test_prometheus_scrapes_the_daemon_by_the_rules() -> None:
    prometheus = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    [job] = prometheus["scrape_configs"]
    address = load(FOLDER / "detector.yaml").http.address
    assert job["static_configs"] == [{"targets": [f"detector:{address.rpartition(':')[2]}"]}]
    assert prometheus["rule_files"] == ["rules.yaml"]

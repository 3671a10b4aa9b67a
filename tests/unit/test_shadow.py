"""A shadow reads what the service reads, and writes nothing that is the service's."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from detector.cli.common import read_since
from detector.config.load import effective, load, load_mapping, load_text
from detector.config.tree import Config, Topics
from detector.core.recovery.generations import store_prefix
from detector.errors import ConfigError
from detector.shell.kafka.transactions import id_prefix
from detector.wiring.console import console
from detector.wiring.feedback import send_feedback
from detector.wiring.notify import try_receivers

EVENT = {"id": "id", "time": {"path": "t"}, "entities": [{"name": "card", "path": "card"}]}
READ = {"transactions", "feedback"}


def config(**settings: Any) -> Config:
    topics = {name: f"t-{name}" for name in Topics.model_fields}
    return load_mapping({"event": EVENT, "topics": topics, **settings})


def test_everything_that_it_writes_is_its_own() -> None:
    service, shadow = config(), config(shadow="v2")
    for name in Topics.model_fields:
        same = getattr(service.topics, name) == getattr(shadow.topics, name)
        assert same == (name in READ), name
    groups = [one.kafka.group_id for one in (service, shadow)]
    assert groups == ["detector", "detector-shadow-v2"]
    assert not id_prefix(groups[1]).startswith(id_prefix(groups[0]))
    assert not store_prefix(groups[1], "t").startswith(store_prefix(groups[0], "t"))
    assert service.http.address != shadow.http.address


def test_it_scores_as_the_service_would() -> None:
    assert config().model_part(4) == config(shadow="v2").model_part(4)


def test_what_is_not_configured_stays_so() -> None:
    shadow = load_mapping({"event": EVENT, "shadow": "v2", "http": {"address": "127.0.0.1:1"}})
    assert shadow.topics.scores is None
    assert shadow.http.address == "127.0.0.1:1"


def test_a_configuration_that_is_written_loads_to_the_same() -> None:
    shadow = config(shadow="v2")
    assert load_text(effective(shadow), "written") == shadow
    assert Config.model_validate(shadow.model_dump()) == shadow


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"shadow": "V 2"}, "small letters"),
        ({"shadow": "v2", "kafka": {"group_id": "g" * 195}}, "at most 190 characters"),
        ({"shadow": "v2", "topics": {"alerts": "a" * 245}}, "at most 239 characters"),
    ],
)
def test_names_have_limits(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_mapping({"event": EVENT, **settings})


def test_nobody_is_told_of_it_and_it_is_told_nothing_of_its_own() -> None:
    shadow = config(
        shadow="v2", notify={"receivers": [{"name": "x", "kind": "webhook", "url": "https://x.example"}]}
    )
    with pytest.raises(ConfigError, match="nobody is told"):
        try_receivers(shadow, {})
    with pytest.raises(ConfigError, match="a shadow reads the same feedback"):
        send_feedback(shadow, {}, [])
    with pytest.raises(ConfigError, match="the same feedback"):
        console(shadow, {}, None)


def test_the_key_is_one_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "detector.yaml"
    path.write_text(effective(load_mapping({"event": EVENT})))
    assert load(path, ["shadow=v2"]).topics.alerts == "alerts-shadow-v2"
    assert load(path, (), {"DETECTOR__SHADOW": "v2"}).topics.alerts == "alerts-shadow-v2"


def test_since_is_a_time_or_how_long_ago() -> None:
    assert read_since("--since", "1970-01-01T00:01Z") == 60.0
    assert read_since("--since", None) is None
    ago = read_since("--since", "2h")
    assert ago is not None
    assert 7200.0 <= time.time() - ago < 7260.0
    with pytest.raises(ConfigError, match="a time such as 2026-03-02"):
        read_since("--since", "yesterday")

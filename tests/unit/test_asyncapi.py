"""The AsyncAPI document names the topics of the configuration and holds the schemas of their messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from detector.config.tree import Config, Topics
from detector.wiring.asyncapi import asyncapi

EVENT = {"id": "id", "time": {"path": "t"}, "entities": [{"name": "card", "path": "card"}]}
INTERNAL = {"exchange"}


def document(**topics: str) -> dict[str, Any]:
    return asyncapi(Config.model_validate({"event": EVENT, "topics": topics}))


def test_every_topic_that_is_configured_is_a_channel() -> None:
    everything = {name: f"t-{name}" for name in Topics.model_fields if name not in INTERNAL}
    made = document(**everything, exchange="x")
    assert {name: channel["address"] for name, channel in made["channels"].items()} == everything
    assert document()["channels"].keys() == {"transactions", "alerts", "dead_letter"}


def references(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for one in node:
            yield from references(one)
    elif isinstance(node, dict):
        for key, one in node.items():
            if key == "$ref":
                yield one
            else:
                yield from references(one)


def test_every_reference_leads_somewhere() -> None:
    made = document(**{name: f"t-{name}" for name in Topics.model_fields if name not in INTERNAL})
    found = list(references(made))
    assert len(found) > 20
    for reference in found:
        node: Any = made
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        assert node

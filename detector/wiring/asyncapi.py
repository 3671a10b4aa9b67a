"""The topics and messages of a configuration as an AsyncAPI 3 document."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from detector import __version__
from detector.config.tree import Config

VERSION = "3.0.0"
_EVENTS = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_dataschema")


@dataclass(frozen=True, slots=True)
class _Channel:
    setting: str  # its key below `topics`
    message: str
    says: str
    sends: bool  # whether the service writes it
    schema: str | None = None  # file in detector/schemas; None: any JSON, or bytes
    cloud_event: bool = False


_CHANNELS = (
    _Channel("transactions", "event", "Events, in the format that event.format says.", sends=False),
    _Channel("alerts", "alert", "Alerts.", sends=True, schema="alert.v1", cloud_event=True),
    _Channel(
        "case_updates",
        "caseUpdate",
        "What was held back of alerted entities.",
        sends=True,
        schema="case.updated.v1",
        cloud_event=True,
    ),
    _Channel("dead_letter", "rejectedEvent", "Rejected events, as they came.", sends=True),
    _Channel("scores", "score", "The score of every event.", sends=True),
    _Channel("feedback", "feedback", "Answers and other feedback.", sends=False, schema="feedback.v1"),
    _Channel(
        "receipts",
        "receipt",
        "What became of each feedback record.",
        sends=True,
        schema="receipt.v1",
        cloud_event=True,
    ),
)


def asyncapi(config: Config) -> dict[str, Any]:
    """Describe the topics that a configuration names, with the schemas of their messages.

    The exchange between shards is left out: it is no interface.
    """
    used = [channel for channel in _CHANNELS if getattr(config.topics, channel.setting) is not None]
    protocol = "kafka" if config.kafka.security.protocol == "PLAINTEXT" else "kafka-secure"
    return {
        "asyncapi": VERSION,
        "info": {
            "title": f"detector {config.kafka.group_id}",
            "version": __version__,
            "description": "Streaming anomaly detection for transactions.",
        },
        "defaultContentType": "application/json",
        "servers": {
            f"broker{number}": {"host": host, "protocol": protocol}
            for number, host in enumerate(config.kafka.bootstrap_servers, start=1)
        },
        "channels": {
            channel.setting: {
                "address": getattr(config.topics, channel.setting),
                "description": channel.says,
                "messages": {channel.message: {"$ref": f"#/components/messages/{channel.message}"}},
            }
            for channel in used
        },
        "operations": {
            f"{'send' if channel.sends else 'receive'}_{channel.setting}": {
                "action": "send" if channel.sends else "receive",
                "channel": {"$ref": f"#/channels/{channel.setting}"},
                "messages": [{"$ref": f"#/channels/{channel.setting}/messages/{channel.message}"}],
            }
            for channel in used
        },
        "components": {
            "messages": {channel.message: _message(channel) for channel in used},
            "schemas": {
                name: schema
                for channel in used
                if channel.schema is not None
                for name, schema in _schemas(channel).items()
            },
        },
    }


def _message(channel: _Channel) -> dict[str, Any]:
    message: dict[str, Any] = {"name": channel.message, "summary": channel.says}
    if channel.schema is not None:
        message["payload"] = {"$ref": f"#/components/schemas/{channel.message}"}
    if channel.cloud_event:
        text = {"type": "string"}
        message["headers"] = {
            "type": "object",
            "required": list(_EVENTS),
            "properties": dict.fromkeys((*_EVENTS, "content-type"), text),
        }
    return message


def _schemas(channel: _Channel) -> dict[str, Any]:
    """The schema of a channel's messages, and its definitions beside it: references count from the root."""
    schema = json.loads(files("detector").joinpath(f"schemas/{channel.schema}.json").read_text())
    definitions = schema.pop("$defs", {})
    for name in ("$schema", "$id"):
        schema.pop(name, None)
    named = {channel.message: schema}
    named |= {f"{channel.message}_{name}": one for name, one in definitions.items()}
    return {name: _referring(one, channel.message) for name, one in named.items()}


def _referring(node: Any, message: str) -> Any:
    if isinstance(node, list):
        return [_referring(one, message) for one in node]
    if not isinstance(node, dict):
        return node
    return {
        key: one.replace("#/$defs/", f"#/components/schemas/{message}_")
        if key == "$ref"
        else _referring(one, message)
        for key, one in node.items()
    }

"""Configurations of a detector over tables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detector.api.checkpoints import Saved, from_bytes, to_bytes
from detector.config.load import load, load_mapping
from detector.config.secrets import resolve_secret
from detector.config.tree import Config, Event, ModelPart
from detector.core.records import Identity
from detector.core.shard.partition import Partition
from detector.core.shard.warm_start import first_checkpoint
from detector.errors import UsageError
from detector.wiring.common import ModelFile, entity_key, read_warm_start


def read_config(config: str | Path | Mapping[str, Any] | Config, overrides: Sequence[str]) -> Config:
    """Read a configuration: a file or nested mappings, changed by `overrides`; a `Config` stays as it is."""
    if isinstance(config, Config):
        return config
    if isinstance(config, Mapping):
        return load_mapping(config, overrides=overrides)
    if not isinstance(config, str | Path):
        raise UsageError(
            f"got a {type(config).__name__}, expected the path of a YAML file, or a dict with its content"
        )
    return load(config, overrides)


def identity_of(config: Config, partition: int) -> Identity:
    """Which shard a detector is."""
    return Identity(
        topic=config.topics.transactions,
        group=config.kafka.group_id,
        partition=partition,
        entity_key=entity_key(resolve_secret(config.entity_key, "entity_key", os.environ)),
    )


def warm_started(config: Config, file: ModelFile) -> Saved:
    """The checkpoint of a shard that has seen no event, and begins with a model file.

    Raises
    ------
    ConfigError
        Nothing of it can be taken.
    """
    model = read_warm_start(file, config)
    assert model is not None
    identity, wanted = identity_of(config, 0), model_part(for_rows(config), feedback=False)
    snapshot = first_checkpoint(model, wanted, identity, Partition.begin(wanted, 0))
    return from_bytes(*to_bytes(snapshot), group=identity.group, topic=identity.topic)


def for_rows(config: Config) -> Config:
    """Rows of a table are JSON objects, whatever the records of the topic are."""
    return config.model_copy(update={"event": _plain_event(config.event)})


def model_part(config: Config, *, feedback: bool) -> ModelPart:
    return config.model_part(1).model_copy(update={"feedback": feedback})


def for_shard(config: Config, saved: ModelPart) -> ModelPart:
    """The model part for a shard that goes on: what the shard is part of stays as it was."""
    kept = {name: getattr(saved, name) for name in ("partitions", "feedback", "exchange", "receipts")}
    return config.model_part(1).model_copy(update=kept)


def config_of(saved: Saved) -> Config:
    """A configuration with the model part of a checkpoint."""
    model, plain = saved.model, Config(event=_plain_event(saved.model.event))
    return plain.model_copy(
        update={
            "model": model.model,
            "alerts": model.alerts,
            "require_key": model.require_key,
            "kafka": plain.kafka.model_copy(update={"group_id": saved.group}),
            "topics": plain.topics.model_copy(update={"transactions": saved.topic}),
        }
    )


def _plain_event(event: Event) -> Event:
    return event.model_copy(update={"format": "json", "envelope": None})

"""Configurations of a detector over tables."""

from __future__ import annotations

from detector.api.checkpoints import Saved
from detector.config.tree import Config, Event, ModelPart


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

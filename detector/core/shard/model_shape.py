"""Which settings a model in training depends on: where they change, it begins anew."""

from __future__ import annotations

from typing import Any

from detector.config.tree import ModelPart


def shape(config: ModelPart) -> dict[str, Any]:
    """Settings that a model in training depends on, as plain values.

    Without those of how alerts are made and worded, which events enter, and when the model learns.
    """
    event = config.event.model_dump(
        exclude={
            "format": True,
            "exposure": True,
            "limits": True,
            "duplicates": True,
            "reversals": True,
            "time": {"late"},
        }
    )
    for value in event["fields"]:
        del value["display"], value["unit"]
    return {"event": event, "model": config.model.model_dump(exclude={"labels", "barriers"})}

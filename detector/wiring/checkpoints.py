"""`detector checkpoint list`, `show` and `export`: reading the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from detector.config.tree import Config
from detector.config.words import redacted
from detector.core.recovery.checkpoint import Manifest, read_manifest
from detector.core.recovery.generations import read_checkpoint, state_name, store_prefix
from detector.core.shard.warm_start import export_model
from detector.errors import (
    CheckpointDamaged,
    ConfigError,
    NeedsOperator,
    Problem,
)
from detector.shell.objects import Objects
from detector.shell.store import FsspecStore, InvalidName


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundCheckpoint:
    """One line of `detector checkpoint list`."""

    name: str
    manifest: Manifest | None
    problem: str  # why there is no manifest


def list_checkpoints(config: Config) -> list[FoundCheckpoint]:
    """List the checkpoints of the group's topic, by partition and position.

    Raises
    ------
    StoreUnavailable
    """
    objects = _objects(config)
    names = set(objects.names())
    found = []
    for name in sorted(names):
        stem = name.removesuffix(".json")
        if not name.endswith(".json") or state_name(stem) not in names:  # a state that was pruned, a copy
            continue
        try:
            found.append(FoundCheckpoint(name=stem, manifest=read_manifest(objects.get(name)), problem=""))
        except (CheckpointDamaged, KeyError) as error:
            found.append(FoundCheckpoint(name=stem, manifest=None, problem=str(error)))
    return found


def export(config: Config, partition: int) -> tuple[str, bytes]:
    """Make a model file from a partition's newest undamaged checkpoint.

    Returns
    -------
    tuple
        Name of the checkpoint, and the content of the file.

    Raises
    ------
    StoreUnavailable
    NeedsOperator
        There is no such checkpoint.
    """
    objects = _objects(config)
    manifests = [found.manifest for found in list_checkpoints(config) if found.manifest is not None]
    own = [manifest for manifest in manifests if manifest.partition == partition]
    for manifest in sorted(own, key=lambda manifest: manifest.position, reverse=True):
        try:
            return manifest.name, export_model(*read_checkpoint(manifest.name, objects.get))
        except CheckpointDamaged:
            continue
    raise NeedsOperator(f"no undamaged checkpoint of partition {partition} under {checkpoints_place(config)}")


def checkpoints_place(config: Config) -> str:
    """Where the checkpoints of the group's topic are, without secrets."""
    prefix = store_prefix(config.kafka.group_id, config.topics.transactions)
    return f"{redacted(config.checkpoints.url).rstrip('/')}/{prefix}"


def _objects(config: Config) -> Objects:
    store = FsspecStore(config.checkpoints.url)
    objects = Objects(store, group=config.kafka.group_id, topic=config.topics.transactions)
    objects.enter_only_cluster()
    return objects


def show_checkpoint(config: Config, name: str) -> dict[str, Any]:
    """Describe one checkpoint: its manifest and the arrays of its state.

    Raises
    ------
    StoreUnavailable
    ConfigError
        There is no such checkpoint.
    NeedsOperator
        It is damaged.
    """
    objects = _objects(config)
    unknown = Problem(
        path="the checkpoint", value=repr(name), allowed="a name from `detector checkpoint list`"
    )
    try:
        objects.get(f"{name}.json")
        manifest, state = read_checkpoint(name, objects.get)
    except (KeyError, InvalidName):
        raise ConfigError("command line", [unknown]) from None
    except CheckpointDamaged as error:
        raise NeedsOperator(f"checkpoint {name}: {error}") from None
    facts = asdict(manifest)
    facts["since"] = json.loads(manifest.since.to_text())
    facts["config_json"] = json.loads(manifest.config_json)
    return {**facts, "state": _outline(state)}


def _outline(state: Mapping[str, Any]) -> dict[str, Any]:
    """Replace arrays by dtype and shape, and long values by their length."""
    outline: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, Mapping):
            outline[name] = _outline(value)
        elif isinstance(value, np.ndarray):
            outline[name] = f"{value.dtype} {'x'.join(map(str, value.shape))}"
        else:
            outline[name] = (
                value if isinstance(value, (int, float, str)) or value is None else f"{len(value)} items"
            )
    return outline

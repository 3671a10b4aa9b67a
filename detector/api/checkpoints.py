"""Checkpoints of a detector in Python: the same objects as the daemon's, in the same places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from detector.config.tree import ModelPart
from detector.core.recovery.checkpoint import Manifest, Snapshot, encode, read_manifest, read_state
from detector.core.recovery.generations import config_name, folders, read_checkpoint, state_name, write
from detector.core.recovery.journal import Journal
from detector.errors import CheckpointDamaged, NeedsOperator, UsageError
from detector.shell.objects import Objects
from detector.shell.store import FsspecStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """A checkpoint that was read."""

    manifest: Manifest
    state: Mapping[str, Any]
    model: ModelPart
    group: str
    topic: str

    @property
    def journal(self) -> Journal:
        """A journal that begins at it."""
        manifest = self.manifest
        return Journal(
            checkpoint=manifest.name,
            position=manifest.position,
            config=manifest.config,
            sides=manifest.since.ends,
        )


def save(place: str | Path, snapshot: Snapshot, *, group: str, topic: str) -> str:
    """Write a checkpoint, durably; returns its name.

    Raises
    ------
    StoreUnavailable
        It was not written.
    """
    objects = Objects(_store(place), group=group, topic=topic)
    objects.put(config_name(snapshot.config), snapshot.config_json.encode())
    return write(snapshot, objects.put)


def to_bytes(snapshot: Snapshot) -> tuple[bytes, bytes]:
    """Manifest and state of a checkpoint."""
    _, manifest, state = encode(snapshot)
    return manifest, state


def from_bytes(manifest: bytes, state: bytes, *, group: str, topic: str) -> Saved:
    """Read what `to_bytes` returned.

    Raises
    ------
    CheckpointDamaged
    """
    read = read_manifest(manifest)
    model = ModelPart.from_canonical(read.config_json)
    return Saved(manifest=read, state=read_state(read, state), model=model, group=group, topic=topic)


def read(
    place: str | Path, *, group: str | None, topic: str | None, partition: int, name: str | None
) -> Saved:
    """Read a checkpoint.

    Parameters
    ----------
    group, topic
        Whose it is; None: there must be one group and one topic only.
    name
        None: the newest one that is not damaged.

    Raises
    ------
    UsageError
        There is none, or it is not clear whose.
    NeedsOperator
        None can be read.
    StoreUnavailable
    """
    store = _store(place)
    if group is None or topic is None:
        group, topic = _only_owner(store, place)
    objects = Objects(store, group=group, topic=topic)
    objects.enter_only_cluster()
    names = [name] if name is not None else _names(objects, partition)
    if not names:
        raise UsageError(
            f"{place} holds no checkpoint of partition {partition} of group {group!r}, topic {topic!r}"
        )
    damages = []
    for one in names:
        try:
            manifest, state = read_checkpoint(one, objects.get)
            model = ModelPart.from_canonical(manifest.config_json)
        except CheckpointDamaged as error:
            damages.append(f"{one}: {error}")
        except ValueError as error:
            raise NeedsOperator(
                f"checkpoint {one} was made with settings that this version does not know: run the version "
                f"that wrote it ({str(error).partition(chr(10))[0]})"
            ) from None
        else:
            return Saved(manifest=manifest, state=state, model=model, group=group, topic=topic)
    raise NeedsOperator(f"{place}: no checkpoint can be read ({'; '.join(damages[:3])})")


def _store(place: str | Path) -> FsspecStore:
    if isinstance(place, str) and ("://" in place or "::" in place):
        return FsspecStore(place)
    if not isinstance(place, str | Path):
        raise UsageError(f"got a {type(place).__name__}, expected a folder or a URL like s3://bucket/prefix")
    return FsspecStore(f"file://{Path(place).expanduser().resolve()}")


def _only_owner(store: FsspecStore, place: str | Path) -> tuple[str, str]:
    """Group and topic of the checkpoints in a store."""
    owners = {tuple(name.split("/")[:2]) for name in store.list("") if name.count("/") > 2}
    if len(owners) != 1:
        found = ", ".join(sorted("/".join(map(unquote, owner)) for owner in owners)) or "none"
        raise UsageError(
            f"{place} must hold the checkpoints of one group and topic, found {found}: give config, the "
            "configuration that they were made with"
        )
    group, topic = (unquote(part) for part in owners.pop())
    if "=" in group + topic:  # a long name was shortened
        raise UsageError(f"{place}: give config, the configuration that the checkpoints were made with")
    return group, topic


def _names(objects: Objects, partition: int) -> Sequence[str]:
    """Names of a partition's checkpoints, the one with the highest position first."""
    states = (name for name in objects.names(folders(partition)[0]) if name.endswith(state_name("")))
    return sorted((name.removesuffix(state_name("")) for name in states), reverse=True)

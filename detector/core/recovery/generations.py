"""Generations of checkpoints: where a committed journal can start from, and which ones can be deleted.

Each checkpoint names the previous one and holds the journal between the two, so a generation that cannot be
read costs a longer replay from its predecessor:

    bare start --since--> K1 --since--> K2 --since--> K3 <--names-- committed journal

Rules
    - The manifest is kept twice. It alone holds the barriers before its checkpoint: without it the previous
      generation is of no use.
    - A generation above the committed one is never deleted: the partition's next owner may be about to
      commit it.
    - A checkpoint made by `move_checkpoint` has its predecessor's model at a later offset. The chain of
      journals ends there, as nothing records what became of the events between the two.
    - Nothing here does IO by itself: `get` and `put` do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from detector.config.tree import ModelPart
from detector.core.recovery.checkpoint import Manifest, Snapshot, encode, read_manifest, read_state
from detector.core.recovery.committed import ANEW
from detector.core.recovery.journal import Journal
from detector.core.recovery.sides import Side
from detector.core.recovery.upgrade import BEGIN
from detector.errors import CheckpointDamaged, LogGone, NeedsOperator

Get = Callable[[str], bytes]
"""Reads one object of the store by name; KeyError if there is none."""

Put = Callable[[str, bytes], None]
"""Writes one object, whole or not at all; returns once it is durable."""

# Topic names have up to 249 characters; file names have at most 255 bytes.
_COMPONENT_CHARS_MAX = 249
_SHORTENED_TO = 16  # characters kept of a longer name: at most 192 when quoted, then 33 for the hash
_TEMPORARY = ".tmp-"  # prefix of names that stores reserve


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a shard's computation starts."""

    journal: Journal  # from that start on
    restored: tuple[Manifest, Mapping[str, Any]] | None  # manifest and state; None: a bare start
    manifests: tuple[Manifest, ...]  # all that were read on the way, newest first
    damages: tuple[str, ...]  # checkpoints that could not be used, and why


def store_prefix(group: str, topic: str) -> str:
    """Prefix of the names of all objects of one group and topic: unique, for all legal names."""
    return f"{_component(group)}/{_component(topic)}/"


def folders(partition: int) -> tuple[str, str]:
    """Prefixes of the names of all objects of one partition."""
    return f"{partition:05d}/", f"manifests/{partition:05d}/"


def write(snapshot: Snapshot, put: Put) -> str:
    """Make a snapshot durable; returns the checkpoint's name.

    1. The state.
    2. Its manifest, then the manifest's copy: they never name a missing state.
    """
    name, manifest, state = encode(snapshot)
    # Step 1
    put(_state_name(name), state)
    # Step 2
    for place in _manifest_names(name):
        put(place, manifest)
    return name


def check_end(until: int, *, partition: int, group: str, end: int) -> None:
    """Check that the log reaches to the committed offset: else new events would count as published.

    Parameters
    ----------
    until
        Committed offset.
    end
        Offset after the log's last record now.

    Raises
    ------
    NeedsOperator
        The log ends before it.
    """
    if end < until:
        raise NeedsOperator(
            f"partition {partition}: group {group!r} has committed offset {until}, but the log ends at {end} "
            "now: the topic was created again, or lost its newest events (unclean leader election); bring "
            f"them back, or stop all members and {ANEW}"
        )


def check_side(journal: Journal, side: Side, *, partition: int, beginning: int | None) -> None:
    """Check that the records of a side topic which a replay applies are still there.

    Parameters
    ----------
    beginning
        Lowest position in the side topic; None: no such topic is configured.

    Raises
    ------
    LogGone
        The topic no longer has them.
    NeedsOperator
        The topic is not configured.
    """
    needed = journal.needed(side)
    if needed is None:
        return
    if beginning is None:
        raise NeedsOperator(
            f"partition {partition}: records {needed} to {journal.end(side)} of the {side} topic are part "
            f"of its state: set topics.{side} again, or {ANEW}"
        )
    if beginning > needed:
        raise LogGone(
            f"partition {partition}: recovery needs the {side} topic from offset {needed}, but it begins "
            f"at {beginning} now: raise its retention above the checkpoints' age, then {ANEW}"
        )


def config_name(name: str) -> str:
    """Name of the object that holds the configuration with hash `name`."""
    return f"config/{name}.json"


def read_configs(origin: Origin, wanted: ModelPart, get: Get) -> dict[str, ModelPart]:
    """Configurations that a replay needs, by hash, as far as the store has them.

    Raises
    ------
    NeedsOperator
        One of them is damaged, or this version does not know its settings.
    """
    texts = {manifest.config: manifest.config_json.encode() for manifest in origin.manifests}
    for name in origin.journal.configs - {wanted.hash()} - texts.keys():
        try:
            texts[name] = get(config_name(name))
        except KeyError:
            continue  # `Partition` reports what is missing
    try:
        return {name: ModelPart.from_canonical(text) for name, text in texts.items()}
    except ValueError as error:
        raise NeedsOperator(
            "a configuration that the journal names cannot be read: run the version that wrote it, or stop "
            f"all members and run {BEGIN} ({error})"
        ) from error


def find_origin(
    journal: Journal,
    get: Get,
    *,
    partition: int,
    beginning: int,
    committed: bool = False,
    refused: Mapping[str, str] = MappingProxyType({}),
) -> Origin:
    """Walk back from the checkpoint that `journal` names to one that can be read.

    Parameters
    ----------
    beginning
        Lowest offset that the log still has.
    committed
        The journal is a committed one: its checkpoint has the position that it names. Not so the journal of
        a checkpoint made by `move_checkpoint`.
    refused
        Checkpoints that could not be loaded, and why: they are damaged.

    Raises
    ------
    LogGone
        The log no longer has the events after it.
    NeedsOperator
        No checkpoint can be read.
    """
    manifests: list[Manifest] = []
    damages: list[str] = []
    while True:
        if journal.position < beginning:
            raise LogGone(
                f"partition {partition}: recovery needs the log from offset {journal.position}, but it "
                f"begins at {beginning} now{_because(damages)}: raise the topic's retention above the "
                f"checkpoints' age, then {ANEW}"
            )
        name = journal.checkpoint
        if not name:
            return Origin(journal=journal, restored=None, manifests=tuple(manifests), damages=tuple(damages))
        try:
            manifest = read_manifest_of(name, get)
        except CheckpointDamaged as error:
            raise _unusable(partition, [*damages, str(error)]) from error
        exact = committed and not manifests
        if manifest.partition != partition or (exact and manifest.position != journal.position):
            raise NeedsOperator(
                f"partition {partition}: the journal begins at {journal.position} with checkpoint {name}, "
                f"which is of partition {manifest.partition} at {manifest.position}: {ANEW}"
            )
        manifests.append(manifest)
        try:
            if name in refused:
                raise CheckpointDamaged(refused[name])
            return Origin(
                journal=journal,
                restored=(manifest, _state_of(manifest, get)),
                manifests=tuple(manifests),
                damages=tuple(damages),
            )
        except CheckpointDamaged as error:
            damages.append(f"{name}: {error}")
            if manifest.position != journal.position:
                raise _unusable(partition, damages) from error
            journal = manifest.since.joined(journal)


def read_manifest_of(name: str, get: Get) -> Manifest:
    """Read the manifest of a checkpoint from whichever of its two copies is whole.

    Raises
    ------
    CheckpointDamaged
        Neither copy is whole.
    """
    problems = []
    for place in _manifest_names(name):
        try:
            manifest = read_manifest(_get(place, get))
            if manifest.name == name:
                return manifest
            problems.append(f"{place}: belongs to {manifest.name}")
        except CheckpointDamaged as error:
            problems.append(f"{place}: {error}")
    raise CheckpointDamaged("; ".join(problems))


def read_checkpoint(name: str, get: Get) -> tuple[Manifest, Mapping[str, Any]]:
    """Read manifest and state of one checkpoint.

    Raises
    ------
    CheckpointDamaged
        It is missing, torn or changed.
    """
    manifest = read_manifest_of(name, get)
    return manifest, _state_of(manifest, get)


def move_checkpoint(manifest: Manifest, state: Mapping[str, Any], position: int) -> Snapshot:
    """Make a checkpoint with the same model at another offset; the events between are not in it.

    Its predecessor is the checkpoint that it was made of, with the same position: if the new one is damaged,
    recovery uses the old model in the same way.
    """
    return Snapshot(
        partition=manifest.partition,
        position=position,
        since=Journal(
            checkpoint=manifest.name,
            position=position,
            config=manifest.config,
            sides=manifest.since.ends,
        ),
        config=manifest.config,
        config_json=manifest.config_json,
        entity_key_id=manifest.entity_key_id,
        versions=manifest.versions,
        state=state,
    )


def move_newest(journal: Journal, get: Get, position: int) -> Snapshot | None:
    """Move the newest readable checkpoint on a journal's chain to `position`; None: none can be read."""
    name = journal.checkpoint
    while name:
        try:
            return move_checkpoint(*read_checkpoint(name, get), position)
        except CheckpointDamaged:
            name = _predecessor(name, get)
    return None


def expired(names: Iterable[str], journal: Journal, get: Get, *, keep: int) -> list[str]:
    """Choose the objects to delete.

    Parameters
    ----------
    names
        All objects of one partition.
    journal
        The committed one.
    keep
        Number of generations to keep: the one that `journal` names and its predecessors.

    Returns
    -------
    list of str
        Manifests first, so that none is left without its state. Empty if a manifest of a generation to keep
        cannot be read.
    """
    kept = [journal.checkpoint]
    while kept[-1] and len(kept) < keep:
        try:
            kept.append(read_manifest_of(kept[-1], get).since.checkpoint)
        except CheckpointDamaged:
            return []
    horizon = journal.checkpoint.partition("-")[0]  # names begin with partition and position, zero-padded
    stems = {name: name.removeprefix("manifests/").rpartition(".")[0] for name in names}
    old = [name for name, stem in stems.items() if stem not in kept and stem < horizon]
    return sorted(old, key=lambda name: (name.endswith(".state"), name))


def _component(name: str) -> str:
    """Escape one part of an object's name; different names give different parts."""
    quoted = quote(name, safe="")
    if len(quoted) > _COMPONENT_CHARS_MAX:  # "=" is in no quoted name
        return f"{quote(name[:_SHORTENED_TO], safe='')}={hashlib.sha256(name.encode()).hexdigest()[:32]}"
    if quoted in (".", "..") or quoted.startswith(_TEMPORARY):
        return quoted.replace(".", "%2E")
    return quoted


def _state_name(name: str) -> str:
    return f"{name}.state"


def _manifest_names(name: str) -> tuple[str, str]:
    return f"{name}.json", f"manifests/{name}.json"


def _state_of(manifest: Manifest, get: Get) -> Mapping[str, Any]:
    return read_state(manifest, _get(_state_name(manifest.name), get))


def _predecessor(name: str, get: Get) -> str:
    try:
        return read_manifest_of(name, get).since.checkpoint
    except CheckpointDamaged:
        return ""


def _get(name: str, get: Get) -> bytes:
    try:
        return get(name)
    except KeyError as error:
        raise CheckpointDamaged("it is missing") from error


def _unusable(partition: int, damages: Iterable[str]) -> NeedsOperator:
    return NeedsOperator(
        f"partition {partition}: the checkpoint store holds no usable checkpoint{_because(damages)}: restore "
        f"it (is checkpoints.url the one that the group used before?), or stop all members and run {BEGIN}"
    )


def _because(damages: Iterable[str]) -> str:
    text = "; ".join(damages)
    return f" ({text})" if text else ""

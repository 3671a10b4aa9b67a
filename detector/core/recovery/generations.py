"""Generations of checkpoints: where a committed journal can start from, and which ones can be deleted.

Each checkpoint names the previous one and holds the journal between the two, so a generation that cannot be
read costs a longer replay from its predecessor:

    bare start --since--> K1 --since--> K2 --since--> K3 <--names-- committed journal

Rules
    - The manifest is kept twice. It alone holds the barriers before its checkpoint: without it the previous
      generation is of no use.
    - A generation above the committed one is never deleted: the partition's next owner may be about to
      commit it. What it builds on is needed by the committed one, too, or by one that is kept.
    - Damage of a state object costs all generations that build on it. So the last one that shares nothing
      with the committed one is kept, with what it builds on, and the manifests since, which hold the
      journal. And what the next checkpoint would build on is read back first: if it is damaged, the next one
      is whole. A checkpoint made because of its age is whole, too: the log need not be kept for longer than
      for the last few of them.
    - A checkpoint before which entities were erased is whole. Once a commit names it and it could be read
      back, all older ones are deleted: they have what was erased.
    - A checkpoint made by `move_checkpoint` has its predecessor's model at a later offset. The chain of
      journals ends there, as nothing records what became of the events between the two.
    - Nothing here does IO by itself: `get` and `put` do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, unquote

from detector.config.tree import ModelPart
from detector.core.recovery.checkpoint import (
    NUMBERS,
    Below,
    Layer,
    Manifest,
    Snapshot,
    check_layer,
    encode,
    layers_of,
    put_together,
    read_manifest,
    state_of,
)
from detector.core.recovery.committed import ANEW
from detector.core.recovery.journal import Journal
from detector.core.recovery.upgrade import BEGIN, FORMAT
from detector.errors import CheckpointDamaged, LogGone, NeedsOperator

Get = Callable[[str], bytes]
"""Reads one object of the store by name; KeyError if there is none."""

Put = Callable[[str, bytes], None]
"""Writes one object, whole or not at all; returns once it is durable."""

# Topic names have up to 249 characters; file names have at most 255 bytes.
_COMPONENT_CHARS_MAX = 249
_SHORTENED_TO = 16  # characters kept of a longer name: at most 192 when quoted, then 33 for the hash
_CLUSTER = "cluster-"  # no folder of a partition, of manifests or configurations begins so
_TEMPORARY = ".tmp-"  # prefix of names that stores reserve
DAMAGES_TOLD_MAX = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a shard's computation starts."""

    journal: Journal  # from that start on
    restored: tuple[Manifest, Mapping[str, Any]] | None  # manifest and state; None: a bare start
    manifests: tuple[Manifest, ...]  # all that were read on the way, newest first
    damages: tuple[str, ...]  # checkpoints that could not be used, and why


def store_prefix(group: str, topic: str, cluster: str = "") -> str:
    """Prefix of the names of all objects of one group and topic: unique, for all legal names.

    Parameters
    ----------
    cluster
        Id of the cluster; empty: there is none (files).
    """
    prefix = f"{_component(group)}/{_component(topic)}/"
    return f"{prefix}{_CLUSTER}{_component(cluster)}/" if cluster else prefix


def cluster_of(name: str) -> str:
    """Id of the cluster whose object this is, by its name below group and topic; empty: of none."""
    folder = name.partition("/")[0]
    return unquote(folder.removeprefix(_CLUSTER)) if folder.startswith(_CLUSTER) else ""


def folders(partition: int) -> tuple[str, str]:
    """Prefixes of the names of all objects of one partition."""
    return f"{partition:05d}/", f"manifests/{partition:05d}/"


def write(snapshot: Snapshot, put: Put, get: Get | None = None) -> str:
    """Make a snapshot durable; returns the checkpoint's name.

    1. Read what it can build on.
    2. Write the state.
    3. Write its manifest, then the manifest's copy: they never name a missing state.

    Parameters
    ----------
    get
        None: the checkpoint is whole.
    """
    # Step 1
    barriers = snapshot.since.barriers
    aged = bool(barriers) and barriers[-1].cause == "age"  # a day after the one before: see `Rules`
    alone = aged or snapshot.since.erases
    below = None if get is None or alone else _below(snapshot.since.checkpoint, get)
    # Step 2
    name, manifest, state = encode(snapshot, below)
    put(state_name(name), state)
    # Step 3
    for place in _manifest_names(name):
        put(place, manifest)
    return name


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
    broken: set[str] = set()
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
                restored=(manifest, state_of(manifest, _objects(manifest.all_layers, get, broken))),
                manifests=tuple(manifests),
                damages=tuple(damages),
            )
        except CheckpointDamaged as error:
            if not damages or not isinstance(error, _Known):
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
    return manifest, state_of(manifest, _objects(manifest.all_layers, get, set()))


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
        cannot be read, or the state of one that is to stay alone.
    """
    kept: dict[str, Manifest] = {}
    name = journal.checkpoint
    try:
        while name and len(kept) < keep:
            kept[name] = read_manifest_of(name, get)
            name = "" if kept[name].erases else kept[name].since.checkpoint
    except CheckpointDamaged:
        return []
    newest = kept.get(journal.checkpoint)
    if newest is not None and newest.erases and not _is_whole(newest, get):
        return []
    erased = _at_one_position([m for m in kept.values() if m.erases], get)
    before = "" if newest is None else newest.before
    oldest = before or ("~" if newest is None else newest.all_layers[0].name)  # "~" is after all names
    if before and (readable := _readable(before, get)) is not None:
        kept[before] = readable
    states = {layer.name for manifest in kept.values() for layer in manifest.all_layers}
    horizon = journal.checkpoint.partition("-")[0]  # names begin with partition and position, zero-padded
    stems = {name: name.removeprefix("manifests/").rpartition(".")[0] for name in names}

    def needed(name: str, stem: str) -> bool:
        if name.endswith(".state"):
            return stem in states
        return stem in kept or (stem >= oldest and stem not in erased)

    old = [
        name for name, stem in stems.items() if (stem < horizon or stem in erased) and not needed(name, stem)
    ]
    # Of those that were erased the oldest first: each one's manifest leads to the one before it.
    ages = {name: -age for age, name in enumerate(erased, 1)}
    return sorted(old, key=lambda name: (ages.get(stems[name], 0), name.endswith(".state"), name))


def _at_one_position(erasing: Sequence[Manifest], get: Get) -> list[str]:
    """Checkpoints before an erasing one that are at its own position, the newest first.

    Barriers by command are at one position, and so the horizon does not tell which of theirs are older.
    """
    found: list[str] = []
    for manifest in erasing:
        name, place = manifest.since.checkpoint, manifest.name.partition("-")[0]
        while name.partition("-")[0] == place and name not in found:
            found.append(name)
            name = _predecessor(name, get)
    return found


def _component(name: str) -> str:
    """Escape one part of an object's name; different names give different parts."""
    quoted = quote(name, safe="")
    if len(quoted) > _COMPONENT_CHARS_MAX:  # "=" is in no quoted name
        return f"{quote(name[:_SHORTENED_TO], safe='')}={hashlib.sha256(name.encode()).hexdigest()[:32]}"
    if quoted in (".", "..") or quoted.startswith(_TEMPORARY):
        return quoted.replace(".", "%2E")
    return quoted


def state_name(name: str) -> str:
    """Name of the object with a checkpoint's state, or with its own part of it."""
    return f"{name}.state"


def _manifest_names(name: str) -> tuple[str, str]:
    return f"{name}.json", f"manifests/{name}.json"


class _Known(CheckpointDamaged):
    """It needs what is known to be damaged, or its state was deleted."""


def _objects(layers: Sequence[Layer], get: Get, broken: set[str]) -> Iterator[bytes]:
    """Read and check the state objects that a checkpoint needs, its own last.

    Parameters
    ----------
    broken
        Names of checkpoints whose state object is damaged; those that are found are added.

    Raises
    ------
    CheckpointDamaged
        One of them is missing, torn or changed.
    """
    for layer in layers:
        if layer.name in broken:
            raise _Known(f"it builds on {layer.name}")
        try:
            data = get(state_name(layer.name))
            check_layer(layer, data)
        except KeyError as error:
            broken.add(layer.name)
            if layer is layers[-1]:
                raise _Known("it is missing") from error
            raise CheckpointDamaged(f"{layer.name}, which it builds on, is missing") from error
        except CheckpointDamaged as error:
            broken.add(layer.name)
            if layer is layers[-1]:
                raise
            raise CheckpointDamaged(f"{layer.name}, which it builds on: {error}") from error
        yield data


def _below(previous: str, get: Get) -> Below | None:
    """What the checkpoint after `previous` can build on; None: nothing, or it is damaged."""
    if not previous:
        return None
    try:
        manifest = read_manifest_of(previous, get)
        number = manifest.number + 1
        if number >= NUMBERS or manifest.format != FORMAT:
            return None
        wanted = layers_of(number)
        layers = tuple(layer for layer in manifest.all_layers if layer.number in wanted)
        state = put_together(_objects(layers, get, set()))
        return Below(number=number, layers=layers, before=manifest.before, state=state)
    except CheckpointDamaged:
        return None


def _predecessor(name: str, get: Get) -> str:
    manifest = _readable(name, get)
    return "" if manifest is None else manifest.since.checkpoint


def _is_whole(manifest: Manifest, get: Get) -> bool:
    try:
        return all(_objects(manifest.all_layers, get, set()))
    except CheckpointDamaged:
        return False


def _readable(name: str, get: Get) -> Manifest | None:
    try:
        return read_manifest_of(name, get)
    except CheckpointDamaged:
        return None


def _get(name: str, get: Get) -> bytes:
    try:
        return get(name)
    except KeyError as error:
        raise CheckpointDamaged("it is missing") from error


def _unusable(partition: int, damages: Sequence[str]) -> NeedsOperator:
    return NeedsOperator(
        f"partition {partition}: the checkpoint store holds no usable checkpoint{_because(damages)}: restore "
        "it (is checkpoints.url the one that the group used before?), run the version that wrote it, or stop "
        f"all members and run {BEGIN}"
    )


def _because(damages: Sequence[str]) -> str:
    """Name the newest ones and the one that ended the walk; there may be a chain of dozens."""
    if len(damages) > DAMAGES_TOLD_MAX:
        told = DAMAGES_TOLD_MAX - 1
        damages = [*damages[:told], f"{len(damages) - told - 1} more", damages[-1]]
    text = "; ".join(damages)
    return f" ({text})" if text else ""

"""Generations of checkpoints: where a committed journal can start from, and which ones nobody needs any more.

Each checkpoint names the one before it and holds the journal between the two, so a generation that cannot be
read costs a longer replay from its predecessor:

    bare start --since--> K1 --since--> K2 --since--> K3 <--names-- committed journal

Rules
    - The manifest is kept twice, as the barriers before a checkpoint stand nowhere else: without them the
      generation before it would be of no use.
    - A generation above the committed one is never garbage: the partition's next owner may be about to
      commit it.
    - A checkpoint that was moved (`moved`) has its predecessor's model at a later offset: the chain of
      journals ends there, as nothing says what became of the events between the two.
    - Nothing here reads or writes by itself: `get` and `put` do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from detector.config.tree import ModelPart
from detector.core.recovery.checkpoint import Manifest, Snapshot, encode, read_manifest, read_state
from detector.core.recovery.journal import Journal, Side
from detector.errors import CheckpointDamaged, LogGone, NeedsOperator

Get = Callable[[str], bytes]
"""Reads one object of the store by name; KeyError when there is none."""

Put = Callable[[str, bytes], None]
"""Writes one object whole or not at all; returns once it is durable."""

_ANEW = "delete the group's offsets to start anew"
# A topic's name may have 249; files' names have 255 bytes at most.
_COMPONENT_CHARS_MAX = 249
_SHORTENED_TO = 16  # characters of the name itself: 192 when all are quoted, then 33 of the hash
_TEMPORARY = ".tmp-"  # names that stores keep for themselves


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a shard's computation starts."""

    journal: Journal  # from that start on
    restored: tuple[Manifest, Mapping[str, Any]] | None  # manifest and state; None: a bare start
    manifests: tuple[Manifest, ...]  # all that were read on the way, newest first
    damages: tuple[str, ...]  # what could not be used, and why


def store_prefix(group: str, topic: str) -> str:
    """What the names of all objects of one group and topic begin with: unique, for every legal name."""
    return f"{_component(group)}/{_component(topic)}/"


def folders(partition: int) -> tuple[str, str]:
    """Prefixes of the names of all objects of one partition."""
    return f"{partition:05d}/", f"manifests/{partition:05d}/"


def write(snapshot: Snapshot, put: Put) -> str:
    """Make a snapshot durable; returns the checkpoint's name.

    1. The state.
    2. Its manifest, then the manifest's copy: they never name what is not there.
    """
    name, manifest, state = encode(snapshot)
    # Step 1
    put(_state_name(name), state)
    # Step 2
    for place in _manifest_names(name):
        put(place, manifest)
    return name


def read_journal(metadata: str, *, partition: int, group: str) -> Journal:
    """Read what stands beside a committed offset.

    Raises
    ------
    NeedsOperator
        Nothing does, or it is not ours.
    """
    if not metadata:
        raise NeedsOperator(
            f"partition {partition}: group {group!r} has a committed offset without a journal, so something "
            f"else committed it: use a kafka.group_id of its own, or {_ANEW}"
        )
    return Journal.from_text(metadata)


def check_end(until: int, *, partition: int, group: str, end: int) -> None:
    """Check that the log reaches to what is committed: else new events would pass for published ones.

    Parameters
    ----------
    until
        Committed offset.
    end
        Offset after the log's last record, asked for now.

    Raises
    ------
    NeedsOperator
        It does not.
    """
    if end < until:
        raise NeedsOperator(
            f"partition {partition}: group {group!r} has committed offset {until}, but the log ends at {end} "
            "now: the topic was created again, or lost its newest events (unclean leader election); bring "
            f"them back, or stop all members and {_ANEW}"
        )


def check_side(journal: Journal, side: Side, *, partition: int, beginning: int | None) -> None:
    """Check that the records of a side topic which a replay applies again are still there.

    Parameters
    ----------
    beginning
        Lowest position in the side topic; None: no such topic is configured.

    Raises
    ------
    LogGone
        They are not.
    NeedsOperator
        The topic is not configured.
    """
    needed = journal.needed(side)
    if needed is None:
        return
    topic = "feedback" if side == "labels" else "exchange"
    if beginning is None:
        raise NeedsOperator(
            f"partition {partition}: records {needed} to {journal.end(side)} of the {topic} topic are part "
            f"of its state: set topics.{topic} again, or {_ANEW}"
        )
    if beginning > needed:
        raise LogGone(
            f"partition {partition}: going on needs the {topic} topic from offset {needed}, but it begins "
            f"at {beginning} now: raise its retention above the checkpoints' age, then {_ANEW}"
        )


def config_name(name: str) -> str:
    """Where the configuration with hash `name` is kept."""
    return f"config/{name}.json"


def read_configs(origin: Origin, wanted: ModelPart, get: Get) -> dict[str, ModelPart]:
    """Configurations by hash that a replay needs, as far as they are found.

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
            continue  # the partition says what is missing
    try:
        return {name: ModelPart.from_canonical(text) for name, text in texts.items()}
    except ValueError as error:
        raise NeedsOperator(
            "a configuration that the journal names cannot be read: run the version that wrote it, or "
            f"{_ANEW} ({error})"
        ) from error


def find_origin(journal: Journal, get: Get, *, partition: int, beginning: int) -> Origin:
    """Walk back from the checkpoint that `journal` names to one that can be read.

    Parameters
    ----------
    beginning
        Lowest offset that the log still has.

    Raises
    ------
    LogGone
        The log no longer has what would follow it.
    NeedsOperator
        There is none.
    """
    manifests: list[Manifest] = []
    damages: list[str] = []
    while True:
        if journal.position < beginning:
            raise LogGone(
                f"partition {partition}: going on needs the log from offset {journal.position}, but it "
                f"begins at {beginning} now{_because(damages)}: raise the topic's retention above the "
                f"checkpoints' age, then {_ANEW}"
            )
        name = journal.checkpoint
        if not name:
            return Origin(journal=journal, restored=None, manifests=tuple(manifests), damages=tuple(damages))
        try:
            manifest = read_manifest_of(name, get)
        except CheckpointDamaged as error:
            raise _unusable(partition, [*damages, str(error)]) from error
        manifests.append(manifest)
        try:
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
    """Manifest of a checkpoint, from whichever of its two copies is whole.

    Raises
    ------
    CheckpointDamaged
        Neither is.
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
    """Manifest and state of one checkpoint.

    Raises
    ------
    CheckpointDamaged
        It is missing, torn or changed.
    """
    manifest = read_manifest_of(name, get)
    return manifest, _state_of(manifest, get)


def moved(manifest: Manifest, state: Mapping[str, Any], position: int) -> Snapshot:
    """The model of a checkpoint as a checkpoint at another offset: what lies between the two is not in it.

    Should it be damaged, its predecessor is the one that it was made of, to the same effect.
    """
    return Snapshot(
        partition=manifest.partition,
        position=position,
        since=Journal(
            checkpoint=manifest.name,
            position=position,
            labels=manifest.labels,
            config=manifest.config,
            exchange=manifest.exchange,
        ),
        config=manifest.config,
        config_json=manifest.config_json,
        entity_key_id=manifest.entity_key_id,
        versions=manifest.versions,
        state=state,
    )


def salvaged(journal: Journal, get: Get, position: int) -> Snapshot | None:
    """The newest model on a journal's chain that can be read, moved to `position`; None: none can."""
    name = journal.checkpoint
    while name:
        try:
            return moved(*read_checkpoint(name, get), position)
        except CheckpointDamaged:
            name = _predecessor(name, get)
    return None


def superfluous(names: Iterable[str], journal: Journal, get: Get, *, keep: int) -> list[str]:
    """Choose what may be deleted.

    Parameters
    ----------
    names
        All objects of one partition.
    journal
        Committed for it.
    keep
        Generations to keep: the one that `journal` names and those that come before it.

    Returns
    -------
    list of str
        Manifests first, so that none is left without its state. Empty when it cannot be told what to keep.
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
    """One part of an object's name; no two names give the same."""
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
        raise CheckpointDamaged("not there") from error


def _unusable(partition: int, damages: Iterable[str]) -> NeedsOperator:
    return NeedsOperator(
        f"partition {partition}: the checkpoint store holds no usable checkpoint{_because(damages)}: bring "
        f"it back (is checkpoints.url the one that the group used before?), or {_ANEW}"
    )


def _because(damages: Iterable[str]) -> str:
    text = "; ".join(damages)
    return f" ({text})" if text else ""

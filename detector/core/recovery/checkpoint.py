"""A checkpoint: one shard's state at a barrier, as two objects in a store.

``NAME.json``
    The manifest: position, the previous checkpoint and the journal between the two, the configuration in
    force, the id of the key that hashed the entities, library versions, size and SHA-256 of the state.
``NAME.state``
    The state (`detector.core.state`). It is written first, so a manifest never names a missing state.

NAME is ``PARTITION/POSITION-HASH``, where HASH covers the manifest and so the state. Two replicas that write
at the same time cannot overwrite each other. A checkpoint that no commit names is garbage. HASH is checked
where a manifest is read: the commit in Kafka names a checkpoint, its manifest names the one before it, so who
can write to the store only cannot change what a recovery uses. Each checkpoint
holds the journal since the previous one, so a damaged checkpoint costs only a longer replay.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import msgspec

from detector.core.recovery.journal import POSITION_MAX, Journal
from detector.core.recovery.upgrade import FORMAT, check_format, upgrade
from detector.core.state import State, digest, pack, unpack
from detector.errors import CheckpointDamaged, NeedsOperator

MANIFEST_BYTES_MAX = 16 << 20  # one with a full journal and a large configuration has some 100 kB
STATE_BYTES_MAX = 1 << 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What is known about a checkpoint without reading its state."""

    format: int  # of the state
    name: str
    partition: int
    position: int  # first offset that is not in it
    since: Journal  # from the previous checkpoint (`since.checkpoint`) to this one's barrier, inclusive
    config: str  # hash of the model configuration in force
    config_json: str  # that configuration, as `ModelPart.canonical` writes it
    entity_key_id: str  # tells whether two keys are the same without revealing them
    versions: dict[str, str]  # of the libraries and the CPU family that computed the state
    state_bytes: int
    state_sha256: str
    state_hash: str  # `state_hash` of the state


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """An immutable copy of a shard right after a barrier, not yet written."""

    partition: int
    position: int
    since: Journal
    config: str
    config_json: str
    entity_key_id: str
    versions: dict[str, str]
    state: State


def state_hash(state: State) -> str:
    """Hash of a state as journals and manifests record it.

    It begins with the format: hashes of two formats cannot be compared.
    """
    return f"{FORMAT}:{digest(state)}"


def encode(snapshot: Snapshot) -> tuple[str, bytes, bytes]:
    """Return name, manifest and state. A large state takes long; runs in a background thread."""
    state = pack(snapshot.state)
    document = {
        "format": FORMAT,
        "partition": snapshot.partition,
        "position": snapshot.position,
        "since": snapshot.since.to_text(),
        "states": snapshot.since.states,
        "config": snapshot.config,
        "config_json": snapshot.config_json,
        "entity_key_id": snapshot.entity_key_id,
        "versions": snapshot.versions,
        "state_bytes": len(state),
        "state_sha256": hashlib.sha256(state).hexdigest(),
        "state_hash": state_hash(snapshot.state),
    }
    name = document["name"] = name_of(document)
    body = json.dumps(document, indent=1, sort_keys=True)
    seal = hashlib.sha256(body.encode()).hexdigest()
    return name, f"{body}\n{seal}\n".encode(), state


def name_of(document: Mapping[str, Any]) -> str:
    """Name of a checkpoint, by its manifest without the name.

    The hash covers the whole document: two owners may reach the same state by different journals.
    """
    content = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    return f"{document['partition']:05d}/{document['position']:020d}-{content[:12]}"


def read_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises
    ------
    CheckpointDamaged
        It is torn or changed.
    NeedsOperator
        This version cannot read the checkpoint's format.
    """
    try:
        if len(data) > MANIFEST_BYTES_MAX:
            raise ValueError(f"it has {len(data)} bytes")
        body, seal = data.decode().rstrip("\n").rsplit("\n", 1)
        if hashlib.sha256(body.encode()).hexdigest() != seal:
            raise CheckpointDamaged("the manifest does not match its checksum")
        document: dict[str, Any] = json.loads(body)
        if type(document["format"]) is not int or type(document["name"]) is not str:
            raise ValueError("a format or a name of the wrong type")
        check_format(document["format"], document["name"][:80])
        named = name_of({key: value for key, value in document.items() if key != "name"})
        states = msgspec.convert(document.pop("states"), list[str])
        since = _read_since(document["since"]).with_states(states)
        manifest = Manifest(**{**document, "since": since})
        _check(manifest)
        if manifest.name != named:
            raise ValueError(f"its content belongs to the name {named}")
        return manifest
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as cause:
        raise CheckpointDamaged(f"the manifest cannot be read: {str(cause)[:200]}") from cause


def _read_since(text: str) -> Journal:
    try:
        return Journal.from_text(text)
    except NeedsOperator as error:  # this checkpoint cannot be used; another one may be
        raise ValueError(str(error)) from error


def _check(manifest: Manifest) -> None:
    """Check what `encode` promises.

    Raises
    ------
    ValueError
        It does not hold.
    """
    facts = asdict(manifest)
    del facts["since"]
    read = msgspec.convert(facts, _Facts)
    since = manifest.since
    wanted = f"{read.partition:05d}/{read.position:020d}-"
    if manifest.name[:-12] != wanted:
        raise ValueError(f"it names position {read.position} of partition {read.partition}, not its own")
    last = since.barriers[-1].position if since.barriers else since.position
    if last != read.position:
        raise ValueError(f"its journal ends at {last}, the checkpoint is at {read.position}")


class _Facts(msgspec.Struct, forbid_unknown_fields=True):
    """A manifest's fields without the journal."""

    format: int
    name: Annotated[str, msgspec.Meta(max_length=64)]
    partition: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
    position: Annotated[int, msgspec.Meta(ge=0, le=POSITION_MAX)]
    config: Annotated[str, msgspec.Meta(max_length=64)]
    config_json: str
    entity_key_id: Annotated[str, msgspec.Meta(max_length=64)]
    versions: dict[str, str]
    state_bytes: Annotated[int, msgspec.Meta(ge=0, le=STATE_BYTES_MAX)]
    state_sha256: Annotated[str, msgspec.Meta(max_length=64)]
    state_hash: Annotated[str, msgspec.Meta(max_length=64)]


def read_state(manifest: Manifest, data: bytes) -> Mapping[str, Any]:
    """Check and unpack the state that belongs to a manifest, in the current format.

    Raises
    ------
    CheckpointDamaged
        It is torn or changed.
    NeedsOperator
        This version cannot read the checkpoint's format.
    """
    if len(data) != manifest.state_bytes:
        raise CheckpointDamaged(f"the state has {len(data)} of {manifest.state_bytes} bytes")
    if hashlib.sha256(data).hexdigest() != manifest.state_sha256:
        raise CheckpointDamaged("the state does not match its checksum")
    return upgrade(unpack(data), manifest.format, manifest.name)

"""A checkpoint: one shard's state at a barrier, as two objects in a store.

``NAME.json``
    the manifest: position, the checkpoint before it and the journal between the two, the configuration in
    force, which key hashed the entities, library versions, size and SHA-256 of the state;
``NAME.state``
    the state (`detector.core.state`), written first, so a manifest never names what is not there.

NAME is ``PARTITION/POSITION-HASH``: unique by content (of the manifest, and so of the state), so two replicas
that write at the same time cannot overwrite each other, and what no commit names is garbage. As the journal
since the checkpoint before it is inside, a damaged one costs only a longer replay from its predecessor.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from detector.core.recovery.journal import Journal
from detector.core.state import State, digest, pack, unpack
from detector.errors import CheckpointDamaged, NeedsOperator

# 1: before models learned from labels; 2: without hashes of the state; 3: models trained at barriers, not
# beside scoring; 4: the trainer drew in another order. Formats from `READS_FROM` on are read.
FORMAT = 5
READS_FROM = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What is known of a checkpoint without reading its state."""

    name: str
    partition: int
    position: int  # first offset that is not in it
    since: Journal  # from the checkpoint before it (`since.checkpoint`) to this one's barrier, inclusive
    config: str  # hash of the model's configuration in force
    config_json: str  # that configuration, as `ModelPart.canonical` writes it
    entity_key_id: str  # tells keys apart without telling the key
    versions: dict[str, str]  # of the libraries and the CPU family it was computed with
    state_bytes: int
    state_sha256: str
    state_hash: str = ""  # `state_hash` of that state; empty: made by format 2

    @property
    def labels(self) -> int:
        """Position in the feedback topic up to which it was applied."""
        return self.since.end("labels")

    @property
    def exchange(self) -> int:
        """Position in the exchange topic up to which it was applied."""
        return self.since.end("exchange")


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
    """Hash of a state as journals and manifests note it: with the format, as another one's is another."""
    return f"{FORMAT}:{digest(state)}"


def encode(snapshot: Snapshot) -> tuple[str, bytes, bytes]:
    """Return name, manifest and state. May take long for a large state; runs beside scoring."""
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
    # Of all of it: owners who came to the same state by different journals must not share a name.
    content = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    name = document["name"] = f"{snapshot.partition:05d}/{snapshot.position:020d}-{content[:12]}"
    body = json.dumps(document, indent=1, sort_keys=True)
    seal = hashlib.sha256(body.encode()).hexdigest()
    return name, f"{body}\n{seal}\n".encode(), state


def read_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises
    ------
    CheckpointDamaged
        It is torn or changed.
    NeedsOperator
        It was written by a version whose models this one cannot go on from.
    """
    try:
        body, seal = data.decode().rstrip("\n").rsplit("\n", 1)
        if hashlib.sha256(body.encode()).hexdigest() != seal:
            raise CheckpointDamaged("the manifest does not match its checksum")
        document: dict[str, Any] = json.loads(body)
        version = document.pop("format")
        if not READS_FROM <= version <= FORMAT:
            raise NeedsOperator(
                f"checkpoint {document['name']} has format {version}, this version reads {READS_FROM} to "
                f"{FORMAT}: run the version that wrote it, or delete the group's offsets to start anew"
            )
        since = Journal.from_text(document["since"]).stated(document.pop("states", ()))
        return Manifest(**{**document, "since": since})
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise CheckpointDamaged(f"the manifest cannot be read: {cause}") from cause


def read_state(manifest: Manifest, data: bytes) -> dict[str, Any]:
    """Check and unpack the state that belongs to a manifest.

    Raises
    ------
    CheckpointDamaged
        It is torn or changed.
    """
    if len(data) != manifest.state_bytes:
        raise CheckpointDamaged(f"the state has {len(data)} of {manifest.state_bytes} bytes")
    if hashlib.sha256(data).hexdigest() != manifest.state_sha256:
        raise CheckpointDamaged("the state does not match its checksum")
    return unpack(data)

"""A checkpoint: one shard's state at a barrier, as objects in a store.

``NAME.json``
    The manifest: position, the previous checkpoint and the journal between the two, the configuration in
    force, the id of the key that hashed the entities, library versions, size and SHA-256 of the state.
``NAME.state``
    The state (`detector.core.state`), or what changed since the state of an earlier checkpoint
    (`detector.core.recovery.increments`). It is written first, so a manifest never names a missing state.

NAME is ``PARTITION/POSITION-HASH``, where HASH covers the manifest and so the state. Two replicas that write
at the same time cannot overwrite each other. A checkpoint that no commit names is garbage. HASH is checked
where a manifest is read: the commit in Kafka names a checkpoint, its manifest names the one before it, so who
can write to the store only cannot change what a recovery uses. Each checkpoint
holds the journal since the previous one, so a damaged checkpoint costs only a longer replay. One before which
entities were erased is whole, and the last that is kept.

Layers
    A checkpoint without layers holds its whole state; its number is 0. The ones after it count on: number n
    holds what changed since number n & (n - 1), which is n without its lowest set bit. So 5 builds on 4, 6
    and 4 build on 4 and 0. A manifest names all layers below its own state, the whole one first: at most one
    for each set bit of its number. Most checkpoints hold what changed since the one before or since the last
    but one, and none needs many objects. Incremental dumps by the Tower of Hanoi and Fenwick's tree (1994)
    count in the same way.

    number       0  1  2  3  4  5  6  7  8  ...
    builds on    -  0  0  2  0  4  4  6  0  ...
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass
from typing import Annotated, Any

import msgspec

from detector.core.recovery.increments import applied, increment
from detector.core.recovery.journal import POSITION_MAX, Journal
from detector.core.recovery.upgrade import FORMAT, check_format, upgrade
from detector.core.state import State, digest, pack, unpack
from detector.errors import CheckpointDamaged, NeedsOperator

MANIFEST_BYTES_MAX = 16 << 20  # one with a full journal and a large configuration has some 100 kB
STATE_BYTES_MAX = 1 << 40
NUMBERS = 32  # checkpoints from one whole state to the next: a damaged one costs at most so many
LAYERS_BYTES_MAX = 2.0  # all layers together, in sizes of the whole one: what a restore reads
INCREMENT_BYTES_MAX = 0.5  # one layer: a larger one saves little
_NAME = r"\d{5,10}/\d{20}-[0-9a-f]{12}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """The state object of a checkpoint, as others that build on it name it."""

    number: int
    name: str  # of the checkpoint
    bytes: int
    sha256: str


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
    number: int  # 0: its state is whole
    layers: tuple[Layer, ...]  # that its state builds on, the whole one first
    before: str  # the last checkpoint that shares no object with this one; empty: there is none
    erases: bool  # entities were erased since the previous one: no older one is to be kept

    @property
    def layer(self) -> Layer:
        """Its own state object."""
        return Layer(number=self.number, name=self.name, bytes=self.state_bytes, sha256=self.state_sha256)

    @property
    def all_layers(self) -> tuple[Layer, ...]:
        """The state objects that it needs, its own last."""
        return (*self.layers, self.layer)


@dataclass(frozen=True, kw_only=True, slots=True)
class Below:
    """What the next checkpoint builds on."""

    number: int  # of the next one
    layers: tuple[Layer, ...]
    before: str
    state: Mapping[str, Any]  # of all layers


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


def encode(snapshot: Snapshot, below: Below | None = None) -> tuple[str, bytes, bytes]:
    """Return name, manifest and state object. A large state takes long; runs in a background thread.

    Parameters
    ----------
    below
        What it builds on; None: it is whole. It is whole, too, if that saves too little.
    """
    erases = snapshot.since.erases
    number, layers, state = 0, tuple[Layer, ...](), b""
    before = "" if erases else snapshot.since.checkpoint
    if below is not None:
        state = pack(increment(snapshot.state, below.state))
        if _is_worth_it(len(state), below):
            number, layers, before = below.number, below.layers, below.before
    if not layers:
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
        "number": number,
        "layers": [astuple(layer) for layer in layers],
        "before": before,
        "erases": erases,
    }
    name = document["name"] = name_of(document)
    body = json.dumps(document, indent=1, sort_keys=True)
    seal = hashlib.sha256(body.encode()).hexdigest()
    return name, f"{body}\n{seal}\n".encode(), state


def _is_worth_it(size: int, below: Below) -> bool:
    """Whether to write an increment of this size, not the whole state."""
    whole = below.layers[0].bytes
    total = size + sum(layer.bytes for layer in below.layers)
    return size <= INCREMENT_BYTES_MAX * whole and total <= LAYERS_BYTES_MAX * whole


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
        layers = tuple(
            Layer(number=number, name=name, bytes=size, sha256=sha256)
            for number, name, size, sha256 in msgspec.convert(document["layers"], list[_LayerFacts])
        )
        manifest = Manifest(**{**document, "since": since, "layers": layers})
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
    del facts["since"], facts["layers"]
    read = msgspec.convert(facts, _Facts)
    since = manifest.since
    wanted = f"{read.partition:05d}/{read.position:020d}-"
    if manifest.name[:-12] != wanted:
        raise ValueError(f"it names position {read.position} of partition {read.partition}, not its own")
    last = since.barriers[-1].position if since.barriers else since.position
    if last != read.position:
        raise ValueError(f"its journal ends at {last}, the checkpoint is at {read.position}")
    numbers = [layer.number for layer in manifest.layers]
    if numbers != layers_of(manifest.number):
        raise ValueError(f"number {manifest.number} does not build on {numbers}")
    partition, below = wanted[:-21], [layer.name for layer in manifest.layers]
    # Barriers by command may be at one position: the names of their checkpoints have no order there.
    if manifest.name in below or any(not n.startswith(partition) or n[:-12] > wanted for n in below):
        raise ValueError("a layer that is not of an earlier checkpoint of its partition")


def layers_of(number: int) -> list[int]:
    """Numbers of the layers below a checkpoint with this number, ascending."""
    found: list[int] = []
    while number:
        number &= number - 1
        found.append(number)
    return found[::-1]


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
    number: Annotated[int, msgspec.Meta(ge=0, lt=NUMBERS)]
    erases: bool
    before: Annotated[str, msgspec.Meta(pattern=r"^(\d{5,10}/(\d{20}|model)-[0-9a-f]{12})?$")]


_LayerFacts = tuple[
    int,
    Annotated[str, msgspec.Meta(pattern=f"^{_NAME}$")],
    Annotated[int, msgspec.Meta(ge=0, le=STATE_BYTES_MAX)],
    Annotated[str, msgspec.Meta(max_length=64)],
]


def read_state(manifest: Manifest, *objects: bytes) -> Mapping[str, Any]:
    """Check and unpack the state that belongs to a manifest, in the current format.

    Parameters
    ----------
    objects
        Those of `Manifest.all_layers`.

    Raises
    ------
    CheckpointDamaged
        One of them is torn or changed.
    NeedsOperator
        This version cannot read the checkpoint's format.
    """
    for layer, data in zip(manifest.all_layers, objects, strict=True):
        check_layer(layer, data)
    return state_of(manifest, objects)


def state_of(manifest: Manifest, objects: Iterable[bytes]) -> Mapping[str, Any]:
    """Unpack the state objects of `Manifest.all_layers`, which are checked; see `read_state`."""
    state = put_together(objects)
    if manifest.layers and state_hash(state) != manifest.state_hash:
        raise CheckpointDamaged("its layers give another state")
    return upgrade(state, manifest.format, manifest.name)


def check_layer(layer: Layer, data: bytes) -> None:
    """Check a state object.

    Raises
    ------
    CheckpointDamaged
        It is torn or changed.
    """
    if len(data) != layer.bytes:
        raise CheckpointDamaged(f"the state has {len(data)} of {layer.bytes} bytes")
    if hashlib.sha256(data).hexdigest() != layer.sha256:
        raise CheckpointDamaged("the state does not match its checksum")


def put_together(objects: Iterable[bytes]) -> Mapping[str, Any]:
    """State of some layers, the whole one first."""
    state: Mapping[str, Any] | None = None
    for data in objects:
        state = unpack(data) if state is None else applied(state, unpack(data))
    assert state is not None, "a checkpoint has a state"
    return state

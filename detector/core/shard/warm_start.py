"""Warm start: a new shard begins with what another one learned about everybody.

    checkpoint of a shard ── export_model ──> model file ── first_checkpoint ──> checkpoint of a bare start

The file holds the population part of a state (`POPULATION`): units, encoder and learner, core, clusters,
calibration, and the priors of profiles. It has no profiles, budget, cases or labels. The core consists of
real events, without ids, their entities as keyed hashes: protect the file like a checkpoint. Its format is
that of checkpoints, as it holds parts of their states.

Rules
    - Where fields and settings are the same, all of it is taken; else the weights of the encoder, as far as
      fields are the same (`transfer`). The encoder alone can also be asked for: it knows no units.
    - Units of the file are kept where they fit: the first block tells a stream of other units, as a later one
      tells a change of them (`model.shifts`).
    - A warm start is an ordinary checkpoint at the shard's first offset. The first journal names it, so the
      state stays a function of log and journal, and recovery needs nothing new.
    - Its predecessor is named after the model file and is in no store. If the checkpoint is damaged, recovery
      stops with a message: a cold start would give other alerts than those that were published.
    - The new shard counts its events from 0: its alerts say warm-up until it has seen enough of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detector.config.tree import ModelPart
from detector.core.model.shifts import middles_of
from detector.core.model.versions import Origin
from detector.core.records import Identity
from detector.core.recovery.checkpoint import Manifest, Snapshot
from detector.core.recovery.journal import Journal
from detector.core.recovery.upgrade import FORMAT
from detector.core.shard import transfer
from detector.core.shard.model_shape import differing, shape
from detector.core.shard.partition import library_versions
from detector.core.shard.shard import Shard
from detector.core.state import copied, pack, unpack
from detector.errors import CheckpointDamaged, NeedsOperator

POPULATION = ("units", "learner", "core", "served", "calibration", "loss")
_MAGIC = b"detector model\n"
_SEAL_BYTES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """Content of a model file."""

    name: str  # first 12 hex digits of its content's SHA-256
    config: ModelPart  # used to learn it
    population: Mapping[str, Any]
    encoder_only: bool = False  # nothing else is taken


def export_model(manifest: Manifest, state: Mapping[str, Any]) -> bytes:
    """Make a model file of a checkpoint.

    Raises
    ------
    NeedsOperator
        Its shard had no model yet.
    """
    if not state["served"]:
        raise NeedsOperator(f"checkpoint {manifest.name} has no model yet: wait for a later one")
    population = {name: state[name] for name in POPULATION}
    about = {"format": FORMAT, "config": manifest.config_json}
    body = pack({"about": about, "population": population, "priors": state["profiles"]["priors"]})
    return _MAGIC + hashlib.sha256(body).digest() + body


def read_model(data: bytes) -> Model:
    """Read what `export_model` wrote.

    Raises
    ------
    CheckpointDamaged
        It is torn or changed, or not a model file.
    NeedsOperator
        It holds states of another format, or settings that this version does not know.
    """
    head = len(_MAGIC) + _SEAL_BYTES
    seal, body = hashlib.sha256(data[head:]), data[head:]
    if not data.startswith(_MAGIC):
        raise CheckpointDamaged("not a model file")
    if seal.digest() != data[len(_MAGIC) : head]:
        raise CheckpointDamaged("the content does not match its checksum")
    content = unpack(body)
    try:
        about = content["about"]
        population = {**content["population"], "priors": content["priors"]}
        if about["format"] != FORMAT:
            raise NeedsOperator(
                f"the model file has format {about['format']}, this version reads format {FORMAT}: "
                "export it again with this version"
            )
        config = ModelPart.from_canonical(about["config"])
    except (LookupError, TypeError) as error:
        raise CheckpointDamaged(f"a part is missing: {error}") from error
    except ValueError as error:
        raise NeedsOperator(
            f"the model file was made with settings that this version does not know: {error}"
        ) from error
    return Model(name=seal.hexdigest()[:12], config=config, population=population)


def differences(model: Model, wanted: ModelPart) -> list[tuple[str, str, str]]:
    """Settings that the model depends on and that differ: key, value in the file, wanted value."""
    found = differing("", shape(model.config), shape(wanted))
    return [difference for difference in found if difference[0] != "model.seed"]


def origin_of(model: Model, wanted: ModelPart) -> Origin:
    """What a new shard takes of a model."""
    found = transfer.taken(model.config, wanted)
    whole = not (model.encoder_only or differences(model, wanted))
    return Origin(model=model.name, whole=whole, **found._asdict())


def first_checkpoint(model: Model, wanted: ModelPart, identity: Identity, bare: Journal) -> Snapshot:
    """Make a checkpoint of a shard that has seen no event, but has what it takes of the model.

    Parameters
    ----------
    bare
        Journal of the bare start, `Partition.begin(...)`.
    """
    shard = Shard(wanted, identity, position=bare.position)
    state, origin = copied(shard.to_state()), origin_of(model, wanted)
    if origin.whole:
        learned = dict(model.population)
        state["profiles"]["priors"] = learned.pop("priors")
        state.update(learned)
        middles = middles_of(learned["core"]["rows"]["numerics"])
        state["shifts"] = {**state["shifts"], "middles": middles}
    else:
        learner, there = state["learner"], model.population["learner"]["weights"]
        weights = transfer.weights(model.config, there, wanted, learner["weights"])
        state["learner"] = {**learner, "weights": weights}
    state["versions"] = {**state["versions"], "origin": origin.to_state()}
    shard.load(state)
    return Snapshot(
        partition=identity.partition,
        position=bare.position,
        since=Journal(
            checkpoint=f"{identity.partition:05d}/model-{model.name}",
            position=bare.position,
            config=bare.config,
            sides=bare.sides,
        ),
        config=bare.config,
        config_json=wanted.canonical().decode(),
        entity_key_id=shard.entity_key_id,
        versions=library_versions(),
        state=copied(shard.to_state()),
    )

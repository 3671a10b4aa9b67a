"""What is known of the versions of a partition's encoder: a list, and a card of one.

Figures with intervals are measured when the card is made, on the labelled events that the shard remembers.
For a version that does not serve, the core's clusters are made again with its encoder, as a rollback would.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import ModelPart
from detector.core.intervals import wilson
from detector.core.labels.event_buffer import ALERTED, FRAUD, LEGITIMATE
from detector.core.model.clusters import Sample
from detector.core.model.encoder import Learned
from detector.core.model.quality_of_space import area, average_precision
from detector.core.model.versions import Origin, Version
from detector.core.shard.embedded import Embedded
from detector.core.shard.embedding_report import embedding_report

FRAUDS_MIN = 16  # fewer confirmed frauds give no figure
OTHERS_MAX = 8192  # events beside them, evenly spread
DRAWS, SEED = 200, 1  # of the bootstrap


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionList:
    """The versions that are kept."""

    serving: int  # number; 0: the encoder came with a model file
    held: bool
    refused: int  # candidates, since the model began
    versions: Sequence[Version]  # ascending
    origin: Origin | None = None  # the model file that the model began with


class Measured(NamedTuple):
    """A figure with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    events: int  # frauds, or answered alerts, that it rests on


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """See the module's text."""

    version: Version
    serving: bool
    held: bool
    checkpoint: str  # name; empty: a shard that runs
    state_hash: str  # of the shard's state; empty: unknown
    config_hash: str
    encoder_sha256: str  # of bins and weights, see `checksum`
    entities: Sequence[str]
    fields: Mapping[str, str]  # kind by name
    settings: Mapping[str, Any]  # of the model
    labels: Mapping[str, int]  # remembered events by label
    measured: Sequence[Measured]
    flags: Sequence[str]  # what the report on the embedding raises
    limits: Sequence[str]  # what may not be concluded, in sentences
    origin: Origin | None = None  # the model file that the model began with


def version_list(embedded: Embedded) -> VersionList:
    """The versions that a shard keeps."""
    versions = embedded.versions
    there = [*versions.older.values(), *(() if versions.serving is None else (versions.serving,))]
    return VersionList(
        serving=versions.number,
        held=versions.held,
        refused=versions.refused,
        versions=sorted(there, key=lambda one: one.number),
        origin=versions.origin,
    )


def model_card(
    embedded: Embedded, config: ModelPart, number: int, *, checkpoint: str = "", state_hash: str = ""
) -> ModelCard | None:
    """The card of a version; None: it is not kept."""
    versions = embedded.versions
    serving = versions.serving
    if serving is not None and number == serving.number:
        version, learned, here = serving, embedded.served.learned, embedded
    elif number in versions.older:
        version, learned = versions.older[number], versions.learned(number)
        here = with_encoder(embedded, learned)
    else:
        return None
    flags = embedding_report(here).flags
    counts, measured = _measured(here)
    return ModelCard(
        version=version,
        serving=here is embedded,
        held=versions.held and here is embedded,
        checkpoint=checkpoint,
        state_hash=state_hash,
        config_hash=config.hash(),
        encoder_sha256=checksum(learned),
        entities=[entity.name for entity in config.event.entities],
        fields={field.name: field.type for field in config.event.fields},
        settings=config.model.model_dump(mode="json"),
        labels=counts,
        measured=measured,
        flags=[f"{flag.name}: {flag.meaning}" for flag in flags],
        limits=list(_limits(version, counts)),
        origin=versions.origin,
    )


def with_encoder(embedded: Embedded, learned: Learned) -> Embedded:
    """The same core with another encoder; nothing is changed."""
    core, served = embedded.core, embedded.served
    sample = Sample(core.filled().copy(), core.cluster[: len(core)].astype(np.int64))
    promotion = served.refitted(served.copies(), sample, learned, np.random.default_rng(SEED))
    return replace(embedded, served=served.trial(promotion))


def checksum(learned: Learned) -> str:
    """SHA-256 of an encoder: each array's name, form and bytes (little endian), by name."""
    found = hashlib.sha256()
    for name, array in sorted({"edges": learned.edges, **learned.weights}.items()):
        whole = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        found.update(f"{name} {whole.dtype.str} {whole.shape}\n".encode())
        found.update(whole.tobytes())
    return found.hexdigest()


def _measured(embedded: Embedded) -> tuple[dict[str, int], list[Measured]]:
    buffer = embedded.buffer
    held = buffer.stored()
    flags = buffer.column("flags", held)
    fraud, alerted = flags & FRAUD != 0, flags & ALERTED != 0
    legitimate = flags & LEGITIMATE != 0
    counts = {
        "remembered": len(held),
        "fraud": int(fraud.sum()),
        "legitimate": int(legitimate.sum()),
        "alerts answered": int((alerted & (fraud | legitimate)).sum()),
    }
    measured = []
    if counts["alerts answered"]:
        right, of = int((alerted & fraud).sum()), counts["alerts answered"]
        measured.append(Measured("precision of answered alerts", right / of, *wilson(right, of), of))
    if counts["fraud"] >= FRAUDS_MIN:
        others = held[~fraud]
        others = others[:: -(-len(others) // OTHERS_MAX) or 1]
        numbers = np.concatenate([held[fraud], others])
        points = embedded.embed(buffer.examples(numbers))
        distances = embedded.space.nearest.search(points, 1)[1][:, 0]
        truth = np.arange(len(numbers)) < counts["fraud"]
        entities = buffer.main(numbers)
        for name, figure in (("AUC", area), ("AP", average_precision)):
            value, (low, high) = figure(distances, truth), _interval(figure, distances, truth, entities)
            measured.append(Measured(f"distance to clusters: {name}", value, low, high, counts["fraud"]))
    return counts, measured


def _interval(
    figure: Callable[[NDArray[Any], NDArray[np.bool_]], float],
    scores: NDArray[Any],
    truth: NDArray[np.bool_],
    entities: NDArray[np.uint64],
) -> tuple[float, float]:
    """95 % interval by drawing entities, whose events belong together; those without one stand alone."""
    _, group = np.unique(entities, return_inverse=True)
    alone = entities == 0
    group = np.where(alone, group.max(initial=0) + 1 + np.cumsum(alone), group)
    _, group = np.unique(group, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 2))
    rng, found = np.random.default_rng(SEED), []
    for _ in range(DRAWS):
        drawn = rng.integers(0, len(starts) - 1, len(starts) - 1)
        rows = np.concatenate([order[starts[one] : starts[one + 1]] for one in drawn])
        if truth[rows].any() and not truth[rows].all():
            found.append(figure(scores[rows], truth[rows]))
    low, high = np.quantile(found, [0.025, 0.975]) if found else (math.nan, math.nan)
    return float(low), float(high)


def _limits(version: Version, counts: Mapping[str, int]) -> Sequence[str]:
    found = [
        "It has learned what is usual on this partition's stream in its span; elsewhere it says nothing.",
        "A score says how rare an event is among normal ones. It is not a probability of fraud.",
        "Events that were never like normal ones before, but are harmless, look the same as frauds.",
        "The encoder sees no labels. What labels teach (fraud rates, labelled encoder, trees) is not part of "
        "this version, and a rollback leaves it as it is.",
    ]
    if counts["fraud"] < FRAUDS_MIN:
        found.append(
            f"{counts['fraud']} confirmed frauds are remembered, fewer than {FRAUDS_MIN}: labels say nothing "
            "of it."
        )
    else:
        found.append(
            "Only labelled frauds count in the figures: who looks for frauds among alerts finds those that "
            "give alerts."
        )
    if not version.figures:
        found.append("It was promoted without being judged: it was the first one.")
    elif "beyond" not in version.figures:
        found.append(
            "It was promoted while the model was young or followed a shift: nothing is refused then."
        )
    return found

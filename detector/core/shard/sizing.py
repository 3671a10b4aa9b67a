"""How many bytes a partition's state takes at most, and how many keys fit into its share of the memory.

    state       tables of keys, label memory, core and parts of the score, learners, event ids, cases, ...
    snapshots   copies of the state that wait for the checkpoint store: `SNAPSHOTS` of them

Rules
    - Everything follows from the configuration, nothing from the machine or from other partitions. So a
      partition has the same tables whoever owns it, and a replay finds the same alerts.
    - Tables say themselves how large they grow (`KeyTable.bytes_max`): a new table is counted without a
      change here.
    - Where the share is too small, the bounds on keys and the label memory shrink by one factor.

docs/explanation/memory.md has the same formula for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from detector.config.tree import Labels, Model, ModelPart
from detector.core.alerts.cases import bytes_max as cases_bytes_max
from detector.core.alerts.contacts import Contacts
from detector.core.alerts.links import BYTES_MAX as LINKS_BYTES
from detector.core.alerts.priority import BYTES_MAX as PRIORITY_BYTES
from detector.core.alerts.recent import bytes_max as recent_bytes_max
from detector.core.alerts.snoozes import BYTES_MAX as SNOOZES_BYTES
from detector.core.drift.watch import bytes_max as drift_bytes_max
from detector.core.events import TEXT_GRAMS_MAX
from detector.core.features import Features, FraudRates, Heat, KeyTable, Layout, Profiles, empty_rows
from detector.core.labels.event_buffer import ALERTED_MAX
from detector.core.labels.event_buffer import sizes as label_sizes
from detector.core.labels.replay_buffer import EXAMPLES_MAX
from detector.core.labels.routing import BYTES_MAX as ANSWERS_BYTES
from detector.core.model.versions import KEPT_MAX
from detector.core.shard.watched import columns

SNAPSHOTS = 2
"""Snapshots of a partition that are held at most: the one being written, and the one right after the newest
barrier, which waits to be written or is written at a stop.
"""

PACKED = 1.125
"""Bytes of a checkpoint's text per byte of its snapshot: a buffer grows by an eighth."""

PRECISION, FACTOR_MIN = 1e-3, 1e-5  # of the factor by which bounds shrink
KEYS_MIN = 1024  # the least bounds that the configuration allows, and the least of the label memory
LABEL_BYTES_MIN = 1 << 20
# Copies of the core: its rows, the sample of a refit, and what parts of the score keep of each event, which
# are exemplars, inputs and vectors, of the served parts and of those that a refit prepares.
CORE_COPIES = 4
INPUTS_COPIES = 4
INPUTS_COPIES_USUAL = 3
# Copies of an encoder's weights, of both encoders: weights, two moments, sums, gradients and average of a
# learner, weights and sums that serve, those of a refit. A checkpoint has weights, moments, and what serves.
# Older versions (`versions`) come on top.
ENCODER_COPIES, ENCODER_COPIES_SAVED = 18, 9
REPLAY_BUFFERS = 3  # of confirmed frauds, of answers, of peers
BLOCKS = 16  # blocks that are being filled, learned from, watched for a shift, and waiting for the learner
BLOCKS_USUAL = 4
# Python objects, estimated: a label with its offset, entity, actor and feedback id, and the last answer about
# an entity.
LABEL_BYTES = 1000
ROW_OBJECTS_BYTES = 1500  # of one row's arrays
NODE_BYTES = 2 * 2 * 4 + 8  # links of a graph's node and of its copy, with room; times m
CONSTANT_BYTES = 4 << 20  # histograms, grids, trees, schema, parsers, journal, messages of peers


class Keys(NamedTuple):
    """Bounds of a partition's tables."""

    entities: int
    pairs: int
    label_bytes: int


class Sizes(NamedTuple):
    """Bytes of one partition at most."""

    parts: Mapping[str, int]  # of the state
    copied: int  # of a snapshot

    @property
    def state(self) -> int:
        """Bytes of the state."""
        return sum(self.parts.values())

    @property
    def total(self) -> int:
        """Bytes of the state and of its snapshots."""
        return self.state + SNAPSHOTS * self.copied


def bytes_max(config: ModelPart, model: Model | None = None) -> Sizes:
    """Bytes that a partition takes at most.

    Parameters
    ----------
    model
        Bounds to count with; None: those in force, see `fitted`.
    """
    model = fitted(config) if model is None else model
    layout = Layout(config.event, model.features)
    groups = tables_of(layout, model)
    if not (config.feedback or config.exchange):
        del groups["fraud rates"]  # nobody says what a fraud was: they stay empty
    tables = {name: sum(table.bytes_max for table in group) for name, group in groups.items()}
    slots = sum(table.bytes_max // table.row_bytes for group in groups.values() for table in group)
    label_memory = label_memory_bytes(config, model.labels, layout)
    fixed = fixed_parts(config, model, layout)
    # A snapshot also says in which slot each key was; of other parts it holds what cannot be computed again.
    copied = sum(tables.values()) + 8 * slots + label_memory
    copied += sum(part.copied for part in fixed.values())
    parts = {**tables, "label memory": label_memory, **{name: part.held for name, part in fixed.items()}}
    return Sizes(parts, copied)


@lru_cache(maxsize=64)
def fitted(config: ModelPart) -> Model:
    """Settings of the model with the bounds that fit the partition's share of the memory.

    The bounds are those of the configuration if they fit. Otherwise they shrink by one factor, but not below
    the least that the configuration allows; `fits` tells whether that was enough.
    """
    model, share = config.model, config.memory_bytes_max
    if share is None or bytes_max(config, model).total <= share:
        return model
    low, high = 0.0, 1.0
    while high - low > PRECISION * high and high > FACTOR_MIN:  # the bytes grow with the factor
        middle = 0.5 * (low + high)
        if bytes_max(config, _shrunk(model, middle)).total <= share:
            low = middle
        else:
            high = middle
    return _shrunk(model, low)


def packed_bytes(sizes: Sizes) -> int:
    """Bytes of the text of the checkpoint that is being written: a process writes one at a time."""
    return int(sizes.copied * PACKED)


def fits(config: ModelPart) -> bool:
    """Whether the smallest tables fit the partition's share of the memory."""
    share = config.memory_bytes_max
    return share is None or bytes_max(config).total <= share


def keys_of(model: Model) -> Keys:
    """Bounds of a model's tables."""
    return Keys(model.features.entities_max, model.features.pairs_max, model.labels.buffer_bytes_max)


def _shrunk(model: Model, factor: float) -> Model:
    entities, pairs, label_bytes = keys_of(model)
    features = {
        "entities_max": max(KEYS_MIN, int(factor * entities)),
        "pairs_max": max(KEYS_MIN, int(factor * pairs)),
    }
    labels = {"buffer_bytes_max": max(LABEL_BYTES_MIN, int(factor * label_bytes))}
    return model.model_copy(
        update={
            "features": model.features.model_copy(update=features),
            "labels": model.labels.model_copy(update=labels),
        }
    )


def label_memory_bytes(config: ModelPart, labels: Labels, layout: Layout) -> int:
    """Bytes of events that are kept so that a late label finds its event."""
    return label_sizes(labels, layout, len(Features(layout))).bytes_max if config.feedback else 0


def tables_of(layout: Layout, model: Model) -> dict[str, Sequence[KeyTable]]:
    """All tables of keys, by what they are for."""
    profiles = Profiles(layout, model.features)
    habits = profiles.habits.tables
    places = [table for habit, table in zip(layout.habits, habits, strict=True) if habit.point is not None]
    others = [table for habit, table in zip(layout.habits, habits, strict=True) if habit.point is None]
    return {
        "profiles": profiles.tables,
        "habits": others,
        "places": places,
        "heat": Heat(layout, model.features).tables,
        "fraud rates": FraudRates(layout, model.features).tables,
    }


class FixedPart(NamedTuple):
    """Bytes of a part that does not depend on how many keys there are."""

    held: int  # at most, also while the next barrier is being prepared
    copied: int  # of a snapshot
    usual: int  # between two preparations, without labels


def fixed_parts(config: ModelPart, model: Model, layout: Layout) -> dict[str, FixedPart]:
    """Bytes of parts that do not depend on how many keys there are."""
    inputs, hashed = len(Features(layout)), len(layout.categories) + len(layout.texts)
    row = sum(array.nbytes for array in empty_rows(1, layout).arrays())
    encoder, core = model.encoder, model.clusters.core_events
    wide = inputs * encoder.bins + hashed * encoder.hash_width
    looked_up = encoder.hash_rows * encoder.hash_width if hashed else 0
    weights = 4 * (wide * (encoder.hidden + 1) + encoder.hidden * (encoder.dimension + 1) + looked_up)
    if encoder.objectives.reconstructive:
        weights += 4 * wide * encoder.dimension
    examples = REPLAY_BUFFERS * EXAMPLES_MAX
    examples *= (
        4 * inputs
        + 4 * encoder.dimension
        + 16
        + 8 * len(layout.categories)
        + 4 * len(layout.texts) * TEXT_GRAMS_MAX
    )
    duplicates = config.event.duplicates
    ids = 1 if config.event.id is None or duplicates is None else duplicates.horizon_events
    vectors = core + model.clusters.count_max
    block, labels = model.barriers.block_events * (row + 4 * inputs), model.labels.labels_max
    alerted = ALERTED_MAX * (row + ROW_OBJECTS_BYTES)
    block_events, met = model.barriers.block_events, Contacts(layout).numbers
    recent = recent_bytes_max(config.alerts.recent_events_max, block_events, met)
    open_cases, copied_cases = cases_bytes_max(config.alerts)
    drift = drift_bytes_max(columns(layout))
    beside = LINKS_BYTES + PRIORITY_BYTES + SNOOZES_BYTES
    parts = {
        "core and clusters": FixedPart(
            core * (CORE_COPIES * row + INPUTS_COPIES * 4 * inputs),
            core * row,
            core * (row + INPUTS_COPIES_USUAL * 4 * inputs),
        ),
        "index": _part(vectors * (4 * max(encoder.dimension, inputs) + NODE_BYTES * model.index.m), 0),
        "encoders": _part((ENCODER_COPIES + KEPT_MAX) * weights, (ENCODER_COPIES_SAVED + KEPT_MAX) * weights),
        "replayed examples": FixedPart(examples, examples, 0),
        "event ids": _part(16 * ids + 4 * (1 << (2 * ids - 1).bit_length()), 16 * ids),
        "cases": _part(open_cases + beside, copied_cases + beside),
        "recent events": _part(*recent),
        "drift": _part(drift, drift),
        "batches": FixedPart(BLOCKS * block, 0, BLOCKS_USUAL * block),
        "constant": _part(CONSTANT_BYTES, CONSTANT_BYTES),
    }
    if config.feedback:
        parts["answers"] = _part(ANSWERS_BYTES, ANSWERS_BYTES)
        parts["labels"] = _part(labels * LABEL_BYTES + alerted, labels * LABEL_BYTES + ALERTED_MAX * row)
    return parts


def _part(held: int, copied: int) -> FixedPart:
    return FixedPart(held, copied, held)

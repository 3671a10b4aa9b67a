"""`detector drift report`: what the newest checkpoint of each partition knows of drift."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import floor, inf, isfinite
from pathlib import Path
from typing import Any

from detector.config.tree import Config, ModelPart
from detector.core.alerts.score_record import iso
from detector.core.drift.columns import RATE, Columns
from detector.core.drift.history import HOUR_S
from detector.core.drift.watch import DriftWatch
from detector.core.drifted import BIN_NAMES
from detector.core.recovery.generations import read_checkpoint
from detector.core.shard.watched import watch_in
from detector.errors import CheckpointDamaged, NeedsOperator
from detector.shell.objects import Objects
from detector.shell.store import FsspecStore
from detector.wiring.checkpoints import checkpoints_place, list_checkpoints


def drift_report(
    config: Config, *, folder: Path | None = None, start: float = -inf, end: float = inf
) -> dict[str, Any]:
    """Collect what is known of drift, as plain values for JSON.

    Parameters
    ----------
    folder
        Checkpoints of a replay; None: those of the service.
    start, end
        Event times, s since the epoch; hours outside are left out.

    Raises
    ------
    StoreUnavailable
    NeedsOperator
        There is no checkpoint that says anything of drift.
    """
    if folder is not None:
        place = config.checkpoints.model_copy(update={"url": f"file://{folder.resolve()}"})
        config = config.model_copy(update={"checkpoints": place})
    partitions = [
        {"partition": partition, "checkpoint": name, **described(watch, start, end)}
        for partition, name, watch in _watches(config)
        if watch.found is not None
    ]
    if not partitions:
        raise NeedsOperator(f"no checkpoint under {checkpoints_place(config)} says anything of drift yet")
    return {"made_from": checkpoints_place(config), "bins": list(BIN_NAMES), "partitions": partitions}


def _watches(config: Config) -> Iterator[tuple[int, str, DriftWatch]]:
    """Of each partition the newest checkpoint that can be read."""
    objects = Objects(
        FsspecStore(config.checkpoints.url), group=config.kafka.group_id, topic=config.topics.transactions
    )
    objects.enter_only_cluster()
    manifests = [found.manifest for found in list_checkpoints(config) if found.manifest is not None]
    done: set[int] = set()
    for manifest in sorted(manifests, key=lambda one: (one.partition, -one.position)):
        if manifest.partition in done:
            continue
        try:
            _, state = read_checkpoint(manifest.name, objects.get)
            watch = watch_in(ModelPart.from_canonical(manifest.config_json), state)
            yield manifest.partition, manifest.name, watch
            done.add(manifest.partition)
        except (CheckpointDamaged, ValueError, KeyError):
            continue


def described(watch: DriftWatch, start: float, end: float) -> dict[str, Any]:
    """What one watch says, as plain values."""
    found = watch.found
    assert found is not None
    hours, psi, thresholds = watch.history.between(start, end)
    fields = []
    for name, columns in _columns(watch.columns).items():
        one = found.fields.get(name)
        if one is None:
            continue
        line = []
        for row, hour in enumerate(hours.tolist()):
            column = max(columns, key=lambda at: psi[row, at] / thresholds[row, at])
            line.append([iso(hour * HOUR_S), _number(psi[row, column]), _number(thresholds[row, column])])
        fields.append(
            {
                "field": name,
                "psi": _number(one.psi),
                "threshold": _number(one.threshold),
                "weight": _number(one.weight),
                "since": iso(floor(one.since)) if one.since else None,
                "usual": [_number(count) for count in one.usual],
                "current": [_number(count) for count in one.current],
                "hours": line,
            }
        )
    shares = found.new_shares.items()
    return {
        "time": iso(floor(found.time)),
        "events": found.events,
        "sentences": list(found.sentences),
        "fields": fields,
        "new": [
            {"entity": entity, "kind": kind, "current": one.current, "usual": one.usual}
            for (entity, kind), one in shares
        ],
        "embedding": dict(found.embedding),
        "labels": dict(found.labels),
        "precision": dict(found.precision),
        "score_changes": found.score_changes,
    }


def _columns(columns: Columns) -> dict[str, Sequence[int]]:
    return {**columns.by_field(), RATE: [columns.count]}


def _number(value: float) -> float | None:
    """Four digits; None for what is not known yet: JSON has no infinity."""
    return float(f"{float(value):.4g}") if isfinite(value) else None

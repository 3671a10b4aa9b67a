"""From the arrays of a watch to what people and metrics are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.core.drift import words
from detector.core.drift.columns import RATE, Columns
from detector.core.drift.labelled import LabelWatch
from detector.core.drift.profile import DayProfile
from detector.core.drift.seasons import Seasons, Slow
from detector.core.drift.verdicts import EMBEDDED, PROFILE, Comparison, Verdicts
from detector.core.drift.verdicts import RATE as RATE_AT
from detector.core.drifted import Drift, FieldDrift, ShareDrift


class Scores(NamedTuple):
    """What the adaptive window says of the mean score."""

    changes: int
    step: float
    since: float  # event time, s; 0: no change lately


def findings(
    columns: Columns,
    compared: Comparison,
    verdicts: Verdicts,
    edges: NDArray[np.float64],
    scores: Scores,
    labels: LabelWatch,
    placed: Mapping[str, float],
    profile: DayProfile,
    seasons: Seasons,
    weights: Mapping[str, float],
) -> Drift:
    """Say what was found at the end of a pane."""
    now = compared.time
    told: list[tuple[float, str]] = []
    fields = {}
    numbers = len(columns.numbers)
    for name, own in columns.by_field().items():
        column = max(own, key=lambda at: _excess(verdicts, at))
        size = max(float(compared.counts[column].sum()), 1.0)
        moved = words.Moved(
            compared.counts[column] / size,
            compared.shares[column],
            edges[column] if column < numbers else None,
            repeats=column >= columns.repeats,
        )
        weight = weights.get(name, 0.0)
        fields[name] = found = FieldDrift(
            psi=float(verdicts.index[column]),
            threshold=float(verdicts.thresholds[column]),
            weight=weight,
            since=float(verdicts.began[column]),
            unseen=moved.unseen,
            usual=tuple((compared.shares[column] * size).tolist()),
            current=tuple(compared.counts[column].tolist()),
        )
        if found.since:
            told.append((weight, _sentence(words.field(name, moved), found, compared)))
        elif (slowly := _slowest(own, seasons)) is not None:
            cut = edges[slowly] if slowly < numbers else None
            fields[name], text = _slow(name, found, seasons.found(slowly), cut, slowly >= columns.repeats)
            told.append((weight, text))
    rate = RATE if RATE not in fields else f"{RATE} of events"
    fields[rate], what = _rate(compared, verdicts, profile, weights.get(RATE, 0.0) if rate == RATE else 0.0)
    if fields[rate].since:
        told.append((fields[rate].weight, _sentence(what, fields[rate], compared)))
    shares = _new_shares(columns, compared, verdicts, told)
    if scores.since:
        told.append((0.0, _whole(words.scores(scores.step), scores.since, now)))
    moved_since = float(verdicts.began[EMBEDDED])
    if moved_since:
        told.append((0.0, _whole(words.embedding(placed.get("mean_shift", 0.0)), moved_since, now)))
    if labels.since:
        told.append((0.0, _whole(words.silence(labels.expected), labels.since, now)))
    new = min((share.since for share in shares.values() if share.since), default=0.0)
    told.sort(key=lambda item: -item[0])
    return Drift(
        time=now,
        events=compared.events,
        fields=fields,
        new_shares=shares,
        embedding=dict(placed),
        labels=labels.measures(),
        precision=labels.precision(),
        score_changes=scores.changes,
        since={"score": scores.since, "labels": labels.since, "new_entities": new, "embedding": moved_since},
        sentences=tuple(text for _, text in told),
    )


def _whole(what: str, since: float, now: float) -> str:
    """The sentence of a drift that is of no single field."""
    return words.drift(what, since=since, now=now, index=None, weight=0.0)


def _slowest(columns: Sequence[int], seasons: Seasons) -> int | None:
    """Of columns that drift slowly the one that has moved most."""
    slow = [column for column in columns if seasons.active[column]]
    return max(slow, key=lambda at: float(seasons.index[at]), default=None)


def _slow(
    name: str, found: FieldDrift, slow: Slow, edges: NDArray[np.float64] | None, repeats: bool
) -> tuple[FieldDrift, str]:
    """What a field says that drifts slowly only; and in words."""
    now, usual = slow.now / slow.now.sum(), slow.usual / slow.usual.sum()
    what = words.field(name, words.Moved(now, usual, edges, repeats=repeats))
    told = replace(found, psi=slow.psi, threshold=slow.limit, since=slow.since)
    return told, words.slow(what, slow.days, slow.psi, found.weight)


def _rate(
    compared: Comparison, verdicts: Verdicts, profile: DayProfile, weight: float
) -> tuple[FieldDrift, str]:
    """How often events come, or at which hours: what is farther from usual; and in words."""
    column = max((RATE_AT, PROFILE), key=lambda at: _excess(verdicts, at))
    found = FieldDrift(
        psi=float(verdicts.index[column]),
        threshold=float(verdicts.thresholds[column]),
        weight=weight,
        since=float(verdicts.began[column]),
    )
    return found, words.rate(compared.ratio) if column == RATE_AT else words.hours(*profile.shares)


def _excess(verdicts: Verdicts, column: int) -> tuple[bool, float]:
    """Orders the columns of a field: those that drift first, then by the index against its threshold."""
    threshold = float(verdicts.thresholds[column])
    index = float(verdicts.index[column])
    return bool(verdicts.began[column]), index / threshold if np.isfinite(threshold) else index


def _sentence(what: str, found: FieldDrift, compared: Comparison) -> str:
    return words.drift(
        what,
        since=found.since,
        now=compared.time,
        index=found.psi,
        weight=found.weight,
        days=compared.days,
    )


def _new_shares(
    columns: Columns,
    compared: Comparison,
    verdicts: Verdicts,
    told: list[tuple[float, str]],
) -> Mapping[tuple[str, str], ShareDrift]:
    """Shares of new keys, by entity and kind; what drifts is added to `told`."""
    shares = {}
    for column, key in enumerate(columns.keys_of, start=columns.fields):
        counts = compared.counts[column]
        current = words.share_new(counts)
        usual = words.share_new(compared.shares[column])
        since = float(verdicts.began[column])
        shares[key.entity, key.kind] = ShareDrift(current=current, usual=usual, since=since)
        if since:
            what = words.new_keys(key.entity, key.kind, columns.keys_of[0].entity, current, usual)
            index = float(verdicts.index[column])
            of = {"since": since, "now": compared.time, "days": compared.days}
            told.append((0.0, words.drift(what, index=index, weight=0.0, **of)))
    return shares

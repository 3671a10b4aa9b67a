"""Encoder versions and their cards in words, and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from detector.core.alerts.score_record import iso
from detector.core.model.judgement import (
    ALERTS_MARGIN,
    BEYOND_MARGIN,
    CONTRAST_MIN,
    DIRECTIONS_MIN,
    ORDER_MIN,
    PRECISION_MARGIN,
)
from detector.core.model.versions import Origin, Version
from detector.core.shard.model_card import ModelCard, VersionList
from detector.rendering.pages import plain

COLUMNS = ("version", "", "steps", "normal events from", "to", "contrast", "beyond", "alerts", "precision")
_FIGURES = ("contrast", "beyond", "alerts", "precision")
JUDGED = {
    "contrast": f"how well changed events are told; below {CONTRAST_MIN:g} of what was above .5: refused",
    "contrast_before": "the same by the version before",
    "order": f"correlation of distances with those before; below {ORDER_MIN:g}, without contrast: refused",
    "directions": f"directions in use; below {DIRECTIONS_MIN:g} of those of the version before: refused",
    "directions_before": "the same by the version before",
    "beyond": f"share of normal events that are not accepted; {BEYOND_MARGIN:g} more than before: refused",
    "alerts": f"share of normal events with scores of alerts; {ALERTS_MARGIN:g} more: refused",
    "precision": f"share of frauds among the farthest events; {PRECISION_MARGIN:g} less: refused",
    "precision_before": "the same by the version before",
    "frauds": "confirmed frauds that it rests on",
}


def version_rows(found: VersionList) -> Iterator[Sequence[str]]:
    """Rows of a table with `COLUMNS`."""
    for one in found.versions:
        state = ("held" if found.held else "serves") if one.number == found.serving else "kept"
        figures = [_number(one.figures.get(name, math.nan)) for name in _FIGURES]
        yield [str(one.number), state, f"{one.step:,}", iso(one.first_time), iso(one.last_time), *figures]


def said_of_versions(found: VersionList) -> Iterator[str]:
    """What the table does not show."""
    if not found.serving:
        yield "the encoder that serves came with a model file"
    if found.origin is not None:
        yield f"the model {said_of_origin(found.origin)}"
    if found.held:
        yield "held: new encoders are not promoted; `detector model promote` lifts that"
    yield f"refused, since the model began: {found.refused}"


def said_of_origin(origin: Origin) -> str:
    """What a model took of the file that it began with; completes "the model ..."."""
    if origin.whole:
        return f"began with all that model file {origin.model} knew"
    parts = [f"took the encoder of model file {origin.model} for {', '.join(origin.taken)}"]
    if origin.fresh:
        parts.append(f"new: {', '.join(origin.fresh)}")
    if origin.dropped:
        parts.append(f"left out: {', '.join(origin.dropped)}")
    return "; ".join(parts)


def versions_json(partition: int, checkpoint: str, found: VersionList) -> dict[str, Any]:
    """The versions of one partition as plain values."""
    versions = [{**one.to_state(), "serves": one.number == found.serving} for one in found.versions]
    return {
        "partition": partition,
        "checkpoint": checkpoint,
        "serving": found.serving,
        "held": found.held,
        "refused": found.refused,
        "origin": None if found.origin is None else found.origin.to_state(),
        "versions": versions,
    }


def card_json(card: ModelCard, source: str) -> str:
    """A card as JSON, with sorted keys; null: not known."""
    document = {"source": source, **plain(asdict(card))}
    document["measured"] = [plain(one._asdict()) for one in card.measured]
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def card_markdown(card: ModelCard, source: str) -> str:
    """A card as Markdown."""
    version = card.version
    serving = "serves, and is held" if card.held else "serves" if card.serving else "is kept"
    lines = [
        f"# Model card: encoder version {version.number} of {source}",
        "",
        f"It {serving} in checkpoint `{card.checkpoint or 'none'}`.",
        "",
        "## What it has learned from",
        "",
        f"- {version.events:,} normal events from {iso(version.first_time)} to {iso(version.last_time)} "
        f"at its promotion, after {version.step:,} training steps",
        f"- entities: {', '.join(card.entities) or 'none'}",
        *(f"- field {name}: {kind}" for name, kind in card.fields.items()),
        *(() if card.origin is None else (f"- the model {said_of_origin(card.origin)}",)),
        "",
        "## When it was promoted",
        "",
        *_table(("figure", "value", "what it is"), _judged(version)),
        "",
        "## Measured by labels, when this card was made",
        "",
        f"{_counts(card.labels)}.",
        "",
        *_table(
            ("figure", "value", "95 % interval", "rests on"),
            [
                (one.name, _number(one.value), f"{_number(one.low)} to {_number(one.high)}", str(one.events))
                for one in card.measured
            ],
        ),
        "",
        "## Known limits",
        "",
        *(f"- {limit}" for limit in card.limits),
        *(f"- Flag: {flag}" for flag in card.flags),
        "",
        "## Configuration",
        "",
        *(f"- {name}: {value}" for name, value in _leaves("model", card.settings)),
        "",
        "## Checksums",
        "",
        f"- encoder, SHA-256 of its arrays: `{card.encoder_sha256}`",
        f"- configuration: `{card.config_hash}`",
        f"- state of the shard: `{card.state_hash or 'unknown'}`",
        "",
    ]
    return "\n".join(lines)


def _judged(version: Version) -> Sequence[Sequence[str]]:
    return [
        (name, _number(version.figures[name]), said)
        for name, said in JUDGED.items()
        if name in version.figures
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        yield "Nothing."
        return
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _counts(labels: Mapping[str, int]) -> str:
    said = ", ".join(f"{count:,} {name}" for name, count in labels.items())
    return f"Events: {said}"


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _leaves(f"{path}.{name}", each)
    else:
        yield path, value


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}" if value < 100.0 else f"{value:,.0f}"

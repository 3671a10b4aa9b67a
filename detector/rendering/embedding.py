"""The report on an embedding in words, as a page, and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from html import escape

from detector.core.shard.embedding_report import Change, EmbeddingReport, compared
from detector.rendering.maps.page import STYLE, titled
from detector.rendering.model import JUDGED
from detector.rendering.pages import document, plain

MEANINGS = {
    "contrast": "its own task: changed events lie farther out than true ones; .5 by chance, 1 always",
    "effective rank": "directions in use, of {dimension}",
    "largest direction": "share of the variance along it",
    "dead hidden units": "share that no event can wake",
    "silent hidden units": "share that is 0 for all these events, true and changed",
    "dead dimensions": "share of the embedding's columns that do not vary",
    "uniformity": "how evenly directions are used; -4 evenly, 0 one only",
    "alignment": "distance of two events of an entity in a row, in distances of any two; below 1: nearer",
    "hubness": "skew of how often an event is a neighbour of others; above 3 a few are near to all",
    "says only who": "share of the variance that lies between entities",
    "distance to clusters": "of a core event to the nearest one, in radii of clusters",
    "share of frauds": "among the events that were looked at: AP by chance",
    "purity of frauds": "how much more neighbours of frauds are frauds than by chance; 1 all",
    "shared clusters": "share of the clusters that the version before had, too",
    "moved": "how far they moved, in distances to the nearest other cluster",
    "moved, after a turn": "the same, the whole turned to fit",
}
_OF_FIELDS = ("field", "purity", "contrast", "moved", "analogy")
_ABOUT_FIELDS = (
    "Purity: neighbours have the same value (0 by chance, 1 always). Contrast: events with another event's "
    "value are told (.5 not at all). Moved: how far such a change moves an event, in distances of any two. "
    "Analogy: the same change moves all events in the same direction (0 no, 1 yes)."
)
JUDGEMENT = "When it was promoted"
# Least difference of a figure between two versions that is told in words.
CHANGE_MIN = 0.05


def report_lines(report: EmbeddingReport) -> Iterator[str]:
    """The report in lines."""
    where = f"checkpoint {report.name}" if report.name else "the model as it is now"
    yield f"{where}, encoder version {report.version}, {report.events:,} core events"
    yield from _flag_lines(report)
    for title, figures in _groups(report):
        yield ""
        yield title
        for name, value in figures.items():
            yield f"  {name:28}{_number(value):>9}   {_meaning(title, name, report)}".rstrip()
    yield ""
    yield f"  {_OF_FIELDS[0]:28}" + "".join(f"{name:>10}" for name in _OF_FIELDS[1:])
    for row in _field_rows(report):
        yield f"  {row[0]:28}" + "".join(f"{cell:>10}" for cell in row[1:])


def report_page(report: EmbeddingReport, source: str) -> str:
    """The report as a page: no script, nothing is fetched."""
    title = f"Report on the embedding, {source}"
    parts = [f"<li>{escape(line)}</li>" for line in _flag_lines(report)]
    tables = [
        titled(
            name,
            ("figure", "value", "what it is"),
            [[figure, _number(value), _meaning(name, figure, report)] for figure, value in figures.items()],
        )
        for name, figures in _groups(report)
    ]
    fields = titled("Fields", _OF_FIELDS, list(_field_rows(report)))
    first = next(report_lines(report))
    body = f"<p>{escape(first)}</p><ul>{''.join(parts)}</ul>{''.join(tables)}{fields}"
    return document(title, title, f"{body}<p>{escape(_ABOUT_FIELDS)}</p>", STYLE)


def report_json(report: EmbeddingReport) -> str:
    """The report as JSON; null: not known."""
    return json.dumps(plain(asdict(report)), indent=1) + "\n"


def compared_lines(first: EmbeddingReport, second: EmbeddingReport) -> Iterator[str]:
    """What has changed between two versions: in words, then in figures."""
    yield f"{first.name} (version {first.version}) against {second.name} (version {second.version})"
    before, after = ({one.name for one in report.flags} for report in (first, second))
    for name in sorted(after - before):
        yield f"worse: {name}"
    for name in sorted(before - after):
        yield f"mended: {name}"
    changes = compared(first, second)
    told = sorted((one for one in changes if _relative(one) >= CHANGE_MIN), key=lambda one: -_relative(one))
    for one in told:
        word = "rose" if one.difference > 0.0 else "fell"
        yield f"{one.figure} {word} from {_number(one.first)} to {_number(one.second)}"
    if not told and before == after:
        yield f"no figure changed by {CHANGE_MIN:.0%} or more"
    yield ""
    yield f"  {'figure':34}{'before':>10}{'after':>10}{'change':>10}"
    for one in changes:
        yield (
            f"  {one.figure:34}{_number(one.first):>10}{_number(one.second):>10}"
            f"{_number(one.difference, signed=True):>10}"
        )


def compared_json(first: EmbeddingReport, second: EmbeddingReport) -> str:
    """Two reports and their differences as JSON."""
    changes = {one.figure: one.difference for one in compared(first, second)}
    both = {"first": asdict(first), "second": asdict(second), "changes": changes}
    return json.dumps(plain(both), indent=1) + "\n"


def _relative(change: Change) -> float:
    size = max(abs(change.first), abs(change.second))
    known = math.isfinite(change.difference) and size > 0.0
    return abs(change.difference) / size if known else 0.0


def _groups(report: EmbeddingReport) -> Iterator[tuple[str, Mapping[str, float]]]:
    yield "The space", report.intrinsic
    if report.extrinsic:
        yield f"Labels: {report.frauds:,} confirmed frauds", report.extrinsic
    if report.drift:
        yield "Since the version before", report.drift
    if report.judged:
        yield JUDGEMENT, report.judged


def _flag_lines(report: EmbeddingReport) -> Iterator[str]:
    for one in report.flags:
        yield f"FLAG {one.name}: {one.meaning} ({one.figure} {_number(one.value)}, limit {one.limit:g})"
    if not report.flags:
        yield "no flag is raised"
    if report.refused:
        yield f"{report.refused:,} new encoders were refused since the model began"
    if not report.judged:
        yield "it was not judged when it was promoted: it was the first one, or came with a model file"
    if not report.extrinsic:
        yield f"labels: {report.frauds:,} frauds are confirmed, too few to say anything"


def _field_rows(report: EmbeddingReport) -> Iterator[Sequence[str]]:
    for one in report.fields:
        yield [one.name, *map(_number, (one.purity, one.contrast, one.moved, one.analogy))]


def _meaning(title: str, name: str, report: EmbeddingReport) -> str:
    meanings = JUDGED if title == JUDGEMENT else MEANINGS
    return meanings.get(name, "").format(dimension=report.dimension)


def _number(value: float, *, signed: bool = False) -> str:
    return "" if math.isnan(value) else f"{value:+.3f}" if signed else f"{value:.3f}"

"""Plots, the extra `notebook` (matplotlib): scores over time, an entity's history, the reasons of an alert.

Each function draws into `ax`, or into a new figure, and returns the axes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.api.alerts import COLOURS, Alert
from detector.api.detector import Detector
from detector.api.frames import CHUNK_ROWS, Frame
from detector.config.extras import install
from detector.core.events import BlockReader, Parser
from detector.core.records import Record
from detector.errors import UsageError

_NORMAL = "#8c959f"
_LINE = "#0969da"
_LEGEND = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": 6, "frameon": False}
_TEXT_WIDTH = 46  # characters of a line


def scores(detector: Detector, events: Any, result: Any, *, ax: Any = None) -> Any:
    """Scores over event time, with the alerts and the threshold they had to reach.

    Parameters
    ----------
    detector
        It has replayed the events; its `alerts` give colours and thresholds.
    events, result
        Of one call of `replay`: n rows each.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    UsageError
        matplotlib is missing, or events and result do not belong together.
    """
    axes = _axes(ax)
    times = _times(detector, _lines(events))
    found = _column(result, "score", len(times))
    axes.scatter(times, found, s=4, color=_NORMAL, linewidths=0, rasterized=True, label="events")
    alerts = _alerts_between(detector, times)
    moments = np.array([_moment(alert.event_time) for alert in alerts], dtype="datetime64[us]")
    for severity, colour in COLOURS.items():
        chosen = [i for i, alert in enumerate(alerts) if alert.severity == severity]
        if chosen:
            heights = [alerts[i].score for i in chosen]
            axes.scatter(moments[chosen], heights, s=28, color=colour, zorder=3, label=f"{severity} alerts")
    if len(alerts):
        steps = [alert.threshold for alert in alerts]
        ends, levels = np.append(moments, np.nanmax(times)), [*steps, steps[-1]]
        axes.step(ends, levels, where="post", color=_LINE, linewidth=1.0, label="threshold")
    axes.set_ylabel("score: -log10 of the share of normal\nevents at least as far")
    axes.set_ylim(bottom=0.0)
    _finish(axes, "Scores and alerts")
    return axes


def history(
    detector: Detector, events: Any, result: Any, entity: str, *, field: str | None = None, ax: Any = None
) -> Any:
    """Values of one main entity's events over time, with its alerts and the values they expected.

    Parameters
    ----------
    detector, events, result
        As in `scores`.
    entity
        Value of the main entity.
    field
        Name of a numeric field; None: the amount at stake, else the first numeric field.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    UsageError
        matplotlib is missing, the entity has no event, or there is no such field.
    """
    schema = detector.config.event
    numerics = {value.name: value for value in schema.fields if value.type == "numeric"}
    name = field or schema.exposure or next(iter(numerics), None)
    if name not in numerics:
        raise UsageError(
            f"got the field {name!r}, expected one of {', '.join(numerics) or 'no numeric field'}"
        )
    axes, lines = _axes(ax), _lines(events)
    times, parser = _times(detector, lines), Parser(schema, b"any")
    named = [row for row, line in enumerate(lines) if parser.main_key(line) == str(entity).encode()]
    own = np.array([row for row in named if not np.isnat(times[row])], dtype=np.int64)
    if not len(own):
        main = schema.entities[0].name if schema.entities else "an entity: the configuration has none"
        raise UsageError(f"no event of {main} {entity!r}")
    views = [parser.view(Record(0, 0, None, lines[row]), shown=False).values[name] for row in own]
    values = np.array([np.nan if found is None else found for found in views], dtype=np.float64)
    alerted = np.asarray(_column(result, "alert", len(times)), dtype=bool)[own]
    axes.plot(times[own], values, color=_NORMAL, linewidth=0.5, zorder=1)
    axes.scatter(times[own], values, s=12, color=_NORMAL, linewidths=0, zorder=2, label="events")
    mine = detector.alerts.of(str(entity))
    by_time = {_moment(alert.event_time): alert for alert in mine}
    expected: list[tuple[Any, float]] = []
    for row, value in zip(own[alerted], values[alerted], strict=True):
        alert = by_time.get(times[row])
        colour = COLOURS[alert.severity] if alert is not None else COLOURS["medium"]
        axes.scatter(times[row], value, s=50, color=colour, zorder=3)
        for reason in alert.reasons if alert is not None else ():
            if reason.field == name and isinstance(reason.expected, (int, float)):
                expected.append((times[row], float(reason.expected)))
    if alerted.any():
        axes.scatter([], [], s=50, color=COLOURS["high"], label="alerts")
    if expected:
        axes.scatter(*zip(*expected, strict=True), s=60, marker="_", color=_LINE, zorder=3, label="expected")
    shown = numerics[name]
    axes.set_ylabel(f"{shown.display or name}{f', {shown.unit}' if shown.unit else ''}")
    _finish(axes, f"{schema.entities[0].name} {entity}")
    return axes


def reasons(alert: Alert, *, ax: Any = None) -> Any:
    """The reasons of one alert: sentences, with their shares of the score.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    UsageError
        matplotlib is missing.
    """
    axes = _axes(ax, height=0.6 + 0.55 * len(alert.reasons))
    places = np.arange(len(alert.reasons))
    axes.barh(places, [reason.share for reason in alert.reasons], height=0.5, color=_LINE)
    axes.set_yticks(places, [_plain(textwrap.fill(reason.text, _TEXT_WIDTH)) for reason in alert.reasons])
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.0)
    axes.set_xlabel("share of the score")
    _finish(axes, f"{alert.severity} alert, event {alert.event_id}, score {alert.score:.2f}", legend=False)
    return axes


def _axes(ax: Any, height: float = 3.2) -> Any:
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError:
        raise UsageError(f"matplotlib is not installed: {install('notebook')}") from None
    return pyplot.subplots(figsize=(9.0, height), layout="constrained")[1]


def _finish(axes: Any, title: str, *, legend: bool = True) -> None:
    axes.set_title(_plain(title), loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        axes.legend(**_LEGEND, fontsize="small")
    if hasattr(axes.xaxis.get_major_locator(), "intervald"):  # dates
        from matplotlib.dates import ConciseDateFormatter

        dates = ConciseDateFormatter(axes.xaxis.get_major_locator())  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_formatter(dates)


def _plain(text: str) -> str:
    """Text of strangers: matplotlib would take what is between dollar signs for a formula."""
    return text.replace("$", r"\$")


def _moment(text: str) -> np.datetime64:
    return np.datetime64(text.removesuffix("Z"), "us")


def _alerts_between(detector: Detector, times: NDArray[np.datetime64]) -> list[Alert]:
    known = times[~np.isnat(times)]
    if not len(known):
        return []
    first, last = known.min(), known.max()
    return [alert for alert in detector.alerts if first <= _moment(alert.event_time) <= last]


def _lines(events: Any) -> list[bytes]:
    return [line for lines in Frame(events).chunks() for line in lines]


def _times(detector: Detector, lines: Sequence[bytes]) -> NDArray[np.datetime64]:
    """Event times, (n,); NaT for a row that is no event."""
    reader = BlockReader(detector.config.event, b"any")
    moments = np.full(len(lines), np.datetime64("NaT", "us"), dtype="datetime64[us]")
    for start in range(0, len(lines), CHUNK_ROWS):
        records = [Record(0, 0, None, line) for line in lines[start : start + CHUNK_ROWS]]
        events, rejected = reader.read(records)
        read = np.array([row for row in range(len(records)) if row not in rejected], dtype=np.int64)
        moments[start + read] = np.round(events.times[read] * 1e6).astype(np.int64).astype("datetime64[us]")
    return moments


def _column(result: Any, name: str, rows: int) -> NDArray[Any]:
    """One column of a result, with NaN for what is missing."""
    try:
        column = [row[name] for row in result] if isinstance(result, list) else result[name]
    except (KeyError, TypeError, IndexError):
        raise UsageError(f"the result has no column {name}: give what `replay` returned") from None
    if hasattr(column, "to_pylist"):
        column = column.to_pylist()
    found = np.array([np.nan if value is None else value for value in column])
    if len(found) != rows:
        raise UsageError(f"got {rows} events and a result of {len(found)} rows: give those of one call")
    return found

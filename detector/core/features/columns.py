"""The inputs of the encoder, one by one: what each is called, where its number comes from, what it belongs
to.

`columns_of` is the specification. Names, order, what kernels read, what the robust distance uses and how
inputs are found again all follow from it. A *source* computes the columns that name it, from rows and nothing
else; a new column is a line in `columns_of`, and an entry in `SOURCES` if none computes it yet.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.features import feature_kernels
from detector.core.features.column import LONGEST, Column
from detector.core.features.feature_kernels import MEETING_TIME, PACE_TIME
from detector.core.features.habit_tables import MEETINGS_S, SHORT_S
from detector.core.features.habits import BINS
from detector.core.features.layout import DAY_S, Habit, KeyKind, Layout
from detector.core.features.profiles import population_shift, population_variances
from detector.core.features.rows import Rows

Floats = NDArray[np.float32]
SIDES = {"above": 1, "below": -1}
"""Each side of what is usual has a tail of its own."""


def columns_of(layout: Layout) -> tuple[Column, ...]:
    """All inputs of a schema, in order."""
    encoded = [*_robust(layout), *_plain(layout), *_unusual(layout)]
    return (*encoded, *_again(layout), *_labelled(layout), *_heat(layout))


def _robust(layout: Layout) -> Iterator[Column]:
    """Values, how far they are from what is usual of each entity and category, surprises of categories.

    From entities that is a deviation from the profile, from categories a ratio to its mean. Shorter memories
    are mostly noise. Where there are entities, a surprise is one of what keys do against their habits.
    """
    for j, value in enumerate(layout.numerics):
        yield Column(name=value.name, source="value", place=j, robust=True)
    for e in range(len(layout.entities)):
        yield from _deviations(layout, layout.kind_of(e), LONGEST, robust=True)
    for key in range(len(layout.entities), layout.compared_keys):
        kind = layout.kind_of(key)
        for j, value in enumerate(layout.numerics[: kind.numerics]):
            name = f"{value.name} against {kind.name}"
            yield Column(name=name, source="ratio", kind=kind, place=j, robust=True)
    there = bool(layout.entities)
    for c, category in enumerate(layout.categories):
        name = f"{category.name} surprise"
        yield Column(name=name, source="surprise", place=c, robust=not there, unusual=there)


def _plain(layout: Layout) -> Iterator[Column]:
    everything = layout.kind_of(None)
    for e in range(len(layout.entities)):
        for h in range(len(layout.half_lives_s) - 1):
            yield from _deviations(layout, layout.kind_of(e), h)
    for h in range(len(layout.half_lives_s)):
        yield from _deviations(layout, everything, h)
    for j, value in enumerate(layout.numerics):
        yield Column(name=f"{value.name} missing", source="missing", place=j)
    for kind in layout.kinds[1:]:
        for h, days in enumerate(_days(layout, kind)):
            yield Column(name=f"{kind.name} count {days}", source="count", kind=kind, memory=h)
        yield Column(name=f"{kind.name} gap", source="gap", kind=kind)
        yield Column(name=f"{kind.name} new", source="new", kind=kind)
    for source, spelled in (("sine", "sin"), ("cosine", "cos")):
        for i, period in enumerate(layout.cycles_s):
            yield Column(name=f"{spelled} of {period / DAY_S:g}d", source=source, place=i)


def _unusual(layout: Layout) -> Iterator[Column]:
    """What says how unusual an event is for its keys."""
    for e, name in enumerate(layout.entities):
        pace = layout.habit_of("pace", e)
        for memory, spelled in enumerate(("5min", "1h")):
            yield Column(
                name=f"{name} pace {spelled}", source="pace", habit=pace, memory=memory, unusual=True
            )
    for bins in layout.habits:
        if bins.name in BINS and bins.key is not None:
            yield Column(name=layout.surprise_of(bins), source="bins", habit=bins, unusual=True)
    novelty = layout.habit_of("novelty", 0)
    for place, kind in enumerate(layout.contacts):
        yield Column(
            name=f"{kind.name} novelty", source="novelty", habit=novelty, kind=kind, place=place, unusual=True
        )
    if layout.entities:
        for point, somewhere in enumerate(layout.points):
            yield Column(
                name=f"{somewhere.name} surprise",
                source="whereabouts",
                habit=layout.habit_of("places", 0, point),
                unusual=True,
            )
            for e, name in enumerate(layout.entities):
                yield Column(
                    name=f"{name} speed to {somewhere.name}",
                    source="whereabouts",
                    habit=layout.habit_of("moves", e, point),
                    unusual=True,
                )
        for c in range(len(layout.categories)):
            key = len(layout.entities) + c
            yield from _ratios(layout, layout.kind_of(key))
            yield from _ratios(layout, layout.kind_of(0, key))


def _again(layout: Layout) -> Iterator[Column]:
    """New contacts that come quickly, and amounts that come again."""
    for habit in layout.habits:
        if habit.key is None:
            continue
        key = layout.key_name(habit.key)
        if habit.contact is not None:
            met = layout.entities[0 if habit.key else habit.contact]
            for memory, spelled in enumerate(("1h", "1d")):
                yield Column(
                    name=f"{key} new {met} {spelled}",
                    source="meeting",
                    habit=habit,
                    memory=memory,
                    unusual=True,
                    encoded=False,
                )
        elif habit.name == "repeats":
            yield Column(
                name=f"amount of {key} again", source="repeat", habit=habit, unusual=True, encoded=False
            )

    changes = [habit for habit in layout.habits if habit.name == "changes"]
    if changes:
        yield Column(name="with another", source="change", habit=changes[0], unusual=True, encoded=False)


def _labelled(layout: Layout) -> Iterator[Column]:
    for rated in layout.fraud_rate_kinds:
        names = [f"fraud rate {days}" for days in _days(layout, rated.kind)]
        names += ["fraud age", "fraud run age", "events since fraud"]
        for place, name in enumerate(names, start=rated.start):
            yield Column(
                name=f"{rated.kind.name} {name}",
                source="fraud rate",
                kind=rated.kind,
                place=place,
                encoded=False,
            )


def _heat(layout: Layout) -> Iterator[Column]:
    """How far earlier events of each entity lay beyond normal."""
    for heat in layout.heats:
        if heat.key is not None:
            for memory, half_life in enumerate(layout.heat_half_lives_of(heat)):
                name = f"{layout.entities[heat.key]} heat {half_life / 3600.0:g}h"
                yield Column(name=name, source="heat", habit=heat, memory=memory, encoded=False)


def _deviations(layout: Layout, kind: KeyKind, memory: int, *, robust: bool = False) -> Iterator[Column]:
    days = _days(layout, kind)[memory]
    for j, value in enumerate(layout.numerics[: kind.numerics]):
        yield Column(
            name=f"{value.name} against {kind.name} {days}",
            source="deviation",
            kind=kind,
            memory=memory,
            place=j,
            robust=robust,
        )


def _ratios(layout: Layout, kind: KeyKind) -> Iterator[Column]:
    """How many times as large as usual, and how many times as small."""
    for j, value in enumerate(layout.numerics[: kind.numerics]):
        for spelled, side in SIDES.items():
            name = f"{value.name} {spelled} {kind.name}"
            yield Column(name=name, source="ratio", kind=kind, place=j, side=side, unusual=True)


def _days(layout: Layout, kind: KeyKind) -> list[str]:
    """Memories of a kind, for people."""
    return [f"{half_life / DAY_S:g}d" for half_life in layout.half_lives_of(kind)]


# --- sources: how columns are computed -------------------------------------------------------------------

Fill = Callable[[Rows, Floats], None]
"""Writes a source's columns of inputs (n, F), all finite, row by row from rows."""
Source = Callable[[Layout, Sequence[Column], Sequence[int]], Fill]
"""Makes a `Fill` of a layout, the source's columns, and their places among all inputs."""


def _values(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
    numerics = _index([column.place for column in columns])
    at = _index(places)

    def fill(rows: Rows, inputs: Floats) -> None:
        values = rows.numerics[:, numerics]
        inputs[:, at] = np.where(np.isnan(values), 0.0, values)

    return fill


def _missing(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
    numerics = _index([column.place for column in columns])
    at = _index(places)

    def fill(rows: Rows, inputs: Floats) -> None:
        inputs[:, at] = np.isnan(rows.numerics[:, numerics])

    return fill


def _deviation(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
    """Deviations from a profile, 0 without a history.

    Entities' profiles follow values less the population's shift, see `population_shift`.
    """
    table = np.zeros((len(columns), 7), dtype=np.int64)
    for row, column in zip(table, columns, strict=True):
        kind, j, h = _kind(column), column.place, column.memory
        variances = [kind.variance(h, j, upper=upper) for upper in (True, False)]
        row[:] = j, kind.count(h), kind.mean(h, j), *variances, kind.left is not None, kind.there(j)
    numbers = np.array(places, dtype=np.int64)

    def fill(rows: Rows, inputs: Floats) -> None:
        shift = population_shift(rows.context, layout)
        prior = population_variances(rows.context, layout)
        feature_kernels.deviations(rows.numerics, rows.context, shift, prior, table, numbers, inputs)

    return fill


def _ratio(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
    """Ratios to the mean of a profile on one side, 0 without a history; see `ratios`."""
    table = np.zeros((len(columns), 5), dtype=np.int64)
    for row, column in zip(table, columns, strict=True):
        kind, j, h = _kind(column), column.place, column.memory
        row[:] = j, kind.count(h), kind.mean(h, j), column.side, kind.there(j)
    numbers = np.array(places, dtype=np.int64)

    def fill(rows: Rows, inputs: Floats) -> None:
        shift = population_shift(rows.context, layout)
        feature_kernels.ratios(rows.numerics, rows.context, shift, table, numbers, inputs)

    return fill


def _paces(name: str, short_s: Sequence[float], time: float) -> Source:
    """How far a key's count in a short memory is above what its own rate lets expect; see `paces`."""

    def source(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
        table = np.zeros((len(columns), 3), dtype=np.int64)
        for row, column in zip(table, columns, strict=True):
            assert column.habit is not None
            everything = layout.habit_of(name, None, contact=column.habit.contact)
            assert everything is not None
            row[:] = column.habit.start, everything.start, column.memory
        numbers = np.array(places, dtype=np.int64)
        ratios = np.array(short_s) / layout.half_lives_s[-1]

        def fill(rows: Rows, inputs: Floats) -> None:
            feature_kernels.paces(rows.context, table, ratios, time, numbers, inputs)

        return fill

    return source


def _repeat(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
    """-log of the share of events that repeat an amount as soon, in nats; 0 where none is repeated."""
    table = np.zeros((len(columns), 2), dtype=np.int64)
    for row, column in zip(table, columns, strict=True):
        assert column.habit is not None
        repeated = layout.habit_of("repeated", column.habit.key)
        assert repeated is not None
        row[:] = column.habit.start, repeated.start
    numbers = np.array(places, dtype=np.int64)

    def fill(rows: Rows, inputs: Floats) -> None:
        feature_kernels.repeats(rows.context, table, numbers, inputs)

    return fill


def _bins(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
    """-log of the share that the event's bin has of the key's events, in nats; see `bins`."""
    table = np.zeros((len(columns), 2), dtype=np.int64)
    for row, column in zip(table, columns, strict=True):
        assert column.habit is not None
        row[:] = [_habit(layout, column, key).start for key in (column.habit.key, None)]
    even = np.array([1.0 / BINS[_habit(layout, column, None).name] for column in columns])
    numbers = np.array(places, dtype=np.int64)

    def fill(rows: Rows, inputs: Floats) -> None:
        feature_kernels.bins(rows.context, table, even, numbers, inputs)

    return fill


def _whereabouts(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
    """How rare a distance or a speed is, in nats; see `place_tables`."""
    firsts = np.array([column.habit.start for column in columns if column.habit is not None])
    at = _index(places)

    def fill(rows: Rows, inputs: Floats) -> None:
        inputs[:, at] = rows.context[:, firsts]

    return fill


def _novelty(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
    """-log of the share of the main entity's events that met something new, 0 where this one did not."""
    table = np.zeros((len(columns), 4), dtype=np.int64)
    for row, column in zip(table, columns, strict=True):
        own, everything = (_habit(layout, column, key).start for key in (0, None))
        row[:] = own, everything, 1 + column.place, _kind(column).gap
    keys = np.array([_right(column) for column in columns])
    numbers = np.array(places, dtype=np.int64)

    def fill(rows: Rows, inputs: Floats) -> None:
        there = rows.keys()[:, keys] != 0
        feature_kernels.novelties(rows.context, there, table, numbers, inputs)

    return fill


def _surprise(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
    """-log of the category's share among the main entity's events, in nats; 0 where it is missing.

    The share is (events with it + q) / (events + 1), where q is its share of all events by the same rule, so
    that a newcomer starts with everybody's share.
    """
    table = np.array([layout.share_columns(column.place) for column in columns], dtype=np.int64)
    categories = _index([column.place for column in columns])
    at = _index(places)

    def fill(rows: Rows, inputs: Floats) -> None:
        shares = np.empty((len(rows), len(table)))
        feature_kernels.shares(rows.context, table, shares)
        inputs[:, at] = np.where(rows.categories[:, categories] == 0, 0.0, -np.log(shares))

    return fill


def _counts(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
    counts = np.array([_kind(column).count(column.memory) for column in columns])
    at = _index(places)

    def fill(rows: Rows, inputs: Floats) -> None:
        inputs[:, at] = np.log1p(rows.context[:, counts])

    return fill


def _gaps(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
    gaps, longest = np.array([_kind(column).gap for column in columns]), layout.half_lives_s[-1]
    at = _index(places)

    def fill(rows: Rows, inputs: Floats) -> None:
        seconds = rows.context[:, gaps].astype(np.float64)
        seconds[np.isnan(seconds)] = longest
        inputs[:, at] = np.log1p(seconds)

    return fill


def _new(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
    gaps = np.array([_kind(column).gap for column in columns])
    at = _index(places)

    def fill(rows: Rows, inputs: Floats) -> None:
        inputs[:, at] = np.isnan(rows.context[:, gaps])

    return fill


def _cycle(wave: np.ufunc) -> Source:
    def source(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
        at = _index(places)
        periods_s = layout.cycles_s[[column.place for column in columns]]

        def fill(rows: Rows, inputs: Floats) -> None:
            inputs[:, at] = wave(2.0 * np.pi * (rows.clocks[:, None] / periods_s))

        return fill

    return source


def _changes(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
    starts = _index([habit.start for habit in layout.habits if habit.name == "changes"])

    def fill(rows: Rows, inputs: Floats) -> None:
        inputs[:, places[0]] = rows.context[:, starts].max(axis=1)

    return fill


def _fraud_rates(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
    rates = _index([column.place for column in columns])
    at = _index(places)

    def fill(rows: Rows, inputs: Floats) -> None:
        inputs[:, at] = rows.fraud_rates[:, rates]

    return fill


def _heats(layout: Layout, columns: Sequence[Column], places: Sequence[int]) -> Fill:
    """Logarithm of a key's heat over its usual share of everything's heat; see `feature_kernels.heats`."""
    everything = layout.heats[0].start
    table = np.zeros((len(columns), 4), dtype=np.int64)
    for row, column in zip(table, columns, strict=True):
        assert column.habit is not None
        paces = layout.habit_of("pace", column.habit.key), layout.habit_of("pace", None)
        assert paces[0] is not None
        assert paces[1] is not None
        heats = column.habit.start + column.memory, everything + column.memory
        row[:] = *heats, paces[0].start, paces[1].start
    numbers = np.array(places, dtype=np.int64)

    def fill(rows: Rows, inputs: Floats) -> None:
        feature_kernels.heats(rows.context, table, numbers, inputs)

    return fill


SOURCES: dict[str, Source] = {
    "value": _values,
    "missing": _missing,
    "deviation": _deviation,
    "ratio": _ratio,
    "surprise": _surprise,
    "pace": _paces("pace", SHORT_S, PACE_TIME),
    "meeting": _paces("meetings", MEETINGS_S, MEETING_TIME),
    "repeat": _repeat,
    "change": _changes,
    "bins": _bins,
    "novelty": _novelty,
    "whereabouts": _whereabouts,
    "count": _counts,
    "gap": _gaps,
    "new": _new,
    "sine": _cycle(np.sin),
    "cosine": _cycle(np.cos),
    "fraud rate": _fraud_rates,
    "heat": _heats,
}


def fills_of(layout: Layout, columns: Sequence[Column], sources: Container[str] = SOURCES) -> list[Fill]:
    """What computes the columns of some sources, source by source; of all, if none are named."""
    fills = []
    for name in dict.fromkeys(column.source for column in columns if column.source in sources):
        places = [number for number, column in enumerate(columns) if column.source == name]
        fills.append(SOURCES[name](layout, [columns[place] for place in places], places))
    return fills


def _index(numbers: Sequence[int]) -> Any:
    """The numbers as an index, as a slice if they are consecutive: that is faster."""
    if list(numbers) == list(range(numbers[0], numbers[0] + len(numbers))):
        return slice(numbers[0], numbers[0] + len(numbers))
    return np.array(numbers)


def _habit(layout: Layout, column: Column, key: int | None) -> Habit:
    """The habit of a column, for another key."""
    assert column.habit is not None
    habit = layout.habit_of(column.habit.name, key)
    assert habit is not None
    return habit


def _right(column: Column) -> int:
    right = _kind(column).right
    assert right is not None
    return right


def _kind(column: Column) -> KeyKind:
    assert column.kind is not None
    return column.kind

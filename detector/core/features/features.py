"""What the encoder sees of an event: its own values, and how they compare with the history of its keys.

Two steps, kept apart so that any value can be replaced and everything derived from it computed again (that is
what explanations and contrastive swaps do):

    Profiles.observe   events -> context rows (stateful, event by event; see `profiles`)
    Risks.read         events -> risk rows (what labels say of its keys; changes at barriers only)
    Features.compute   (values, context, risk) -> inputs (pure, row by row; `feature_kernels` computes)

A context row is one slice per *kind* of key, in this order: everything (one key for all events), each entity,
each pair (main entity, other entity), each category, each pair (main entity, category). A risk row is one
slice per entity and category.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Event, ValueField
from detector.config.tree import Features as FeaturesConfig
from detector.core.events import TEXT_GRAMS_MAX, Events
from detector.core.features import feature_kernels
from detector.core.features.fraud_rates import (
    BEGUN,
    MATURED,
    PASSED,
    Changes,
    RiskTable,
    inputs_of,
    unknown,
    upper_ends,
)
from detector.core.features.profiles import ProfileTable

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
UNIT_QUANTILE = 0.95
# A value of more units than this counts as so many: the quotient of two doubles may be none.
RATIO_MAX = 1e300
VALUE_MAX = float(np.finfo(np.float64).max)
_CYCLES_S = {"day": DAY_S, "week": WEEK_S}


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Events as arrays, n rows; everything that inputs are computed from."""

    times: NDArray[np.float64]  # (n,) s since the epoch, as believed (see event_time.py): for gaps and decay
    clocks: NDArray[np.float64]  # (n,) the events' own, for the time of day
    entities: NDArray[np.uint64]  # (n, E) keyed hashes, 0: missing
    numerics: NDArray[np.float64]  # (n, J) scaled by `Units`, NaN: missing
    categories: NDArray[np.uint64]  # (n, C) hashes, 0: missing
    grams: NDArray[np.uint32]  # (n, T, TEXT_GRAMS_MAX) hashes, 0: none
    context: NDArray[np.float32]  # (n, width)
    risk: NDArray[np.float32]  # (n, risk width) inputs as they are, see `detector.core.features.fraud_rates`

    def __len__(self) -> int:
        return len(self.times)

    def take(self, index: Any) -> Rows:
        """Select rows, as numpy's indexing does: a slice gives views, an array copies."""
        return Rows(*(array[index] for array in self.arrays()))

    def put(self, index: Any, rows: Rows) -> None:
        """Overwrite rows."""
        for array, values in zip(self.arrays(), rows.arrays(), strict=True):
            array[index] = values

    def copy(self) -> Rows:
        return Rows(*(array.copy() for array in self.arrays()))

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """In the order of the fields; spelled out, as rows are taken too often to ask for it each time."""
        return (
            self.times,
            self.clocks,
            self.entities,
            self.numerics,
            self.categories,
            self.grams,
            self.context,
            self.risk,
        )

    def keys(self) -> NDArray[np.uint64]:
        """Entities, then categories, (n, E + C)."""
        return np.concatenate([self.entities, self.categories], axis=1)

    def to_state(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name).copy() for field in fields(self)}

    @classmethod
    def joined(cls, pieces: Sequence[Rows]) -> Rows:
        """Stack rows; at least one piece."""
        return cls(*(np.concatenate(arrays) for arrays in zip(*(p.arrays() for p in pieces), strict=True)))

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Rows:
        return cls(*(state[field.name] for field in fields(cls)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind of key and where its profile lies in a context row."""

    name: str
    left: int | None  # column of its key in (entities ++ categories); None: one key for all events
    right: int | None  # column of the second key of a pair
    start: int
    memories: int  # H
    numerics: int  # J; 0: counts only

    @property
    def stop(self) -> int:
        return self.start + 1 + self.memories * (1 + 3 * self.numerics)

    @property
    def columns(self) -> slice:
        return slice(self.start, self.stop)


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskKind:
    """One kind of key that labels are counted for, and where its inputs lie in a risk row."""

    kind: Kind  # of profiles, whose counts a new key's begin with
    column: int  # of its key in (entities ++ categories)
    columns: slice

    @property
    def memories(self) -> int:
        return self.kind.memories


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Columns that belong to one thing people can name: a field, an entity, the time of day."""

    name: str
    numeric: int | None = None  # column of Rows.numerics
    category: int | None = None
    text: int | None = None
    entity: int | None = None
    clock: bool = False
    context: tuple[slice, ...] = ()  # profiles of that entity or category
    risk: slice | None = None  # what labels say of it


class Layout:
    """Kinds, groups and widths that follow from a schema."""

    def __init__(self, schema: Event, config: FeaturesConfig) -> None:
        encoded = [value for value in schema.fields if value.use == "encode"]
        self.numerics: list[ValueField] = [v for v in encoded if v.type == "numeric"]
        self.categories: list[ValueField] = [v for v in encoded if v.type == "categorical"]
        self.texts: list[ValueField] = [v for v in encoded if v.type == "text"]
        self.entities = [entity.name for entity in schema.entities]
        self.half_lives_s = np.array(config.half_lives, dtype=np.float64)
        self.cycles_s = np.array([_CYCLES_S[name] for name in config.cycles], dtype=np.float64)
        self.kinds = self._kinds()
        self.kind_table = np.array([(k.start, k.memories, k.numerics) for k in self.kinds], dtype=np.int64)
        self.width = self.kinds[-1].stop
        self.risks = self._risks()
        self.risk_width = self.risks[-1].columns.stop if self.risks else 0
        self.risk_unknown = self._risk_row(unknown)
        self.risk_ends = self._risk_row(upper_ends)
        self.groups = self._groups()
        self.group_table = _group_table(self.groups)

    def half_lives_of(self, kind: Kind) -> NDArray[np.float64]:
        """Memories of a kind: all of them, or the longest alone."""
        return self.half_lives_s[: kind.memories] if kind.memories > 1 else self.half_lives_s[-1:]

    def _kinds(self) -> tuple[Kind, ...]:
        entities, categories = len(self.entities), len(self.categories)
        memories, numerics = len(self.half_lives_s), len(self.numerics)
        plan: list[tuple[str, int | None, int | None, int, int]] = [("all", None, None, memories, numerics)]
        plan += [(name, e, None, memories, numerics) for e, name in enumerate(self.entities)]
        plan += [(f"{self.entities[0]}+{self.entities[e]}", 0, e, 1, 0) for e in range(1, entities)]
        for c in range(categories):
            plan.append((self.categories[c].name, entities + c, None, 1, 0))
        for c in range(categories if entities else 0):
            plan.append((f"{self.entities[0]}+{self.categories[c].name}", 0, entities + c, 1, 0))
        kinds: list[Kind] = []
        for name, left, right, h, j in plan:
            start = kinds[-1].stop if kinds else 0
            kinds.append(Kind(name=name, left=left, right=right, start=start, memories=h, numerics=j))
        return tuple(kinds)

    def _risks(self) -> tuple[RiskKind, ...]:
        risks: list[RiskKind] = []
        for kind in self.kinds:
            if kind.left is not None and kind.right is None:
                start = risks[-1].columns.stop if risks else 0
                columns = slice(start, start + inputs_of(kind.memories))
                risks.append(RiskKind(kind=kind, column=kind.left, columns=columns))
        return tuple(risks)

    def _risk_row(self, of: Callable[[int], NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.concatenate([np.zeros(0, np.float32), *(of(risk.memories) for risk in self.risks)])

    def _groups(self) -> tuple[Group, ...]:
        entities = len(self.entities)
        risk = {risk.column: risk.columns for risk in self.risks}
        groups = [Group(name=value.name, numeric=j) for j, value in enumerate(self.numerics)]
        groups += [
            Group(name=name, entity=e, context=self._about(e), risk=risk[e])
            for e, name in enumerate(self.entities)
        ]
        groups += [
            Group(name=value.name, category=c, context=self._about(entities + c), risk=risk[entities + c])
            for c, value in enumerate(self.categories)
        ]
        groups += [Group(name=value.name, text=t) for t, value in enumerate(self.texts)]
        if len(self.cycles_s):
            groups.append(Group(name="time", clock=True))
        return tuple(groups)

    def _about(self, column: int) -> tuple[slice, ...]:
        """Profiles of a key: its own, and those of its pairs with the main entity."""
        return tuple(
            kind.columns
            for kind in self.kinds
            if (kind.left == column and kind.right is None) or kind.right == column
        )


class Profiles:
    """The tables of all kinds.

    `observe` must see events in log order; `reserve` is called at the beginning of a block only.
    """

    def __init__(self, layout: Layout, config: FeaturesConfig) -> None:
        self._layout = layout
        self._tables = []
        for kind in layout.kinds:
            half_lives = layout.half_lives_of(kind)
            keys_max = config.pairs_max if kind.right is not None else config.entities_max
            self._tables.append(ProfileTable(half_lives, kind.numerics, keys_max, config.clip_spreads))
        self._priors = np.ones(2 * len(layout.numerics))

    def __len__(self) -> int:
        """Profiles held, over all kinds."""
        return sum(len(table) for table in self._tables)

    def reserve(self, events: int) -> None:
        """Make room for a block."""
        for table in self._tables:
            table.reserve(events)

    def observe(self, rows: Rows) -> None:
        """Fill `rows.context` and learn from the rows, one after another."""
        keys = rows.keys()
        everything = np.ones(len(rows), dtype=np.uint64)
        for kind, table in zip(self._layout.kinds, self._tables, strict=True):
            if kind.left is None:
                key = everything
            elif kind.right is None:
                key = keys[:, kind.left]
            else:
                key = _mix(keys[:, kind.left], keys[:, kind.right])
            values = rows.numerics[:, : kind.numerics]
            if kind.left is not None and kind.numerics:
                values = values - population_shift(rows.context, self._layout)
            table.observe(
                key,
                rows.times,
                values,
                self._priors[: 2 * kind.numerics],
                rows.context[:, kind.columns],
            )

    def renew_priors(self, rows: Rows) -> None:
        """Shrink profiles to the population's spread as the block's last row saw it."""
        if len(self._priors):
            self._priors = population_variances(rows.context[-1:], self._layout)[0].astype(np.float64)

    def to_state(self) -> dict[str, Any]:
        tables = {f"{i:03d}": table.to_state() for i, table in enumerate(self._tables)}
        return {"priors": self._priors.copy(), "tables": tables}

    def load(self, state: Mapping[str, Any]) -> None:
        self._priors = state["priors"]
        for i, table in enumerate(self._tables):
            table.load(state["tables"][f"{i:03d}"])


class Risks:
    """The tables of fraud shares of all kinds; empty until there are labels."""

    def __init__(self, layout: Layout, config: FeaturesConfig) -> None:
        self._kinds = layout.risks
        self._tables = [
            RiskTable(layout.half_lives_of(risk.kind), config.entities_max) for risk in self._kinds
        ]
        main = 0 if layout.entities else None
        self.shared = [number for number, risk in enumerate(self._kinds) if risk.column != main]
        self.memories = max((risk.memories for risk in self._kinds), default=0)
        self._rates = np.zeros((len(self._kinds), self.memories))
        for rates, risk in zip(self._rates, self._kinds, strict=True):
            rates[: risk.memories] = np.log(2.0) / layout.half_lives_of(risk.kind)

    def read(self, rows: Rows) -> None:
        """Fill `rows.risk`."""
        keys = rows.keys()
        for risk, table in zip(self._kinds, self._tables, strict=True):
            table.read(keys[:, risk.column], rows.times, rows.risk[:, risk.columns])

    def count(
        self,
        keys: NDArray[np.uint64],
        times: NDArray[np.float64],
        what: NDArray[np.int8],
        before: Sequence[NDArray[np.float64]],
    ) -> Changes:
        """Count n events of `keys` (n, E + C); `before` has (n, H) per kind, see `RiskTable.count`.

        Returns what siblings must know of it: all but the main entity's, whose events lie here alone.
        """
        changes = [Changes.none(self.memories)]
        for number, (risk, table, counts) in enumerate(zip(self._kinds, self._tables, before, strict=True)):
            became = table.count(keys[:, risk.column], times, what, counts)
            if number not in self.shared:
                continue
            counted = np.flatnonzero(became != PASSED)
            added = np.where((what[counted] == MATURED)[:, None], 1.0, counts[counted])
            added[(what[counted] != MATURED) & (became[counted] != BEGUN)] = 0.0
            changes.append(
                self.changes(number, keys[counted, risk.column], times[counted], added, what[counted])
            )
        return changes[0].joined(*changes[1:])

    def add(self, told: Changes, now: float) -> list[tuple[int, NDArray[np.uint64]]]:
        """Add what a sibling counted; returns kinds with keys that are new here, see `RiskTable.add`."""
        begun = []
        for number in self.shared:
            of_kind = told.take(told.kinds == number)
            became = self._tables[number].add(of_kind, now)
            keys = np.unique(of_kind.keys[became == BEGUN])
            if len(keys):
                begun.append((number, keys))
        return begun

    def followed_from(self, kind: int, keys: NDArray[np.uint64]) -> NDArray[np.float64]:
        """See `RiskTable.followed_from`."""
        return self._tables[kind].followed_from(keys)

    def column(self, kind: int) -> int:
        """Column of a kind's key in (entities ++ categories)."""
        return self._kinds[kind].column

    def changes(
        self,
        kind: int,
        keys: NDArray[np.uint64],
        times: NDArray[np.float64],
        counts: NDArray[np.float64],
        what: NDArray[np.int8],
    ) -> Changes:
        """Changes of one kind, `counts` (n, H of the kind), of an event each."""
        padded = np.zeros((len(keys), self.memories), dtype=np.float32)
        padded[:, : counts.shape[1]] = counts
        return Changes(
            kinds=np.full(len(keys), kind, dtype=np.uint8),
            keys=keys.astype(np.uint64),
            times=times.astype(np.float64),
            what=what.astype(np.int32),
            counts=padded,
            events=np.ones(len(keys), dtype=np.float32),
        )

    def merged(self, changes: Changes) -> Changes:
        """The same with matured events of one key added up to one change, as of the latest of them."""
        labels, matured = changes.take(changes.what != MATURED), changes.take(changes.what == MATURED)
        if not len(matured):
            return labels
        pairs = np.stack([matured.kinds.astype(np.uint64), matured.keys], axis=1)
        pairs, place = np.unique(pairs, axis=0, return_inverse=True)
        place = place.reshape(-1)
        times = np.full(len(pairs), -np.inf)
        np.maximum.at(times, place, matured.times)
        counts = np.zeros((len(pairs), self.memories))
        ages = (times[place] - matured.times)[:, None]
        np.add.at(counts, place, matured.counts * np.exp(-ages * self._rates[matured.kinds]))
        return Changes(
            kinds=pairs[:, 0].astype(np.uint8),
            keys=pairs[:, 1],
            times=times,
            what=np.full(len(pairs), MATURED, dtype=np.int32),
            counts=counts.astype(np.float32),
            events=np.bincount(place, weights=matured.events, minlength=len(pairs)).astype(np.float32),
        ).joined(labels)

    def __len__(self) -> int:
        """Keys that had a fraud, over all kinds."""
        return sum(len(table) for table in self._tables)

    def to_state(self) -> dict[str, Any]:
        return {f"{i:03d}": table.to_state() for i, table in enumerate(self._tables)}

    def load(self, state: Mapping[str, Any]) -> None:
        for i, table in enumerate(self._tables):
            table.load(state[f"{i:03d}"])


class Features:
    """Numeric inputs of the encoder, computed row by row from `Rows` and nothing else.

    The first `plain_count` columns need no labels; the rest is what labels say of the event's keys.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.names = self._names()
        self.plain_count = len(self.names) - layout.risk_width
        self.risk_memories = [risk.memories for risk in layout.risks]
        # Columns of a context row that logarithms are taken of.
        self._gaps = [kind.start for kind in layout.kinds[1:]]
        self._counts = [kind.start + 1 + h for kind in layout.kinds[1:] for h in range(kind.memories)]
        # What the fixed part of the embedding is made of, the first columns: the values, their deviations
        # from what each entity usually does in its longest memory (shorter ones are mostly noise; 0 without a
        # history), and how surprising the categories are: -log of the share, nats, (events with it + q) /
        # (events + 1) of the main entity's events, q being its share of all events by the same rule, so that
        # a newcomer's is everybody's; 0 where the category is missing.
        self.fixed_count = len(layout.numerics) * (1 + len(layout.entities)) + len(layout.categories)
        longest = f"{layout.half_lives_s[-1] / DAY_S:g}d"
        # Where log(1 + events of the entity's key) in that memory stands.
        self.count_columns = [self.names.index(f"{owner} count {longest}") for owner in layout.entities]

    def __len__(self) -> int:
        return len(self.names)

    def compute(self, rows: Rows) -> NDArray[np.float32]:
        """Compute inputs (n, F) float32, all finite."""
        layout, count = self._layout, len(rows)
        surprises = np.empty((count, len(layout.categories)))
        feature_kernels.shares(rows.context, layout.kind_table, len(layout.entities), surprises)
        surprises = np.where(rows.categories == 0, 0.0, -np.log(surprises))
        gaps = rows.context[:, self._gaps].astype(np.float64)
        gaps[np.isnan(gaps)] = layout.half_lives_s[-1]
        phases = 2.0 * np.pi * (rows.clocks[:, None] / layout.cycles_s)
        inputs = np.empty((count, len(self)), dtype=np.float32)
        feature_kernels.fill(
            rows.numerics,
            rows.context,
            rows.risk,
            layout.kind_table,
            len(layout.entities),
            surprises,
            np.log1p(rows.context[:, self._counts]),
            np.log1p(gaps),
            np.sin(phases),
            np.cos(phases),
            inputs,
        )
        return inputs

    def _names(self) -> tuple[str, ...]:
        layout = self._layout
        values = [value.name for value in layout.numerics]
        days = [f"{half_life / DAY_S:g}d" for half_life in layout.half_lives_s]
        names = list(values)
        names += [f"{value} against {owner} {days[-1]}" for owner in layout.entities for value in values]
        names += [f"{category.name} surprise" for category in layout.categories]
        for owner in layout.entities:
            names += [f"{value} against {owner} {day}" for day in days[:-1] for value in values]
        names += [f"{value} against all {day}" for day in days for value in values]
        names += [f"{value} missing" for value in values]
        for kind in layout.kinds[1:]:
            names += [f"{kind.name} count {day}" for day in days[-kind.memories :]]
            names += [f"{kind.name} gap", f"{kind.name} new"]
        for trig in ("sin", "cos"):
            names += [f"{trig} of {period / DAY_S:g}d" for period in layout.cycles_s]
        for risk in layout.risks:
            names += [f"{risk.kind.name} fraud share {day}" for day in days[-risk.memories :]]
            names += [
                f"{risk.kind.name} {what}" for what in ("fraud age", "fraud run age", "events since fraud")
            ]
        return tuple(names)

    def counts_before(self, inputs: NDArray[Any]) -> list[NDArray[np.float64]]:
        """Read back each risk kind's decayed counts of earlier events from (n, F) inputs: (n, H) each."""
        counts = []
        for risk in self._layout.risks:
            first = next(
                i for i, name in enumerate(self.names) if name.startswith(f"{risk.kind.name} count ")
            )
            counts.append(np.expm1(inputs[:, first : first + risk.memories].astype(np.float64)))
        return counts


def population_variances(context: NDArray[np.float32], layout: Layout) -> NDArray[np.float32]:
    """Variances of the numerics over all events in the longest memory, (n, 2 J): upper, then lower.

    1 before there is history.
    """
    variances = np.empty((len(context), 2 * len(layout.numerics)), dtype=np.float32)
    feature_kernels.variances(context, layout.kind_table, variances)
    return variances


def explained_shares(rows: Rows, layout: Layout) -> NDArray[np.float64]:
    """Share of each numeric's variance that an entity's mean, as known before the event, explains; (E, J).

    In the longest memory, over the rows whose key had a history; 0 without any, and where means of short
    histories mislead more than they tell.
    """
    numerics = len(layout.numerics)
    shares = np.zeros((len(layout.entities), numerics))
    level = rows.numerics - population_shift(rows.context, layout)
    for share, kind in zip(shares, layout.kinds[1:], strict=False):
        context = rows.context[:, kind.columns]
        means = context[:, 1 + kind.memories * (1 + numerics) - numerics :][:, :numerics]
        for j in range(numerics):
            known = (context[:, kind.memories] > 0) & ~np.isnan(means[:, j] + level[:, j])
            values = level[known, j]
            left = np.square(values - means[known, j]).sum()
            total = np.square(values - values.mean()).sum() if len(values) else 0.0
            share[j] = max(0.0, 1.0 - left / total) if total > 0.0 else 0.0
    return shares


def population_shift(context: NDArray[np.float32], layout: Layout) -> NDArray[np.float64]:
    """How far the population's means of the numerics moved of late, (n, J): shortest less longest memory.

    Entities' profiles follow values less this: when all prices rise, no customer's habits have changed, and
    few of them pay often enough for their profiles to learn a new level within days. As the long memory
    follows, the shift goes back to 0 and the profiles take over at their own pace.
    """
    shift = np.empty((len(context), len(layout.numerics)))
    feature_kernels.shifts(context, layout.kind_table, shift)
    return shift


class Units:
    """Size of each numeric, so that a signed-log scale is linear where values usually lie.

    scaled = asinh(value / unit): linear below the unit, logarithmic above it, defined everywhere. Without a
    unit a logarithm makes the smallest amounts the strangest.
    """

    def __init__(self, units: NDArray[np.float64]) -> None:
        self.units = units  # (J,) > 0

    @classmethod
    def read(cls, values: NDArray[np.float64]) -> Units:
        """Take the .95 quantile of the magnitudes of (n, J) values; NaN: missing."""
        units = np.ones(values.shape[1])
        for column in range(values.shape[1]):
            known = np.abs(values[:, column][~np.isnan(values[:, column])])
            size = float(np.quantile(known, UNIT_QUANTILE)) if len(known) else 0.0
            units[column] = size if size > 0.0 else 1.0
        return cls(units)

    def scale(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bring (n, J) values to the scale on which the model works; finite for all that is finite."""
        with np.errstate(over="ignore"):
            ratio = np.clip(values / self.units, -RATIO_MAX, RATIO_MAX)
        scaled: NDArray[np.float64] = np.arcsinh(ratio)
        return scaled

    def restore(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Undo `scale`."""
        with np.errstate(over="ignore"):
            values = np.sinh(scaled) * self.units
        bounded: NDArray[np.float64] = np.clip(values, -VALUE_MAX, VALUE_MAX)
        return bounded


def to_rows(events: Events, layout: Layout, units: Units) -> Rows:
    """Rows of events as they were read, sharing their arrays; the context is still empty."""
    return Rows(
        times=events.times,
        clocks=events.times,
        entities=events.entities,
        numerics=units.scale(events.numerics),
        categories=events.categories,
        grams=events.grams,
        context=np.zeros((len(events), layout.width), dtype=np.float32),
        risk=np.tile(layout.risk_unknown, (len(events), 1)),
    )


def empty_rows(count: int, layout: Layout) -> Rows:
    """Rows of a missing everything: the padding of a block, and a reservoir before it is filled."""
    return Rows(
        times=np.zeros(count),
        clocks=np.zeros(count),
        entities=np.zeros((count, len(layout.entities)), dtype=np.uint64),
        numerics=np.full((count, len(layout.numerics)), np.nan),
        categories=np.zeros((count, len(layout.categories)), dtype=np.uint64),
        grams=np.zeros((count, len(layout.texts), TEXT_GRAMS_MAX), dtype=np.uint32),
        context=np.zeros((count, layout.width), dtype=np.float32),
        risk=np.tile(layout.risk_unknown, (count, 1)),
    )


def swap(rows: Rows, donors: Rows, layout: Layout, chosen: NDArray[np.int64]) -> Rows:
    """Copy rows with one group of columns taken from the donor in the same place.

    Parameters
    ----------
    chosen : (n,) int64
        Which of the layout's groups is taken, per row.
    """
    swapped = rows.copy()
    feature_kernels.swap(
        layout.group_table,
        chosen,
        swapped.numerics,
        donors.numerics,
        swapped.categories,
        donors.categories,
        swapped.grams,
        donors.grams,
        swapped.entities,
        donors.entities,
        swapped.clocks,
        donors.clocks,
        swapped.context,
        donors.context,
        swapped.risk,
        donors.risk,
    )
    return swapped


def _group_table(groups: Sequence[Group]) -> NDArray[np.int64]:
    """Groups as `feature_kernels.swap` reads them."""
    pieces = max((len(group.context) for group in groups), default=0)
    table = np.zeros((len(groups), 7 + 2 * pieces), dtype=np.int64)
    for row, group in zip(table, groups, strict=True):
        places = (group.numeric, group.category, group.text, group.entity)
        row[:5] = [*(-1 if place is None else place for place in places), group.clock]
        for number, piece in enumerate((group.risk or slice(0, 0), *group.context)):
            row[5 + 2 * number : 7 + 2 * number] = piece.start, piece.stop
    return table


def _mix(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One key from two (the finalizer of SplitMix64, Steele 2014); 0 if one of them is missing."""
    z = left * np.uint64(0x9E3779B97F4A7C15) + right
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.where((left == 0) | (right == 0), np.uint64(0), np.maximum(z, np.uint64(1)))

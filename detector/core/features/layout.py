"""Where things are: the kinds of keys, the groups of columns, and the widths that follow from a schema.

A *context row* holds what the profiles knew of an event's keys just before it, one slice per kind of key, in
this order: everything (one key for all events), each entity, each pair (main entity, other entity), each
category, each pair (main entity, category). `profile_table` defines what a slice holds. The habits' slices
follow (`habits`), and those of heat (`heat`), which are filled after the distances are known.

A *fraud rate row* holds what labels say of its keys, one slice per entity and category; `fraud_rate_table`
defines what a slice holds. Its last column is 1 where that is doubtful, because one of the keys has changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Event, ValueField
from detector.config.tree import Features as FeaturesConfig
from detector.core.events import KINDS, resolution_s
from detector.core.events.kinds import STORES
from detector.core.features.fraud_rate_table import inputs_of, unknown, upper_ends

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
_CYCLES_S = {"day": DAY_S, "week": WEEK_S}


# Numerics whose usual values are followed per category, and per category of the main entity: so many, or all
# up to the exposure if that is one of the first. All of them would make a row too long.
CATEGORY_NUMERICS, CATEGORY_NUMERICS_MAX = 2, 8
# Half-life of heat's short memory, s. The long one of the main entity is the shortest of profiles.
HEAT_SHORT_S = 3600.0


def _nothing() -> slice:
    return slice(0, 0)


class Place(NamedTuple):
    """One column of `Rows.numerics` or `Rows.categories`, or one text of `Rows.grams`, one of
    `Rows.points`."""

    name: str
    field: ValueField


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyKind:
    """One kind of key, and where its profile is in a context row."""

    name: str
    left: int | None  # column of its key in (entities ++ categories); None: one key for all events
    right: int | None  # column of the second key of a pair
    start: int
    memories: int  # H
    numerics: int  # J; 0: counts only

    @property
    def stop(self) -> int:
        return self._compared_until + self.numerics + (self.right is not None)

    @property
    def age(self) -> int:
        """Column of the seconds since the key was first seen, of pairs only; 0: never."""
        assert self.right is not None
        return self._compared_until + self.numerics

    @property
    def columns(self) -> slice:
        return slice(self.start, self.stop)

    # A memory is a number from the shortest, 0; -1 is the longest.

    @property
    def gap(self) -> int:
        """Column of the seconds since the key was last seen."""
        return self.start

    def count(self, memory: int) -> int:
        """Column of the decayed count in a memory."""
        return self.start + 1 + memory % self.memories

    def mean(self, memory: int, numeric: int) -> int:
        """Column of a numeric's mean."""
        return self.count(0) + self.memories + memory % self.memories * self.numerics + numeric

    def variance(self, memory: int, numeric: int, *, upper: bool) -> int:
        """Column of a numeric's variance above or below its mean."""
        return self.mean(memory, numeric) + (1 if upper else 2) * self.memories * self.numerics

    def there(self, numeric: int) -> int:
        """Column of the share of the key's events that have a numeric."""
        return self._compared_until + numeric

    def means(self, memory: int) -> slice:
        """Columns of all means in a memory."""
        return slice(self.mean(memory, 0), self.mean(memory, self.numerics))

    @property
    def compared(self) -> slice:
        """Columns that values are compared with: means and variances."""
        return slice(self.mean(0, 0), self._compared_until)

    @property
    def _compared_until(self) -> int:
        return self.mean(0, 0) + 3 * self.memories * self.numerics


@dataclass(frozen=True, kw_only=True, slots=True)
class FraudRateKind:
    """One kind of key that labels are counted for, and where its inputs are in a fraud rate row."""

    kind: KeyKind  # of profiles, whose counts a new key's begin with
    column: int  # of its key in (entities ++ categories)
    start: int

    @property
    def memories(self) -> int:
        return self.kind.memories

    @property
    def columns(self) -> slice:
        return slice(self.start, self.start + inputs_of(self.memories))

    @property
    def longest(self) -> int:
        """Column of the fraud rate in the longest memory."""
        return self.start + self.memories - 1

    @property
    def age(self) -> int:
        """Column of log(1 + days since the latest fraud)."""
        return self.start + self.memories


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Columns of rows that belong to one thing people can name: a field, an entity, the time of day."""

    name: str
    field: ValueField | None = None
    numerics: slice = dataclasses.field(default_factory=_nothing)  # of Rows.numerics
    categories: slice = dataclasses.field(default_factory=_nothing)
    texts: slice = dataclasses.field(default_factory=_nothing)
    points: slice = dataclasses.field(default_factory=_nothing)
    entity: int | None = None
    clock: bool = False
    context: tuple[slice, ...] = ()  # profiles of that entity or category
    fraud_rates: tuple[FraudRateKind, ...] = ()  # of that entity or category


@dataclass(frozen=True, kw_only=True, slots=True)
class Habit:
    """What a key usually does in one respect, and where that is in a context row."""

    name: str  # see `habits`
    key: int | None  # column of its key in (entities ++ categories); None: one key for all events
    start: int
    width: int
    point: int | None = None  # of Rows.points, in habits of places
    contact: int | None = None  # column of the other entity of a pair, in habits of meetings

    @property
    def columns(self) -> slice:
        return slice(self.start, self.start + self.width)


class Population(NamedTuple):
    """Columns of a context row that describe all events, as kernels read them."""

    means: NDArray[np.int64]  # (J, 2) of each numeric's mean in the shortest and in the longest memory
    variances: tuple[
        int, NDArray[np.int64]
    ]  # of the longest memory: the count; (2 J,) upper, then lower ones

    @classmethod
    def of(cls, kind: KeyKind) -> Population:
        """Columns of the profile of everything."""
        numerics = range(kind.numerics)
        means = [(kind.mean(0, j), kind.mean(-1, j)) for j in numerics]
        variances = [kind.variance(-1, j, upper=upper) for upper in (True, False) for j in numerics]
        return cls(
            np.array(means, dtype=np.int64).reshape(-1, 2),
            (kind.count(-1), np.array(variances, dtype=np.int64)),
        )


class Layout:
    """Kinds of keys, groups and widths that follow from a schema."""

    def __init__(self, schema: Event, config: FeaturesConfig) -> None:
        self._places: dict[str, list[Place]] = {store: [] for store in STORES}
        for value in schema.fields:
            if value.use == "encode":
                kind = KINDS[value.type]
                self._places[kind.store] += [Place(name, value) for name in kind.places(value)]
        self.numerics = self._places["numerics"]
        self.categories = self._places["categories"]
        self.texts = self._places["texts"]
        self.entities = [entity.name for entity in schema.entities]
        self.points = self._places["points"]
        if not self.entities:  # nobody has usual places: degrees are numbers like others
            parts = [(place, part) for place in self.points for part in ("latitude", "longitude")]
            self.numerics += [Place(f"{place.name} {part}", place.field) for place, part in parts]
            self.points.clear()
        self.half_lives_s = np.array(config.half_lives, dtype=np.float64)
        self.cycles_s = np.array([_CYCLES_S[name] for name in config.cycles], dtype=np.float64)
        names = [place.name for place in self.numerics]
        self.exposure = names.index(schema.exposure) if schema.exposure in names else None
        self.resolution_s = resolution_s(schema.time)
        self.kinds = self._kinds()
        self._kinds_by = {(kind.left, kind.right): kind for kind in self.kinds}
        self._habits_by = {(one.name, one.key, one.point, one.contact): one for one in self._habits()}
        self.heats = self._heats()
        self.population = Population.of(self.kinds[0])
        self.fraud_rate_kinds = self._fraud_rate_kinds()
        self.fraud_rates_unknown = np.append(self._fraud_rate_row(unknown), np.float32(0.0))
        self.fraud_rate_ends = self._fraud_rate_row(upper_ends)
        self.groups = tuple(self._groups())
        self.groups += tuple(
            Group(name=f"{self.entities[heat.key]} heat", context=(heat.columns,))
            for heat in self.heats
            if heat.key is not None
        )
        self.group_table = _group_table(self.groups)

    @property
    def doubt(self) -> int:
        """The last column of fraud rates."""
        return sum(inputs_of(rated.memories) for rated in self.fraud_rate_kinds)

    @property
    def width(self) -> int:
        """Columns of a context row."""
        return self.heats[-1].columns.stop if self.heats else self.kinds[-1].stop

    def key_name(self, key: int) -> str:
        """Name of a column of (entities ++ categories)."""
        return [*self.entities, *(place.name for place in self.categories)][key]

    def surprise_of(self, habit: Habit) -> str:
        """Name of the column that says how rare an event's bin is for the key of a habit."""
        where = f" in {self.key_name(habit.key)}" if habit.key else ""
        return f"{habit.name} surprise{where}"

    @property
    def compared_keys(self) -> int:
        """Columns of (entities ++ categories) whose means values are compared with; without entities none."""
        return len(self.entities) + len(self.categories) if self.entities else 0

    @property
    def habits(self) -> tuple[Habit, ...]:
        """All habits, in the order of their columns; none without entities."""
        return tuple(self._habits_by.values())

    @property
    def contacts(self) -> tuple[KeyKind, ...]:
        """Pairs of the main entity with what it meets: other entities, categories."""
        return tuple(kind for kind in self.kinds if kind.right is not None)

    def contact_number(self, right: int) -> int:
        """Number of the contact whose second key is this column of (entities ++ categories)."""
        return next(number for number, kind in enumerate(self.contacts) if kind.right == right)

    def half_lives_of(self, kind: KeyKind) -> NDArray[np.float64]:
        """Memories of a kind: all of them, or the longest alone."""
        return self.half_lives_s[: kind.memories] if kind.memories > 1 else self.half_lives_s[-1:]

    @property
    def swapped(self) -> int:
        """Number of the first groups, those that contrastive swaps take: the plain encoder sees no heat."""
        return len(self.groups) - sum(heat.key is not None for heat in self.heats)

    def heat_half_lives_of(self, heat: Habit) -> NDArray[np.float64]:
        """Memories of a heat, s: an hour; also the shortest of profiles where it has two columns."""
        return np.array([HEAT_SHORT_S, self.half_lives_s[0]])[: heat.width]

    def heat_of(self, name: str) -> Habit | None:
        """The heat that is a group of this name; None if there is none."""
        for heat in self.heats:
            if heat.key is not None and name == f"{self.entities[heat.key]} heat":
                return heat
        return None

    def kind_of(self, left: int | None, right: int | None = None) -> KeyKind:
        """The kind with these key columns."""
        return self._kinds_by[left, right]

    def habit_of(
        self, name: str, key: int | None, point: int | None = None, contact: int | None = None
    ) -> Habit | None:
        """The habit of this name, key, place and contact; None if there is none."""
        return self._habits_by.get((name, key, point, contact))

    def share_columns(self, category: int) -> tuple[int, int, int, int]:
        """Columns of counts in the longest memory: of everything, a category, the main entity, both.

        The last two are -1 without entities.
        """
        key = len(self.entities) + category
        columns = self.kind_of(None).count(-1), self.kind_of(key).count(-1)
        if not self.entities:
            return (*columns, -1, -1)
        return (*columns, self.kind_of(0).count(-1), self.kind_of(0, key).count(-1))

    def _habits(self) -> tuple[Habit, ...]:
        """Paces of each entity, other habits of the main one, and the same of everything to compare with.

        For each field that is a place: usual places of the main entity, moves of every entity. For each other
        entity: how often the main one meets a new one of it, and that a new main one, and what it usually
        comes with. For each entity: how often an amount comes again.
        """
        if not self.entities:
            return ()
        entities = range(len(self.entities))
        plan: list[tuple[str, int | None, int]] = [("pace", key, 4) for key in (None, *entities)]
        bins = ["hours", "days", *(["zeros"] if self.exposure is not None else [])]
        plan += [(name, key, 2) for name in bins for key in (None, 0)]
        if self.exposure is not None:
            plan += [("zeros", len(self.entities) + c, 2) for c in range(len(self.categories))]
            plan += [("repeats", e, 3) for e in entities] + [("repeated", e, 2) for e in entities]
        plan += [("novelty", key, 1 + len(self.contacts)) for key in (None, 0)]
        plan += [("changes", e, 3) for e in entities[1:]]
        whole = [(*one, None, None) for one in plan]
        of_places = [("places", 0, 2), *(("moves", e, 3) for e in entities)]
        by_place = [(*one, place, None) for place in range(len(self.points)) for one in of_places]
        met = [("meetings", key, 4, None, e) for e in entities[1:] for key in (None, 0, e)]
        habits: list[Habit] = []
        for name, key, width, point, contact in (*whole, *by_place, *met):
            start = habits[-1].columns.stop if habits else self.kinds[-1].stop
            habits.append(Habit(name=name, key=key, start=start, width=width, point=point, contact=contact))
        return tuple(habits)

    def _heats(self) -> tuple[Habit, ...]:
        """Heat of everything and of each entity; not among `habits`, because it follows from distances."""
        heats: list[Habit] = []
        for key in (None, *range(len(self.entities))) if self.habits else ():
            start = (heats or self.habits)[-1].columns.stop
            heats.append(Habit(name="heat", key=key, start=start, width=1 if key else 2))
        return tuple(heats)

    def _kinds(self) -> tuple[KeyKind, ...]:
        entities, categories = len(self.entities), len(self.categories)
        memories, numerics = len(self.half_lives_s), len(self.numerics)
        exposure = -1 if self.exposure is None else self.exposure
        followed = (
            max(CATEGORY_NUMERICS, exposure + 1) if exposure < CATEGORY_NUMERICS_MAX else CATEGORY_NUMERICS
        )
        compared = min(numerics, followed) if entities else 0
        plan: list[tuple[str, int | None, int | None, int, int]] = [("all", None, None, memories, numerics)]
        plan += [(name, e, None, memories, numerics) for e, name in enumerate(self.entities)]
        plan += [(f"{self.entities[0]}+{self.entities[e]}", 0, e, 1, 0) for e in range(1, entities)]
        for c in range(categories):
            plan.append((self.categories[c].name, entities + c, None, 1, compared))
        for c in range(categories if entities else 0):
            plan.append((f"{self.entities[0]}+{self.categories[c].name}", 0, entities + c, 1, compared))
        kinds: list[KeyKind] = []
        for name, left, right, h, j in plan:
            start = kinds[-1].stop if kinds else 0
            kinds.append(KeyKind(name=name, left=left, right=right, start=start, memories=h, numerics=j))
        return tuple(kinds)

    def _fraud_rate_kinds(self) -> tuple[FraudRateKind, ...]:
        rated: list[FraudRateKind] = []
        for kind in self.kinds:
            if kind.left is not None and kind.right is None:
                start = rated[-1].columns.stop if rated else 0
                rated.append(FraudRateKind(kind=kind, column=kind.left, start=start))
        return tuple(rated)

    def _fraud_rate_row(self, of: Callable[[int], NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.concatenate(
            [np.zeros(0, np.float32), *(of(rated.memories) for rated in self.fraud_rate_kinds)]
        )

    def _groups(self) -> Iterator[Group]:
        """Numeric fields, entities, categorical fields, texts, the time of day."""
        yield from self._fields("numerics")
        for e, name in enumerate(self.entities):
            yield Group(name=name, entity=e, context=self._about(e), fraud_rates=self._rates(e))
        yield from self._fields("categories")
        yield from self._fields("texts")
        for number, place in enumerate(self.points):
            context = tuple(habit.columns for habit in self.habits if habit.point == number)
            columns = slice(number, number + 1)
            yield Group(name=place.name, field=place.field, points=columns, context=context)
        hours = tuple(habit.columns for habit in self._habits_of(0) if habit.name in ("hours", "days"))
        if len(self.cycles_s) or hours:
            yield Group(name="time", clock=True, context=hours)

    def _fields(self, store: str) -> Iterator[Group]:
        """A group for each field that has places in a store."""
        places = self._places[store]
        for value in dict.fromkeys(place.field for place in places):
            own = [number for number, place in enumerate(places) if place.field is value]
            columns = slice(own[0], own[-1] + 1)
            if store == "numerics":
                exposed = self.exposure is not None and columns.start == self.exposure
                of_amounts = ("zeros", "repeats", "repeated")
                habits = [h for h in self.habits if h.name in of_amounts and h.key is not None]
                context = tuple(habit.columns for habit in habits if exposed)
                yield Group(name=value.name, field=value, numerics=columns, context=context)
            elif store == "texts":
                yield Group(name=value.name, field=value, texts=columns)
            else:
                keys = [len(self.entities) + number for number in own]
                yield Group(
                    name=value.name,
                    field=value,
                    categories=columns,
                    context=tuple(piece for key in keys for piece in self._about(key)),
                    fraud_rates=tuple(rated for key in keys for rated in self._rates(key)),
                )

    def _about(self, column: int) -> tuple[slice, ...]:
        """What is known of a key: its own profile, its pace, its pairs and meetings with the main entity."""
        own = [kind.columns for kind in self.kinds if kind.left == column and kind.right is None]
        paces = [habit.columns for habit in self._habits_of(column) if habit.name in ("pace", "changes")]
        pairs = [kind.columns for kind in self.kinds if kind.right == column]
        met = [habit.columns for habit in self.habits if habit.contact == column and habit.key is not None]
        return (*own, *paces, *pairs, *met)

    def _habits_of(self, key: int) -> list[Habit]:
        return [habit for habit in self.habits if habit.key == key]

    def _rates(self, column: int) -> tuple[FraudRateKind, ...]:
        return tuple(rated for rated in self.fraud_rate_kinds if rated.column == column)


def _group_table(groups: Sequence[Group]) -> NDArray[np.int64]:
    """Groups as `feature_kernels.swap` reads them."""
    pieces = max((len(group.context) for group in groups), default=0)
    table = np.zeros((len(groups), 12 + 2 * pieces), dtype=np.int64)
    for row, group in zip(table, groups, strict=True):
        rates = [rated.columns for rated in group.fraud_rates] or [_nothing()]
        ranges = [group.numerics, group.categories, group.texts, slice(rates[0].start, rates[-1].stop)]
        ranges += [group.points, *group.context]
        row[:2] = -1 if group.entity is None else group.entity, group.clock
        row[2 : 2 + 2 * len(ranges)] = [end for piece in ranges for end in (piece.start, piece.stop)]
    return table

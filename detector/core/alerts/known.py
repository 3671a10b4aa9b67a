"""What the tables know of one event's keys, as numbers that reasons and facts are made of.

Each function reads one event, given as one row with the context that it was scored with.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from detector.core.features import (
    DAY_S,
    MEETING_TIME,
    MEETINGS_S,
    SHORT_S,
    KeyKind,
    Layout,
    Rows,
    Units,
    population_shift,
    population_variances,
    repeat_nats,
    usual_rate,
)

# Decayed events from which an entity's own history tells what is usual of it.
OWN_HISTORY_MIN = 5.0
# The same of a category, which many have.
CATEGORY_HISTORY_MIN = 30.0
# Weight of the population's variance in an entity's own, as `profile_table` has it.
PRIOR_WEIGHT = 2.0
Z = 1.2816
"""Spreads from the mean to the .1 and .9 quantiles of a normal distribution."""
# Events in the last hour from which, and times the usual number beyond which, a pace is told.
EVENTS_MIN, TIMES_USUAL = 3.0, 3.0
# Share of an entity's events up to which an hour is not its own.
HOUR_SHARE_MAX = 0.05
# Nats from which a move is told: one in ten is as fast.
FAST_MIN = 2.3
# Nats from which an amount that comes again is told: 1 in 55 events repeats one as soon.
RARE_MIN = 4.0
# Share of all events that meet a new one of a kind, up to which many new ones are told.
NEW_SHARE_MAX = 1.0 / 3.0
# Km from which a way is told: places are only as exact as a town.
NEAR_KM = 10.0
# Km from which a move is told: that to the next town is as inexact as the two places.
MOVE_KM = 30.0
# A shop is everywhere if its customers are so far apart, faster than a journey.
ELSEWHERE_KM, JOURNEY_KM_H = 100.0, 1000.0
# A thing is public if others are seen with it so many times as often.
OTHERS_TIMES = 4.0
# A faster way is no drive.
DRIVE_KM_H = 150.0
# Half-lives after which the time since a key was first seen is not known any more: single floats hold it.
AGE_HALF_LIVES_MAX = 16.0
# A category that so many of the main entity's events have, and not nearly all events, is usual for it.
OFTEN_SHARE, ALL_SHARE = 0.3, 0.8


class Pace(NamedTuple):
    """How often a key is seen."""

    hour: float  # decayed events of the last hour
    per_s: float  # usual events per second
    events: float  # decayed ones in the longest memory
    age_s: float  # since it was first seen; inf: for longer than is known

    @property
    def known(self) -> bool:
        """Whether it has a history that tells what is usual."""
        return self.events >= OWN_HISTORY_MIN and self.age_s >= DAY_S

    @property
    def fast(self) -> bool:
        """Whether it is seen far more often than usual."""
        usual = self.per_s * SHORT_S[-1] / math.log(2.0)
        return self.hour >= EVENTS_MIN and self.hour >= TIMES_USUAL * usual


class Contact(NamedTuple):
    """What is known of one thing that an event meets: another entity, or a category."""

    column: int  # of its key in (entities ++ categories)
    paired: bool  # whether it is known with the main entity; else only what all know of it
    new: bool  # to the main entity; if not paired, to all
    gap_s: float  # since it was last seen with the main entity (else at all); NaN: never
    age_s: float  # since it was first seen with the main entity
    events: float  # decayed ones with the main entity before this one
    ever: bool  # whether anybody was seen with it before
    one_of: float  # the main entity meets a new one of this kind in 1 of so many events; 0: unknown


class Repeat(NamedTuple):
    """An amount that an entity had before."""

    entity: int
    gap_s: float  # since then
    one_of: float  # 1 of so many events of all has an amount again as soon


class Newcomers(NamedTuple):
    """Entities of one kind that one entity has met for the first time just now, this one among them."""

    entity: int  # that meets them
    met: int  # kind of entity that is met
    events: float  # decayed ones, with this one
    window_s: float  # in which they came
    usual: float | None  # events of this kind that are usual in that time; None: unknown


class Changed(NamedTuple):
    """An entity that comes with another one than usual."""

    entity: int
    other: int  # kind of entity that is another one
    one_of: float  # in 1 of so many of its events


def pace(layout: Layout, event: Rows, entity: int) -> Pace | None:
    """How often an entity is seen; None if the event has none, or it was never seen before."""
    habit = layout.habit_of("pace", entity)
    if habit is None or event.entities[0, entity] == 0:
        return None
    _, hour, count, observed = event.context[0, habit.columns].tolist()
    if count <= 0.0:
        return None
    if layout.resolution_s > SHORT_S[-1]:
        hour = 0.0  # which of the day's events came within one is not known
    half_life = float(layout.half_lives_s[-1])
    left = 1.0 - observed
    age = -math.log(left) / math.log(2.0) if left > 2.0**-AGE_HALF_LIVES_MAX else math.inf
    per_s = count / observed * math.log(2.0) / half_life if observed > 0.0 else 0.0
    return Pace(hour, per_s, count, age * half_life)


def changed(layout: Layout, event: Rows) -> Changed | None:
    """The rarest change of what an entity but the main one comes with; None if none is rare."""
    found: list[tuple[float, Changed]] = []
    for entity in range(1, len(layout.entities)):
        habit = layout.habit_of("changes", entity)
        assert habit is not None
        nats, column, share = event.context[0, habit.columns].tolist()
        if nats < RARE_MIN:
            continue
        own = pace(layout, event, entity)
        if own is not None and own.known:
            other = int(column) + (column >= entity)
            found.append((nats, Changed(entity, other, min(1.0 / share, own.events + 1.0))))
    return max(found)[1] if found else None


def repeat(layout: Layout, event: Rows) -> Repeat | None:
    """A rare repeat of the event's amount: the main entity's, else the rarest; None if none is rare."""
    found: list[tuple[float, Repeat]] = []
    for entity in range(len(layout.entities)):
        habits = layout.habit_of("repeats", entity), layout.habit_of("repeated", entity)
        if habits[0] is None or habits[1] is None or event.entities[0, entity] == 0:
            continue
        nats, gap_s, usual = event.context[0, habits[0].columns].tolist()
        events, repeats = event.context[0, habits[1].columns].tolist()
        rarity = repeat_nats(nats, usual, events, repeats)
        if not math.isnan(gap_s) and rarity >= RARE_MIN:
            found.append((rarity, Repeat(entity, gap_s, math.exp(nats) / usual)))
    if found and found[0][1].entity == 0:
        return found[0][1]
    return max(found)[1] if found else None


def newcomers(layout: Layout, event: Rows) -> list[Newcomers]:
    """Entities that meet far more new ones than usual, each with one kind of them, the most first.

    Not of kinds that are new in most events anyway: then that says only how many events there are.
    """
    all_new = layout.habit_of("novelty", None)
    if all_new is None:
        return []
    found, half_life = [], float(layout.half_lives_s[-1])
    events, *new = event.context[0, all_new.columns].tolist()
    for habit in layout.habits:
        if habit.contact is None or habit.key is None:
            continue
        if new[layout.contact_number(habit.contact)] > NEW_SHARE_MAX * events:
            continue
        *short, count, observed = event.context[0, habit.columns].tolist()
        known = observed >= 1.0 - 2.0 ** (-DAY_S / half_life)
        for window_s, earlier in zip(MEETINGS_S, short, strict=True):
            own = count / observed if known else 0.0  # its told usual number must not contradict "many"
            expected = max(usual_rate(count, observed, MEETING_TIME), own) * window_s / half_life
            if window_s >= layout.resolution_s and earlier + 1.0 >= max(EVENTS_MIN, TIMES_USUAL * expected):
                usual = own * math.log(2.0) * window_s / half_life if known else None
                met = 0 if habit.key else habit.contact
                found.append(Newcomers(habit.key, met, earlier + 1.0, window_s, usual))
                break
    return sorted(found, key=lambda one: -one.events)


def contact(layout: Layout, event: Rows, column: int) -> Contact | None:
    """What is known of one key of the event; None if it is missing, or is the main entity."""
    entities = len(layout.entities)
    key = event.entities[0, column] if column < entities else event.categories[0, column - entities]
    if key == 0 or (column == 0 and entities):
        return None
    context = event.context[0]
    ever = not math.isnan(context[layout.kind_of(column).gap])
    paired = bool(entities) and event.entities[0, 0] != 0
    kind = layout.kind_of(0, column) if paired else layout.kind_of(column)
    gap = float(context[kind.gap])
    new = math.isnan(gap)
    age = float(context[kind.age]) if paired else math.nan
    count = float(context[kind.count(-1)])
    return Contact(
        column, paired, new, gap, age, count, ever, _one_of(layout, event, kind) if paired else 0.0
    )


def _one_of(layout: Layout, event: Rows, kind: KeyKind) -> float:
    """The main entity meets a new one of this kind in 1 of so many events; 0: too few events to tell."""
    habit = layout.habit_of("novelty", 0)
    if habit is None:
        return 0.0
    count, *new = event.context[0, habit.columns].tolist()
    assert kind.right is not None
    place = layout.contact_number(kind.right)
    # One more than there were: that there was none in ten events does not say that there will be none.
    return 0.0 if count < OWN_HISTORY_MIN else count / max(new[place], 1.0)


def own_hour(layout: Layout, event: Rows) -> float | None:
    """Share of the main entity's events that come around this hour, if few do."""
    habit = layout.habit_of("hours", 0)
    if habit is None:
        return None
    around, count = event.context[0, habit.columns].tolist()
    if count < OWN_HISTORY_MIN or around > HOUR_SHARE_MAX * count:
        return None
    return float(around / count)


def fastest_move(
    layout: Layout, event: Rows, point: int, entity: int | None = None
) -> tuple[int, float, float] | None:
    """The fastest way to a place since an entity's last event: entity, km, s; None if none was fast.

    Fast is what no drive explains. A shop does not travel: the place of its last customer says nothing.
    `entity`: only this one; None: of all.
    """
    if is_everywhere(layout, event, point):
        return None
    moves = [habit for habit in layout.habits if habit.name == "moves" and habit.point == point]
    told = []
    for habit in moves:
        key = habit.key or 0
        rarity, km, gap_s = event.context[0, habit.columns].tolist()
        if entity not in (None, key) or not (rarity >= FAST_MIN and km >= MOVE_KM):
            continue
        gap_s += layout.resolution_s
        if km > DRIVE_KM_H * gap_s / 3600.0 and (key == 0 or not _is_public(layout, event, key)):
            told.append((rarity, (key, km, gap_s)))
    return max(told)[1] if told else None


def far_km(layout: Layout, event: Rows, point: int) -> tuple[float | None, bool]:
    """Km from the main entity's usual places, None if that is no more than usual; whether it has such places.

    Places are only as exact as a town: nearer than `NEAR_KM` is not far.
    """
    usual = layout.habit_of("places", 0, point)
    assert usual is not None
    rarity, km = event.context[0, usual.columns].tolist()
    return (km if rarity >= FAST_MIN and km >= NEAR_KM else None), not math.isnan(km)


def is_everywhere(layout: Layout, event: Rows, point: int) -> bool:
    """Whether an entity of the event sells everywhere at once, so that its events have no place.

    Its last event was so far away that nobody could travel here since, and others are seen with it far more
    often than the main entity.
    """
    for habit in layout.habits:
        if habit.name != "moves" or habit.point != point or not habit.key:
            continue
        _, km, gap_s = event.context[0, habit.columns].tolist()
        gap_s += layout.resolution_s
        if km >= ELSEWHERE_KM and is_impossible(km, gap_s) and _is_public(layout, event, habit.key):
            return True
    return False


def is_impossible(km: float, seconds: float) -> bool:
    """Whether nobody travels so fast."""
    return km > JOURNEY_KM_H * seconds / 3600.0


def own_shares(layout: Layout, event: Rows) -> list[tuple[int, float]]:
    """Categories of the event that not nearly everybody has: each with its share of the main entity's events.

    Nothing where the main entity is not known.
    """
    own = pace(layout, event, 0) if layout.entities else None
    if own is None or not own.known:
        return []
    context, found, entities = event.context[0], [], len(layout.entities)
    events, all_ = float(context[layout.kind_of(0).count(-1)]), float(context[layout.kind_of(None).count(-1)])
    for category in range(len(layout.categories)):
        about = contact(layout, event, entities + category)
        everyone = float(context[layout.kind_of(entities + category).count(-1)])
        if about is not None and about.paired and everyone <= ALL_SHARE * all_:
            found.append((category, about.events / max(events, 1.0)))
    return found


class Met(NamedTuple):
    """What is known of another entity that an event meets."""

    name: str
    found: Contact
    share: float  # of the main entity's events that have it
    others: float  # decayed events of others with it


def met(layout: Layout, event: Rows) -> list[Met]:
    """The other entities of an event with a main one."""
    found, context = [], event.context[0]
    own = float(context[layout.kind_of(0).count(-1)]) if layout.entities else 0.0
    for column in range(1, len(layout.entities)):
        about = contact(layout, event, column)
        if about is not None and about.paired:
            others = float(context[layout.kind_of(column).count(-1)]) - about.events
            found.append(Met(layout.entities[column], about, about.events / max(own, 1.0), max(others, 0.0)))
    return found


def _is_public(layout: Layout, event: Rows, entity: int) -> bool:
    everyone = float(event.context[0, layout.kind_of(entity).count(-1)])
    found = contact(layout, event, entity)
    return found is not None and everyone > OTHERS_TIMES * max(found.events, 1.0)


class Ranges:
    """The .1 and .9 quantiles of what is usual of an event's keys, (2, J) in the fields' own units.

    They follow from a key's mean and its two spreads, which are shrunk to everybody's. NaN where they are not
    known; None if it has too little history. A range begins at 0 at least if its mean is not below, or if
    everybody's range is: amounts of one sign have spreads that are wider than their way to 0. Each key's are
    found once: reasons, facts and the summary ask for the same.
    """

    def __init__(self, layout: Layout, units: Units, event: Rows) -> None:
        self._units, self._context, self._numerics = units, event.context[0], len(layout.numerics)
        self._everyone = population_variances(event.context, layout).reshape(2, -1)
        self._middle = event.context[0, layout.kind_of(None).means(-1)]
        self._shift = population_shift(event.context, layout)[0]
        self._found: dict[int, NDArray[np.float64] | None] = {}

    def __call__(self, kind: KeyKind) -> NDArray[np.float64] | None:
        """Ranges of a key, (2, J); not to be written to."""
        if kind.start not in self._found:
            self._found[kind.start] = self._find(kind)
        return self._found[kind.start]

    def _find(self, kind: KeyKind) -> NDArray[np.float64] | None:
        weight = float(self._context[kind.count(-1)])
        if not kind.numerics or not weight >= OWN_HISTORY_MIN:
            return None
        ends = np.full((2, self._numerics), np.nan)
        variances = (kind.variance(-1, 0, upper=upper) for upper in (True, False))
        starts = kind.mean(-1, 0), *variances, kind.there(0)
        write: Any = _ends
        everyone = self._middle, self._everyone
        write(self._context, starts, weight, everyone, self._shift, kind.numerics, ends)
        return self._units.restore(ends)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _ends(
    context: Any, starts: Any, weight: float, everyone: Any, shift: Any, numerics: int, ends: Any
) -> None:
    """Write ranges on the scale of rows to `ends` (2, J), for the first `numerics` numerics.

    Parameters
    ----------
    context : (width,) float32
    starts : four int
        First columns of the means, of the upper and of the lower variances, in the longest memory, and of the
        shares of the key's events that have a numeric.
    everyone : (J,) and (2, J) float32
        Everybody's means and variances: upper, then lower.
    shift : (J,) float64
        Recent change of the population's means.
    """
    means, variances = everyone
    for j in range(numerics):
        seen = weight * np.float64(context[starts[3] + j])
        if not seen >= OWN_HISTORY_MIN:
            continue
        mean = np.float64(context[starts[0] + j])
        if (mean + shift[j] >= 0.0) == (mean >= 0.0):  # what became of others brings nobody below 0
            mean += shift[j]
        for side in range(2):
            own, every = np.float64(context[starts[2 - side] + j]), np.float64(variances[1 - side, j])
            variance = (seen * own + PRIOR_WEIGHT * every) / (seen + PRIOR_WEIGHT)
            ends[side, j] = mean + (Z if side else -Z) * math.sqrt(variance)
        least = np.float64(means[j]) - Z * math.sqrt(np.float64(variances[1, j]))
        if ends[1, j] >= 0.0 and (mean >= 0.0 or least >= 0.0):
            ends[0, j] = max(ends[0, j], 0.0)


def informative_category(layout: Layout, event: Rows, numeric: int) -> int | None:
    """The category of the event within which a numeric varies least; None if none tells much of it.

    It tells much if the variance within it is less than half of everybody's.
    """
    context, entities = event.context[0], len(layout.entities)
    best, least = None, 0.5 * variance_of(context, layout.kind_of(None), numeric)
    for category in range(len(layout.categories)):
        kind = layout.kind_of(entities + category)
        known = event.categories[0, category] != 0 and context[kind.count(-1)] >= CATEGORY_HISTORY_MIN
        if known and numeric < kind.numerics and (found := variance_of(context, kind, numeric)) < least:
            best, least = category, found
    return best


def variance_of(context: NDArray[np.float32], kind: KeyKind, numeric: int) -> float:
    """How much a numeric varies within a kind of key, on the scale of rows."""
    return float(sum(context[kind.variance(-1, numeric, upper=upper)] for upper in (True, False)))

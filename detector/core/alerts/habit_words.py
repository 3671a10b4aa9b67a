"""Sentences about habits, for the reasons of an alert.

Each describes one event, given as one row. It is empty where there is nothing unusual to tell, or too little
history to tell it from.
"""

from __future__ import annotations

import numpy as np

from detector.core.features import DAY_S, SHORT_S, Layout, Rows

# Decayed events from which an entity's own habits are told.
OWN_HISTORY_MIN = 5.0
# Events in the last hour from which, and times the usual number beyond which, a pace is told.
EVENTS_MIN, TIMES_USUAL = 3.0, 3.0
# Share of an entity's events up to which an hour is not its own.
SHARE_MAX = 0.05
# Nats from which a move is told: one in ten is as fast.
FAST_MIN = 2.3


def pace(layout: Layout, event: Rows, entity: int) -> str:
    """How many events the entity had in the last hour, if far more than usual; starts with a comma."""
    habit = layout.habit_of("pace", entity)
    if habit is None or event.entities[0, entity] == 0:
        return ""
    _, hour, count, observed = event.context[0, habit.columns].tolist()
    usual = count / observed * SHORT_S[-1] / layout.half_lives_s[-1] if observed > 0.0 else 0.0
    if hour < EVENTS_MIN or hour < TIMES_USUAL * usual:
        return ""
    return f", about {hour:.0f} events in the last hour, {usual:.2g} is usual"


def hours(layout: Layout, event: Rows) -> str:
    """How many of the main entity's events come at this hour, if few do."""
    habit = layout.habit_of("hours", 0)
    if habit is None:
        return ""
    around, count = event.context[0, habit.columns].tolist()
    if count < OWN_HISTORY_MIN or around > SHARE_MAX * count:
        return ""
    return f"about {around / count:.0%} of this {layout.entities[0]}'s events come around this hour".replace(
        "%", " %"
    )


def novelty(layout: Layout, event: Rows, gap: int) -> str:
    """How often the main entity meets something new of the kind whose pair's gap is column `gap`."""
    habit = layout.habit_of("novelty", 0)
    if habit is None:
        return ""
    place = next(number for number, kind in enumerate(layout.contacts) if kind.gap == gap)
    count, *new = event.context[0, habit.columns].tolist()
    if count < OWN_HISTORY_MIN or new[place] > 0.1 * count:
        return ""
    return f", which has a new one in 1 of {count / max(new[place], 0.01):.0f} events"


def heat(layout: Layout, event: Rows, name: str) -> str:
    """When the entity that a group of heat is about had events beyond normal."""
    habit = layout.heat_of(name)
    assert habit is not None
    assert habit.key is not None
    hour, longest = event.context[0, habit.columns][[0, -1]].tolist()
    when = "in the last hours" if hour > longest / 2.0 else "in the last days"
    return f"this {layout.entities[habit.key]} had unusual events {when}"


def whereabouts(layout: Layout, event: Rows, point: int) -> str:
    """How far a place is from the main entity's usual ones, and the fastest move there, if one was fast."""
    main, context, told = layout.entities[0], event.context[0], []
    usual = layout.habit_of("places", 0, point)
    moves = [habit for habit in layout.habits if habit.name == "moves" and habit.point == point]
    if usual is None:
        return ""
    km = float(context[usual.start + 1])
    if not np.isnan(km):
        told.append(f"{_distance(km)} from the usual places of this {main}")
    move = max(moves, key=lambda habit: float(context[habit.start]))
    rarity, way, gap_s = context[move.columns].tolist()
    if rarity >= FAST_MIN:
        whom = f"of this {layout.entities[move.key or 0]}"
        told.append(f"{_duration(gap_s)} after an event {whom} {_distance(way)} away{_speed(way, gap_s)}")
    return ", ".join(told) or f"no earlier place of this {main} is known"


def _distance(km: float) -> str:
    return f"{km:.0f} km" if km >= 10.0 else f"{km:.1f} km"


def _duration(seconds: float) -> str:
    """In the largest unit of which there are two."""
    for unit, size in (("days", DAY_S), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2.0 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _speed(km: float, seconds: float) -> str:
    """After a colon; nothing for times that are too short for a speed."""
    return f": {km / seconds * 3600.0:,.0f} km/h" if seconds >= 60.0 else ""

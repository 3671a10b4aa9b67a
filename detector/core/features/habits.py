"""Habits: what keys usually do in respects that profiles do not follow, each in tables of its own.

    pace      how often a key is usually seen, and how often just now
    hours     at which hours of the day
    days      on which days of the week
    zeros     how round amounts are: how many zeros they have at the end; also in each category
    novelty   how often what it meets is new to it: other entities, categories
    places    where it is usually seen, for each field that is a place
    moves     where it was last seen, likewise
    meetings  how often it meets an entity that is new to it, usually and just now: devices of a card, cards
              at a device
    repeats   when it last had this amount
    repeated  how often its amounts come again
    changes   what it usually comes with, and how often that is something else; of entities but the main one

A habit has a slice of the context row; `layout` says where. `habit_tables` and `place_tables` say what the
slice holds. To add one: its width and keys in `layout`, what its table sees of an event here, and columns in
`columns`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Features as FeaturesConfig
from detector.core.features.change_tables import ChangesTable
from detector.core.features.habit_tables import MEETINGS_S, BinsTable, NoveltyTable, PaceTable, SharedTable
from detector.core.features.key_table import KeyTable, load_tables, tables_to_state
from detector.core.features.layout import DAY_S, Habit, Layout
from detector.core.features.pairs import pair_keys
from detector.core.features.place_tables import MovesTable, PlacesTable
from detector.core.features.repeat_tables import RepeatsTable
from detector.core.features.rows import ZEROS_MAX, Rows
from detector.core.mixing import mixed

HOUR_S = 3600.0
BINS = {"hours": 24, "days": 7, "zeros": ZEROS_MAX + 1}
"""Number of bins, by habit."""
PERIODS_S = {"hours": DAY_S, "days": 7.0 * DAY_S}
"""Time in which each bin comes once; the others come in no order."""
SPREADS = {"hours": 1.5}
"""How far around its own bin an event sees (`BinsTable`). A card of twenty events has met few hours. So hours
near its usual ones must be told from those of the other half of the day."""
EPOCH_DAY = 3  # 1970-01-01 was a Thursday; Monday is 0


class Habits:
    """One table for each habit of a layout.

    `observe` must see events in log order; `reserve` may only be called at the beginning of a block.
    """

    def __init__(self, layout: Layout, config: FeaturesConfig) -> None:
        self._layout = layout
        self._tables = [_table(habit, layout, config) for habit in layout.habits]
        # Number of the contact with each other entity.
        self._contact_of = {e: layout.contact_number(e) for e in range(1, len(layout.entities))}

    @property
    def tables(self) -> list[KeyTable]:
        """All tables, one for each habit of the layout."""
        return list(self._tables)

    def of_main(self) -> tuple[list[KeyTable], list[KeyTable]]:
        """Tables of habits of the main entity: of its keys, and of its pairs."""
        of_keys: list[KeyTable] = []
        of_pairs: list[KeyTable] = []
        for habit, table in zip(self._layout.habits, self._tables, strict=True):
            if habit.key == 0:
                (of_pairs if isinstance(table, RepeatsTable) else of_keys).append(table)
        return of_keys, of_pairs

    def forget(self, entities: NDArray[np.uint64]) -> None:
        """Forget these main entities (n,) as what others usually come with."""
        for table in self._tables:
            if isinstance(table, ChangesTable):
                table.forget(0, entities)

    def __len__(self) -> int:
        """Keys held, of all habits."""
        return sum(len(table) for table in self._tables)

    def reserve(self, events: int) -> None:
        """Make room for a block."""
        for table in self._tables:
            table.reserve(events)

    def observe(self, rows: Rows, *, apart: bool = False) -> None:
        """Fill the habits' columns of `rows.context` and learn from the rows, one after another.

        The profiles' columns must be filled already. With `apart` each row is observed as the next event,
        and nothing is learned.
        """
        if not self._tables:
            return
        everything, keys, new = np.ones(len(rows), dtype=np.uint64), rows.keys(), self._new(rows)
        seen: dict[str, NDArray[Any]] = {
            "hours": np.floor(rows.clocks / HOUR_S).astype(np.int64) % BINS["hours"],
            "days": (np.floor(rows.clocks / DAY_S).astype(np.int64) + EPOCH_DAY) % BINS["days"],
            "zeros": rows.zeros.astype(np.int64),
            "novelty": new,
        }
        amounts = self._amounts(rows)
        for habit, table in zip(self._layout.habits, self._tables, strict=True):
            key = everything if habit.key is None else keys[:, habit.key]
            if habit.contact is not None:
                key = np.where(new[:, self._contact_of[habit.contact]], key, np.uint64(0))
            elif habit.name == "repeats":
                key = pair_keys(key, amounts)
            elif habit.name == "repeated":
                repeats = self._layout.habit_of("repeats", habit.key)
                assert repeats is not None
                key = np.where(amounts == 0, np.uint64(0), key)
                seen["repeated"] = ~np.isnan(rows.context[:, repeats.start + 1, None])
            values = () if habit.name not in seen else (seen[habit.name],)
            if habit.name == "changes":
                values = (np.delete(rows.entities, habit.key or 0, axis=1),)
            if habit.point is not None:
                values = (rows.points[:, habit.point],)
            _observe(table, key, rows.times, values, rows.context[:, habit.columns], apart=apart)

    def _new(self, rows: Rows) -> NDArray[np.bool_]:
        """Which contacts of the main entity are new to it, (n, M); a missing one is not.

        An event without a main entity is as one of a new one: guests who come to one device in turn.
        """
        keys = rows.keys()
        new = np.zeros((len(rows), len(self._layout.contacts)), dtype=bool)
        for column, kind in enumerate(self._layout.contacts):
            assert kind.right is not None
            new[:, column] = np.isnan(rows.context[:, kind.gap]) & (keys[:, kind.right] != 0)
        return new

    def _amounts(self, rows: Rows) -> NDArray[np.uint64]:
        """Hash of each row's amount (n,); 0: none, or nothing."""
        exposure = self._layout.exposure
        if exposure is None:
            return np.zeros(len(rows), dtype=np.uint64)
        values = np.ascontiguousarray(rows.numerics[:, exposure])
        there = ~np.isnan(values) & (values != 0.0)
        return np.where(there, mixed(values.view(np.uint64)), np.uint64(0))

    def to_state(self) -> dict[str, Any]:
        return tables_to_state(self._tables)

    def load(self, state: Mapping[str, Any]) -> None:
        load_tables(self._tables, state)


def _observe(
    table: Any,
    keys: NDArray[np.uint64],
    times: NDArray[Any],
    values: tuple[Any, ...],
    context: Any,
    *,
    apart: bool,
) -> None:
    """Let a table see n events; with `apart` each as the next one, and nothing is learned."""
    if not apart:
        table.read_ahead(keys)
        table.observe(keys, times, *values, context)
        return
    together = 1 if isinstance(table, SharedTable) else max(len(keys), 1)
    for start in range(0, len(keys), together):
        some = slice(start, start + together)
        copied, own = table.apart(keys[some])
        copied.observe(own, times[some], *(value[some] for value in values), context[some])


def _table(habit: Habit, layout: Layout, config: FeaturesConfig) -> Any:
    long_s, keys_max = config.half_lives[-1], 1 if habit.key is None else config.entities_max
    if habit.name == "pace":
        return PaceTable(long_s, keys_max)
    if habit.name == "meetings":
        return PaceTable(long_s, keys_max, MEETINGS_S)
    if habit.name == "repeats":
        return RepeatsTable(long_s, config.pairs_max)
    if habit.name == "changes":
        return ChangesTable(len(layout.entities) - 1, long_s, keys_max)
    if habit.name == "repeated":
        return NoveltyTable(1, long_s, keys_max)
    if habit.point is not None:
        return (PlacesTable if habit.name == "places" else MovesTable)(long_s, keys_max)
    if habit.name in BINS:
        return BinsTable(BINS[habit.name], long_s, keys_max, spread=SPREADS.get(habit.name, 0.0))
    return NoveltyTable(len(layout.contacts), long_s, keys_max)

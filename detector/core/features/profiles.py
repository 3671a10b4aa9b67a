"""Profiles of all kinds of keys, and what they say of the population as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Features as FeaturesConfig
from detector.core.erasure import Counts, Erased, Keys, counted
from detector.core.features import feature_kernels
from detector.core.features.habits import Habits
from detector.core.features.key_table import KeyTable, held_in, load_tables, tables_to_state
from detector.core.features.layout import Layout
from detector.core.features.pairs import owner, owners, pair_keys
from detector.core.features.profile_table import ProfileTable, move
from detector.core.features.rows import Rows

EVERYTHING = 1  # the key of all events together
# Events after a shift during which an entity takes the level of a value that is far from its own.
FOLLOWING_EVENTS = 4_096
# Decayed events of an entity that tell how far its values have moved, and least number of such events.
FOLLOWED_MIN = 5.0
KNOWN_MIN = 50


class _Observed(NamedTuple):
    """What one table observes of n rows."""

    table: ProfileTable
    keys: NDArray[np.uint64]  # (n,)
    values: NDArray[np.float64]  # (n, J)
    priors: NDArray[np.float64]  # (2 J,)
    context: NDArray[np.float32]  # (n, width)


class Profiles:
    """One table for each kind of key.

    `observe` must see events in log order; `reserve` may only be called at the beginning of a block.
    """

    def __init__(self, layout: Layout, config: FeaturesConfig) -> None:
        self._layout = layout
        self._tables = []
        for kind in layout.kinds:
            half_lives = layout.half_lives_of(kind)
            keys_max = config.pairs_max if kind.right is not None else config.entities_max
            keys_max = 1 if kind.left is None else keys_max
            aged = kind.right is not None
            self._tables.append(
                ProfileTable(half_lives, kind.numerics, keys_max, config.clip_spreads, aged=aged)
            )
        self._habits = Habits(layout, config)
        self._priors = np.ones((2, len(layout.numerics)))  # variances: upper, then lower
        self._changed_at = -math.inf  # event time of the last shift, s
        self._loose = 0  # events during which keys still follow it

    @property
    def tables(self) -> list[KeyTable]:
        """Tables of all kinds of keys, without those of habits."""
        return list(self._tables)

    @property
    def habits(self) -> Habits:
        """Tables of habits."""
        return self._habits

    def __len__(self) -> int:
        """Profiles held, of all kinds."""
        return sum(len(table) for table in self._tables) + len(self._habits)

    def reserve(self, events: int) -> None:
        """Make room for a block."""
        for table in self._tables:
            table.reserve(events)
        self._habits.reserve(events)

    def observe(self, rows: Rows, *, apart: bool = False) -> None:
        """Fill `rows.context` and learn from the rows, one after another.

        With `apart` each row is observed as the next event, and nothing is learned.
        """
        self._observe_profiles(rows, apart=apart)
        self._habits.observe(rows, apart=apart)

    def _observe_profiles(self, rows: Rows, *, apart: bool = False) -> None:
        keys = rows.keys()
        everything = np.full(len(rows), EVERYTHING, dtype=np.uint64)
        shift = np.zeros((len(rows), len(self._layout.numerics)))
        for kind, table in zip(self._layout.kinds, self._tables, strict=True):
            if kind.left is None:
                key = everything
            elif kind.right is None:
                key = keys[:, kind.left]
            else:
                key = pair_keys(keys[:, kind.left], keys[:, kind.right])
            values = rows.numerics[:, : kind.numerics]
            if kind.left is not None and kind.numerics:
                values = values - shift[:, : kind.numerics]
            follows = kind.left == 0  # everything together moves by `begin_again`
            loose = self._loose if follows else 0
            if apart:
                table, key = table.apart(key)
                loose = len(rows) if loose else 0
            else:
                table.read_ahead(key)
            table.observe(
                key,
                rows.times,
                values,
                self._priors[:, : kind.numerics].ravel(),
                rows.context[:, kind.columns],
                changed_at=self._changed_at if follows else -math.inf,
                loose=loose,
            )
            if kind.left is None:  # the first one: it says how far all have moved
                shift = population_shift(rows.context, self._layout)
        if not apart:
            self._loose = max(0, self._loose - len(rows))

    def withdraw(self, rows: Rows, strange: NDArray[np.bool_]) -> None:
        """Take back what young main entities learned from the strange ones of the latest rows.

        Parameters
        ----------
        rows
            The rows observed last, n of them, with their context.
        strange : (n,) bool
            Events that reached the alert threshold.
        """
        if not strange.any():
            return
        for table, keys, values, priors, context in self._observed(rows):
            table.withdraw(keys, values, priors, context, strange)

    def admit(self, rows: Rows) -> None:
        """Learn withdrawn rows after all: they were answered as legitimate."""
        for table, keys, values, priors, context in self._observed(rows):
            table.admit(keys, values, priors, context)

    def _observed(self, rows: Rows) -> Iterator[_Observed]:
        """What the tables of main entities, alone and with others, observe of rows with a context."""
        if not self._layout.entities or not self._layout.numerics:
            return
        keys, shift = rows.keys(), population_shift(rows.context, self._layout)
        for kind, table in zip(self._layout.kinds, self._tables, strict=True):
            if kind.left == 0 and kind.numerics:
                own = keys[:, 0] if kind.right is None else pair_keys(keys[:, 0], keys[:, kind.right])
                values = rows.numerics[:, : kind.numerics] - shift[:, : kind.numerics]
                priors = self._priors[:, : kind.numerics].ravel()
                yield _Observed(table, own, values, priors, rows.context[:, kind.columns])

    def update_priors(self, rows: Rows) -> None:
        """Take the population's variances as seen by the block's last row; profiles are shrunk to them."""
        if self._priors.size:
            variances = population_variances(rows.context[-1:], self._layout)[0]
            self._priors = variances.astype(np.float64).reshape(2, -1)

    # --- what is held of single entities --------------------------------------------------------------------

    def held(self, entities: Keys) -> Counts:
        """Rows of the entities' own keys, and of their pairs with what they have met."""
        own, pairs = self._of_main()
        zero = np.zeros(len(entities), dtype=np.int64)
        profiles = held_in(own, entities)
        contacts = sum((counted(owner(entities), owners(table.keys)) for table in pairs), zero)
        return {"profiles": profiles, "contacts": contacts}

    def erase(self, erased: Erased) -> None:
        """Drop all of these rows, and forget the entities where others usually come with them."""
        own, pairs = self._of_main()
        for table in own:
            table.erase(erased.entities)
        for table in pairs:
            keys = table.keys
            table.erase(keys[np.isin(owners(keys), owner(erased.entities))])
        self._habits.forget(erased.entities)

    def _of_main(self) -> tuple[list[KeyTable], list[KeyTable]]:
        """Tables of keys of the main entity, and of its pairs."""
        if not self._layout.entities:
            return [], []
        kinds = list(zip(self._layout.kinds, self._tables, strict=True))
        own: list[KeyTable] = [table for kind, table in kinds if kind.left == 0 and kind.right is None]
        pairs: list[KeyTable] = [table for kind, table in kinds if kind.right is not None]
        of_keys, of_pairs = self._habits.of_main()
        return [*own, *of_keys], [*pairs, *of_pairs]

    # --- shifts of the stream ------------------------------------------------------------------------------

    @property
    def population(self) -> NDArray[np.float32]:
        """What is known of all events together; empty before the first one."""
        return self._tables[0].row(EVERYTHING)

    def follow_units(self, before: NDArray[np.float32], since: float) -> None:
        """Go back to what was known before other units came.

        Old profiles have learned little of them, because they doubt far values. Young ones forget their
        means, as do all that began since.

        Parameters
        ----------
        before
            What `population` was; counts go on.
        since
            Event time from which on the other units came, s.
        """
        if len(before):
            self._tables[0].compare_with(EVERYTHING, before[self._tables[0].compared])
        for kind, table in zip(self._layout.kinds, self._tables, strict=True):
            if kind.numerics and kind.left is not None:
                table.forget_young(since)

    def begin_again(self, rows: Rows, before: NDArray[np.float32], factors: NDArray[np.float64]) -> None:
        """Follow a shift, given by the events since; writes their context anew.

        Everybody's means and variances become those of these events. Each entity's means move by what the
        events of known entities have moved, in the middle; what still is far from its entity's mean then
        moves that entity alone.

        Parameters
        ----------
        rows
            Events since the shift, on the new scale. The context is as they saw it.
        before
            `population` as it was before the shift.
        factors : (J,) float64
            New units in old ones.
        """
        layout = self._layout
        steps = self._steps(rows, before, factors)
        for kind, table in zip(layout.kinds, self._tables, strict=True):
            if kind.numerics and kind.left is not None:
                table.move(factors[: kind.numerics], steps[: kind.numerics])
        self._tables[0].compare_with(EVERYTHING, _moments_of(rows.numerics, len(layout.half_lives_s)))
        self._changed_at, self._loose = float(rows.times[-1]), FOLLOWING_EVENTS
        counts = [table.counts() for table in self._tables]
        for _ in range(2):  # profiles follow; then the context is that of profiles that have followed
            self._loose = FOLLOWING_EVENTS + len(rows)
            self._observe_profiles(rows)
            for table, known in zip(self._tables, counts, strict=True):
                table.recount(known)
            self.update_priors(rows)

    def _steps(
        self, rows: Rows, before: NDArray[np.float32], factors: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How far the values of known entities have moved, beyond a change of units, (J,)."""
        layout = self._layout
        numerics, memories = len(layout.numerics), len(layout.half_lives_s)
        steps = np.zeros(numerics)
        if not layout.entities or not numerics or not len(before):
            return steps
        kind = layout.kind_of(0)
        known = rows.context[:, kind.count(-1)] >= FOLLOWED_MIN
        compared = rows.context[known, kind.compared]
        move(compared, memories, factors, steps)
        usual = compared[:, (memories - 1) * numerics : memories * numerics]
        means = before[self._tables[0].compared].reshape(3, memories, numerics)[0]
        shift = means[0] - means[-1]  # what was the population's before
        for j in range(numerics):
            moved = rows.numerics[known, j] - usual[:, j]
            moved = moved[~np.isnan(moved)]
            if len(moved) >= KNOWN_MIN:
                steps[j] = float(np.median(moved))
            elif not np.isnan(shift[j]):
                steps[j] = float(shift[j])
        return steps

    def to_state(self) -> dict[str, Any]:
        return {
            "priors": self._priors.copy(),
            "changed_at": self._changed_at if math.isfinite(self._changed_at) else None,
            "loose": self._loose,
            "tables": tables_to_state(self._tables),
            "habits": self._habits.to_state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._priors = state["priors"]
        self._changed_at = -math.inf if state["changed_at"] is None else state["changed_at"]
        self._loose = state["loose"]
        load_tables(self._tables, state["tables"])
        self._habits.load(state["habits"])


def population_variances(context: NDArray[np.float32], layout: Layout) -> NDArray[np.float32]:
    """Variances of the numerics of all events in the longest memory, (n, 2 J): upper, then lower.

    They are 1 before there is history.
    """
    variances = np.empty((len(context), 2 * len(layout.numerics)), dtype=np.float32)
    feature_kernels.variances(context, *layout.population.variances, variances)
    return variances


def population_shift(context: NDArray[np.float32], layout: Layout) -> NDArray[np.float64]:
    """Recent change of the population's means, (n, J): mean in the shortest less mean in the longest memory.

    Entities' profiles learn values less this shift. When all prices rise, no customer's habits have changed,
    and few customers pay often enough for their profiles to learn a new level within days. As the long memory
    follows, the shift returns to 0 and the profiles take over at their own pace.
    """
    shift = np.empty((len(context), len(layout.numerics)))
    feature_kernels.shifts(context, layout.population.means, shift)
    return shift


def _moments_of(values: NDArray[np.float64], memories: int) -> NDArray[np.float32]:
    """Means and variances of (n, J) values as a profile holds them, the same in all memories, (3 H J,)."""
    moments = np.full((3, memories, values.shape[1]), np.nan)
    moments[1:] = 0.0
    for j in range(values.shape[1]):
        known = values[~np.isnan(values[:, j]), j]
        if len(known):
            mean = known.mean()
            steps = known - mean
            moments[0, :, j] = mean
            moments[1, :, j] = 2.0 * np.square(np.maximum(steps, 0.0)).mean()
            moments[2, :, j] = 2.0 * np.square(np.minimum(steps, 0.0)).mean()
    return moments.astype(np.float32).reshape(-1)

"""Table of changes: what a payee, a device or a shop usually comes with, and how often that is another.

A payee that always had one account has another one: then somebody may have given a wrong account. Accounts
that are new are many, and so are payees. What is rare is that the two do not come together as before. The
main entity has the same in its own habits (`novelty`); here is what the other entities come with.

The rules of `habit_tables` hold. Contacts are the event's other entities. Of each kind of them a key has one
*usual* value. An event with it makes it stronger, up to `STRENGTH_MAX`, one with another value weaker; at 0
that one takes its place. So one odd event changes nothing, and what has changed for good is usual after a few
events.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detector.core.features.feature_kernels import HABIT_PRIOR
from detector.core.features.habit_tables import Context, Keys, SharedTable, Times
from detector.core.features.key_table import enter
from detector.core.state import row_hash

STRENGTH_MAX = 3
_BASE = STRENGTH_MAX + 1
# A value is known by so many bits less than its hash has: with its strength it is a whole number in a double.
_SHIFT = 15
USUAL, EVENTS, CHANGES = range(3)  # numbers of a contact: its usual value and strength, decayed counts
_PER_CONTACT = 3


class ChangesTable(SharedTable):
    """Usual contacts of keys.

    Parameters
    ----------
    contacts : int
        C, kinds of entities that a key may come with.
    """

    def __init__(self, contacts: int, long_s: float, keys_max: int) -> None:
        super().__init__(_PER_CONTACT * contacts, 2 * contacts + 1, long_s, keys_max, np.float64)

    def observe(self, keys: Keys, times: Times, contacts: NDArray[np.uint64], context: Context) -> None:
        """Write what n events change, (n, 3); learn them.

        Of the contact whose change is rarest: -log of the share of the key's events with such a change, in
        nats; its column; that share. 0, -1 and 1 where nothing changes. `contacts` (n, C) are hashes, 0:
        missing.
        """
        self._update(_changes, self._everyone, self._rate, keys, times, contacts, context)

    def forget(self, column: int, contacts: NDArray[np.uint64]) -> None:
        """Forget these contacts (n,), hashes, where they are usual."""
        values = (contacts >> np.uint64(_SHIFT)) + np.uint64(1)
        usual = self._stats[:, _PER_CONTACT * column + USUAL]
        usual[np.isin(np.floor(usual / _BASE), values.astype(np.float64))] = 0.0
        self._hash_again()


@numba.njit(cache=True, error_model="numpy")
def _changes(
    keys: Any,
    last: Any,
    stats: Any,
    count: Any,
    hashed: Any,
    last_words: Any,
    stats_words: Any,
    everyone: Any,
    rate: float,
    event_keys: Any,
    times: Any,
    contacts: Any,
    context: Any,
) -> None:
    columns = contacts.shape[1]
    for event in range(len(event_keys)):
        context[event, 0], context[event, 1], context[event, 2] = 0.0, -1.0, 1.0
        if event_keys[event] == 0:
            continue
        kept = math.exp(-max(0.0, times[event] - everyone[-1]) * rate)
        for i in range(2 * columns):
            everyone[i] *= kept
        everyone[-1] = max(everyone[-1], times[event])
        slot, new = enter(keys, last, stats, count, hashed, last_words, stats_words, event_keys[event])
        row, most = stats[slot], 0.0
        kept = 1.0 if new else math.exp(-max(0.0, times[event] - last[slot]) * rate)
        for column in range(columns):
            if contacts[event, column] == 0:
                continue
            value = np.float64((contacts[event, column] >> np.uint64(_SHIFT)) + np.uint64(1))
            first, ours = _PER_CONTACT * column, 2 * column
            usual = math.floor(row[first + USUAL] / _BASE)
            strength = row[first + USUAL] - usual * _BASE
            row[first + EVENTS] *= kept
            row[first + CHANGES] *= kept
            if usual == 0.0:
                row[first + USUAL] = value * _BASE + 1.0
                continue
            if value == usual:
                strength = min(strength + 1.0, np.float64(STRENGTH_MAX))
            else:
                share = (everyone[ours + 1] + 1.0) / (everyone[ours] + 1.0)
                share = (row[first + CHANGES] + HABIT_PRIOR * share) / (row[first + EVENTS] + HABIT_PRIOR)
                if -math.log(share) > most:
                    most = -math.log(share)
                    context[event, 0], context[event, 1], context[event, 2] = most, column, share
                strength -= 1.0
                row[first + CHANGES] += 1.0
                everyone[ours + 1] += 1.0
            if strength <= 0.0:
                usual, strength = value, 1.0
            row[first + EVENTS] += 1.0
            everyone[ours] += 1.0
            row[first + USUAL] = usual * _BASE + strength
        last[slot] = times[event] if new else max(last[slot], times[event])
        hashed[0] += row_hash(keys, last_words, stats_words, slot)

"""Heat of one kind of key: how far its earlier events lay beyond normal, decayed.

Fraud comes in runs, on a card, at a shop, from a device. Each event adds its excess, in nats beyond the trim,
at most `EXCESS_MAX`. So no single event makes a key hot for long, however absurd it is, and many of them only
add their logarithm.

Rules
    - An event sees the heat as it was just before the event; then its own excess is added, event by event in
      log order.
    - The excess is that of the distance *without* heat: heat does not feed itself.
    - Only keys that ever had an excess take a slot.
    - No fast-math and no threads: equal bytes on equal machines.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detector.core.features.key_table import HashedTable, enter, find_slot
from detector.core.state import row_hash

EXCESS_MAX = 10.0
"""Nats that one event adds at most."""


class HeatTable(HashedTable):
    """Heat of one kind of key.

    Parameters
    ----------
    half_lives_s : (M,) float64
        Half-lives of the memories, s of event time.
    keys_max : int
        Bound on keys.
    """

    def __init__(self, half_lives_s: NDArray[np.float64], keys_max: int) -> None:
        self._rates = np.log(2.0) / half_lives_s
        super().__init__(len(half_lives_s), keys_max, np.float32)

    def observe(
        self,
        keys: NDArray[np.uint64],
        times: NDArray[np.float64],
        excess: NDArray[np.float64],
        context: NDArray[np.float32],
    ) -> None:
        """Read each event's heat as it was before the event, then add the event's excess.

        Parameters
        ----------
        keys : (n,) uint64
            0: the event has no such key. It has no heat, and nothing is learned.
        times : (n,) float64
            Event times, s.
        excess : (n,) float64
            Nats beyond normal, without heat; what lies outside [0, `EXCESS_MAX`] is clipped.
        context : (n, M) float32
            Output.
        """
        self._update(_observe, self._rates, keys, times, np.clip(excess, 0.0, EXCESS_MAX), context)


@numba.njit(cache=True)
def _observe(
    keys: Any,
    last: Any,
    stats: Any,
    count: Any,
    hashed: Any,
    last_words: Any,
    stats_words: Any,
    rates: Any,
    event_keys: Any,
    times: Any,
    excess: Any,
    context: Any,
) -> None:
    for event in range(len(event_keys)):
        key = event_keys[event]
        context[event, :] = 0.0
        if key == 0:
            continue
        slot = find_slot(keys, key)
        if slot >= 0:
            gap = max(0.0, times[event] - last[slot])
            for memory in range(len(rates)):
                context[event, memory] = stats[slot, memory] * math.exp(-gap * rates[memory])
        if excess[event] <= 0.0:
            continue
        slot, new = enter(keys, last, stats, count, hashed, last_words, stats_words, key)
        last[slot] = times[event] if new else max(last[slot], times[event])
        for memory in range(len(rates)):
            stats[slot, memory] = context[event, memory] + excess[event]
        hashed[0] += row_hash(keys, last_words, stats_words, slot)

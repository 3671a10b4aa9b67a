"""Profiles of one kind of key: what each card, merchant or pair of them usually does.

A slot of the table (see `key_table`) holds, per half-life, a decayed count and, per numeric, a decayed mean
and two variances, of values above the mean and of values below; and per numeric the share of the key's events
that have it. Amounts are skewed: one spread for both sides would hide extremes on the long side or exaggerate
them on the short side.

Rules
    - An event sees the row as it was just before the event; then the row is updated with it. This goes event
      by event in log order, so the result does not depend on how polls cut the log.
    - Once a profile has history, the effect of a value is clipped at some of the profile's own spreads, and
      falls again farther out (a redescending influence, Hampel 1974): a profile must not learn the fraud.
    - What a young profile learned from a value that gave an alert is taken back (`withdraw`): there is no
      history to clip it by. If it is answered as legitimate, it is learned after all (`admit`).
    - After a shift of the stream, a key whose next value is far from its own mean takes that level, and keeps
      its spreads: its habits have moved with the stream.
    - A slot's time is when its key was last seen, so a full bucket drops the key that was not seen for
      longest.
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

# Decayed events before updates are clipped; with fewer a spread means nothing.
HISTORY_MIN = 5.0
# Of a value in units, of a scale by another one, and of a variance that is moved: they stay numbers.
RATIO_MAX, SLOPE_MAX, VARIANCE_MAX = 1e300, 1e9, 1e18
# Beyond this many clipping bounds, influence falls with the square of the distance.
DOUBTED_FROM = 1.5
# Weight of the population's variance in a profile's own.
PRIOR_WEIGHT = 2.0


class ProfileTable(HashedTable):
    """Profiles of one kind of key.

    Parameters
    ----------
    half_lives_s : (H,) float64
        Memories, shortest first, seconds of event time.
    numerics : int
        J, number of numeric values followed per key; 0 for pure counts.
    keys_max : int
        Bound on keys.
    clip_spreads : float
        Spreads at which an update is clipped.

    aged : bool
        Whether to follow how long each key has been known.

    Notes
    -----
    `observe` writes context rows, float32 of `width` = 1 + H + 3 H J + J columns: seconds since the key was
    last seen (NaN: never), decayed counts per half-life, means (H x J; NaN before the first value), upper
    variances (H x J), lower variances (H x J), the share of the key's events that have each numeric (J). An
    upper variance is twice the mean square of the steps above the mean, so that both variances equal the
    usual one for symmetric values. If `aged`, one more column has the seconds since the key was first seen, 0
    if never.
    """

    def __init__(
        self,
        half_lives_s: NDArray[np.float64],
        numerics: int,
        keys_max: int,
        clip_spreads: float,
        *,
        aged: bool = False,
    ) -> None:
        self.half_lives_s = np.asarray(half_lives_s, dtype=np.float64)
        self.numerics = numerics
        self.width = 1 + len(self.half_lives_s) * (1 + 3 * numerics) + numerics + aged
        memories = len(self.half_lives_s)
        self.compared = slice(memories, memories * (1 + 3 * numerics))  # of a row: means and variances
        self._aged = aged
        self._clip_spreads = clip_spreads
        super().__init__(self.width - 1, keys_max, np.float32)

    def observe(
        self,
        keys: NDArray[np.uint64],
        times: NDArray[np.float64],
        values: NDArray[np.float64],
        prior_variances: NDArray[np.float64],
        context: NDArray[np.float32],
        *,
        changed_at: float = -math.inf,
        loose: int = 0,
    ) -> None:
        """Read each event's row as it was before the event, then update the row.

        Parameters
        ----------
        keys : (n,) uint64
            0: the event has no such key. It gets the context of a key never seen, and nothing is learned.
        times : (n,) float64
            Event time, s. A late event decays nothing.
        values : (n, J) float64
            NaN: missing.
        prior_variances : (2 J,) float64
            The population's variances, upper then lower; a profile's variances are shrunk to them.
        context : (n, width) float32
            Output.
        changed_at
            Event time of the last shift, s. A key that was not seen since takes the level of its next value,
            if that is far from its own.
        loose
            So many of the events do so in any case.
        """
        self._update(
            _observe,
            np.log(2.0) / self.half_lives_s,
            keys,
            times,
            values,
            prior_variances,
            self._clip_spreads,
            changed_at,
            loose,
            self._aged,
            context,
        )

    def withdraw(
        self,
        keys: NDArray[np.uint64],
        values: NDArray[np.float64],
        prior_variances: NDArray[np.float64],
        context: NDArray[np.float32],
        strange: NDArray[np.bool_],
    ) -> None:
        """Learn again from the latest n events, now without the values of the strange ones of young keys.

        Counts stay: the events happened. The other parameters are those of `observe`, with the context that
        it wrote.

        Parameters
        ----------
        strange : (n,) bool
            Events whose values are not to be learned.
        """
        withdrawn = strange & (keys != 0) & (context[:, len(self.half_lives_s)] <= HISTORY_MIN)
        if not withdrawn.any():
            return
        for key in np.unique(keys[withdrawn]):
            own = np.flatnonzero(keys == key)
            own = own[own >= np.flatnonzero(withdrawn & (keys == key))[0]]
            kept = np.where(withdrawn[own, None], np.nan, values[own])
            self._update(_learn_again, key, kept, prior_variances, self._clip_spreads, context[own])

    def admit(
        self,
        keys: NDArray[np.uint64],
        values: NDArray[np.float64],
        prior_variances: NDArray[np.float64],
        context: NDArray[np.float32],
    ) -> None:
        """Learn the values of n events that were withdrawn; parameters as in `withdraw`."""
        young = (keys != 0) & (context[:, len(self.half_lives_s)] <= HISTORY_MIN)
        if young.any():
            memories = len(self.half_lives_s)
            self._update(_admit, memories, keys[young], values[young], prior_variances, self._clip_spreads)

    def row(self, key: int) -> NDArray[np.float32]:
        """Numbers of one key, as a copy; empty if it is not there."""
        slot = find_slot(self._keys, np.uint64(key))
        return self._stats[slot].copy() if slot >= 0 else np.zeros(0, dtype=np.float32)

    def compare_with(self, key: int, compared: NDArray[np.float32]) -> None:
        """Replace one key's means and variances, (3 H J,)."""
        slot = find_slot(self._keys, np.uint64(key))
        if slot >= 0:
            self._stats[slot, self.compared] = compared
            self._hash_again()

    def counts(self) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """When keys were last seen, and their decayed counts, as copies."""
        return self._times.copy(), self._stats[:, : len(self.half_lives_s)].copy()

    def recount(self, counts: tuple[NDArray[np.float64], NDArray[np.float32]]) -> None:
        """Put back what `counts` returned: events that were observed again count once."""
        self._times[:], self._stats[:, : len(self.half_lives_s)] = counts
        self._hash_again()

    def forget_young(self, since: float) -> None:
        """Forget means and variances of keys seen since an event time, s, that have little other history."""
        memories = len(self.half_lives_s)
        young = self._stats[:, memories - 1] <= 2.0 * HISTORY_MIN
        slots = np.flatnonzero((self._keys != 0) & (self._times >= since) & young)
        compared = np.zeros((3, memories * self.numerics), dtype=np.float32)
        compared[0] = np.nan
        self._stats[slots, self.compared] = compared.reshape(-1)
        self._hash_again()

    def move(self, factors: NDArray[np.float64], steps: NDArray[np.float64]) -> None:
        """Express means and variances of all keys in other units, `factors` (J,), and add `steps` (J,)."""
        used = np.flatnonzero(self._keys)
        compared = self._stats[used, self.compared]
        move(compared, len(self.half_lives_s), factors, steps)
        self._stats[used, self.compared] = compared
        self._hash_again()


def move(
    compared: NDArray[np.float32], memories: int, factors: NDArray[np.float64], steps: NDArray[np.float64]
) -> None:
    """Express means and variances (n, 3 H J) on the scale of other units, and add steps to the means.

    Parameters
    ----------
    factors : (J,) float64
        New units in old ones.
    steps : (J,) float64
        Added to the means, on the new scale.
    """
    shape = (len(compared), 3, memories, len(factors))
    means, upper, lower = compared.astype(np.float64).reshape(shape).transpose(1, 0, 2, 3)
    values = np.sinh(np.clip(means, -300.0, 300.0))
    slopes = np.hypot(values, 1.0) / np.hypot(values, factors)  # of the new scale by the old one
    slopes = np.minimum(np.where(np.isnan(slopes), 1.0, slopes), SLOPE_MAX)
    with np.errstate(over="ignore"):
        ratios = np.clip(values / factors, -RATIO_MAX, RATIO_MAX)
    spreads = (np.minimum(variance * slopes**2, VARIANCE_MAX) for variance in (upper, lower))
    moved = np.stack([np.arcsinh(ratios) + steps, *spreads], axis=1)
    compared[:] = moved.reshape(compared.shape)


@numba.njit(cache=True, inline="always")
def _there(memories: int, numerics: int) -> int:
    """First column of a row's shares of events that have each numeric, behind means and variances."""
    return memories * (1 + 3 * numerics)


@numba.njit(cache=True, inline="always")
def _learn(
    row: Any, places: Any, value: Any, weight: Any, priors: Any, clip_spreads: float, follows: bool
) -> None:
    """Move a mean and its variances; `places` and `priors` are (mean, upper, lower) and (upper, lower)."""
    mean_at, upper_at, lower_at = places
    if math.isnan(row[mean_at]):
        row[mean_at] = value
    step = value - row[mean_at]
    side = 0 if step > 0.0 else 1
    trust = 1.0
    if weight > HISTORY_MIN:
        variance = row[lower_at if side else upper_at]
        prior = priors[1] if side else priors[0]
        shrunk = (weight * variance + PRIOR_WEIGHT * prior) / (weight + PRIOR_WEIGHT)
        bound = clip_spreads * math.sqrt(shrunk)
        if follows and abs(step) > DOUBTED_FROM * bound:
            row[mean_at] = value
            return
        trust = min(1.0, (DOUBTED_FROM * bound / max(abs(step), 1e-300)) ** 2)
        step = min(max(step, -bound), bound)
    share = trust / (weight + 1.0)
    row[mean_at] += share * step
    square = (1.0 - share) * 2.0 * step * step
    row[upper_at] += share * ((0.0 if side else square) - row[upper_at])
    row[lower_at] += share * ((square if side else 0.0) - row[lower_at])


@numba.njit(cache=True, inline="always")
def _learn_values(
    row: Any, memory: int, memories: int, weight: Any, values: Any, priors: Any, clip: float, follows: bool
) -> None:
    """Move one memory's means and variances by an event's `values` (J,), where they are not NaN.

    A numeric's own weight is that of the events that had it.

    `priors` (2 J,): the population's variances, upper then lower.
    """
    numerics = len(values)
    there = _there(memories, numerics)
    for j in range(numerics):
        value = values[j]
        if math.isnan(value):
            continue
        mean_at = memories + memory * numerics + j
        upper_at = mean_at + memories * numerics
        places = mean_at, upper_at, upper_at + memories * numerics
        _learn(row, places, value, weight * row[there + j], (priors[j], priors[numerics + j]), clip, follows)


@numba.njit(cache=True, inline="always")
def _count_there(row: Any, memories: int, weight: Any, values: Any) -> None:
    """Move the shares of events that have each numeric; `weight`: events before, in the longest memory."""
    first = _there(memories, len(values))
    for j in range(len(values)):
        there = 0.0 if math.isnan(values[j]) else 1.0
        row[first + j] += (there - row[first + j]) / (weight + 1.0)


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
    values: Any,
    prior_variances: Any,
    clip_spreads: float,
    changed_at: float,
    loose: int,
    aged: bool,
    context: Any,
) -> None:
    memories = len(rates)
    numerics = values.shape[1]
    for event in range(len(event_keys)):
        key = event_keys[event]
        if key == 0:
            context[event, 0] = np.nan
            context[event, 1:] = 0.0
            continue
        slot, new = enter(keys, last, stats, count, hashed, last_words, stats_words, key)
        follows = event < loose or last[slot] < changed_at
        row = stats[slot]
        if new:
            row[memories : memories + memories * numerics] = np.nan
            gap = 0.0
            context[event, 0] = np.nan
        else:
            gap = max(0.0, times[event] - last[slot])
            context[event, 0] = gap
        for h in range(memories):
            row[h] *= math.exp(-gap * rates[h])
        if aged:
            row[-1] += gap
        context[event, 1:] = row
        last[slot] = times[event] if new else max(last[slot], times[event])
        before = row[memories - 1]
        for h in range(memories):
            weight = row[h]
            _learn_values(row, h, memories, weight, values[event], prior_variances, clip_spreads, follows)
            row[h] = weight + 1.0
        _count_there(row, memories, before, values[event])
        hashed[0] += row_hash(keys, last_words, stats_words, slot)


@numba.njit(cache=True)
def _learn_again(
    keys: Any,
    last: Any,
    stats: Any,
    count: Any,
    hashed: Any,
    last_words: Any,
    stats_words: Any,
    key: Any,
    values: Any,
    prior_variances: Any,
    clip_spreads: float,
    context: Any,
) -> None:
    """Learn means and variances of a key from its latest events again, beginning with what the first saw."""
    slot = find_slot(keys, key)
    if slot < 0:
        return
    hashed[0] -= row_hash(keys, last_words, stats_words, slot)
    row = stats[slot]
    numerics = values.shape[1]
    memories = (context.shape[1] - 1) // (1 + 3 * numerics)
    stop = _there(memories, numerics) + numerics
    row[memories:stop] = context[0, 1 + memories : 1 + stop]
    for event in range(len(values)):
        for h in range(memories):
            weight = context[event, 1 + h]
            _learn_values(row, h, memories, weight, values[event], prior_variances, clip_spreads, False)
        _count_there(row, memories, context[event, memories], values[event])
    hashed[0] += row_hash(keys, last_words, stats_words, slot)


@numba.njit(cache=True)
def _admit(
    keys: Any,
    last: Any,
    stats: Any,
    count: Any,
    hashed: Any,
    last_words: Any,
    stats_words: Any,
    memories: int,
    event_keys: Any,
    values: Any,
    prior_variances: Any,
    clip_spreads: float,
) -> None:
    for event in range(len(event_keys)):
        slot = find_slot(keys, event_keys[event])
        if slot < 0:
            continue
        hashed[0] -= row_hash(keys, last_words, stats_words, slot)
        row = stats[slot]
        for h in range(memories):
            _learn_values(row, h, memories, row[h], values[event], prior_variances, clip_spreads, False)
        first = _there(memories, values.shape[1])
        for j in range(values.shape[1]):  # the event is counted already, without its values
            if not math.isnan(values[event, j]):
                share = row[first + j] + 1.0 / max(row[memories - 1], np.float32(1.0))
                row[first + j] = min(share, 1.0)
        hashed[0] += row_hash(keys, last_words, stats_words, slot)

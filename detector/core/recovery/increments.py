"""What changed between two states: the rows of large arrays that are not the same in both.

A state is a tree of arrays. Most of it are rows that stay as they are from one checkpoint to the next: events
that labels can refer to, keys of tables. An increment is a tree again, with the names of the new state. Where
rows are left out, `GROUPS` says which of the older state's rows are taken, and where the written rows go.

Rows are compared by their bytes. Two kinds of arrays are compared row by row:

    by key       Arrays of equal length beside an ascending column of whole numbers (slots of a table, numbers
                 or offsets of events): rows of equal keys. So a log whose old rows have left, or a table with
                 new keys, still has most of its rows in common with the older state.
    by place     Any other array: row i with row i.

Arrays below `ARRAY_BYTES_MIN`, arrays of which no row is the same, and values that are no arrays are written
whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.state import State
from detector.errors import CheckpointDamaged

GROUPS = "~rows"  # name that no component uses: its groups, each with the members below
ARRAY_BYTES_MIN = 4096  # what is said of a group takes some 600 bytes
_NAMES, _KEPT, _PLACES = "names", "kept", "places"
_ROWS_AT_ONCE = 1 << 16  # compared in one call, which bounds the memory for it

Array = NDArray[Any]


def increment(state: State, base: State) -> dict[str, Any]:
    """Return what `applied` makes `state` of, given `base`. Both are trees without `Table`."""
    groups: dict[str, Any] = {}
    found: dict[str, Any] = {}
    left = dict(state)
    for names, here, there in _aligned(state, base):
        columns = {name: np.asarray(state[name]) for name in names}
        same = _same(columns, {name: base[name] for name in names}, here, there)
        if not same.any():
            continue
        written = np.ones(len(columns[names[0]]), dtype=np.bool_)
        written[here[same]] = False
        places = np.flatnonzero(written)
        groups[str(len(groups))] = {_NAMES: list(names), _KEPT: _runs(there[same]), _PLACES: places}
        for name in names:
            found[name] = columns[name][places]
            del left[name]
    for name, value in left.items():
        below = base.get(name)
        if isinstance(value, Mapping) and value and isinstance(below, Mapping):
            found[name] = increment(value, below)
        else:
            found[name] = value
    if groups:
        found[GROUPS] = groups
    return found


def applied(base: State, made: State) -> dict[str, Any]:
    """Return the state of which `made` is the increment from `base`.

    Nothing is allocated before it is known that both have the rows for it.

    Raises
    ------
    CheckpointDamaged
        It is no increment from this state.
    """
    try:
        return _applied(base, made)
    except (LookupError, TypeError, ValueError, AttributeError) as cause:
        raise CheckpointDamaged(f"it does not fit what it builds on: {str(cause)[:200]}") from cause


def _applied(base: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in made.items():
        if name == GROUPS:
            continue
        below = base.get(name)
        is_tree = isinstance(value, Mapping) and bool(value)
        found[name] = _applied(below if isinstance(below, Mapping) else {}, value) if is_tree else value
    groups = made.get(GROUPS, {}).values()
    names = [name for group in groups for name in group[_NAMES]]
    if len(names) != len(set(names)):
        raise ValueError("an array of two groups")
    for group in groups:
        starts, stops = _bounds(group[_KEPT])
        for name in group[_NAMES]:
            found[name] = _merged(base[name], starts, stops, found[name], group[_PLACES])
    return found


def _merged(old: Array, starts: Array, stops: Array, written: Array, places: Array) -> Array:
    """Put kept rows, in their order, wherever no written row goes."""
    if old.dtype != written.dtype or old.shape[1:] != written.shape[1:] or len(written) != len(places):
        raise ValueError(f"rows of {written.dtype} {written.shape} for {old.dtype} {old.shape}")
    if stops[-1] > len(old):
        raise ValueError(f"rows to {stops[-1]} of {len(old)}")
    count = int((stops - starts).sum()) + len(written)
    if len(places) and not (places[0] >= 0 and places[-1] < count and (np.diff(places) > 0).all()):
        raise ValueError("places that are not ascending")
    free = np.ones(count, dtype=np.bool_)
    free[places] = False
    rows = np.empty((count, *old.shape[1:]), dtype=old.dtype)
    rows[places] = written
    rows[free] = np.concatenate([old[a:b] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)])
    return rows


def _bounds(kept: Array) -> tuple[Array, Array]:
    """First row and the one after the last of each run, checked: no row twice, so no more than there are."""
    if kept.dtype != np.int64 or kept.ndim != 2 or kept.shape[1] != 2 or not len(kept):
        raise ValueError(f"runs of {kept.dtype} {kept.shape}")
    edges = kept.reshape(-1)
    if edges[0] < 0 or not (np.diff(edges) > 0).all():
        raise ValueError("runs that are not ascending")
    return kept[:, 0], kept[:, 1]


def _runs(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Runs (n, 2) of ascending row numbers (m,), m > 0: first row, and the one after the last."""
    breaks = np.flatnonzero(np.diff(rows) > 1) + 1
    starts = rows[np.concatenate([[0], breaks])]
    stops = rows[np.concatenate([breaks, [len(rows)]]) - 1] + 1
    runs: NDArray[np.int64] = np.stack([starts, stops], axis=1)
    return runs


def _aligned(state: State, base: State) -> list[tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]]:
    """Arrays of one mapping that are compared together; rows of the state, and the older ones they may be."""
    large = {
        name: value
        for name, value in sorted(state.items())
        if isinstance(value, np.ndarray) and value.ndim and _like(value, base.get(name))
    }
    found = []
    key = next((name for name in large if _ascends(large[name]) and _ascends(base[name])), None)
    if key is not None:
        lengths = len(large[key]), len(base[key])
        names = tuple(name for name in large if (len(large[name]), len(base[name])) == lengths)
        if sum(large[name].nbytes for name in names) >= ARRAY_BYTES_MIN:
            found.append((names, *_equal_keys(large[key], base[key])))
            large = {name: value for name, value in large.items() if name not in names}
    for name, value in large.items():
        if value.nbytes >= ARRAY_BYTES_MIN:
            rows = np.arange(min(len(value), len(base[name])))
            found.append(((name,), rows, rows))
    return found


def _like(value: Array, other: Any) -> bool:
    """Whether rows of one array may be rows of the other one, and there are rows in both."""
    return (
        isinstance(other, np.ndarray)
        and other.dtype == value.dtype
        and other.ndim == value.ndim
        and other.shape[1:] == value.shape[1:]
        and len(value) > 0
        and len(other) > 0
    )


def _ascends(array: Array) -> bool:
    return array.dtype == np.int64 and array.ndim == 1 and bool((np.diff(array) > 0).all())


def _equal_keys(now: Array, then: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where keys of one ascending array are in it, and in the other one."""
    places = np.minimum(np.searchsorted(then, now), len(then) - 1)
    here = np.flatnonzero(then[places] == now)
    return here, places[here]


def _same(
    now: Mapping[str, Array], then: Mapping[str, Array], here: NDArray[np.int64], there: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether rows `here` of some arrays have the same bytes as rows `there` of others."""
    same = np.ones(len(here), dtype=np.bool_)
    for name, values in now.items():
        ours, theirs = _row_bytes(values), _row_bytes(then[name])
        for start in range(0, len(here), _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            same[block] &= (ours[here[block]] == theirs[there[block]]).all(axis=1)
    return same


def _row_bytes(array: Array) -> NDArray[np.uint8]:
    """View an array (n, ...) as the bytes of its rows (n, width)."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return flat.reshape(len(array), len(flat) // len(array))

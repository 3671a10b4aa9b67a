"""State as bytes: a tree of arrays and plain values in numpy's npz format, never pickle.

Components return their state as a tree (`to_state`) and load it back (`load`, `from_state`). This file alone
knows how a tree becomes bytes. Equal trees give equal bytes: names are sorted, and npz holds no timestamps.

Tables of keys may be large. A tree holds them as `Table`, with their hash; they are copied for checkpoints
only. The hash is a sum over rows, so the owner of a table can update it with each row.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detector.errors import CheckpointDamaged

State = Mapping[str, Any]
"""A tree: each name has an array (dtype and shape are kept), a JSON value, a Table, or a State below it.

Names contain no "/". A state may be empty.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A view of a table of keys; valid until the table changes."""

    slots: int
    hashed: int  # `rows_hash` of its rows
    rows: Callable[[], dict[str, Any]]  # copies it as a State with the names of `_TABLE`


_PLAIN = "plain.json"
_TABLE = {"slots", "used", "keys", "last", "stats"}
# Raised by numpy and zipfile for bytes that are almost an archive: torn, encrypted, unknown compression.
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_LANES = 8
_ODD = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, as in SplitMix64 (Steele, Lea and Flood 2014)
_DIGEST_CHARS = 12  # 48 bits: a double, and so a Prometheus gauge, holds them exactly


def pack(state: State) -> bytes:
    """Write a tree as bytes."""
    arrays, plain = _flat(state)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
    arrays[_PLAIN] = np.frombuffer(text, dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    return buffer.getvalue()


def digest(state: State) -> str:
    """Hash a tree: 12 hex digits, equal for equal trees (same arrays, dtypes and shapes).

    It detects accidental differences; it does not protect against an attacker.
    """
    arrays, plain = _flat(_summed(state))
    forms = {name: (array.dtype.str, array.shape, _fingerprint(array)) for name, array in arrays.items()}
    text = json.dumps([plain, forms], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARS]


def copied(state: State) -> dict[str, Any]:
    """Copy a tree's tables into it as rows."""
    tree: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, Table):
            value = value.rows()
        tree[name] = copied(value) if isinstance(value, Mapping) else value
    return tree


def _summed(state: State) -> State:
    """Replace a tree's tables by their hashes."""
    if state.keys() == _TABLE:
        return {"slots": state["slots"], "hashed": rows_hash(state["keys"], state["last"], state["stats"])}
    tree: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, Table):
            value = {"slots": value.slots, "hashed": value.hashed}
        tree[name] = _summed(value) if isinstance(value, Mapping) else value
    return tree


def rows_hash(keys: NDArray[np.uint64], times: NDArray[np.float64], stats: NDArray[Any]) -> int:
    """Hash of a table's rows, in any order; rows with key 0 are empty."""
    return int(_sum_of_rows(keys, *words(times, stats)))


def words(times: NDArray[np.float64], stats: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """View a table's times and numbers as integers, for `row_hash`."""
    return times.view(np.uint64), stats.view(f"u{stats.dtype.itemsize}")


def differing(one: State, other: State) -> list[str]:
    """Paths at which two trees differ, ascending."""
    ours, theirs = (
        {name: digest({name: value}) for part in _flat(tree) for name, value in part.items()}
        for tree in (one, other)
    )
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def unpack(data: bytes) -> dict[str, Any]:
    """Read what `pack` wrote; arrays are new and writable.

    Raises
    ------
    CheckpointDamaged
        The bytes are not a packed tree.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        plain = json.loads(arrays.pop(_PLAIN).tobytes())
    except _UNREADABLE as cause:
        raise CheckpointDamaged(f"the state cannot be read: {cause}") from cause
    tree: dict[str, Any] = {}
    for path, value in (arrays | plain).items():
        *folders, name = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = value
    return tree


def _fingerprint(array: NDArray[Any]) -> int:
    """Hash an array's bytes to 64 bits.

    Barriers wait for it; it is several times as fast as a cryptographic hash.
    """
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    whole = len(data) // 8 * 8
    return int(_mixed(data[:whole].view(np.uint64), data[whole:]))


@numba.njit(cache=True, nogil=True)
def row_hash(keys: Any, times: Any, stats: Any, row: int) -> Any:
    """Hash of one row, given as `words`."""
    odd = np.uint64(_ODD)
    found = (keys[row] ^ (times[row] * odd)) * odd
    for column in range(stats.shape[1]):
        found = ((found ^ (found >> np.uint64(32))) ^ np.uint64(stats[row, column])) * odd
    return found ^ (found >> np.uint64(32))


@numba.njit(cache=True, nogil=True)
def _sum_of_rows(keys: Any, times: Any, stats: Any) -> Any:
    found = np.uint64(0)
    for row in range(len(keys)):
        if keys[row] != 0:
            found += row_hash(keys, times, stats, row)
    return found


@numba.njit(cache=True, nogil=True)
def _mixed(words: Any, rest: Any) -> Any:
    """Mix the words, by lanes in turn, then the remaining bytes; every step is invertible."""
    odd = np.uint64(_ODD)
    lanes = np.empty(_LANES, dtype=np.uint64)
    for lane in range(_LANES):
        lanes[lane] = np.uint64(lane) * odd
    rows = len(words) // _LANES
    for row in range(rows):
        for lane in range(_LANES):
            mixed = (lanes[lane] ^ words[row * _LANES + lane]) * odd
            lanes[lane] = mixed ^ (mixed >> np.uint64(32))
    found = np.uint64(8 * len(words) + len(rest))
    for part in (lanes, words[rows * _LANES :]):
        for word in part:
            found = (found ^ word) * odd
            found ^= found >> np.uint64(32)
    for byte in rest:
        found = (found ^ np.uint64(byte)) * odd
        found ^= found >> np.uint64(32)
    return found


def _flat(state: State) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and plain values by path, including those of tables."""
    arrays: dict[str, NDArray[Any]] = {}
    plain: dict[str, Any] = {}
    _flatten("", copied(state), arrays, plain)
    return arrays, plain


def _flatten(prefix: str, state: State, arrays: dict[str, NDArray[Any]], plain: dict[str, Any]) -> None:
    for name, value in state.items():
        if isinstance(value, Mapping) and value:
            _flatten(f"{prefix}{name}/", value, arrays, plain)
        elif isinstance(value, np.ndarray):
            arrays[prefix + name] = value
        else:
            plain[prefix + name] = {} if isinstance(value, Mapping) else value  # an empty state

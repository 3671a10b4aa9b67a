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
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
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
_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RuntimeError,  # encrypted; RecursionError
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
# Items of the JSON part. In memory each takes up to 72 bytes, so `[[],[],...` must not be 30 times its size.
# Nearly all are open cases: 5.8 million with as many as `alerts.cases_max` allows.
ITEMS_MAX = 6_000_000
ARRAYS_MAX = 1 << 16
DEPTH_MAX = 16  # parts of a name
HEADER_BYTES_MAX = 1024  # of an array; numpy writes 118 for up to five dimensions
_MAGIC = b"\x93NUMPY\x01\x00"
# Booleans, whole numbers, floats. Read by itself: numpy gives what it cannot read to Python's tokenizer.
_HEADER = re.compile(
    re.escape(_MAGIC) + rb"..\{'descr': '([<>|][biuf][1248])', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,19}, ?)*(?:\d{1,19})?)\), \} *\n",
    re.DOTALL,
)
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
    if state.keys() == _TABLE and _has_rows(state):
        return {"slots": state["slots"], "hashed": rows_hash(state["keys"], state["last"], state["stats"])}
    tree: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, Table):
            value = {"slots": value.slots, "hashed": value.hashed}
        tree[name] = _summed(value) if isinstance(value, Mapping) else value
    return tree


def _has_rows(state: State) -> bool:
    """Whether a table's arrays have the form that compiled code relies on; those of a file may have any."""
    columns = [state[name] for name in ("keys", "last", "stats")]
    if not all(isinstance(column, np.ndarray) and column.dtype.isnative for column in columns):
        return False
    keys, last, stats = columns
    return (
        (keys.dtype, keys.ndim, last.dtype, last.ndim) == (np.uint64, 1, np.float64, 1)
        and stats.dtype.kind in "fiu"
        and stats.ndim == 2
        and len(keys) == len(last) == len(stats)
    )


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


def unpack(data: bytes, items_max: int = ITEMS_MAX) -> dict[str, Any]:
    """Read what `pack` wrote; arrays are new and writable.

    Everything is checked before it is allocated: arrays take as much memory as the bytes themselves, and what
    is no array has at most `items_max` items.

    Raises
    ------
    CheckpointDamaged
        The bytes are not a packed tree.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_members(members, len(data))
            arrays = {
                member.filename.removesuffix(".npy"): _read_array(archive.read(member)) for member in members
            }
        text = arrays.pop(_PLAIN).tobytes()
        if (items := sum(map(text.count, (b",", b"[", b"{", b":")))) > items_max:
            raise ValueError(f"{items} items in its JSON")
        return _tree(arrays, json.loads(text))
    except _UNREADABLE as cause:
        raise CheckpointDamaged(f"the state cannot be read: {str(cause)[:200]}") from cause


def _check_members(members: Sequence[zipfile.ZipInfo], size: int) -> None:
    """Check what a zip file says of its members: stored as they are, each once, no larger than the file.

    Raises
    ------
    ValueError
        It says what `pack` never writes.
    """
    names = {member.filename for member in members}
    total = sum(member.file_size for member in members)
    stored = all(
        member.compress_type == zipfile.ZIP_STORED and member.compress_size == member.file_size
        for member in members
    )
    if not stored or total > size:
        raise ValueError("its members are compressed, or larger than the file")
    if len(names) < len(members) or not all(name.endswith(".npy") for name in names):
        raise ValueError("a member that is no array, or is there twice")
    if len(members) > ARRAYS_MAX or any(name.count("/") >= DEPTH_MAX for name in names):
        raise ValueError("too many arrays, or names with too many parts")


def misfit(given: State, like: State) -> str:
    """Say where a state differs in form from one of a component that has just been made; empty: nowhere.

    Names, dtypes, numbers of dimensions, and all lengths but those that are 0 in `like`: tables and buffers
    grow. What `like` has no form of yet (an empty state, None) may have any. Whole numbers have at most 64
    bits where those of `like` have: compiled code takes no longer ones, and random generators have 128.
    """
    arrays, plain = _flat(like)
    given_arrays, given_plain = _flat(given)
    for name, array in arrays.items():
        found = given_arrays.get(name)
        if found is None:
            return f"{name} is missing"
        grown = array.ndim > 0 and not array.shape[0]  # in other dimensions 0 means: there is nothing of it
        wanted = (*found.shape[:1], *array.shape[1:]) if grown else array.shape
        if found.dtype != array.dtype or found.shape != wanted:
            return f"{name} is {found.dtype} {found.shape}, not {array.dtype} {wanted}"
    for name, value in plain.items():
        if value is None or value == {}:
            continue
        other = given_plain.get(name)
        kinds = (int, float) if isinstance(value, float) else (type(value),)
        if other is not None and (isinstance(other, bool) != isinstance(value, bool)):
            return f"{name} is {str(other)[:40]}"
        if not isinstance(other, kinds):
            return f"{name} is {str(other)[:40]}"
        if isinstance(other, int) and not _fits(other) and not (isinstance(value, int) and not _fits(value)):
            return f"{name} is a whole number of {other.bit_length()} bits"
    return ""


def _fits(number: int) -> bool:
    """Whether 64 bits hold it, with or without a sign."""
    return -(1 << 63) <= number < 1 << 64


def _read_array(raw: bytes) -> NDArray[Any]:
    """Read an array of numbers whose header says exactly as many bytes as there are.

    Raises
    ------
    ValueError
        It is something else.
    """
    header = _HEADER.match(raw[: len(_MAGIC) + HEADER_BYTES_MAX])
    if header is None:
        raise ValueError("a header that no array of numbers has")
    kind, fortran, lengths = (part.decode() for part in header.groups())
    dtype, shape = np.dtype(kind), tuple(int(length) for length in lengths.replace(",", " ").split())
    start = 10 + int.from_bytes(raw[8:10], "little")
    count = math.prod(shape)
    if header.end() != start or count * dtype.itemsize != len(raw) - start:
        raise ValueError(f"an array with {len(raw) - start} bytes for {count} numbers")
    values = np.frombuffer(raw, dtype=dtype, offset=start) if count else np.zeros(0, dtype=dtype)
    return values.reshape(shape, order="F" if fortran == "True" else "C").copy()


def _tree(arrays: Mapping[str, NDArray[Any]], plain: Any) -> dict[str, Any]:
    if not isinstance(plain, dict) or any(name.count("/") >= DEPTH_MAX for name in plain):
        raise ValueError("values that are no tree")
    tree: dict[str, Any] = {}
    for path, value in (dict(arrays) | plain).items():
        *folders, name = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
            if not isinstance(node, dict):
                raise ValueError("a name that is a value and a folder")
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

"""The journal: how to compute a shard's state again, small enough to be stored beside a committed offset.

A journal says where a shard's state comes from (its *origin*: a checkpoint, or a bare start at some offset)
and lists every barrier since. Together with the log that is all the state depends on:

    state at C = origin, then the log's events up to C, with exactly these barriers

Rules
    - One atomic write commits outputs, offset and journal, so the three never disagree.
    - A barrier's effects are never visible before its entry: both are in the same commit.
    - A barrier names the positions that it applies of each side input (`detector.core.recovery.sides`).
    - Kafka rejects metadata above 4,096 bytes for good (OffsetMetadataTooLargeError). The text is compact
      JSON, about 9 bytes a barrier, 12 with exchange. `Journal.bytes_next_max` tells whether one more
      barrier is sure to fit.
    - The text holds the hash of the state after the last barrier, so a replay can check its result. The
      hashes after earlier barriers are in the checkpoints' manifests.
    - The text begins with a format version. A version that does not know it stops with a message.

Text
    ``v`` format, ``k`` checkpoint, ``p`` position, ``c`` configuration, ``s`` positions of the side inputs,
    ``b`` barriers, ``h`` hash of the state after the last barrier. A barrier is a list::

        [events, records of each side ..., "cause and configuration", [records skipped of each side ...]]

    Numbers are differences to the barrier before. Sides come in the order of `SIDES`. Zeros at the end of a
    list, the usual cause, and an empty list are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from detector.core.recovery.sides import SIDES, Side, SideRange, SideRecords
from detector.core.recovery.upgrade import BEGIN
from detector.errors import NeedsOperator

FORMAT = 1
METADATA_BYTES_MAX = 4096
TEXT_CHARS_MAX = 1 << 20  # of what is read; over files, and in manifests, journals may be longer than Kafka's
POSITION_MAX = (1 << 63) - 1  # Kafka's offsets are signed
# What the first checkpoint's name adds to a journal. Later names have the same length, and what else grows at
# a new origin is shorter than the entries that are dropped: what has room once has room under any checkpoint.
NAME_BYTES_MAX = 64
# What the hash of the state adds: `,"h":"1:0123456789ab"`, and one digit to grow.
STATE_BYTES_MAX = 22

Cause = Literal["every", "side_input", "config", "age", "quiet"]
_LETTERS: dict[str, Cause] = {"e": "every", "s": "side_input", "c": "config", "a": "age", "q": "quiet"}
WITHIN_BLOCKS: frozenset[Cause] = frozenset({"age", "quiet"})
"""Causes of barriers that may come within a block."""

_USUAL = "e"
# A checkpoint's name, a configuration's hash, a state's: they become parts of paths in the store.
_NAME = re.compile(r"(\d{5,10}/(\d{20}|model)-[0-9a-f]{12})?")
_CONFIG = re.compile(r"[0-9a-f]{0,64}")
_STATE = re.compile(r"[0-9]{0,4}:?[0-9a-f]{0,64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Barrier:
    """One barrier: where it is and what enters the shard there."""

    position: int  # offset after the last event before it
    cause: Cause
    sides: Mapping[Side, SideRange] = field(default_factory=dict)  # applied here; others stay where they are
    config: str | None = None  # hash of the model configuration from here on, if it changes here
    state: str = field(default="", compare=False)  # hash of the shard's state right after it; empty: unknown
    erases: bool = field(default=False, compare=False)  # it erased entities; a replay finds out

    def within_bytes(self, records: Mapping[Side, SideRecords]) -> tuple[Barrier, Mapping[Side, SideRecords]]:
        """Leave what exceeds `SideInput.bytes_max` to the next barrier.

        Parameters
        ----------
        records
            What `sides` names.

        Returns
        -------
        barrier, records
            At least one record of each side that has any.
        """
        ranges, kept = dict(self.sides), dict(records)
        for side, given in records.items():
            size, limit = 0, SIDES[side].bytes_max
            for index, (position, value) in enumerate(given):
                size += len(value)
                if limit is not None and index and size > limit:
                    ranges[side] = SideRange(ranges[side].start, position)
                    kept[side] = given[:index]
                    break
        return replace(self, sides=ranges), kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Journal:
    """Origin and barriers since; immutable."""

    checkpoint: str  # name of the checkpoint to restore; empty: none, a bare start
    position: int  # of the origin: first offset that is not in it
    config: str  # of the origin: hash of the model configuration in force
    sides: Mapping[Side, int] = field(default_factory=dict)  # of the origin: applied up to here; 0 if missing
    barriers: tuple[Barrier, ...] = ()

    def __post_init__(self) -> None:
        moved = {side: position for side, position in self.sides.items() if position}
        object.__setattr__(self, "sides", moved)  # equal journals have equal fields

    def end(self, side: Side) -> int:
        """Position in a side topic after the last barrier."""
        for barrier in reversed(self.barriers):
            if side in barrier.sides:
                return barrier.sides[side].stop
        return self.sides.get(side, 0)

    @property
    def ends(self) -> dict[Side, int]:
        """`end` of every side."""
        return {side: self.end(side) for side in SIDES}

    def needed(self, side: Side) -> int | None:
        """Lowest position in a side topic that a replay reads; None: it reads none."""
        for barrier in self.barriers:
            start, stop = barrier.sides.get(side, (0, 0))
            if stop > start:
                return start
        return None

    @property
    def config_end(self) -> str:
        """Hash of the configuration in force after the last barrier."""
        changed = [barrier.config for barrier in self.barriers if barrier.config is not None]
        return changed[-1] if changed else self.config

    @property
    def configs(self) -> frozenset[str]:
        """Hashes of every configuration that a replay needs."""
        return frozenset({self.config, *(b.config for b in self.barriers if b.config is not None)})

    @property
    def states(self) -> tuple[str, ...]:
        """Hash of the state after each barrier; empty where it is unknown."""
        return tuple(barrier.state for barrier in self.barriers)

    def with_states(self, states: Sequence[str]) -> Journal:
        """Record the hash of the state after each of the first barriers."""
        known = [replace(barrier, state=state) for barrier, state in zip(self.barriers, states, strict=False)]
        return replace(self, barriers=(*known, *self.barriers[len(known) :]))

    def followed(self, number: int, state: str, *, erases: bool) -> Journal:
        """Say what the barrier with this number, from 0 on, has led to."""
        done = replace(self.barriers[number], state=state, erases=erases)
        return replace(self, barriers=(*self.barriers[:number], done, *self.barriers[number + 1 :]))

    @property
    def erases(self) -> bool:
        """Whether any of its barriers erased entities, as far as they were made or followed."""
        return any(barrier.erases for barrier in self.barriers)

    def extended(self, barrier: Barrier) -> Journal:
        """Append one barrier."""
        return replace(self, barriers=(*self.barriers, barrier))

    def rebased(self, checkpoint: str, position: int, since: Journal | None = None) -> Journal:
        """Begin at a checkpoint taken right after the barrier at `position`, and drop what came before.

        Parameters
        ----------
        since
            The journal when the checkpoint was taken: tells which barrier it was where several are at this
            position. None: the last of them.

        Raises
        ------
        ValueError
            There is no such barrier.
        """
        pasts = [
            replace(self, barriers=self.barriers[: index + 1])
            for index, barrier in enumerate(self.barriers)
            if barrier.position == position
        ]
        if since is not None:  # of two barriers without an event between, the later one has read more
            pasts = [p for p in pasts if (p.ends, p.config_end) == (since.ends, since.config_end)]
        if not pasts:
            raise ValueError(f"no barrier at {position}")
        past = pasts[-1]
        count = len(past.barriers)
        return Journal(
            checkpoint=checkpoint,
            position=position,
            config=past.config_end,
            sides=past.ends,
            barriers=self.barriers[count:],
        )

    def joined(self, later: Journal) -> Journal:
        """Continue with `later`, whose origin is where this one ends: used when its checkpoint is damaged."""
        return replace(self, barriers=self.barriers + later.barriers)

    def bytes_next_max(self) -> int:
        """Upper bound of the text's size with one more barrier; `rebased` never raises it."""
        name = 0 if self.checkpoint else NAME_BYTES_MAX
        state = 0 if self.barriers and self.barriers[-1].state else STATE_BYTES_MAX
        return len(self.to_text()) + entry_bytes_max() + name + state

    def to_text(self) -> str:
        """Write it as compact ASCII JSON (see the module's text)."""
        position, ends = self.position, [self.sides.get(side, 0) for side in SIDES]
        document: dict[str, object] = {
            "v": FORMAT,
            "k": self.checkpoint,
            "p": position,
            "c": self.config,
            "s": _trimmed(ends),
        }
        entries = []
        for barrier in self.barriers:
            ranges = [barrier.sides.get(side, (end, end)) for side, end in zip(SIDES, ends, strict=True)]
            moved = [stop - end for (_, stop), end in zip(ranges, ends, strict=True)]
            skipped = [start - end for (start, _), end in zip(ranges, ends, strict=True)]
            entries.append(_entry(barrier, barrier.position - position, moved, skipped))
            position, ends = barrier.position, [stop for _, stop in ranges]
        document["b"] = entries
        if self.barriers and self.barriers[-1].state:
            document["h"] = self.barriers[-1].state
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Journal:
        """Read what `to_text` wrote.

        Raises
        ------
        NeedsOperator
            It is not a journal, or this version does not know its format or one of its side inputs.
        """
        try:
            if len(text) > TEXT_CHARS_MAX:
                raise ValueError("it is too long")
            document = json.loads(text)
            kinds = {"k": str, "p": int, "c": str, "s": list, "b": list, "h": str}
            if any(type(document[name]) is not kind for name, kind in kinds.items() if name in document):
                raise ValueError("a value of the wrong type")
            if document["v"] != FORMAT:
                raise _unknown(f"of format {str(document['v'])[:24]}", f"format {FORMAT}")
            _check_numbers([document["p"]])
            if not _NAME.fullmatch(document["k"]) or not _STATE.fullmatch(document.get("h", "")):
                raise ValueError("a name that no checkpoint and no state has")
            position, ends = document["p"], _by_side(document["s"])
            origin = dict(ends)
            configs = [document["c"]]
            barriers = []
            for entry in document["b"]:
                events, moved, letter, config, skipped = _parsed(entry)
                position += events
                sides = {
                    side: SideRange(ends[side] + skipped[side], ends[side] + moved[side])
                    for side in SIDES
                    if moved[side]
                }
                ends |= {side: stop for side, (_, stop) in sides.items()}
                _check_numbers([position, *ends.values()])
                configs.append(config)
                barriers.append(
                    Barrier(position=position, cause=_LETTERS[letter], sides=sides, config=config or None)
                )
            if not all(_CONFIG.fullmatch(config) for config in configs):
                raise ValueError("a hash that no configuration has")
            if barriers:
                barriers[-1] = replace(barriers[-1], state=document.get("h", ""))
            return cls(
                checkpoint=document["k"],
                position=document["p"],
                config=document["c"],
                sides=origin,
                barriers=tuple(barriers),
            )
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as cause:
            raise NeedsOperator(
                "the committed offset carries metadata that is not a journal of this service: "
                f"{text[:80]!r}; is kafka.group_id shared with another consumer?"
            ) from cause


def entry_bytes_max() -> int:
    """Longest entry of one barrier: numbers of 20 digits, a cause, a configuration's hash, separators."""
    return 44 + 42 * len(SIDES)


def _entry(barrier: Barrier, events: int, moved: list[int], skipped: list[int]) -> list[Any]:
    letter = next(letter for letter, cause in _LETTERS.items() if cause == barrier.cause)
    reason = letter + (barrier.config or "")
    skips = _trimmed(skipped)
    return [events, *_trimmed(moved), *([] if reason == _USUAL else [reason]), *([skips] if skips else [])]


def _parsed(entry: list[Any]) -> tuple[int, dict[Side, int], str, str, dict[Side, int]]:
    """Events, records by side, letter of the cause, configuration, skipped records by side.

    Raises
    ------
    ValueError
        `_entry` never returns this.
    """
    rest = list(entry)
    skipped = _by_side(rest.pop() if rest and type(rest[-1]) is list else [])
    reason = rest.pop() if rest and type(rest[-1]) is str else _USUAL
    moved = _by_side(rest[1:])
    _check_numbers(rest[:1])
    if any(skipped[side] > moved[side] for side in SIDES):
        raise ValueError("more records are skipped than there are")
    return rest[0], moved, reason[:1], reason[1:], skipped


def _trimmed(numbers: Iterable[int]) -> list[int]:
    kept = list(numbers)
    while kept and not kept[-1]:
        kept.pop()
    return kept


def _by_side(numbers: list[Any]) -> dict[Side, int]:
    _check_numbers(numbers)
    if len(numbers) > len(SIDES):
        raise _unknown(f"with {len(numbers)} side inputs", f"{len(SIDES)} side inputs")
    return dict.fromkeys(SIDES, 0) | dict(zip(SIDES, numbers, strict=False))


def _check_numbers(numbers: list[Any]) -> None:
    if any(type(number) is not int or not 0 <= number <= POSITION_MAX for number in numbers):
        raise ValueError("a number of the wrong kind")


def _unknown(found: str, known: str) -> NeedsOperator:
    return NeedsOperator(
        f"the committed offset has a journal {found}, this version knows {known}: run the version that "
        f"wrote it, or stop all members and run {BEGIN}"
    )

"""The journal: how to compute a shard's state again, small enough to ride beside a committed offset.

A journal says where a shard's state comes from (its *origin*: a checkpoint, or a bare start at some offset)
and every barrier since. Together with the log that is all the state depends on:

    state at C = origin, then the log's events up to C, with exactly these barriers

Rules
    - One atomic write commits outputs, offset and journal, so the three never disagree.
    - A barrier's effects are never visible before its entry: both are in the same commit.
    - Side inputs (labels, what sibling shards tell: the exchange) are part of it: each barrier says up to
      which position of each side topic it went.
    - Kafka refuses metadata above 4,096 bytes for good (OffsetMetadataTooLargeError); the text is compact
      JSON, about 9 bytes a barrier, 12 with exchange, and `Journal.bytes_next_max` tells whether one more is
      sure to fit.
    - The hash of the state after the last barrier is part of the text, so that whoever replays it knows
      whether it came to the same; those of the barriers before it are in the checkpoints' manifests.
    - The text begins with a format version; an unknown one needs an operator, it is never guessed at. A
      journal in which nothing was exchanged is written in format 1, which older versions read too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from detector.errors import NeedsOperator

FORMAT = 2
FORMAT_WITHOUT_EXCHANGE = 1
METADATA_BYTES_MAX = 4096
# The longest entry: five deltas of 20 digits, a cause and a configuration's hash; 124 with what parts them.
ENTRY_BYTES_MAX = 128
# What the first checkpoint's name adds to a journal, and the first position in the exchange topic; both take
# more than the barriers that go. Later ones take less, so what has room once has room under any checkpoint.
NAME_BYTES_MAX = 64
EXCHANGE_BYTES_MAX = 16
# What the hash of the last barrier's state adds: `,"h":"3:0123456789ab"`, and one digit to grow.
STATE_BYTES_MAX = 22

Cause = Literal["every", "labels", "config", "age"]
_CAUSES: tuple[Cause, ...] = ("every", "labels", "config", "age")

Side = Literal["labels", "exchange"]
"""A side input: the feedback topic's labels, or what siblings tell in the exchange topic."""

SIDES: tuple[Side, ...] = ("labels", "exchange")


@dataclass(frozen=True, kw_only=True, slots=True)
class Barrier:
    """One barrier: where it was and what entered the shard there."""

    position: int  # offset after the last event before it
    labels: int  # the feedback topic was applied up to here (exclusive)
    cause: Cause
    config: str | None = None  # hash of the model's configuration from here on, when it changed
    labels_from: int | None = None  # the feedback topic began only here: what came before was never seen
    exchange: int = 0  # the exchange topic was applied up to here (exclusive)
    exchange_from: int | None = None  # as `labels_from`
    state: str = field(default="", compare=False)  # hash of the shard's state right after it; empty: unknown

    def end(self, side: Side) -> int:
        """Position in a side topic up to which it was applied."""
        return self.labels if side == "labels" else self.exchange

    def start(self, side: Side, applied: int) -> int:
        """Position in a side topic from which it was applied; `applied`: where the one before it ended."""
        began = self.labels_from if side == "labels" else self.exchange_from
        return applied if began is None else began


@dataclass(frozen=True, kw_only=True, slots=True)
class Journal:
    """Origin and barriers since; immutable."""

    checkpoint: str  # name of the checkpoint to restore; empty: none, a bare start
    position: int  # of the origin: first offset that is not in it
    labels: int  # of the origin: the feedback topic was applied up to here
    config: str  # of the origin: hash of the model's configuration in force
    barriers: tuple[Barrier, ...] = ()
    exchange: int = 0  # of the origin: the exchange topic was applied up to here

    def begin(self, side: Side) -> int:
        """Position in a side topic of the origin."""
        return self.labels if side == "labels" else self.exchange

    def end(self, side: Side) -> int:
        """Position in a side topic after the last barrier."""
        return self.barriers[-1].end(side) if self.barriers else self.begin(side)

    def needed(self, side: Side) -> int | None:
        """Lowest position in a side topic that a replay reads; None: it reads none."""
        applied = self.begin(side)
        for barrier in self.barriers:
            start = barrier.start(side, applied)
            applied = barrier.end(side)
            if applied > start:
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
        """Hash of the state after each barrier, as far as known."""
        return tuple(barrier.state for barrier in self.barriers)

    def stated(self, states: Sequence[str]) -> Journal:
        """Note the hash of the state after each of the first barriers."""
        told = [replace(barrier, state=state) for barrier, state in zip(self.barriers, states, strict=False)]
        return replace(self, barriers=(*told, *self.barriers[len(told) :]))

    def extended(self, barrier: Barrier) -> Journal:
        """Append one barrier."""
        return replace(self, barriers=(*self.barriers, barrier))

    def rebased(self, checkpoint: str, position: int) -> Journal:
        """Begin at a checkpoint taken right after the barrier at `position`, and drop what came before.

        Raises
        ------
        ValueError
            There is no such barrier.
        """
        covered = [index for index, barrier in enumerate(self.barriers) if barrier.position == position]
        if not covered:
            raise ValueError(f"no barrier at {position}")
        count = covered[-1] + 1
        past = replace(self, barriers=self.barriers[:count])
        return Journal(
            checkpoint=checkpoint,
            position=position,
            labels=past.end("labels"),
            config=past.config_end,
            barriers=self.barriers[count:],
            exchange=past.end("exchange"),
        )

    def joined(self, later: Journal) -> Journal:
        """Go on with `later`, whose origin is where this one ends: what a damaged checkpoint costs."""
        return replace(self, barriers=self.barriers + later.barriers)

    def bytes_next_max(self) -> int:
        """Upper bound of the text's size with one more barrier; `rebased` never raises it."""
        name = 0 if self.checkpoint else NAME_BYTES_MAX
        exchange = 0 if self.exchange else EXCHANGE_BYTES_MAX
        state = 0 if self.barriers and self.barriers[-1].state else STATE_BYTES_MAX
        return len(self.to_text()) + ENTRY_BYTES_MAX + name + exchange + state

    def to_text(self) -> str:
        """Compact ASCII JSON; positions as differences, and what is usual left out (`_entry`)."""
        entries = []
        position, labels, exchange = self.position, self.labels, self.exchange
        for barrier in self.barriers:
            entries.append(
                _entry(
                    barrier.position - position,
                    barrier.labels - labels,
                    _CAUSES.index(barrier.cause),
                    barrier.config or "",
                    barrier.start("labels", labels) - labels,
                    barrier.exchange - exchange,
                    barrier.start("exchange", exchange) - exchange,
                )
            )
            position, labels, exchange = barrier.position, barrier.labels, barrier.exchange
        document: dict[str, object] = {
            "v": FORMAT if exchange else FORMAT_WITHOUT_EXCHANGE,
            "k": self.checkpoint,
            "p": self.position,
            "l": self.labels,
            "c": self.config,
            "b": entries,
        }
        if exchange:
            document["e"] = self.exchange
        if self.barriers and self.barriers[-1].state:
            document["h"] = self.barriers[-1].state
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Journal:
        """Read what `to_text` wrote.

        Raises
        ------
        NeedsOperator
            It is not a journal, or one of a format that this version does not know.
        """
        try:
            document = json.loads(text)
            kinds = {"k": str, "p": int, "l": int, "c": str, "b": list, "e": int, "h": str}
            if any(type(document[name]) is not kind for name, kind in kinds.items() if name in document):
                raise ValueError("a value of the wrong type")
            version = document["v"]
            if version not in (FORMAT_WITHOUT_EXCHANGE, FORMAT):
                raise NeedsOperator(
                    f"the committed offset has a journal of format {version}, this version reads up to "
                    f"{FORMAT}: run the version that wrote it, or delete the group's offsets to start anew"
                )
            barriers = []
            position, labels, exchange = document["p"], document["l"], document.get("e", 0)
            for entry in document["b"]:
                step, labels_step, cause, config, labels_gap, exchange_step, exchange_gap = _whole(entry)
                barriers.append(
                    Barrier(
                        position=position + step,
                        labels=labels + labels_step,
                        cause=_CAUSES[cause],
                        config=config or None,
                        labels_from=labels + labels_gap if labels_gap else None,
                        exchange=exchange + exchange_step,
                        exchange_from=exchange + exchange_gap if exchange_gap else None,
                    )
                )
                position, labels, exchange = position + step, barriers[-1].labels, barriers[-1].exchange
            if barriers:
                barriers[-1] = replace(barriers[-1], state=document.get("h", ""))
            return cls(
                checkpoint=document["k"],
                position=document["p"],
                labels=document["l"],
                config=document["c"],
                barriers=tuple(barriers),
                exchange=document.get("e", 0),
            )
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as cause:
            raise NeedsOperator(
                "the committed offset carries metadata that is not a journal of this service: "
                f"{text[:80]!r}; is kafka.group_id shared with another consumer?"
            ) from cause


def _entry(
    step: int, labels: int, cause: int, config: str, labels_gap: int, exchange: int, exchange_gap: int
) -> list[int | str]:
    """One barrier: all seven without the zeros at the end, but at least three; the usual in one or two."""
    if not (labels or cause or config or labels_gap or exchange_gap):
        return [step, exchange] if exchange else [step]
    entry: list[int | str] = [step, labels, cause, config, labels_gap, exchange, exchange_gap]
    while len(entry) > 3 and not entry[-1]:
        entry.pop()
    return entry


def _whole(entry: list[Any]) -> list[Any]:
    """What `_entry` was given.

    Raises
    ------
    ValueError
        It is nothing that `_entry` gives.
    """
    usual: list[Any] = [0, 0, 0, "", 0, 0, 0]
    if len(entry) <= 2:
        step, exchange = [*entry, 0][:2]
        whole = [step, 0, 0, "", 0, exchange, 0]
    else:
        whole = entry + usual[len(entry) :]
    if [type(value) for value in whole] != [type(value) for value in usual]:
        raise ValueError("an entry of the wrong form")
    return whole

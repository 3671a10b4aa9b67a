"""The journal: how to compute a shard's state again, small enough to ride beside a committed offset.

A journal says where a shard's state comes from (its *origin*: a checkpoint, or a bare start at some offset)
and every barrier since. Together with the log that is all the state depends on:

    state at C = origin, then the log's events up to C, with exactly these barriers

Rules
    - One atomic write commits outputs, offset and journal, so the three never disagree.
    - A barrier's effects are never visible before its entry: both are in the same commit.
    - Kafka refuses metadata above 4,096 bytes for good (OffsetMetadataTooLargeError); the text is compact
      JSON, about 9 bytes a barrier, and `Journal.bytes_next_max` tells whether one more is sure to fit.
    - The text begins with a format version; an unknown one needs an operator, it is never guessed at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Literal

from detector.errors import NeedsOperator

FORMAT = 1
METADATA_BYTES_MAX = 4096
# The longest entry: three deltas of 20 digits, a cause and a configuration's hash.
ENTRY_BYTES_MAX = 96
# What a checkpoint's name may add to a journal that has none yet, and a position its digits.
ORIGIN_BYTES_MAX = 80

Cause = Literal["every", "labels", "config", "age"]
_CAUSES: tuple[Cause, ...] = ("every", "labels", "config", "age")


@dataclass(frozen=True, kw_only=True, slots=True)
class Barrier:
    """One barrier: where it was and what entered the shard there."""

    position: int  # offset after the last event before it
    labels: int  # the feedback topic was applied up to here (exclusive)
    cause: Cause
    config: str | None = None  # hash of the model's configuration from here on, when it changed
    labels_from: int | None = None  # the feedback topic began only here: what came before was never seen


@dataclass(frozen=True, kw_only=True, slots=True)
class Journal:
    """Origin and barriers since; immutable."""

    checkpoint: str  # name of the checkpoint to restore; empty: none, a bare start
    position: int  # of the origin: first offset that is not in it
    labels: int  # of the origin: the feedback topic was applied up to here
    config: str  # of the origin: hash of the model's configuration in force
    barriers: tuple[Barrier, ...] = ()

    @property
    def labels_end(self) -> int:
        """Position in the feedback topic after the last barrier."""
        return self.barriers[-1].labels if self.barriers else self.labels

    @property
    def labels_needed(self) -> int | None:
        """Lowest position in the feedback topic that a replay reads; None: it reads none."""
        start = self.labels
        for barrier in self.barriers:
            start = start if barrier.labels_from is None else barrier.labels_from
            if barrier.labels > start:
                return start
            start = barrier.labels
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
            labels=past.labels_end,
            config=past.config_end,
            barriers=self.barriers[count:],
        )

    def joined(self, later: Journal) -> Journal:
        """Go on with `later`, whose origin is where this one ends: what a damaged checkpoint costs."""
        return replace(self, barriers=self.barriers + later.barriers)

    def bytes_next_max(self) -> int:
        """Upper bound of the text's size with one more barrier."""
        return len(self.to_text()) + ENTRY_BYTES_MAX + ORIGIN_BYTES_MAX

    def to_text(self) -> str:
        """Compact ASCII JSON; positions as differences."""
        entries: list[list[int | str]] = []
        position, labels = self.position, self.labels
        for barrier in self.barriers:
            entry: list[int | str] = [
                barrier.position - position,
                barrier.labels - labels,
                _CAUSES.index(barrier.cause),
            ]
            if barrier.labels_from is not None:
                entry += [barrier.config or "", barrier.labels_from - labels]
            elif barrier.config is not None:
                entry.append(barrier.config)
            elif barrier.cause == "every" and barrier.labels == labels:
                entry = entry[:1]
            entries.append(entry)
            position, labels = barrier.position, barrier.labels
        document = {
            "v": FORMAT,
            "k": self.checkpoint,
            "p": self.position,
            "l": self.labels,
            "c": self.config,
            "b": entries,
        }
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
            kinds = {"k": str, "p": int, "l": int, "c": str, "b": list}
            if any(type(document[name]) is not kind for name, kind in kinds.items() if name in document):
                raise ValueError("a value of the wrong type")
            version = document["v"]
            if version != FORMAT:
                raise NeedsOperator(
                    f"the committed offset has a journal of format {version}, this version reads {FORMAT}: "
                    "run the version that wrote it, or delete the group's offsets to start anew"
                )
            barriers = []
            position, labels = document["p"], document["l"]
            for step, *rest in document["b"]:
                position += step
                labels_before = labels
                labels += rest[0] if rest else 0
                barriers.append(
                    Barrier(
                        position=position,
                        labels=labels,
                        cause=_CAUSES[rest[1]] if rest else "every",
                        config=(rest[2] or None) if len(rest) > 2 else None,
                        labels_from=labels_before + rest[3] if len(rest) > 3 else None,
                    )
                )
            return cls(
                checkpoint=document["k"],
                position=document["p"],
                labels=document["l"],
                config=document["c"],
                barriers=tuple(barriers),
            )
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as cause:
            raise NeedsOperator(
                "the committed offset carries metadata that is not a journal of this service: "
                f"{text[:80]!r}; is kafka.group_id shared with another consumer?"
            ) from cause

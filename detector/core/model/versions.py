"""Encoder versions: which one serves, which older ones are kept, and what was decided about them.

A version is an encoder that has served. It is named by the number of the model's version that it began with
(`ServedModel.version`), so numbers ascend, with gaps. Some older versions are kept to go back to: the last
one, and others the farther apart the older they are (`_thinned`).

    hold        refits go on with the encoder that serves; the learner learns on
    promote     new encoders are promoted again; with a number, that version serves
    rollback    an older version serves, and is held
    (refused)   a candidate was judged worse (`judgement`); the version before goes on

Whenever the learner's own encoder is not taken, it goes on from the one that serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detector.core.model.encoder import Learned

# Older encoders that are kept, and the factor between their ages: up to 3, 15, 63 and 255 promotions back.
KEPT_MAX, APART = 4, 4

ACTIONS: Mapping[str, str] = {
    "hold": "held",
    "promote": "promoted",
    "rollback": "rolled_back",
}
"""What an operator can ask for, and the outcome if it is done."""
UNKNOWN = "unknown_version"  # outcome of a number that is not kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """What is known of an encoder version."""

    number: int
    count: int  # promotions up to it, from 1 on
    step: int  # of the learner
    combines: bool  # see `Learned`
    first_time: float  # event times of the core that it was promoted with, s since the epoch
    last_time: float
    events: int  # in that core
    figures: Mapping[str, float] = field(default_factory=dict)  # see `judgement`; none: it was not judged

    def to_state(self) -> dict[str, Any]:
        """As plain values."""
        names = ("number", "count", "step", "combines", "first_time", "last_time", "events")
        return {**{name: getattr(self, name) for name in names}, "figures": dict(self.figures)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The model file that a model began with, and what it took of it: names of fields and entities."""

    model: str  # first 12 hex digits of the content's SHA-256
    whole: bool  # all that was learned about everybody; else the weights of the encoder
    taken: Sequence[str]
    fresh: Sequence[str]  # not in the file: they began with nothing
    dropped: Sequence[str]  # in the file only

    def to_state(self) -> dict[str, Any]:
        """As plain values."""
        lists = {name: list(getattr(self, name)) for name in ("taken", "fresh", "dropped")}
        return {"model": self.model, "whole": self.whole, **lists}


class Versions:
    """See the module's text."""

    def __init__(self) -> None:
        self.origin: Origin | None = None  # None: the model began with nothing
        self.serving: Version | None = None  # None: nothing, or what a model file brought
        self.older: dict[int, Version] = {}  # by number, ascending
        self._learned: dict[int, Learned] = {}  # their weights
        self.held = False
        self.refused = 0  # candidates
        self.again = 0  # of them since the last promotion
        self.refusal = ""  # why the last barrier refused one, in words; empty: it did not
        self.asked = False  # whether an operator asked for anything at this barrier
        self.wanted: int | None = None  # and for which version

    @property
    def number(self) -> int:
        """Of the version that serves; 0: what the model began with."""
        return 0 if self.serving is None else self.serving.number

    @property
    def count(self) -> int:
        """Promotions so far."""
        return max((one.count for one in (self.serving, *self.older.values()) if one is not None), default=0)

    def promoted(self, version: Version, before: Learned | None) -> None:
        """Another version serves; `before` are the weights of the one that did, None: there were none."""
        if self.serving is not None and before is not None:
            self.older[self.number] = self.serving
            self._learned[self.number] = before
        self.serving, self.again = version, 0
        kept = _thinned(self.older)
        self.older = {number: self.older[number] for number in sorted(kept)}
        self._learned = {number: self._learned[number] for number in self.older}

    def refuse(self, reasons: str) -> None:
        """A candidate was judged worse."""
        self.refused += 1
        self.again += 1
        self.refusal = reasons

    def learned(self, number: int) -> Learned:
        """Weights of an older version."""
        return self._learned[number]

    # --- what an operator asks for -------------------------------------------------------------------------

    def command(self, action: str, number: int | None) -> tuple[str, str]:
        """Take one of `ACTIONS`; returns its outcome, and a sentence about it.

        What serves changes once all commands of a barrier are taken: see `take_wanted`.
        """
        if action == "hold":
            self.asked = self.held = True
            return ACTIONS[action], f"Encoder version {self._next} is held."
        if action == "promote" and number is None:
            self.asked, self.held = True, False
            return ACTIONS[action], "New encoders are promoted again."
        if action == "rollback" and number is None:
            number = max((one for one in self.older if one < self._next), default=None)
        if number != self._next and number not in self.older:
            kept = ", ".join(map(str, self.older)) or "none"
            return UNKNOWN, f"No such encoder version is kept; beside {self.number} these are: {kept}."
        assert number is not None
        if action == "rollback" and number >= self._next:
            return UNKNOWN, f"Encoder version {number} is not older than {self._next}, which serves."
        self.asked, self.wanted, self.held = True, number, action == "rollback"
        return ACTIONS[action], f"Encoder version {number} serves from here on" + (
            ", and is held." if self.held else "."
        )

    @property
    def _next(self) -> int:
        """Of the version that serves after this barrier."""
        return self.number if self.wanted is None else self.wanted

    def take_wanted(self, before: Learned) -> Learned | None:
        """Let the version that was asked for serve; returns its weights, None: no other one was asked for.

        Parameters
        ----------
        before
            Weights of the one that serves.
        """
        wanted, self.wanted = self.wanted, None
        if wanted is None or wanted == self.number:
            return None
        version, learned = self.older.pop(wanted), self._learned.pop(wanted)
        self.promoted(version, before)
        return learned

    # --- state ---------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """State right after a barrier."""
        weights = {
            str(number): {"edges": learned.edges, "weights": dict(learned.weights)}
            for number, learned in self._learned.items()
        }
        return {
            "serving": None if self.serving is None else [self.serving.to_state()],
            "older": [version.to_state() for version in self.older.values()],
            "weights": weights,
            "held": self.held,
            "refused": self.refused,
            "again": self.again,
            **({} if self.origin is None else {"origin": self.origin.to_state()}),
        }

    def load(self, state: Mapping[str, Any], like: Learned) -> None:
        """Restore what `to_state` returned; weights of another form than those of `like` raise ValueError."""
        self.origin = Origin(**state["origin"]) if "origin" in state else None
        self.serving = None if state["serving"] is None else Version(**state["serving"][0])
        self.older = {one["number"]: Version(**one) for one in state["older"]}
        self._learned = {
            number: Learned(
                np.asarray(state["weights"][str(number)]["edges"]),
                dict(state["weights"][str(number)]["weights"]),
                version.step,
                version.combines,
            )
            for number, version in self.older.items()
        }
        if any(_form(learned) != _form(like) for learned in self._learned.values()):
            raise ValueError("an older encoder has weights of another form")
        self.held, self.refused, self.again = state["held"], state["refused"], state["again"]


def _form(learned: Learned) -> Mapping[str, tuple[str, tuple[int, ...]]]:
    arrays = {"edges": learned.edges, **learned.weights}
    return {name: (array.dtype.str, array.shape) for name, array in arrays.items()}


def _thinned(versions: Mapping[int, Version]) -> set[int]:
    """Numbers of the versions to keep: the newest of each level.

    A promotion has level n if APART ** n divides its count, and the highest such level below KEPT_MAX.
    """
    kept: dict[int, int] = {}
    for number in sorted(versions):
        level = 0
        while level < KEPT_MAX - 1 and versions[number].count % APART ** (level + 1) == 0:
            level += 1
        kept[level] = number
    return set(kept.values())

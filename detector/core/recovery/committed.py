"""The journal beside a committed offset: written with what it belongs to, believed only where it belongs.

A journal is right for one offset of one log. Offsets are moved by hand, copied to mirrored clusters, and
outlive topics that are created anew. So the text that is committed says more than the journal alone:

    ``o``   the offset that it was committed with
    ``w``   where: ids of cluster, transactions topic, entity key, and of each side topic in the order of
            `SIDES`; an empty text where there is none or it is not known

What cannot be true is refused with a sentence, before anything is read or published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detector.core.recovery.journal import Journal
from detector.core.recovery.sides import SIDES, Side
from detector.core.recovery.upgrade import BEGIN
from detector.errors import LogGone, NeedsOperator

ANEW = "delete the group's offsets to start anew"
ID_CHARS_MAX = 64  # Kafka's have 22 and 36
# `,"o":`, an offset of 19 digits, `,"w":[]` with a quoted text and a comma per id.
SEAL_BYTES_MAX = 5 + 19 + 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a journal belongs. An empty id is not known and agrees with any other."""

    cluster: str = ""
    topic: str = ""  # id of the transactions topic
    entity_key: str = ""
    sides: Mapping[Side, str] = field(default_factory=dict)  # ids of the side topics

    @property
    def ids(self) -> list[str]:
        """All ids, in the order of the text."""
        return [self.cluster, self.topic, self.entity_key, *(self.sides.get(side, "") for side in SIDES)]

    @property
    def bytes_max(self) -> int:
        """What `seal` adds to a journal's text at most."""
        return SEAL_BYTES_MAX + sum(len(json.dumps(one)) + 1 for one in self.ids)


NOWHERE = Place()
"""Nothing is known."""


def seal(text: str, offset: int, place: Place) -> str:
    """Add to a journal's text what it belongs to."""
    more = json.dumps({"o": offset, "w": place.ids}, separators=(",", ":"))
    return f"{text[:-1]},{more[1:]}"


def place_of(metadata: str) -> Place:
    """Return where a committed text says that it belongs; `NOWHERE` if it says nothing that can be read."""
    try:
        document = json.loads(metadata)
        given = document.get("w", []) if isinstance(document, dict) else []
    except (ValueError, RecursionError):
        return NOWHERE
    return _place(given) or NOWHERE


def read_journal(metadata: str, *, partition: int, group: str, offset: int, here: Place = NOWHERE) -> Journal:
    """Read the metadata of a committed offset.

    Parameters
    ----------
    offset
        The committed one.
    here
        Where we are.

    Raises
    ------
    NeedsOperator
        There is none, it is not a journal, it is not this offset's, or it was made somewhere else.
    """
    at = f"partition {partition}: group {group!r} has committed offset {offset}"
    if not metadata:
        raise NeedsOperator(
            f"{at} without a journal, so something else committed it: use a kafka.group_id of its own, "
            f"or stop all members and run {BEGIN}"
        )
    journal = Journal.from_text(metadata)
    document: dict[str, Any] = json.loads(metadata)
    _check_offset(journal, document.get("o", offset), offset, at)
    if journal.checkpoint and not journal.checkpoint.startswith(f"{partition:05d}/"):
        raise NeedsOperator(
            f"{at} with a journal that names checkpoint {journal.checkpoint}, which is not of this "
            f"partition: {ANEW}"
        )
    made = _place(document.get("w", []))
    if made is None:
        raise NeedsOperator(f"{at} with a journal whose ids cannot be read: {ANEW}")
    _check_place(journal, made, here, at)
    return journal


def _check_offset(journal: Journal, own: Any, offset: int, at: str) -> None:
    moved = "the offset was moved, or copied from another cluster (mirroring does that)"
    repeat = "events would be published twice or not at all"
    if type(own) is not int or own != offset:
        raise NeedsOperator(
            f"{at}, but its journal was committed with offset {str(own)[:24]}: {moved}, and {repeat}; put it "
            f"back, or stop all members and run {BEGIN}"
        )
    last = journal.barriers[-1].position if journal.barriers else journal.position
    if last > offset:
        raise NeedsOperator(
            f"{at}, but its journal goes on to {last}: {moved}, and {repeat}; put it back, or stop all "
            f"members and run {BEGIN}"
        )


def _check_place(journal: Journal, made: Place, here: Place, at: str) -> None:
    if _differ(made.cluster, here.cluster):
        raise NeedsOperator(
            f"{at} with a journal of cluster {made.cluster}, but this is cluster {here.cluster}: offsets of "
            "another cluster name other events; use the cluster that the group used before, or, after a "
            f"failover to its mirror, run {BEGIN}"
        )
    if _differ(made.topic, here.topic):
        raise NeedsOperator(
            f"{at} with a journal of another topic of the same name (id {made.topic}, now {here.topic}): the "
            f"topic was created anew, and its offsets name other events; stop all members and {ANEW}"
        )
    if _differ(made.entity_key, here.entity_key):
        raise NeedsOperator(
            f"{at} with a journal that was made with entity key {made.entity_key}, this process has "
            f"{here.entity_key}: use the same entity_key, or start a new group"
        )
    for side in SIDES:
        before, now = made.sides.get(side, ""), here.sides.get(side, "")
        if _differ(before, now) and journal.end(side):
            raise NeedsOperator(
                f"{at} with a journal that applied {journal.end(side)} records of another topics.{side} of "
                f"the same name (id {before}, now {now}): the topic was created anew; stop all members "
                f"and {ANEW}"
            )


def _differ(one: str, other: str) -> bool:
    return bool(one and other and one != other)


def _place(given: Any) -> Place | None:
    """Read the ids; None if they are not ids."""
    if not isinstance(given, list) or len(given) > 3 + len(SIDES):
        return None
    if any(type(one) is not str or len(one) > ID_CHARS_MAX for one in given):
        return None
    ids: list[str] = [*given, *[""] * (3 - len(given))]
    sides = dict(zip(SIDES, ids[3:], strict=False))
    return Place(cluster=ids[0], topic=ids[1], entity_key=ids[2], sides=sides)


def check_end(until: int, *, partition: int, group: str, end: int) -> None:
    """Check that the log reaches to the committed offset: else new events would count as published.

    Parameters
    ----------
    until
        Committed offset.
    end
        Offset after the log's last record now.

    Raises
    ------
    NeedsOperator
        The log ends before it.
    """
    if end < until:
        raise NeedsOperator(
            f"partition {partition}: group {group!r} has committed offset {until}, but the log ends at {end} "
            "now: the topic was created again, or lost its newest events (unclean leader election); bring "
            f"them back, or stop all members and {ANEW}"
        )


def check_side(journal: Journal, side: Side, *, partition: int, beginning: int | None) -> None:
    """Check that the records of a side topic which a replay applies are still there.

    Parameters
    ----------
    beginning
        Lowest position in the side topic; None: no such topic is configured.

    Raises
    ------
    LogGone
        The topic no longer has them.
    NeedsOperator
        The topic is not configured.
    """
    needed = journal.needed(side)
    if needed is None:
        return
    if beginning is None:
        raise NeedsOperator(
            f"partition {partition}: records {needed} to {journal.end(side)} of the {side} topic are part "
            f"of its state: set topics.{side} again, or {ANEW}"
        )
    if beginning > needed:
        raise LogGone(
            f"partition {partition}: recovery needs the {side} topic from offset {needed}, but it begins "
            f"at {beginning} now: raise its retention above the checkpoints' age, then {ANEW}"
        )

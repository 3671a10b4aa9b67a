"""Why a record is not an event."""

from __future__ import annotations

from dataclasses import dataclass

REASONS = (
    "tombstone",  # no value: a delete marker of a compacted topic
    "empty",
    "too_large",
    "too_deep",
    "malformed",  # not of the event's format; of JSON: also bytes that are not UTF-8, and the token NaN
    "not_an_object",
    "missing",  # id, time, a required entity or a required field
    "wrong_type",
    "bad_time",
    "out_of_range",  # not finite, or a time outside 1970 to 2200
    "too_long",
    "key_mismatch",  # only with require_key
    "too_many",  # fields and items
    "reversal",  # takes back another event, see event.reversals
    "duplicate",  # an earlier event has the same id, see event.duplicates
    "late",  # see event.time.late
)

SKIPPED = "skipped"
"""In place of a reason: the record is no event and nothing is wrong with it (a delete in a change stream)."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is not an event."""

    reason: str  # one of REASONS, or SKIPPED
    detail: str  # for people: which field, which bound
    original: str | None = None  # id of the event that a reversal takes back


class Bad(Exception):
    """Raised by whatever reads a part of a record; `Parser.parse` returns its `rejected`."""

    def __init__(self, reason: str, detail: str, original: str | None = None) -> None:
        self.rejected = Rejected(reason, detail, original)

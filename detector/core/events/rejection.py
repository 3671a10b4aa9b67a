"""Why a record is not an event."""

from __future__ import annotations

from dataclasses import dataclass

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

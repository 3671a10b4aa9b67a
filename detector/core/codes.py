"""Codes of what an alert says: each of its reasons and facts has one, and a snooze may name one of these.

The tables of docs/reference/alert.md and the schemas have the same codes.
"""

from __future__ import annotations

REASONS = (
    "value",  # a number or a text is unusual
    "contact",  # the entity or the category is new, or rarely met
    "place",
    "hour",
    "activity",  # the main entity is new, or more or less busy than others
    "heat",  # an entity had other unusual events just before
    "combination",  # no single thing, or a value that is usual by itself
    "random",  # chosen at random
)
FACTS = (
    "frauds_there",
    "answered",
    "earlier",
    "shared",
    "near_fraud",
    "small_then_large",
    "small",
    "speed",
    "repeated",
    "changed",
    "newcomers",
    "first_contact",
    "window",
    "little_history",
    "long_silence",
    "since_last",
)
SIGNS = (  # what an alert looks like; no snooze names one
    "frauds",
    "two_places",
    "testing",
    "small_large",
    "busy",
    "newcomers",
    "repeated",
    "several_new",
    "many",
    "large",
    "large_there",
    "again",
)
# In which respect an earlier event was unusual; the first: it is not known. Checkpoints hold places in this
# list: new ones come last.
RESPECTS = (
    "",
    "large_there",
    "small_there",
    "round",
    "repeated",
    "hour",
    "place",
    "many",
    "busy_there",
    "newcomers",
    "new",
    "rare",
    "changed",
)
CODES = REASONS + FACTS

"""From records to events.

What other rooms use is exported here; modules of this room import each other directly.
"""

from __future__ import annotations

from detector.core.events.admission import Admission
from detector.core.events.block_reader import BlockReader, Events
from detector.core.events.event_time import EventTime
from detector.core.events.kinds import KINDS, TEXT_GRAMS_MAX, Explanation
from detector.core.events.parser import ParsedEvent, Parser, View, id_hash
from detector.core.events.rejection import SKIPPED, Rejected
from detector.core.events.times import read_time, resolution_s
from detector.core.events.values import key_text

__all__ = [
    "KINDS",
    "SKIPPED",
    "TEXT_GRAMS_MAX",
    "Admission",
    "BlockReader",
    "EventTime",
    "Events",
    "Explanation",
    "ParsedEvent",
    "Parser",
    "Rejected",
    "View",
    "id_hash",
    "key_text",
    "read_time",
    "resolution_s",
]

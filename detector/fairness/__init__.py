"""Says how a detector treats the segments of a population, and what cannot be concluded from that.

    scores, events, answers (`gathered`) ─> rates of groups with intervals (`rates`), proxies among the inputs
    (`proxies`) ─> `report`, plain values ─> a page (`page`)

Segments are fields with `use: segment`. No model sees them.
"""

from detector.fairness.gathered import EVENTS_MAX, Gathered, Gathering
from detector.fairness.page import page
from detector.fairness.report import report

__all__ = ["EVENTS_MAX", "Gathered", "Gathering", "page", "report"]

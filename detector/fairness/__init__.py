"""Says how a detector treats the segments of a population, and what cannot be concluded from that.

    scores, events, answers (`gathered`) ─> rates of groups with intervals (`rates`), proxies among the inputs
    (`proxies`) ─> `report`, plain values, and `sentences` of what stands out

Segments are fields with `use: segment`. No model sees them.
"""

from detector.fairness.gathered import EVENTS_MAX, Gathered, Gathering
from detector.fairness.report import report, sentences

__all__ = ["EVENTS_MAX", "Gathered", "Gathering", "report", "sentences"]

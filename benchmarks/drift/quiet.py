"""Streams in which nothing changes: how often would somebody be paged?"""

from __future__ import annotations

import numpy as np

from benchmarks.drift.faults import night, unchanged
from benchmarks.drift.streams import COLUMNS, DAY_S, Change, Stream, shown
from detector.core.drift.watch import DriftWatch

BARRIER_EVENTS = 8192


def told(
    seed: int, per_day: float, days: float, change: Change | None = None, from_day: float = np.inf
) -> list[tuple[float, str, float]]:
    """What is said: day, sentence, and events since `from_day`; each drift once."""
    stream, watch = Stream(seed, per_day, change, from_day), DriftWatch(COLUMNS)
    if change is unchanged:
        stream.rate_factor = lambda time: night(time) if time >= stream.start_s + from_day * DAY_S else 1.0
    events, since_change, said, active = 0, 0, [], set()
    for piece in stream.pieces(days):
        now = float(piece.times[-1])
        watch.add(shown(piece), piece.scores)
        watch.end_block(now)
        events += len(piece.times)
        since_change += len(piece.times) * (piece.times[0] >= stream.start_s + from_day * DAY_S)
        if events >= BARRIER_EVENTS:
            events = 0
            watch.barrier(now, 2.5)
            found = watch.found
            if found is None:
                continue
            names = {name for name, one in found.fields.items() if one.since}
            names |= {f"new {' '.join(key)}" for key, share in found.new_shares.items() if share.since}
            names |= {"score"} if found.since["score"] else set()
            if names - active:
                text = "; ".join(found.sentences)
                said.append(
                    ((now - stream.start_s) / DAY_S, f"{sorted(names - active)}: {text}", since_change)
                )
            active = names
    return said

"""Earlier unusual events of an entity: what made it hot, and what is already gone.

An earlier event is unusual if it was alerted, if it counts in the entity's case, or if it is of the last day
and fewer than one event in 10 ** `UNUSUAL` scores as high. So what a case counts is among what is told, and
one sum has both. From the others follows what is usual of the entity where a run of frauds has begun: its
profile has learned some of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.core.alerts.amounts import on_side, sizes
from detector.core.alerts.case_rows import PLACES_MAX, CaseBefore
from detector.core.alerts.contacts import NOTHING_MET, MetBefore
from detector.core.alerts.known import EVENTS_MIN, OWN_HISTORY_MIN, TIMES_USUAL, Pace
from detector.core.alerts.recent import ALERTED, HELD, Beside, History
from detector.core.codes import RESPECTS
from detector.core.features import DAY_S

UNUSUAL = 2.0  # score
HOUR_S = 3600.0
TOLD_MAX = 3  # events that are told
RECENT_SHOWN = 20  # events of an entity that an alert lists
FATES = {0: "none", HELD: "held", ALERTED: "alerted"}


class Before(NamedTuple):
    """An earlier unusual event of an entity."""

    offset: int
    gap_s: float  # before the event that is told
    amount: float  # NaN: missing
    status: str  # one of STATUSES
    score: float
    why: str = ""  # one of WHY or RESPECTS
    events: int = 0  # within an hour, with this one, where that is why
    met: MetBefore = NOTHING_MET  # what it met, beside what the event that is told met


class Earlier(NamedTuple):
    """Earlier unusual events of an entity, as an event sees them."""

    number: int
    told: Sequence[Before]  # newest first
    sum: float | None  # of all their amounts' sizes; None: none has one
    normal: tuple[float, float] | None  # .1 and .9 quantiles of the others on the event's side, if enough
    since_s: float = 0.0  # how far back they were looked for
    others: NDArray[np.float64] | None = None  # amounts of all other events; None: all of the history

    @property
    def offsets(self) -> set[int]:
        """Those that are told."""
        return {one.offset for one in self.told}


AnswerOf = Callable[[int], str | None]
"""Gives the answer to the alert at an offset, fraud or legitimate; None: there is none yet."""

STATUSES = (
    "not_alerted",
    "held_back",
    "alerted",
    "alerted_unanswered",
    "alerted_fraud",
    "alerted_legitimate",
)

WHY = ("above", "below", "many", "inside")
"""What the history shows: its amount was above or below the usual ones; it was one of many events within an
hour; else its amount was a usual one, so it was something else."""

EXACTLY = {"large_there": "above", "small_there": "below", "many": "many"}
"""What a history shows more exactly than a respect says it."""

NOTHING = Earlier(0, (), None, None)


def in_case(history: History, case: CaseBefore | None) -> NDArray[np.bool_]:
    """Which events of an entity's history count in its case, (m,)."""
    if case is None:
        return np.zeros(len(history), dtype=np.bool_)
    # What was held back before the first alert counts too.
    held = (history.fates == HELD) & (history.times >= case.began)
    found = (history.fates > 0) & (history.offsets >= case.first) | held
    newest: NDArray[np.bool_] = found & (np.cumsum(found) <= case.events)
    return newest


def _status(fate: int, offset: int, answer_of: AnswerOf | None) -> str:
    """What became of an event: one of STATUSES."""
    if fate != ALERTED or answer_of is None:
        return STATUSES[fate]
    return f"alerted_{answer_of(offset) or 'unanswered'}"


def range_of(amounts: NDArray[np.float64]) -> tuple[float, float] | None:
    """The .1 and .9 quantiles of amounts (NaN: missing); None: there are too few."""
    known = np.sort(amounts[~np.isnan(amounts)])
    if len(known) < OWN_HISTORY_MIN:
        return None
    low, high = known[[len(known) // 10, -1 - len(known) // 10]].tolist()
    return low, high


def range_so_far(history: History | None, own: Pace | None, amount: float) -> tuple[float, float] | None:
    """Range of an entity's earlier amounts on the side of one; None: its profile says what is usual.

    A profile of a few events, of less than a day, may be beyond all of them. One of debits and credits is of
    both together.
    """
    if history is None or own is None:
        return None
    ours = history.amounts[on_side(history.amounts, amount)]
    both = not math.isnan(amount) and len(ours) < np.count_nonzero(~np.isnan(history.amounts))
    return range_of(ours) if both or own.age_s < DAY_S else None


def _why(history: History, n: int, others: NDArray[np.float64]) -> tuple[str, int]:
    """Why event n of a history was unusual: one of WHY or RESPECTS, and events of its hour.

    `others` are the amounts that were usual.
    """
    respect = RESPECTS[history.respects[n]] if len(history.respects) else ""
    shown, events = _shown(history, n, others)
    return (shown, events) if not respect or shown == EXACTLY.get(respect) else (respect, 0)


def _shown(history: History, n: int, others: NDArray[np.float64]) -> tuple[str, int]:
    """What a history shows of event n: one of WHY or nothing, and events of its hour."""
    amount, times = float(history.amounts[n]), history.times
    normal = range_of(others[on_side(others, amount)])
    size, usual_sizes = abs(amount), None if normal is None else sizes(normal, amount)
    if usual_sizes is not None and size > usual_sizes[1]:
        return "above", 0
    hour = int(np.count_nonzero((times <= times[n]) & (times > times[n] - HOUR_S)))
    usual = len(times) * HOUR_S / max(float(times[0] - times[-1]), HOUR_S)
    if hour >= max(EVENTS_MIN, TIMES_USUAL * usual):
        return "many", hour
    if usual_sizes is None or math.isnan(amount):
        return "", 0
    return ("below" if size < usual_sizes[0] else "inside"), 0


def _sum(amounts: Sequence[float]) -> float:
    """Sum of sizes, right to the last place that a case's sum has."""
    return round(math.fsum(amounts), PLACES_MAX)


def unlisted(case: CaseBefore | None, amounts: Sequence[float]) -> tuple[int, float | None]:
    """Events of a case beside listed ones with these amounts (NaN: missing), and the sum of their sizes."""
    number = 0 if case is None else case.events - len(amounts)
    if case is None or number <= 0 or case.sum is None:
        return max(number, 0), None
    return number, _sum([case.sum, *(-abs(amount) for amount in amounts if not math.isnan(amount))])


def unusual_before(
    history: History,
    time: float,
    since_s: float,
    case: CaseBefore | None = None,
    answer_of: AnswerOf | None = None,
    amount: float = math.nan,
    beside: Beside = lambda places: (NOTHING_MET,) * len(places),
) -> Earlier:
    """Find earlier unusual events.

    Parameters
    ----------
    time
        The event's, s since the epoch.
    since_s
        How far back alerts may be that are not of its case, s.
    case
        The entity's, without the event.
    answer_of
        Answers to alerts; None: nobody answers any.
    amount
        The event's own, with whose side the others are compared; NaN: missing.
    beside
        Says what earlier events met, beside the event.
    """
    counted = in_case(history, case)
    recent = (history.scores >= UNUSUAL) & (history.times > time - min(DAY_S, since_s))
    alerted = (history.fates == ALERTED) & (history.times > time - since_s)
    older, older_sum = unlisted(case, history.amounts[counted].tolist())
    unusual = recent | alerted | counted
    places = np.flatnonzero(unusual)
    if not len(places) + older:
        return NOTHING
    # Those of the last day first, then alerted ones, then those with the highest score. The last
    # place is for the largest amount among the rest, which makes up most of the sum.
    today = history.times[places] > time - DAY_S
    weight = history.scores[places] + 1e3 * (history.fates[places] + 3.0 * today)
    ranked = places[np.argsort(-weight, kind="stable")]
    if len(ranked) > TOLD_MAX:
        rest = ranked[TOLD_MAX - 1 :]
        ranked[TOLD_MAX - 1] = rest[np.argmax(np.nan_to_num(np.abs(history.amounts[rest]), nan=-1.0))]
    amounts, others = history.amounts[places], history.amounts[~unusual]
    amounts = amounts[~np.isnan(amounts)]
    shown = np.sort(ranked[:TOLD_MAX])
    told = tuple(
        Before(
            int(history.offsets[n]),
            max(0.0, time - float(history.times[n])),
            float(history.amounts[n]),
            _status(int(history.fates[n]), int(history.offsets[n]), answer_of),
            float(history.scores[n]),
            *_why(history, n, others),
            met,
        )
        for n, met in zip(shown.tolist(), beside(shown), strict=True)
    )
    sums = [*np.abs(amounts).tolist(), *([] if older_sum is None else [older_sum])]
    return Earlier(
        len(places) + older,
        told,
        _sum(sums) if sums else None,
        range_of(others[on_side(others, amount)]),
        since_s if case is None else max(since_s, time - case.began),
        others[~np.isnan(others)],
    )


def recent_events(history: History, case: CaseBefore | None = None) -> list[dict[str, Any]]:
    """The latest events of an entity, newest first, as an alert lists them; `case`: the one of the alert."""
    latest = history.newest(RECENT_SHOWN)
    fates = np.where(in_case(latest, case), latest.fates, 0)
    whys = [RESPECTS[respect] for respect in latest.respects] or [""] * len(latest)
    return [
        {
            "offset": offset,
            "time": time,
            "amount": None if math.isnan(amount) else amount,
            "score": score,
            "case": FATES[fate],
            **({"why": whys[n]} if whys[n] else {}),
            **({"same": latest.beside[n].same, "new": latest.beside[n].new} if latest.beside else {}),
        }
        for n, (offset, time, amount, score, fate) in enumerate(
            zip(*(column.tolist() for column in (*latest[:4], fates)), strict=True)
        )
    ]

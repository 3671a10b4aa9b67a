"""What an amount's sign means: one rule for all that alerts compare, sum and call large.

Many streams write payments above 0 and refunds below; bank exports write debits below 0 and credits above.

Rules
    - An amount is as large as it is far from 0: its *size*. What is at risk, and what a case sums and calls
      its largest, are sizes: nothing that was paid back makes a loss smaller.
    - An amount has a *side*: below 0, or not. It is compared with others of its side alone: a debit with
      debits, not with the salary. What is 0 or missing is compared with all.
    - Where all that is usual is on the other side, an amount is compared with the sizes there: a first refund
      is large if payments of that size would be.
    - A single amount is told as it was written, with its sign.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def on_side(amounts: NDArray[np.float64], amount: float) -> NDArray[np.bool_]:
    """Which amounts (n,) are on the side of one; a missing one is on none.

    Examples
    --------
    >>> on_side(np.array([-15.0, 2100.0, 0.0]), -40.0)
    array([ True, False, False])
    """
    if amount < 0.0:
        return amounts < 0.0
    found: NDArray[np.bool_] = amounts >= 0.0 if amount > 0.0 else ~np.isnan(amounts)
    return found


def sizes(ends: tuple[float, float], amount: float) -> tuple[float, float]:
    """The part of a range that is on the side of an amount, as sizes: the least, 0 at least, and the largest.

    Examples
    --------
    >>> sizes((-80.0, -15.0), -40.0), sizes((-80.0, -15.0), 40.0), sizes((-80.0, 20.0), -40.0)
    ((15.0, 80.0), (0.0, 0.0), (0.0, 80.0))
    """
    low, high = (-ends[1], -ends[0]) if amount < 0.0 else ends
    return max(low, 0.0), max(high, 0.0)


def is_large(amount: float, usual: tuple[float, float], times: float) -> bool:
    """Whether an amount is so many times as large as what is usual on its side, else on the other one.

    Examples
    --------
    >>> is_large(-90.0, (-40.0, 200.0), 2.0), is_large(-90.0, (15.0, 80.0), 2.0)
    (True, False)
    """
    largest = sizes(usual, amount)[1] or max(map(abs, usual))
    return abs(amount) > times * largest

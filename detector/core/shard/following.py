"""What a shard does at the barrier after a shift of the stream was found (see `model.shifts`)."""

from __future__ import annotations

import numpy as np

from detector.core.model.shifts import in_words
from detector.core.shard.learning import Learning
from detector.core.shard.scoring import Scorer


def follow(scorer: Scorer, learning: Learning) -> str:
    """Follow the shift that was found since the last barrier, before anything is promoted.

        other units     the core keeps what is older, profiles of all events and calibration go back to what
                        they were, and nothing is refitted, unless a barrier has come between. A model file's
                        first events may have other units than its core; then profiles begin with them
        other stream    core, profiles and calibration begin again, and the parts are refitted at once

    A refit that is under way is given up: it is based on events from both sides of the shift.

    Returns
    -------
    str
        The shift in words; empty: there was none.
    """
    shift = scorer.shifts.take()
    if shift is None:
        return ""
    learning.drop_promotion()
    version = scorer.served.version
    if shift.factors is None:
        learning.begin_again(scorer.begin_again(shift, learning.core), version)
    else:
        earlier = np.flatnonzero(shift.earlier(learning.core.filled()))
        if len(earlier):
            learning.core.keep(earlier)
        scorer.follow_units(shift)
        if shift.before.calibration is None:
            scorer.calibration.forget()
            learning.refit_now(version)
    return in_words(shift, scorer.layout)

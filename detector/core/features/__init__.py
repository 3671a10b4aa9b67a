"""From events to inputs of the encoder.

What other rooms use is exported here; modules of this room import each other directly.
"""

from __future__ import annotations

from detector.core.features.column import Column
from detector.core.features.explained import (
    CONSTANT_FROM,
    explained_shares,
    explained_surprises,
    mostly_known,
    share_gains,
    variance_explained,
)
from detector.core.features.feature_kernels import MEETING_TIME, repeat_nats, usual_rate
from detector.core.features.features import Features
from detector.core.features.fraud_rate_table import FRAUD, MATURED, RETRACTED, Changes
from detector.core.features.fraud_rates import FraudRates
from detector.core.features.habit_tables import MEETINGS_S, SHORT_S
from detector.core.features.heat import Heat
from detector.core.features.identity import constant_numerics, find_identity
from detector.core.features.key_table import KeyTable
from detector.core.features.layout import DAY_S, Group, Habit, KeyKind, Layout
from detector.core.features.profiles import Profiles, population_shift, population_variances
from detector.core.features.respects import respect_of
from detector.core.features.rows import Rows, Units, empty_rows, swap, to_rows

__all__ = [
    "CONSTANT_FROM",
    "DAY_S",
    "FRAUD",
    "MATURED",
    "MEETINGS_S",
    "MEETING_TIME",
    "RETRACTED",
    "SHORT_S",
    "Changes",
    "Column",
    "Features",
    "FraudRates",
    "Group",
    "Habit",
    "Heat",
    "KeyKind",
    "KeyTable",
    "Layout",
    "Profiles",
    "Rows",
    "Units",
    "constant_numerics",
    "empty_rows",
    "explained_shares",
    "explained_surprises",
    "find_identity",
    "mostly_known",
    "population_shift",
    "population_variances",
    "repeat_nats",
    "respect_of",
    "share_gains",
    "swap",
    "to_rows",
    "usual_rate",
    "variance_explained",
]

"""Kinds of fields, chosen by the `type` of a field.

A new kind is a class in a module of its own, one line here, and one in `detector.config.kinds`.
"""

from __future__ import annotations

from detector.core.events.kinds.base import STORES, Explanation, FieldKind, Store
from detector.core.events.kinds.categorical import Categorical
from detector.core.events.kinds.geo import Geo
from detector.core.events.kinds.numeric import Numeric
from detector.core.events.kinds.text import TEXT_GRAMS_MAX, Text

KINDS: dict[str, type[FieldKind]] = {"numeric": Numeric, "categorical": Categorical, "text": Text, "geo": Geo}
"""By the name in the configuration."""

__all__ = ["KINDS", "STORES", "TEXT_GRAMS_MAX", "Explanation", "FieldKind", "Store"]

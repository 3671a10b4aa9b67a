"""Sentences for people: numbers, money, times, nouns, and the reasons and facts that are made of them.

No other module words what an alert says. All texts are in one file, `english.py`. A translation is a copy of
it that the modules of this package import instead.
"""

from __future__ import annotations

from detector.core.alerts.words.numbers import duration, money, number, one_in, percent, printed, short
from detector.core.alerts.words.phrases import respect
from detector.core.alerts.words.sentences import Sentences, Usual
from detector.core.alerts.words.words import Words

__all__ = [
    "Sentences",
    "Usual",
    "Words",
    "duration",
    "money",
    "number",
    "one_in",
    "percent",
    "printed",
    "respect",
    "short",
]

"""Texts that are numbers, as people and programs write them: -$1,234.50, (5.00), 12,99 EUR.

Which sign is the decimal one, and which one groups digits, is configured (`NumberForm`), because 1,234 may be
either. What fits neither is no number: it is never guessed. Signs and codes of currencies are left out. A
number in parentheses is negative, as accountants write it, and a minus, Cr or Dr may stand behind: a debit is
negative.
"""

from __future__ import annotations

import math
import re
from typing import Any

from detector.config.numbers import CURRENCY, GROUPS, SIDE, SIGN, with_plain_digits
from detector.config.tree import NumberForm
from detector.core.events.rejection import Bad
from detector.core.events.values import shown, to_float

CHARS_MAX = 64  # a longer text is read only if Python reads it


class NumberTexts:
    """Reads texts of one form.

    Examples
    --------
    >>> NumberTexts(NumberForm(decimal=",", thousands="."))("(1.234,50 €)")
    -1234.5
    >>> NumberTexts(NumberForm())("1,234.50") is None
    True
    """

    def __init__(self, form: NumberForm) -> None:
        decimal = re.escape(form.decimal)
        digits = "[0-9]+"
        if form.thousands is not None:
            group = GROUPS[form.thousands]
            digits = rf"(?:[0-9]{{1,3}}(?:{group}[0-9]{{2,3}})*{group}[0-9]{{3}}|[0-9]+)"
        body = rf"(?P<whole>{digits})?(?:{decimal}(?P<part>[0-9]*))?(?P<power>[eE][+-]?[0-9]+)?"
        self._match = re.compile(
            rf"(?P<open>\()? ?(?P<a>{SIGN})? ?(?:{CURRENCY} ?)?(?P<b>{SIGN})? ?{body} ?(?P<c>{SIGN})? ?"
            rf"(?:{CURRENCY})? ?(?P<d>{SIGN})? ?(?P<e>{SIDE})?(?(open)\))"
        ).fullmatch
        self._as_python = form.decimal == "."

    def __call__(self, text: str) -> float | None:
        """Return the number that a text is; NaN or an infinity if it says so; None: it is no number."""
        try:
            if self._as_python:
                return float(text)
            if "." not in text and "_" not in text:
                return float(text.replace(",", ".", 1))
        except ValueError:
            pass
        if len(text) > CHARS_MAX:
            return None
        found = self._match(" ".join(with_plain_digits(text).split()))
        if found is None or not (found["whole"] or found["part"]):
            return None
        signs = [sign for sign in (found["open"], *found.group("a", "b", "c", "d", "e")) if sign]
        if len(signs) > 1:
            return None
        whole = "".join(filter(str.isdigit, found["whole"] or "0"))
        number = float(f"{whole}.{found['part'] or '0'}{found['power'] or ''}")
        return number if not signs or signs[0][0] in "+cC" else -number


def to_number(found: Any, name: str, texts: NumberTexts) -> float | None:
    """Convert a decoded value that is there to a finite number; None: it says that there is none.

    Raises
    ------
    Bad
        It is no number; `name` says which field's it is.
    """
    if isinstance(found, str):  # amounts often travel as decimal text
        number = texts(found)
        if number is None:
            raise Bad("wrong_type", f"field {name}: text {found[:40]!r} is not a number")
        if math.isinf(number) and any(map(str.isdigit, found)):
            raise Bad("out_of_range", f"field {name}: {shown(found)} is too large")
    elif isinstance(found, float):
        number = found
    else:
        number = to_float(found)  # true is 1, false is 0
        if math.isinf(number):
            raise Bad("out_of_range", f"field {name}: a whole number that is too large")
    return number if math.isfinite(number) else None

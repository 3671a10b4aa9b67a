"""How numbers are written in texts, as `1,234.50`, `12,99`, `(5.00)`, `-$1.00`, and what means missing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import NamedTuple

from detector.config.numbers import CURRENCY, GROUPS, SIDE, SIGN, with_plain_digits
from detector.config.tree import NumberForm

TOKENS_MAX = 3  # different texts of one field that mean that its number is missing
TOKENS_SHARE_MAX = 0.95  # of the values of a field; a field of nothing else is no number
_TOKEN = re.compile(r"[^\w]{0,3}|(?:[A-Za-z#/\\ ]{1,12}|\?+|-+)")


# Tried in this order: what needs no setting comes first.
FORMS = (
    NumberForm(),
    NumberForm(decimal=".", thousands=","),
    NumberForm(decimal=",", thousands="."),
    NumberForm(decimal=",", thousands=" "),
    NumberForm(decimal=".", thousands=" "),
    NumberForm(decimal=".", thousands="'"),
    NumberForm(decimal=",", thousands="'"),
)
PLAIN = FORMS[0]


@cache
def _pattern(form: NumberForm) -> re.Pattern[str]:
    whole = r"\d{1,30}"
    if form.thousands is not None:
        group = GROUPS[form.thousands]
        lakhs = rf"\d{{1,2}}(?:{group}\d{{2}})+{group}\d{{3}}|" if form.thousands == "," else ""
        whole = rf"(?:\d{{1,3}}(?:{group}\d{{3}})+|{lakhs}\d{{1,30}})"
    fewest = 0 if form.decimal == "," else 1  # SWIFT writes 1200,
    number = rf"{whole}(?:{re.escape(form.decimal)}\d{{{fewest},15}})?"
    if form.decimal == "." and form.thousands is None:
        number += r"(?:[eE][+-]?\d{1,3})?"
    bare = rf"{SIGN}? ?{CURRENCY}? ?{SIGN}? ?{number}-? ?{CURRENCY}?"
    dressed = rf"{CURRENCY}? ?{number} ?{CURRENCY}?"
    return re.compile(rf"{bare}|\( ?{dressed} ?\)|{dressed} ?{SIDE}", re.ASCII)


def fits(text: str, form: NumberForm) -> bool:
    """Whether a text is a number in this form."""
    return bool(_pattern(form).fullmatch(" ".join(with_plain_digits(text).split())))


def value_of(text: str, form: NumberForm) -> float:
    """The number that a text is in a form that it fits."""
    text = with_plain_digits(text)
    bare = re.sub(rf"(?<=[\d\s]){SIDE}$", "", text.strip())
    plain = re.sub(r"[^\d.,'’eE+−-]", "", re.sub(CURRENCY, "", bare))
    if form.thousands:
        plain = re.sub(GROUPS[form.thousands], "", plain)
    digits = plain.strip("+−-").replace(form.decimal, ".").rstrip("-")
    debit = bare != text.strip() and text.strip().rstrip(".")[-2] in "dD"
    negative = debit or "(" in text or plain[:1] in "-−" or plain.endswith("-")
    return -float(digits) if negative and plain else float(digits)


class Written(NamedTuple):
    """What the texts of a field are."""

    forms: tuple[NumberForm, ...]  # in which all of them are numbers, in the order of `FORMS`
    tokens: tuple[str, ...]  # texts that mean that there is none
    dressed: bool  # something beside digits shows that they are numbers: a separator, a sign, a symbol


def written(counts: Iterable[tuple[str, int]], known_missing: Collection[str]) -> Written | None:
    """Find how the numbers of a field are written; None: they are no numbers.

    Parameters
    ----------
    counts
        Its texts, with how often each occurs.
    known_missing
        Texts that mean missing anyway.
    """
    counted = [(text, n) for text, n in counts if text.strip() not in known_missing]
    with_digits = [(text, n) for text, n in counted if any(c.isdigit() for c in text)]
    others = [(text, n) for text, n in counted if not any(c.isdigit() for c in text)]
    total = sum(n for _, n in counted)
    tokens = tuple(text for text, _ in others)
    if not with_digits or len(tokens) > TOKENS_MAX or not all(map(_TOKEN.fullmatch, tokens)):
        return None
    if sum(n for _, n in others) > TOKENS_SHARE_MAX * total or (tokens and len(with_digits) <= len(tokens)):
        return None
    texts = [text for text, _ in with_digits]
    forms = tuple(form for form in FORMS if all(fits(text, form) for text in texts))
    if not forms:
        return None
    dressed = any(not text.strip().removeprefix("+").isdigit() for text in texts)
    return Written(forms, tokens, dressed)


def symbol_of(texts: Iterable[str]) -> str:
    """The one currency that all numbers name; "" otherwise."""
    found = {match[0] if (match := re.search(CURRENCY, text)) else "" for text in texts}
    return found.pop() if len(found) == 1 else ""


def common_form(fields: Sequence[Sequence[NumberForm]]) -> NumberForm:
    """The form of the stream: the one that most of its fields may have, the plainest of these."""
    return max(FORMS, key=lambda form: (sum(form in forms for forms in fields), -FORMS.index(form)))

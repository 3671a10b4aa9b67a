"""Fields that say which events were frauds: they are not inputs, and make feedback."""

from __future__ import annotations

from typing import Any, NamedTuple

from detector.config.infer.column import Column, text_of
from detector.config.infer.vocabulary import CONCEPTS, KNOWN, NOT_LABEL_WORDS, word_set
from detector.config.kinds import FEW_EVENTS as FEW

FRAUD_TEXTS = word_set(
    "1 1.0 true t yes y fraud fraudulent frauds scam chargeback positive pos bad anomaly anomalous outlier "
    "malicious attack abuse suspicious illicit laundering disputed betrug fraude confirmed_fraud "
    "oui si sí s sim j ja tak evet kyllä igen ano da да 是 はい 예 有"
)
LEGITIMATE_TEXTS = word_set(
    "0 0.0 -1 false f no n legit legitimate genuine normal ok good negative neg benign valid clean none "
    "not_fraud nonfraud non-fraud licit inlier non_fraud "
    "non nein nao não nie nej nee hayır ei nem ne нет 否 いいえ 아니요 无"
)
SURE_TEXTS = word_set("fraud fraudulent chargeback scam confirmed_fraud suspected_fraud laundering")
NORMAL_TEXTS = word_set("normal benign legit legitimate genuine")
"""What a label says of most events: that nothing is wrong."""
TELLING_PARTS = ("fraud", "chargeback", "scam")
DISTINCT_MAX = 12  # kinds of fraud; more different values are a measure
PLAIN_TEXTS = word_set("0 1 0.0 1.0 true false t f yes no y n")
"""What programs write; people who write yes and no in another language have names that we may not know."""
FLAG_SHARE_MAX = 0.05  # of events with a flag that may be a label


class Found(NamedTuple):
    """A field of labels."""

    frauds: frozenset[str]
    reason: str
    sure: bool


def find_label(column: Column) -> Found | None:
    """Whether a field says which events were frauds."""
    words = set(column.last_words)
    values = {text.strip().lower().replace(" ", "_"): text for text in column.counts}
    if not values or len(values) > DISTINCT_MAX or words & NOT_LABEL_WORDS:
        return None
    fraud_words = words & CONCEPTS["fraud"]
    label_words = words & CONCEPTS["label"]
    binary = len(values) <= 2
    if fraud_words:
        return _found(column, values, f"by its name ({min(fraud_words)})")
    if (
        label_words
        and len(values) > 1
        and _says_only(column, label_words)
        and (binary or label_words & CONCEPTS["label"] - {"class", "y"})
    ):
        known = values.keys() <= FRAUD_TEXTS | LEGITIMATE_TEXTS
        if known or values.keys() & (FRAUD_TEXTS | NORMAL_TEXTS):
            return _found(column, values, f"by its name ({min(label_words)}) and values")
        return None
    if column.nameless and len(values) > 1:
        usual = {text for key, text in values.items() if key.strip(".") in NORMAL_TEXTS}
        if sum(column.counts[text] for text in usual) > column.events / 2:
            return _found(column, values, f"of values; most events are {min(usual)}")
    told = values.keys() & SURE_TEXTS
    if told and len(values) > 1:
        return _found(column, values, f"a value of it is {min(told)}")
    if len(values) == 2 and column.events >= FEW and values.keys() <= FRAUD_TEXTS | LEGITIMATE_TEXTS:
        return _rare_flag(column, values)
    return None


def _rare_flag(column: Column, values: dict[str, str]) -> Found | None:
    """A flag that may say afterwards what an event was: `is_...`, or one of a language that we hardly know.

    As an input a label is worse than no flag: it is not there when an event is scored.
    """
    named, yes = column.last_words[:1] in (["is"], ["was"]), values.keys() & FRAUD_TEXTS
    foreign = not values.keys() & PLAIN_TEXTS
    unknown = foreign and not set(column.last_words) & KNOWN and not column.nameless
    share = sum(column.counts[values[text]] for text in yes) / column.events
    if not yes or not (named or unknown) or share > FLAG_SHARE_MAX:
        return None
    why = f"a rare flag ({share:.1%}) that may say afterwards what an event was"
    return Found(frozenset(), why, False)


def _says_only(column: Column, label_words: set[str]) -> bool:
    """Whether the name is that of a label and of nothing else: `class`, but not `merchant_class`."""
    plain = {
        "is",
        "the",
        "tx",
        "transaction",
        "event",
        "true",
        "actual",
        "final",
        "has",
        "binary",
        "id",
        "est",
        "是否",
    }
    return set(column.last_words) - label_words <= plain


def _found(column: Column, values: dict[str, str], why: str) -> Found | None:
    frauds = {text for key, text in values.items() if key in FRAUD_TEXTS}
    known = {text for key, text in values.items() if key.strip(".") in LEGITIMATE_TEXTS}
    others = set(values.values()) - frauds - known
    if column.types <= {int, float, bool} and not column.types <= {bool} and others:
        if not column.whole:
            return None  # a measure
        frauds |= others  # kinds of fraud by number
        others = set()
    if others and (frauds or known):
        told = {text for text in others if any(part in text.lower() for part in TELLING_PARTS)}
        frauds |= told if frauds or told else others
    elif others and len(values) == 2:
        rarer = min(others, key=column.counts.__getitem__)
        frauds |= {rarer}
        why += f"; its rarer value, {rarer[:20]!a}, is taken for fraud"
    elif others:
        frauds |= others  # kinds of fraud by name; missing where there is none
    share = sum(column.counts[text] for text in frauds) / column.events
    return Found(frozenset(frauds), f"a label {why}; {share:.2%} of the events are frauds", True)


def is_fraud(value: Any, frauds: frozenset[str]) -> bool:
    """Whether a label's value means fraud."""
    return value is not None and value != "" and text_of(value) in frauds

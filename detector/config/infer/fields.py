"""What is said of fields of values: names, labels for people, units, texts that are numbers; the amount."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from detector.config.infer.choice import Choice
from detector.config.infer.column import KEY_DISTINCT_MIN, Column
from detector.config.infer.numbers import PLAIN, common_form
from detector.config.infer.sample import Sample
from detector.config.infer.vocabulary import (
    CONCEPTS,
    CONSUMPTION_WORDS,
    CURRENCY_CODES,
    ENTITY_RANKS,
    EVENT_WORDS,
    IN_WORDS,
    KNOWN,
    LESS_AMOUNT_WORDS,
    MEASURE_WORDS,
    SAME_AMOUNT_WORDS,
    TAX_WORDS,
    concept,
    word_set,
)
from detector.config.kinds import FEW_EVENTS, KINDS
from detector.config.numbers import CURRENCY
from detector.config.tree import MISSING, NumberForm

AMOUNT_CONCEPTS = ("amount", "value", "total", "stake")  # the surest first
WHOLE_WORDS = word_set("total grand gross")
"""Of several amounts of one event, the one that has the others in it."""
LOCAL_WORDS = word_set("local foreign")
"""Beside an amount in one currency: the same in the currency of the place."""
_WITH_TAX = word_set("incl including inclusive excl excluding exclusive inc ex with without")
"""Beside a word for taxes: the amount with or without them, not the tax."""
PRODUCTS_ROWS = 200  # in which a price times a quantity is looked for
PRODUCT_CLOSE = 0.01  # of the amount: both are rounded
BELOW_MAX = 0.02  # share of events in which the largest of several amounts is below another
DISPLAY_CHARS_MAX = 64  # of the tree
NAME_CHARS_GOOD = 40  # of a name that people read; longer paths lose what they begin with
UNIT_CHARS_MAX = 16  # of the tree
ENTITY_NAMES = word_set(
    "acceptor account agent beneficiary borrower branch buyer cardholder cashier citizen client "
    "consumer contract counterparty creditor customer debtor device driver email employee guest "
    "holder household iban investor ip kiosk machine member merchant meter mobile msisdn originator "
    "passenger patient payee payer phone player policy provider receiver recipient retailer rider "
    "seller sender shop shopper store subscriber subscription supplier teller terminal trader "
    "traveler traveller user vehicle vendor visitor wallet worker"
)
"""Words for entities that people read in alerts; others are named by what they stand for."""
_CURRENCY = re.compile(r"[A-Za-z]{3}")
_CURRENCY_NAMED = re.compile(rf"[(\[]([A-Z]{{3}}|{CURRENCY})[)\]]")  # Amount (INR)


def described(choice: Choice, sample: Sample) -> Choice:
    """Add a label for people, a unit, and how the field's texts are read."""
    column = sample.parts(choice.path)[0]
    display = _display(column) or column.called
    unit = ""
    if choice.kind == "numeric" and (column.is_amount or _is_money(column)):
        unit = column.symbol or _currency_named(column) or _currency_beside(column, sample)
    number = next(iter(_forms(choice, sample)), None)
    written = [part.written for part in sample.parts(choice.path) if part.written is not None]
    tokens = dict.fromkeys(itertools.chain.from_iterable(one.tokens for one in written))
    missing = (*MISSING, *tokens) if number is not None and tokens else ()
    return replace(choice, display=display, unit=unit[:UNIT_CHARS_MAX], number=number, missing_texts=missing)


def _display(column: Column) -> str:
    """Its own name, if that is written in other letters than names of a configuration."""
    own = column.path.rpartition(".")[2]
    return own[:DISPLAY_CHARS_MAX] if not own.isascii() and own.isprintable() else ""


def _forms(choice: Choice, sample: Sample) -> list[NumberForm]:
    """The forms in which all texts of a field of numbers are read; empty: they are no texts."""
    if choice.kind not in ("numeric", "geo"):
        return []
    written = [part.written.forms for part in sample.parts(choice.path) if part.written is not None]
    return [form for form in written[0] if all(form in forms for forms in written)] if written else []


def _is_money(column: Column) -> bool:
    """Whether it is named like what an event is about, though not like an amount: a stake, a fare."""
    return concept(column.noun) in AMOUNT_CONCEPTS and amount_rank(column) is not None


def _currency_named(column: Column) -> str:
    """The currency in the brackets of a name, or at its end: Gutschrift in CHF, amount_usd."""
    found, last = _CURRENCY_NAMED.search(column.path), column.last_words[-1:]
    if found and found[1] != "%":
        return found[1]
    return last[0].upper() if len(column.last_words) > 1 and last[0] in CURRENCY_CODES else ""


def _currency_beside(column: Column, sample: Sample) -> str:
    """The one currency of the events: of a field beside the amount, else of the event."""
    parent = column.path.rpartition(".")[0]
    found = [
        c
        for c in sample.usable()
        if concept(c.noun) == "currency" and c.types == {str} and c.distinct == 1 and not c.missing
    ]
    beside = [c for c in found if c.path.rpartition(".")[0] == parent] or found
    codes = {next(iter(c.counts)) for c in beside}
    code = codes.pop() if len(codes) == 1 else ""
    return code.upper() if _CURRENCY.fullmatch(code) else ""


def stream_number(fields: Sequence[Choice], sample: Sample) -> NumberForm:
    """How the stream's texts that are numbers are written: as most of its fields may be."""
    written = [forms for choice in fields if (forms := _forms(choice, sample))]
    form = common_form(written) if written else PLAIN
    if form.decimal == "," and form.thousands is None:
        form = NumberForm(decimal=",", thousands=".")  # what larger numbers will have
    return form


def amount_at_stake(fields: Sequence[Choice], sample: Sample, wanted: str | None) -> str | None:
    """Name of the field that is the amount at stake: a number named like an amount."""
    amounts = [(c.name, sample.columns[c.path]) for c in fields if KINDS[c.kind].can_be_exposure]
    if wanted:
        named = {column.path: name for name, column in amounts}
        if wanted not in named:
            sample.named("amount", wanted, lambda column: column.path in named)
        return named[wanted]
    if wanted == "":
        return None
    ranked = [
        (
            bool(_less(column)),
            not CONSUMPTION_WORDS.isdisjoint(column.words),  # a cost, not the used amount
            concepts,
            -len(
                {concept(word) for word in column.words} & set(AMOUNT_CONCEPTS)
            ),  # total_cost, not total_energy
            not LOCAL_WORDS.isdisjoint(column.words),  # amount_eur, not amount_local
            bool(set(column.last_words) & IN_WORDS),
            not _is_whole(column),
            column.missing > 0.5,
            column.path.count("."),  # amount, not order.amount
            len(column.last_words),  # total, not shipping_total
            place,
            name,
        )
        for place, (name, column) in enumerate(amounts)
        if (concepts := amount_rank(column)) is not None
    ]
    if not ranked:
        return _unnamed_amount(amounts, sample)
    best = min(ranked)
    if best[0]:
        less = {one[-1]: _less(dict(amounts)[one[-1]]) for one in ranked}
        same = [name for name in less if less[name] <= SAME_AMOUNT_WORDS]
        taxed = [(name, column) for name, column in amounts if less.get(name, {""}) <= TAX_WORDS]
        return same[0] if len(same) == 1 else _largest(taxed)
    if best[2] < AMOUNT_CONCEPTS.index("total"):
        return best[-1]
    return _times_quantity(best[-1], [one[-1] for one in ranked if not one[0]], amounts)


def _times_quantity(price: str, named: Sequence[str], amounts: Sequence[tuple[str, Column]]) -> str:
    """The amount that a price times a quantity is; the price if there is none."""
    numbers = {
        name: np.abs(column.numbers[:PRODUCTS_ROWS])
        for name, column in amounts
        if not column.missing and column.distinct > 1
    }
    one = numbers.pop(price, None)
    if one is None:
        return price
    for total in filter(numbers.__contains__, named):
        for quantity in numbers.keys() - {total}:
            with np.errstate(over="ignore", invalid="ignore"):  # of numbers beyond all floats
                product = one * numbers[quantity]
            if np.allclose(product, numbers[total], rtol=PRODUCT_CLOSE, atol=0.0):
                return total
    return price


def _unnamed_amount(amounts: Sequence[tuple[str, Column]], sample: Sample) -> str | None:
    """Of numbers without a telling name: the first of a statement's two sides; the one with a currency.

    Each event of a statement has a number on one of its sides. Else the only number that names its currency
    is the amount, or the largest of them; else, beside a currency, the only one with cents.
    """
    numbers = [(name, column) for name, column in amounts if not set(column.words) & MEASURE_WORDS]
    partial = [(name, column) for name, column in numbers if column.missing]
    for (name, column), (_, other) in itertools.combinations(partial, 2):
        if len(column.rows) + len(other.rows) == column.events and not set(column.rows) & set(other.rows):
            return name
    money = [name for name, column in amounts if column.symbol or _is_in_currency(column)]
    if len(money) == 1:
        return money[0]
    if money and (largest := _largest([one for one in numbers if one[0] in money])):
        return largest
    if not any(_is_currency(column) for column in sample.usable()):
        return None
    cents = [(name, column) for name, column in numbers if not column.whole and _has_cents(column)]
    return cents[0][0] if len(cents) == 1 else None


def _largest(amounts: Sequence[tuple[str, Column]]) -> str | None:
    """The one of several amounts that the others are parts of: it is nearly never below any of them."""
    full = [(name, np.abs(column.numbers)) for name, column in amounts if not column.missing]
    for name, numbers in full if len(full) > 1 else []:
        below = (numbers < other for _, other in full)
        if all(np.mean(less) <= BELOW_MAX for less in below):
            return name
    return None


def _is_in_currency(column: Column) -> bool:
    """Whether its name has a known currency in brackets: no other unit, as KWH."""
    named = _currency_named(column)
    unit = named.isalpha() and named.isupper() and len(named) > 2
    return bool(named) and (named.lower() in CURRENCY_CODES or not unit)


def _is_currency(column: Column) -> bool:
    """Whether all values are codes of currencies."""
    return column.types == {str} and {text.lower() for text in column.counts} <= CURRENCY_CODES


def _has_cents(column: Column) -> bool:
    return all(
        not math.isfinite(n) or abs(100 * n - round(100 * n)) < 1e-6 * max(1.0, abs(n))
        for n in column.numbers
    )


def _is_whole(column: Column) -> bool:
    words = set(column.last_words)
    return bool(words & WHOLE_WORDS) and not any(map(str.isdigit, words))


def _less(column: Column) -> set[str]:
    """Words that say that it is not the amount at stake."""
    words = set(column.words)
    return words & (LESS_AMOUNT_WORDS - TAX_WORDS if words & _WITH_TAX else LESS_AMOUNT_WORDS)


def amount_rank(column: Column) -> int | None:
    """Rank of a number as an amount by its name, 0 is best; None: it is not named like one."""
    found = {concept(word) for word in column.words}
    rank = next((rank for rank, name in enumerate(AMOUNT_CONCEPTS) if name in found), None)
    if rank == len(AMOUNT_CONCEPTS) - 1 and set(column.words) & MEASURE_WORDS:
        return None  # price_change_pct
    counted = column.noun not in KNOWN | CURRENCY_CODES and column.whole_numbers and not column.symbol
    kinds = column.whole_numbers and column.distinct < KEY_DISTINCT_MIN and column.events >= FEW_EVENTS
    if rank == AMOUNT_CONCEPTS.index("value") and kinds and not column.symbol:
        return None  # cause_value
    if rank == AMOUNT_CONCEPTS.index("total") and counted:
        return None  # Total Flights
    if rank == AMOUNT_CONCEPTS.index("total") and set(column.words) <= WHOLE_WORDS:
        return AMOUNT_CONCEPTS.index("value")  # total, beside goods_value
    if rank is None and column.is_side:
        return len(AMOUNT_CONCEPTS)
    if rank is None and column.noun in EVENT_WORDS | CURRENCY_CODES and not set(column.words) & MEASURE_WORDS:
        return len(AMOUNT_CONCEPTS) + 1 if _has_cents(column) and not column.whole_numbers else None
    if rank is None and CONSUMPTION_WORDS & set(column.last_words):
        return len(AMOUNT_CONCEPTS) + 2
    return rank


def with_names(
    entities: Sequence[Choice], fields: Sequence[Choice], sample: Sample, number: NumberForm
) -> tuple[list[Choice], list[Choice]]:
    """Give each a unique name: an entity is named after its kind, a field after its path."""
    taken: set[str] = set()
    kinds = {choice.path: _kind_name(sample.columns[choice.path]) for choice in entities}
    alike = Counter(kinds.values())

    def named(choice: Choice, wanted: str) -> Choice:
        again = (f"{wanted}_{count}" for count in range(2, 2_000))
        name = wanted if wanted not in taken else next(name for name in again if name not in taken)
        taken.add(name)
        return replace(choice, name=name)

    named_entities = []
    for choice in entities:
        column = sample.columns[choice.path]
        known = kinds[choice.path] if alike[kinds[choice.path]] == 1 else ""  # two of a kind: by their paths
        display = "" if known else _display(column)
        named_entities.append(replace(named(choice, known or slug(choice.path, column)), display=display))
    named_fields = []
    for choice in fields:
        column = sample.parts(choice.path)[0]
        field = named(choice, slug(choice.path, column))
        forms = _forms(choice, sample)
        named_fields.append(replace(field, number=None) if not forms or number in forms else field)
    return named_entities, named_fields


def _kind_name(column: Column) -> str:
    """Name of what an entity is; "" if nothing says it."""
    stands_for = concept(column.noun)
    if column.noun in ENTITY_NAMES and stands_for == column.entity:
        return column.noun
    known = stands_for in ENTITY_RANKS or column.noun in KNOWN or not column.noun
    return column.entity if known else ""  # the seller's hw is no seller


def slug(path: str, column: Column) -> str:
    """A name for a path: its letters and digits, or in other scripts what its words stand for."""
    if column.called:
        path = column.called
    elif not path.isascii():
        words = [word if word.isascii() else _canonical(word) for word in column.words]
        path = "_".join(filter(None, words)) or "field"
    while len(path) > NAME_CHARS_GOOD and "." in path:
        path = path.partition(".")[2]  # what it is stands at its end
    wanted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", path)
    wanted = re.sub(r"[^A-Za-z0-9]+", "_", wanted).strip("_").lower()[:56].strip("_") or "field"
    return f"f_{wanted}" if wanted[0].isdigit() else wanted


def _canonical(word: str) -> str:
    found = concept(word)
    return found if found in CONCEPTS or found in ENTITY_RANKS else ""

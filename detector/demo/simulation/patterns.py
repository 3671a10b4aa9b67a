"""Patterns of card fraud, injected beside the normal traffic. Each is a scenario that can be switched off.

Rules
    - A fraud is a payment drawn by its card's habits, in which its pattern changes what its name says and
      nothing else: other parts of the payment do not give it away.
    - An incident is one or more payments within one day. Their number is Poisson with the pattern's rate.
    - Victims are cards that have been used for `KNOWN_DAYS` and are not on a journey, chosen in proportion to
      how often they pay.

Sources
    Card testing with many small payments, a small payment before a large one, merchant bursts, impossible
    travel, unusual hours and round amounts are signs of fraud that card schemes and payment providers
    describe in public (Stripe's and Visa's guides on card testing and enumeration; the features of Bahnsen et
    al., *Feature engineering strategies for credit card fraud detection*, 2016; Whitrow et al., *Transaction
    aggregation as a strategy for credit card fraud detection*, 2009). No source publishes rates or sizes that
    can be reused, so all numbers here are our choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from detector.demo.simulation.days import Today
from detector.demo.simulation.payments import (
    BY_NET,
    Payments,
    hours,
    payments,
    with_channel,
)
from detector.demo.simulation.world import (
    CATEGORIES,
    CITY_PLACES,
    DAY_S,
    HOUR_S,
    NOWHERE,
    ONLINE,
    SHARES,
    BoolArray,
    FloatArray,
    IntArray,
    distance_km,
)

KNOWN_DAYS = 7

TEST_PAYMENTS, TEST_SPAN_S, TEST_AMOUNT = 12, 300, (0.5, 3.0)
NEW_MERCHANT_FACTOR = 3.0
JUMP_KM, JUMP_S = 1_000.0, (600, 3_600)
BURST_CARDS, BURST_SPAN_S = 30, 2_400
ROUND_PAYMENTS, ROUND_SPAN_S, ROUND_AMOUNTS = 5, 3 * HOUR_S, (50.0, 100.0, 150.0, 200.0)
LARGE_AFTER_S, LARGE_AFTER_TEST_FACTOR = (120, 1_800), 5.0
WRONG_CATEGORY_RATIO = 5.0
LARGE_FACTOR = 8.0
TAKEOVER_PAYMENTS, TAKEOVER_SPAN_S, TAKEOVER_FACTOR = 4, 2 * HOUR_S, (2.0, 4.0)
SHARED_CARDS, SHARED_SPAN_S = 8, 6 * HOUR_S
BUST_PAYMENTS, BUST_SPAN_S, BUST_FACTOR = 10, 8 * HOUR_S, 2.0

Drawn = tuple[Payments, IntArray]
"""Payments, and for each the number of its incident, from 0 on."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of fraud."""

    draw: Callable[[np.random.Generator, Today, Payments, int], Drawn]
    rate: float  # incidents per day and 1,000 cards
    text: str


def inject(rng: np.random.Generator, today: Today, normal: Payments, name: str, factor: float) -> Drawn:
    """Draw the incidents of one pattern on one day; `factor` is on its rate."""
    pattern = PATTERNS[name]
    number = int(rng.poisson(pattern.rate * factor * len(today.cards) / 1_000))
    if not number or not _known(today).any():
        return normal.take(np.zeros(0, dtype=np.int64)), np.zeros(0, dtype=np.int64)
    return pattern.draw(rng, today, normal, number)


def _known(today: Today) -> BoolArray:
    """Return which cards, (c,), have been used for some days and are not on a journey."""
    known: BoolArray = today.cards.first_day + KNOWN_DAYS <= today.day
    return known & (today.state.back < today.day)


def _victims(
    rng: np.random.Generator, today: Today, number: int, among: FloatArray | None = None
) -> IntArray:
    """Choose `number` cards; `among`, (c,), is a further weight."""
    weight = today.cards.rate * _known(today) * (1.0 if among is None else among)
    total = weight.sum()
    if total <= 0:
        return np.zeros(0, dtype=np.int64)
    victims: IntArray = rng.choice(len(weight), number, p=weight / total)
    return victims


def _usual(today: Today, drawn: Payments) -> FloatArray:
    usual: FloatArray = np.exp(today.cards.log_amount[drawn.card, drawn.category])
    return usual


def _series(
    rng: np.random.Generator, today: Today, victims: IntArray, payments_each: int, span_s: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Return cards, seconds and incidents of `payments_each` payments per victim within `span_s`."""
    card = np.repeat(victims, payments_each)
    start = np.minimum(hours(rng, today.cards, victims, 0), DAY_S - span_s - 1)
    second = np.repeat(start, payments_each) + rng.integers(0, span_s, len(card))
    return card, second, np.repeat(np.arange(len(victims)), payments_each)


def _each(drawn: Payments) -> IntArray:
    return np.arange(len(drawn))


def _at(rng: np.random.Generator, today: Today, drawn: Payments, amount: FloatArray) -> Payments:
    """Give the payments these amounts, and the channel that goes with them."""
    return with_channel(rng, today, replace(drawn, amount=amount))


def _odd_hour(rng: np.random.Generator, today: Today, normal: Payments, number: int) -> Drawn:
    card = _victims(rng, today, number)
    second = today.cards.odd_hour(card) * HOUR_S + rng.integers(0, HOUR_S, len(card))
    drawn = payments(rng, today, card, second=second)
    return drawn, _each(drawn)


def _new_category(rng: np.random.Generator, today: Today, normal: Payments, number: int) -> Drawn:
    card = _victims(rng, today, number)
    weight = SHARES * (today.cards.category[card] == 0)
    for merchant in today.cards.standing[card].T:  # fixed monthly payments are no news either
        there = np.flatnonzero(merchant >= 0)
        weight[there, today.merchants.category[merchant[there]]] = 0.0
    summed = weight.cumsum(axis=1)
    category = (rng.random(len(card))[:, None] * summed[:, -1:] > summed).sum(axis=1)
    drawn = payments(rng, today, card, category=category)
    return drawn, _each(drawn)


def _card_testing(rng: np.random.Generator, today: Today, normal: Payments, number: int) -> Drawn:
    victims = _victims(rng, today, number)
    card, second, incident = _series(rng, today, victims, TEST_PAYMENTS, TEST_SPAN_S)
    category = _any_online(rng, len(victims))
    site = today.merchants.pick(rng, category, np.full(len(victims), NOWHERE))
    drawn = payments(rng, today, card, second=second, category=category[incident], merchant=site[incident])
    return replace(drawn, amount=rng.uniform(*TEST_AMOUNT, len(drawn))), incident


def _new_merchant(rng: np.random.Generator, today: Today, card: IntArray, category: IntArray) -> IntArray:
    """Pick a merchant near the card's home that is not one of its favourites, if there is one."""
    city = today.cards.home_city[card]
    merchant = today.merchants.pick(rng, category, city)
    for _ in range(8):
        known = (today.cards.shops[card, category] == merchant[:, None]).any(axis=1)
        merchant = np.where(known, today.merchants.pick(rng, category, city), merchant)
    return merchant


def _own_category(rng: np.random.Generator, today: Today, card: IntArray) -> IntArray:
    own: IntArray = (rng.random(len(card))[:, None] > today.shares[card]).sum(axis=1)
    return own


def _own_online(rng: np.random.Generator, today: Today, card: IntArray) -> IntArray:
    """Draw categories that the cards, (n,), use and that are paid online; any of these if they use none."""
    weight = ONLINE * (today.cards.category[card] + 1e-9)
    summed = weight.cumsum(axis=1)
    own: IntArray = (rng.random(len(card))[:, None] * summed[:, -1:] > summed).sum(axis=1)
    return own


def _any_online(rng: np.random.Generator, number: int) -> IntArray:
    return rng.choice(len(CATEGORIES), number, p=SHARES * ONLINE / (SHARES @ ONLINE))


def _new_merchant_amount(rng: np.random.Generator, today: Today, normal: Payments, number: int) -> Drawn:
    card = _victims(rng, today, number)
    category = _own_category(rng, today, card)
    merchant = _new_merchant(rng, today, card, category)
    drawn = payments(rng, today, card, category=category, merchant=merchant)
    return _at(rng, today, drawn, drawn.amount * NEW_MERCHANT_FACTOR), _each(drawn)


def _far_jump(rng: np.random.Generator, today: Today, normal: Payments, number: int) -> Drawn:
    """After a payment in a shop, another in a city that cannot be reached so soon."""
    usable = (normal.channel != BY_NET) & _known(today)[normal.card]
    before = normal.take(usable & (normal.second < DAY_S - JUMP_S[1]))
    if not len(before):
        return before, np.zeros(0, dtype=np.int64)
    before = before.take(rng.integers(0, len(before), number))
    way = distance_km(before.place[:, None], CITY_PLACES[None])  # (number, cities)
    weight = np.where(way >= JUMP_KM, rng.random(way.shape), -1.0)
    city = weight.argmax(axis=1)
    category = _own_category(rng, today, before.card)
    merchant = today.merchants.pick(rng, category, city)
    second = before.second + rng.integers(*JUMP_S, number)
    drawn = payments(rng, today, before.card, second=second, category=category, merchant=merchant)
    return drawn, _each(drawn)


def _merchant_burst(rng: np.random.Generator, today: Today, normal: Payments, number: int) -> Drawn:
    merchants = today.merchants
    category = rng.choice(len(CATEGORIES), number, p=SHARES / SHARES.sum())
    merchant = merchants.pick(rng, category, rng.integers(0, len(CITY_PLACES), number))
    parts: list[Payments] = []
    for one, kind in zip(merchant.tolist(), category.tolist(), strict=True):
        near_by = (today.cards.home_city == merchants.city[one]) & (today.cards.category[:, kind] > 0)
        card = _victims(rng, today, BURST_CARDS, near_by if near_by.sum() >= 3 * BURST_CARDS else None)
        start = int(rng.integers(8 * HOUR_S, 21 * HOUR_S))
        second = start + rng.integers(0, BURST_SPAN_S, len(card))
        same = np.full(len(card), 1, dtype=np.int64)
        parts.append(payments(rng, today, card, second=second, category=same * kind, merchant=same * one))
    return Payments.join(parts), np.repeat(np.arange(number), [len(part) for part in parts])


def _round_amounts(rng: np.random.Generator, today: Today, normal: Payments, number: int) -> Drawn:
    victims = _victims(rng, today, number)
    card, second, incident = _series(rng, today, victims, ROUND_PAYMENTS, ROUND_SPAN_S)
    category = _own_category(rng, today, card)
    shop = today.cards.shops[card, category, 0]
    drawn = payments(rng, today, card, second=second, category=category, merchant=shop)
    return _at(rng, today, drawn, rng.choice(ROUND_AMOUNTS, len(card))), incident


def _small_then_large(rng: np.random.Generator, today: Today, normal: Payments, number: int) -> Drawn:
    victims = _victims(rng, today, number)
    start = np.minimum(hours(rng, today.cards, victims, 0), DAY_S - LARGE_AFTER_S[1] - 1)
    second = np.stack([start, start + rng.integers(*LARGE_AFTER_S, number)], axis=1).ravel()
    category = np.repeat(_own_online(rng, today, victims), 2)
    card = np.repeat(victims, 2)
    site = today.cards.sites[card, category, 0]
    drawn = payments(rng, today, card, second=second, category=category, merchant=site)
    small = np.arange(len(card)) % 2 == 0
    amount = np.where(small, rng.uniform(*TEST_AMOUNT, len(card)), drawn.amount * LARGE_AFTER_TEST_FACTOR)
    return replace(drawn, amount=amount), np.repeat(np.arange(number), 2)


def _category_amount(rng: np.random.Generator, today: Today, normal: Payments, number: int) -> Drawn:
    """In one of its cheap categories the card pays what is usual in one of its dear ones."""
    cards = today.cards
    low = np.where(cards.category > 0, cards.log_amount, np.inf).min(axis=1)
    high = np.where(cards.category > 0, cards.log_amount, -np.inf).max(axis=1)
    card = _victims(rng, today, number, high - low >= np.log(WRONG_CATEGORY_RATIO))
    cheap = np.where(cards.category[card] > 0, cards.log_amount[card], np.inf).argmin(axis=1)
    drawn = payments(rng, today, card, category=cheap)
    amount = drawn.amount / _usual(today, drawn) * np.exp(high[card])
    return _at(rng, today, drawn, amount), _each(drawn)


def _large_amount(rng: np.random.Generator, today: Today, normal: Payments, number: int) -> Drawn:
    drawn = payments(rng, today, _victims(rng, today, number))
    return _at(rng, today, drawn, drawn.amount * LARGE_FACTOR), _each(drawn)


def _account_takeover(rng: np.random.Generator, today: Today, normal: Payments, number: int) -> Drawn:
    """From a device that nobody used, at online merchants new to the card, larger and larger amounts."""
    victims = _victims(rng, today, number)
    card, second, incident = _series(rng, today, victims, TAKEOVER_PAYMENTS, TAKEOVER_SPAN_S)
    category = _any_online(rng, len(card))
    site = today.merchants.pick(rng, category, np.full(len(card), NOWHERE))
    drawn = payments(rng, today, card, second=second, category=category, merchant=site)
    device = _foreign_device(rng, len(victims))[incident]
    return replace(
        drawn, device=device, amount=drawn.amount * rng.uniform(*TAKEOVER_FACTOR, len(card))
    ), incident


def _shared_device(rng: np.random.Generator, today: Today, normal: Payments, number: int) -> Drawn:
    """One new device pays with many cards, at merchants and for amounts that are usual for each."""
    card = _victims(rng, today, number * SHARED_CARDS)
    incident = np.repeat(np.arange(number), SHARED_CARDS)[: len(card)]
    start = rng.integers(8 * HOUR_S, 17 * HOUR_S, number)
    second = start[incident] + rng.integers(0, SHARED_SPAN_S, len(card))
    category = _own_online(rng, today, card)
    site = today.cards.sites[card, category, 0]
    drawn = payments(rng, today, card, second=second, category=category, merchant=site)
    return replace(drawn, device=_foreign_device(rng, number)[incident]), incident


def _bust_out(rng: np.random.Generator, today: Today, normal: Payments, number: int) -> Drawn:
    """The card is spent out in a few hours: many payments, larger than usual, in its own categories."""
    victims = _victims(rng, today, number)
    card, second, incident = _series(rng, today, victims, BUST_PAYMENTS, BUST_SPAN_S)
    drawn = payments(rng, today, card, second=second)
    return _at(rng, today, drawn, drawn.amount * BUST_FACTOR), incident


def _foreign_device(rng: np.random.Generator, number: int) -> IntArray:
    """Draw device numbers far above those of the cards."""
    return rng.integers(1 << 40, 1 << 41, number)


PATTERNS = {
    "odd_hour": Pattern(_odd_hour, 0.7, "a payment at the hour at which the card is used least"),
    "new_category": Pattern(_new_category, 0.7, "a usual payment in a category that the card never used"),
    "card_testing": Pattern(
        _card_testing,
        0.25,
        f"{TEST_PAYMENTS} payments of {TEST_AMOUNT[0]:g} to {TEST_AMOUNT[1]:g} within "
        f"{TEST_SPAN_S // 60} minutes at one online merchant",
    ),
    "new_merchant_amount": Pattern(
        _new_merchant_amount, 0.7, f"{NEW_MERCHANT_FACTOR:g} times the amount, at a merchant new to the card"
    ),
    "far_jump": Pattern(
        _far_jump, 0.7, f"within an hour of a payment another, at least {JUMP_KM:,.0f} km away"
    ),
    "merchant_burst": Pattern(
        _merchant_burst, 0.1, f"{BURST_CARDS} cards at one merchant within {BURST_SPAN_S // 60} minutes"
    ),
    "round_amounts": Pattern(
        _round_amounts,
        0.25,
        f"{ROUND_PAYMENTS} payments of 50, 100, 150 or 200 within "
        f"{ROUND_SPAN_S // HOUR_S} hours at usual merchants",
    ),
    "small_then_large": Pattern(
        _small_then_large,
        0.5,
        f"a payment of {TEST_AMOUNT[0]:g} to {TEST_AMOUNT[1]:g}, and within half an "
        f"hour one of {LARGE_AFTER_TEST_FACTOR:g} times the usual amount at the same online merchant",
    ),
    "category_amount": Pattern(
        _category_amount, 0.7, "in the card's cheapest category the amount that is usual in its dearest"
    ),
    "large_amount": Pattern(_large_amount, 0.7, f"{LARGE_FACTOR:g} times the usual amount"),
    "account_takeover": Pattern(
        _account_takeover,
        0.2,
        f"a new device, {TAKEOVER_PAYMENTS} payments of {TAKEOVER_FACTOR[0]:g} to "
        f"{TAKEOVER_FACTOR[1]:g} times the usual amount at new online merchants within "
        f"{TAKEOVER_SPAN_S // HOUR_S} hours",
    ),
    "shared_device": Pattern(
        _shared_device,
        0.1,
        f"{SHARED_CARDS} cards used from one new device within {SHARED_SPAN_S // HOUR_S} hours",
    ),
    "bust_out": Pattern(
        _bust_out,
        0.15,
        f"{BUST_PAYMENTS} payments of {BUST_FACTOR:g} times the usual amount within "
        f"{BUST_SPAN_S // HOUR_S} hours",
    ),
}
"""All patterns by name; their order numbers the kinds, from 1 on."""


def markdown_table() -> str:
    """Return the patterns as a Markdown table, as shown in docs/reference/simulation.md."""
    rows = ["| scenario | what is injected | incidents per day and 1,000 cards |", "|---|---|---|"]
    rows += [f"| `{name}` | {pattern.text} | {pattern.rate:g} |" for name, pattern in PATTERNS.items()]
    return "\n".join(rows)

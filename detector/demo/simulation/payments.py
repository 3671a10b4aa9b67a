"""Payments that follow from the cards' habits on one day.

What it does
    `payments` draws one payment for each card given. `normal_payments` draws those of a whole day: by the
    cards' rates, some followed by another within minutes, evenings on which many cards meet at one place, and
    the fixed monthly payments.

Rules
    - Normal traffic and all patterns of fraud use `payments`, so a fraud differs from its card's habits only
      in what its pattern changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from detector.demo.simulation.days import MONTHS, SATURDAY, Today, day_of_month, month, weekday
from detector.demo.simulation.habits import FAVOURITES, NET_FAVOURITES, Cards
from detector.demo.simulation.world import (
    CASH,
    CATEGORIES,
    CITY_PLACES,
    CITY_SIZES,
    DAY_S,
    ENTERTAINMENT,
    FUEL,
    HOUR_S,
    NOWHERE,
    ONLINE,
    SPREAD,
    BoolArray,
    FloatArray,
    IntArray,
    near,
)

CHANNELS = ("chip", "contactless", "online", "atm")
CHIP, CONTACTLESS, BY_NET, ATM = range(4)
NO_DEVICE = -1
STRAY_SHARE = 0.004  # payments at any time of day
EXPLORE_SHARE = 0.004  # payments in any category
FOLLOW_SHARE, FOLLOW_S = 0.06, (30, 900)  # so many payments are followed by another within that time
# Evenings on which many cards pay at one place, per day and 1,000 cards; how many cards, and within how long.
GATHERINGS, GATHERED, GATHERING_SPAN_S = 0.1, (8, 25), 2 * HOUR_S
CONTACTLESS_LIMIT = 50.0
# Payments by month, and what is bought more in which month.


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Payments:
    """Payments of one day in any order, arrays of shape (n,)."""

    second: IntArray  # of the day
    card: IntArray
    merchant: IntArray
    category: IntArray
    amount: FloatArray  # not rounded to cents
    channel: IntArray  # place in CHANNELS
    device: IntArray  # NO_DEVICE: none
    city: IntArray  # where the card is
    place: FloatArray  # (n, 2) latitude and longitude

    def __len__(self) -> int:
        return len(self.second)

    def take(self, rows: IntArray | BoolArray) -> Payments:
        """Return some of them."""
        return Payments(**{name: getattr(self, name)[rows] for name in Payments.__slots__})

    @staticmethod
    def join(parts: list[Payments]) -> Payments:
        """Return all payments of the parts."""
        return Payments(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in Payments.__slots__}
        )


def hours(rng: np.random.Generator, cards: Cards, card: IntArray, later_s: int) -> IntArray:
    """Draw seconds of the day at the preferred hours of the cards, (n,), moved by `later_s`."""
    which = (rng.random(len(card)) >= cards.early[card]).astype(np.int64)
    angle = rng.vonmises(cards.peak[card, which], cards.focus[card, which])
    second = np.floor(angle / (2 * np.pi) * DAY_S).astype(np.int64) + later_s
    stray = rng.random(len(card)) < STRAY_SHARE
    return np.where(stray, rng.integers(0, DAY_S, len(card)), second % DAY_S)


def normal_payments(rng: np.random.Generator, today: Today) -> Payments:
    """Draw all normal payments of a day, without those that fall into a journey's hours on the way."""
    cards = today.cards
    rate = cards.rate * cards.week[:, weekday(today.date)] * MONTHS[month(today.date)] * today.purse
    number = rng.poisson(rate * (cards.first_day <= today.day))
    card = np.repeat(np.arange(len(cards)), number)
    drawn = payments(rng, today, card)
    drawn = Payments.join([drawn, *_follow_ups(rng, today, drawn), *_gatherings(rng, today)])
    _, under_way = today.is_away(drawn.card, drawn.second)
    drawn = drawn.take(~under_way | (drawn.channel == BY_NET))
    return Payments.join([drawn, _standing(today)])


def _follow_ups(rng: np.random.Generator, today: Today, drawn: Payments) -> list[Payments]:
    """Draw a second payment soon after some of the payments: half of them at the same merchant."""
    chance = rng.random(len(drawn))
    parts = []
    for same, some in ((True, chance < FOLLOW_SHARE / 2), (False, chance > 1 - FOLLOW_SHARE / 2)):
        first = drawn.take(some)
        second = np.minimum(first.second + rng.integers(*FOLLOW_S, len(first)), DAY_S - 1)
        given = {"category": first.category, "merchant": first.merchant} if same else {}
        parts.append(payments(rng, today, first.card, second=second, **given))
    return parts


def _gatherings(rng: np.random.Generator, today: Today) -> list[Payments]:
    """Draw the payments of many cards at one place of entertainment in an evening: a concert, a match."""
    cards, parts = today.cards, []
    at_home = (cards.first_day <= today.day) & (today.state.back < today.day)
    for _ in range(rng.poisson(GATHERINGS * len(cards) / 1_000)):
        city = rng.choice(len(CITY_SIZES), 1, p=CITY_SIZES / CITY_SIZES.sum())
        there = np.flatnonzero(at_home & (cards.home_city == city))
        card = rng.permutation(there)[: rng.integers(*GATHERED)]
        second = rng.integers(17 * HOUR_S, 20 * HOUR_S) + rng.integers(0, GATHERING_SPAN_S, len(card))
        category = np.full(len(card), ENTERTAINMENT)
        merchant = today.merchants.pick(rng, category[:1], city)[np.zeros(len(card), dtype=np.int64)]
        parts.append(payments(rng, today, card, second=second, category=category, merchant=merchant))
    return parts


def payments(
    rng: np.random.Generator,
    today: Today,
    card: IntArray,
    *,
    second: IntArray | None = None,
    category: IntArray | None = None,
    merchant: IntArray | None = None,
) -> Payments:
    """Draw one payment for each of the cards, (n,), by its habits.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all draws.
    today : Today
        The world on this day.
    card : ndarray of int64, shape (n,)
        Cards; one may occur often.
    second, category, merchant : ndarray of int64, shape (n,), optional
        What is given instead of drawn. A merchant needs its category.

    Returns
    -------
    Payments
    """
    cards, merchants, n = today.cards, today.merchants, len(card)
    later_s = HOUR_S if weekday(today.date) >= SATURDAY else 0
    drawn_second = hours(rng, cards, card, later_s)
    second = drawn_second if second is None else second
    explores = rng.random(n) < EXPLORE_SHARE
    own = (rng.random(n)[:, None] > today.shares[card]).sum(axis=1)
    other = rng.integers(0, len(CATEGORIES), n)
    category = np.where(explores, other, own) if category is None else category
    away, _ = today.is_away(card, second)
    by_net = rng.random(n) < ONLINE[category] * cards.net[card]
    is_new = (rng.random(n) < cards.new_share[card]) | explores | (away & ~by_net)
    city = np.where(away, today.state.away[card], cards.home_city[card])
    shop = cards.shops[card, category, (FAVOURITES * rng.random(n) ** 2).astype(np.int64)]
    site = cards.sites[card, category, (NET_FAVOURITES * rng.random(n) ** 2).astype(np.int64)]
    found = merchants.pick(rng, category, np.where(by_net, NOWHERE, city))
    chosen = np.where(is_new, found, np.where(by_net, site, shop))
    chosen = chosen if merchant is None else merchant
    amount = np.exp(
        cards.log_amount[card, category]
        + merchants.log_price[chosen]
        + SPREAD[category] * rng.standard_normal(n)
    )
    amount = round_prices(rng, category, amount * today.purse[card] ** 0.5)
    drawn = Payments(
        second=second,
        card=card,
        merchant=chosen,
        category=category,
        amount=amount,
        channel=np.zeros(n, dtype=np.int64),
        device=np.full(n, NO_DEVICE),
        city=city,
        place=np.zeros((n, 2)),
    )
    return with_channel(rng, today, drawn)


def round_prices(rng: np.random.Generator, category: IntArray, amount: FloatArray) -> FloatArray:
    """Round cash to tens, a third of fuel to fives, and some prices to a whole, a half or a cent less."""
    end = rng.random(len(amount))
    whole = np.maximum(np.round(amount), 1.0)
    prices = np.where(end < 0.06, whole, np.where(end < 0.10, whole + 0.5, amount))
    prices = np.where((end >= 0.10) & (end < 0.3), whole - 0.01, prices)
    prices = np.where((category == FUEL) & (end < 0.33), np.maximum(np.round(amount / 5) * 5, 5.0), prices)
    return np.where(category == CASH, np.maximum(np.round(amount / 10) * 10, 10.0), prices)


def with_channel(rng: np.random.Generator, today: Today, drawn: Payments) -> Payments:
    """Return the payments with the channel, device and place that follow from card, merchant and amount."""
    cards, card, n = today.cards, drawn.card, len(drawn)
    online = today.merchants.city[drawn.merchant] == NOWHERE
    waves = (drawn.amount <= CONTACTLESS_LIMIT) & (rng.random(n) < cards.wave[card])
    channel = np.where(waves, CONTACTLESS, CHIP)
    channel = np.where(drawn.category == CASH, ATM, channel)
    channel = np.where(online, BY_NET, channel)
    used = online | ((channel == CONTACTLESS) & cards.phone[card])
    second_device = rng.random(n) < 0.25
    which = np.where(second_device, cards.devices[card] - 1, 0)
    device = (today.state.renewed[card] * 2 + which) * len(cards) + card
    at_home = near(
        rng,
        np.where((drawn.city == cards.home_city[card])[:, None], cards.home[card], CITY_PLACES[drawn.city]),
        1.0,
    )
    place = np.where(online[:, None], at_home, today.merchants.place[drawn.merchant])
    return replace(
        drawn,
        channel=channel,
        device=np.where(used, device, NO_DEVICE),
        city=np.where(online, drawn.city, today.merchants.city[drawn.merchant]),
        place=place,
    )


def _standing(today: Today) -> Payments:
    """Return the fixed monthly payments of the day."""
    cards = today.cards
    due = (cards.standing >= 0) & (cards.standing_day == day_of_month(today.date))
    card, which = np.nonzero(due & (cards.first_day <= today.day)[:, None])
    merchant = cards.standing[card, which]
    return Payments(
        second=cards.standing_second[card, which],
        card=card,
        merchant=merchant,
        category=today.merchants.category[merchant],
        amount=cards.standing_amount[card, which],
        channel=np.full(len(card), BY_NET),
        device=np.full(len(card), NO_DEVICE),
        city=cards.home_city[card],
        place=cards.home[card],
    )

"""How each card is used on a normal day, and the payments that follow from it.

What it does
    A card has hours of the day (two von Mises peaks), days of the week, categories with frequencies and usual
    amounts of its own, a few merchants per category near its home or work place, a share of payments at
    merchants that are new to it, one or two devices, a liking for online and contactless payment, and fixed
    monthly payments. Some payments are followed by another within minutes. Now and then a card is on a
    journey to another city, or many cards meet at one place in an evening. Spending rises after the monthly
    salary and falls until the next, and follows the seasons and the week.

Rules
    - `payments` draws one payment for each card given. Normal traffic and all patterns of fraud use it, so a
      fraud differs from its card's habits only in what its pattern changes.
    - What lasts longer than a day (journeys, new devices) is in `State`, one entry per card.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from detector.demo.simulation.world import (
    CASH,
    CATEGORIES,
    CITY_PLACES,
    CITY_SIZES,
    CITY_SPREAD_KM,
    DAY_S,
    ENTERTAINMENT,
    FUEL,
    HOUR_S,
    LOG_AMOUNT,
    NOWHERE,
    ONLINE,
    SHARES,
    SPREAD,
    BoolArray,
    FloatArray,
    IntArray,
    Merchants,
    distance_km,
    near,
)

CHANNELS = ("chip", "contactless", "online", "atm")
CHIP, CONTACTLESS, BY_NET, ATM = range(4)
NO_DEVICE = -1

FAVOURITES, NET_FAVOURITES = 3, 2  # merchants of a card per category, in shops and online
CANDIDATES = 10  # of so many merchants of the home city, the nearest become favourites
OWN_CATEGORIES = (4, 9)  # number of categories that a card uses, at least and at most
STRAY_SHARE = 0.004  # payments at any time of day
EXPLORE_SHARE = 0.004  # payments in any category
TRIP_SHARE = 1 / 200  # journeys per card and day, so cards are away some 2.5 % of the time
TRIP_DAYS = (2, 9)
TRIP_REACH_KM = 1_000.0  # a city so far away is chosen e times less often than a near one of its size
DEVICE_CHANGE_SHARE = 1 / 300  # new devices per card and day
SPEED_KM_H = 600.0  # of a journey, after two hours to leave
STANDING = 3  # fixed monthly payments per card, at most
NEW_CARD_SHARE, NEW_CARD_DAYS = 0.2, 120  # so many cards are first used later, on one of so many days
FOLLOW_SHARE, FOLLOW_S = 0.06, (30, 900)  # so many payments are followed by another within that time
# Evenings on which many cards pay at one place, per day and 1,000 cards; how many cards, and within how long.
GATHERINGS, GATHERED, GATHERING_SPAN_S = 0.1, (8, 25), 2 * HOUR_S
CONTACTLESS_LIMIT = 50.0
# Payments by month, and what is bought more in which month.
MONTHS = np.array([0.92, 0.93, 0.97, 1.0, 1.02, 1.03, 1.05, 0.98, 0.98, 1.0, 1.04, 1.18])
WEEKEND = {"restaurant": 1.5, "entertainment": 1.8, "clothing": 1.5, "transport": 0.6, "health": 0.3}
SATURDAY = 5
SEASON_FACTOR = 1.8
SEASONS = {
    "travel": (5, 6, 7),
    "clothing": (0, 8, 11),
    "electronics": (10, 11),
    "jewellery": (11,),
    "games": (11,),
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cards:
    """Habits of all c cards."""

    first_day: IntArray  # (c,)
    rate: FloatArray  # (c,) payments per day
    week: FloatArray  # (c, 7) factor on the rate, Monday first
    peak: FloatArray  # (c, 2) angle of the preferred hours, 2 pi is a day
    focus: FloatArray  # (c, 2) kappa of the von Mises distribution around it
    early: FloatArray  # (c,) share of the first peak
    category: FloatArray  # (c, categories) share of payments; 0: never used
    log_amount: FloatArray  # (c, categories) mean logarithm of the amount
    shops: IntArray  # (c, categories, FAVOURITES) merchants
    sites: IntArray  # (c, categories, NET_FAVOURITES) merchants online
    new_share: FloatArray  # (c,) payments at merchants that are not favourites
    net: FloatArray  # (c,) factor on the categories' online shares
    wave: FloatArray  # (c,) share of contactless payments among the small ones
    devices: IntArray  # (c,) 1 or 2
    phone: BoolArray  # (c,) whether contactless payments are by a device
    home_city: IntArray  # (c,)
    home: FloatArray  # (c, 2) latitude and longitude
    payday: IntArray  # (c,) day of the month, 1 to 28
    standing: IntArray  # (c, STANDING) merchant of a monthly payment; -1: none
    standing_amount: FloatArray  # (c, STANDING)
    standing_day: IntArray  # (c, STANDING) day of the month, 1 to 28
    standing_second: IntArray  # (c, STANDING) second of that day

    def __len__(self) -> int:
        return len(self.rate)

    def odd_hour(self, card: IntArray) -> IntArray:
        """Return the hours, 0 to 23, at which these cards, (n,), are used least."""
        angle = (np.arange(24) + 0.5) / 24 * 2 * np.pi
        turn = np.cos(angle[None, :, None] - self.peak[card][:, None, :])  # (n, 24, 2)
        focus = self.focus[card][:, None, :]
        share = np.stack([self.early[card], 1 - self.early[card]], axis=1)[:, None, :]
        density = (share * np.exp(focus * turn) / np.i0(focus)).sum(axis=2)
        hours: IntArray = density.argmin(axis=1)
        return hours


@dataclass(slots=True, eq=False)
class State:
    """What lasts from day to day, per card. Changed in place."""

    away: IntArray  # (c,) city of the journey
    left: IntArray  # (c,) day and
    left_second: IntArray  # (c,) second of departure
    back: IntArray  # (c,) day and
    back_second: IntArray  # (c,) second of departure for home
    renewed: IntArray  # (c,) how often the card's devices were replaced


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


def draw_cards(rng: np.random.Generator, count: int, merchants: Merchants) -> Cards:
    """Draw the habits of `count` cards."""
    kinds = len(CATEGORIES)
    home_city = rng.choice(len(CITY_SIZES), count, p=CITY_SIZES / CITY_SIZES.sum())
    home = near(rng, CITY_PLACES[home_city], CITY_SPREAD_KM)
    work = near(rng, CITY_PLACES[home_city], CITY_SPREAD_KM)
    night_shift = rng.random(count) < 0.04
    hours = np.stack([rng.normal(11.0, 2.0, count), rng.normal(18.5, 1.5, count)], axis=1)
    hours += 12 * night_shift[:, None]
    late = rng.random(count) < NEW_CARD_SHARE
    week = rng.gamma(4.0, 0.25, (count, 7)) + 0.05
    number = rng.integers(OWN_CATEGORIES[0], OWN_CATEGORIES[1] + 1, count)
    # The first of an order that is drawn by share (Gumbel) are the card's own.
    order = np.argsort(-(np.log(SHARES) + rng.gumbel(size=(count, kinds))), axis=1)
    own = np.argsort(order, axis=1) < number[:, None]
    share = own * SHARES * rng.gamma(2.0, 0.5, (count, kinds)) + own * 0.2
    level = rng.normal(0.0, 0.35, count)
    bought = rng.choice(kinds, count * STANDING, p=SHARES * ONLINE / (SHARES @ ONLINE))
    standing = merchants.pick(rng, bought, np.full(count * STANDING, NOWHERE)).reshape(count, STANDING)
    standing[rng.random((count, STANDING)) < 0.5] = -1
    return Cards(
        first_day=np.where(late, rng.integers(0, NEW_CARD_DAYS, count), 0),
        rate=np.clip(rng.lognormal(np.log(1.7), 0.6, count), 0.1, 15.0),
        week=week / week.mean(axis=1, keepdims=True),
        peak=hours / 24 * 2 * np.pi,
        focus=rng.uniform(3.0, 14.0, (count, 2)),
        early=rng.beta(2.0, 2.0, count),
        category=share / share.sum(axis=1, keepdims=True),
        log_amount=LOG_AMOUNT + level[:, None] + rng.normal(0.0, 0.3, (count, kinds)),
        shops=_favourites(rng, merchants, home_city, home, work),
        sites=merchants.pick(
            rng,
            np.tile(np.repeat(np.arange(kinds), NET_FAVOURITES), count),
            np.full(count * kinds * NET_FAVOURITES, NOWHERE),
        ).reshape(count, kinds, NET_FAVOURITES),
        new_share=rng.beta(1.5, 12.0, count),
        net=rng.uniform(0.2, 1.6, count),
        wave=rng.beta(2.0, 1.0, count),
        devices=rng.integers(1, 3, count),
        phone=rng.random(count) < 0.3,
        home_city=home_city,
        home=home,
        payday=rng.choice([1, 5, 10, 15, 25, 27, 28], count),
        standing=standing,
        standing_amount=np.round(rng.lognormal(np.log(15.0), 0.6, (count, STANDING))) - 0.01,
        standing_day=rng.integers(1, 29, (count, STANDING)),
        standing_second=rng.integers(6 * HOUR_S, 22 * HOUR_S, (count, STANDING)),
    )


def _favourites(
    rng: np.random.Generator, merchants: Merchants, city: IntArray, home: FloatArray, work: FloatArray
) -> IntArray:
    """Return the nearest to home or work of some merchants in the home city, for each category."""
    favourites = np.empty((len(city), len(CATEGORIES), FAVOURITES), dtype=np.int64)
    for category in range(len(CATEGORIES)):
        first, count = merchants.first[category, city], merchants.count[category, city]
        some = first[:, None] + rng.integers(0, count[:, None], (len(city), CANDIDATES))
        place = merchants.place[some]
        away = np.minimum(distance_km(place, home[:, None]), distance_km(place, work[:, None]))
        nearest = np.argsort(away, axis=1, kind="stable")[:, :FAVOURITES]
        favourites[:, category] = np.take_along_axis(some, nearest, axis=1)
    return favourites


def first_state(count: int) -> State:
    """Return the state before day 0: everybody is at home."""
    return State(*(np.full(count, value, dtype=np.int64) for value in (0, -1_000, 0, -1_000, 0, 0)))


def begin_day(rng: np.random.Generator, cards: Cards, state: State, day: int) -> None:
    """Let some cards leave for another city, and replace the devices of some. Changes `state`."""
    n = len(cards)
    leaves = (rng.random(n) < TRIP_SHARE) & (state.back < day)
    where = (rng.random(n)[:, None] > _TRIPS[cards.home_city]).sum(axis=1)
    days, seconds = rng.integers(*TRIP_DAYS, n, endpoint=True), rng.integers(6, 18, (2, n)) * HOUR_S
    renewed = rng.random(n) < DEVICE_CHANGE_SHARE
    state.away[leaves] = where[leaves]
    state.left[leaves], state.back[leaves] = day, day + days[leaves]
    state.left_second[leaves], state.back_second[leaves] = seconds[0, leaves], seconds[1, leaves]
    state.renewed += renewed


def _weekday(date: np.datetime64) -> int:
    """Return 0 for a Monday, 6 for a Sunday."""
    return int((date.astype(np.int64) + 3) % 7)


def _month(date: np.datetime64) -> int:
    """Return 0 for January."""
    return int(date.astype("datetime64[M]").astype(np.int64) % 12)


def _day_of_month(date: np.datetime64) -> int:
    """Return 1 for the first."""
    return int((date - date.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64)) + 1


def _category_shares(cards: Cards, date: np.datetime64) -> FloatArray:
    factor = np.ones(len(CATEGORIES))
    for name, months in SEASONS.items():
        factor[CATEGORIES.index(name)] *= SEASON_FACTOR if _month(date) in months else 1.0
    if _weekday(date) >= SATURDAY:
        for name, more in WEEKEND.items():
            factor[CATEGORIES.index(name)] *= more
    summed = np.cumsum(cards.category * factor, axis=1)
    shares: FloatArray = summed / summed[:, -1:]
    return shares


def _trips() -> FloatArray:
    """Return from each city the shares of all cities as destinations, summed up."""
    way = distance_km(CITY_PLACES[:, None], CITY_PLACES[None])
    weight = CITY_SIZES * np.exp(-way / TRIP_REACH_KM) * (way > 0)
    summed: FloatArray = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
    return summed


_TRIPS = _trips()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Today:
    """The world on one day."""

    day: int  # days since the start
    date: np.datetime64  # of the calendar
    merchants: Merchants
    cards: Cards
    state: State
    purse: FloatArray  # (c,) factor on spending since the last salary: 1.25 falls to .85 in a month
    shares: FloatArray  # (c, categories) the cards' shares of categories on this day, summed up

    @classmethod
    def of(cls, day: int, date: np.datetime64, merchants: Merchants, cards: Cards, state: State) -> Today:
        """Return the world on a day, with what follows from its date."""
        since = (_day_of_month(date) - cards.payday) % 30
        return cls(
            day=day,
            date=date,
            merchants=merchants,
            cards=cards,
            state=state,
            purse=1.25 - 0.4 * since / 29,
            shares=_category_shares(cards, date),
        )

    def is_away(self, card: IntArray, second: IntArray) -> tuple[BoolArray, BoolArray]:
        """Return which cards, (n,), are in another city at that second, and which are under way."""
        state, cards = self.state, self.cards
        way = distance_km(CITY_PLACES[cards.home_city[card]], CITY_PLACES[state.away[card]])
        takes = (2 + way / SPEED_KM_H) * HOUR_S
        now = self.day * DAY_S + second
        left = state.left[card] * DAY_S + state.left_second[card]
        back = state.back[card] * DAY_S + state.back_second[card]
        under_way = ((now >= left) & (now < left + takes)) | ((now >= back) & (now < back + takes))
        return (now >= left) & (now < back), under_way


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
    rate = cards.rate * cards.week[:, _weekday(today.date)] * MONTHS[_month(today.date)] * today.purse
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
    later_s = HOUR_S if _weekday(today.date) >= SATURDAY else 0
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
    due = (cards.standing >= 0) & (cards.standing_day == _day_of_month(today.date))
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

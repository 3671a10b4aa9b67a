"""How each card is used: drawn once, before the first day.

A card has hours of the day (two von Mises peaks), days of the week, categories with frequencies and usual
amounts of its own, a few merchants per category near its home or work place, a share of payments at merchants
that are new to it, one or two devices, a liking for online and contactless payment, a payday, and fixed
monthly payments. All numbers are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detector.demo.simulation.world import (
    CATEGORIES,
    CITY_PLACES,
    CITY_SIZES,
    CITY_SPREAD_KM,
    HOUR_S,
    LOG_AMOUNT,
    NOWHERE,
    ONLINE,
    SHARES,
    BoolArray,
    FloatArray,
    IntArray,
    Merchants,
    distance_km,
    near,
)

FAVOURITES, NET_FAVOURITES = 3, 2  # merchants of a card per category, in shops and online
CANDIDATES = 10  # of so many merchants of the home city, the nearest become favourites
OWN_CATEGORIES = (4, 9)  # number of categories that a card uses, at least and at most
STANDING = 3  # fixed monthly payments per card, at most
NEW_CARD_SHARE, NEW_CARD_DAYS = 0.2, 120  # so many cards are first used later, on one of so many days


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

"""The days: what lasts from one to the next, and what follows from the date.

What it does
    Now and then a card leaves for another city, and comes back some days later; on the way it is not used in
    shops. Devices are replaced. Spending rises after the monthly salary and falls until the next; what is
    bought follows the seasons and the week.

Rules
    - What lasts longer than a day is in `State`, one entry per card, and changes only in `begin_day`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detector.demo.simulation.habits import Cards
from detector.demo.simulation.world import (
    CATEGORIES,
    CITY_PLACES,
    CITY_SIZES,
    DAY_S,
    HOUR_S,
    BoolArray,
    FloatArray,
    IntArray,
    Merchants,
    distance_km,
)

TRIP_DAYS = (2, 9)
TRIP_REACH_KM = 1_000.0  # a city so far away is chosen e times less often than a near one of its size
DEVICE_CHANGE_SHARE = 1 / 300  # new devices per card and day
SPEED_KM_H = 600.0  # of a journey, after two hours to leave
# Factors on the number of payments by month, on the shares of categories on Saturdays and Sundays, and in the
# months given, of which 0 is January.
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
        since = (day_of_month(date) - cards.payday) % 30
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


def first_state(count: int) -> State:
    """Return the state before day 0: everybody is at home."""
    return State(*(np.full(count, value, dtype=np.int64) for value in (0, -1_000, 0, -1_000, 0, 0)))


def begin_day(rng: np.random.Generator, cards: Cards, state: State, day: int, trip_share: float) -> None:
    """Let a share of the cards leave for another city, and replace the devices of some. Changes `state`."""
    n = len(cards)
    leaves = (rng.random(n) < trip_share) & (state.back < day)
    where = (rng.random(n)[:, None] > _TRIPS[cards.home_city]).sum(axis=1)
    days, seconds = rng.integers(*TRIP_DAYS, n, endpoint=True), rng.integers(6, 18, (2, n)) * HOUR_S
    renewed = rng.random(n) < DEVICE_CHANGE_SHARE
    state.away[leaves] = where[leaves]
    state.left[leaves], state.back[leaves] = day, day + days[leaves]
    state.left_second[leaves], state.back_second[leaves] = seconds[0, leaves], seconds[1, leaves]
    state.renewed += renewed


def weekday(date: np.datetime64) -> int:
    """Return 0 for a Monday, 6 for a Sunday."""
    return int((date.astype(np.int64) + 3) % 7)


def month(date: np.datetime64) -> int:
    """Return 0 for January."""
    return int(date.astype("datetime64[M]").astype(np.int64) % 12)


def day_of_month(date: np.datetime64) -> int:
    """Return 1 for the first."""
    return int((date - date.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64)) + 1


def _category_shares(cards: Cards, date: np.datetime64) -> FloatArray:
    factor = np.ones(len(CATEGORIES))
    for name, months in SEASONS.items():
        factor[CATEGORIES.index(name)] *= SEASON_FACTOR if month(date) in months else 1.0
    if weekday(date) >= SATURDAY:
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

"""Simulated card traffic with habits, and patterns of fraud injected beside it.

What it does
    Each day: journeys and new devices begin (`days`), normal payments (`payments`) are drawn by the cards'
    `habits`, the incidents of each pattern (`patterns`) are added, and all are put in order of time. A drift
    may change prices, move normal payments into the night, and give merchants a new category.

Rules
    - One day is simulated at a time. All that is kept of it is one entry per card.
    - Each generator is seeded by (seed, purpose, day), each pattern being a purpose of its own. So a shorter
      run is a prefix of a longer one, the days before a drift equal those of a run without it, and switching
      a pattern off removes its events and changes nothing else but the ids.

Invariants
    - Times never decrease; ids are 0, 1, 2, ... in order of time; equal times keep the order of the draws.
    - The same configuration gives the same bytes with the same version of numpy (see NEP 19).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from detector.demo.simulation.days import Today, begin_day, first_state
from detector.demo.simulation.habits import draw_cards
from detector.demo.simulation.patterns import PATTERNS, inject
from detector.demo.simulation.payments import CHANNELS, NO_DEVICE, Payments, normal_payments
from detector.demo.simulation.world import (
    CATEGORIES,
    CITIES,
    COUNTRIES,
    DAY_S,
    FloatArray,
    IntArray,
    draw_merchants,
)

LABEL_FIELDS = ("event_id", "event_time", "kind", "incident")
"""Header of the rows that `label_rows` returns."""

KINDS = ("", *PATTERNS)
"""Names of the kinds of payments; the first is normal."""

# Constant per customer, as a bank joins them to its events: how many names each has; 0: a number.
ATTRIBUTES = {
    "job": 40,
    "region": 16,
    "gender": 2,
    "age": 0,
    "residence": 60,
    "income": 0,
    "segment": 4,
    "branch": 30,
}
NEW_CATEGORY = len(CATEGORIES)  # of the merchants that a drift moves
_SPELLED = (*CATEGORIES, "other")

NIGHT_S = 6 * 3_600
DAYS_MAX = 36_525
CUSTOMERS_MAX = 200_000  # habits and the shares of a day take some 3 kB per card: 600 MB
DAYS = 60  # of a run without a length


@dataclass(frozen=True, kw_only=True, slots=True)
class CardsConfig:
    """What to simulate.

    Raises
    ------
    ValueError
        Values are out of range. Names all of them.
    """

    seed: int = 0  # >= 0
    customers: int = 3_000  # each has one card; some 1.7 payments per card and day
    merchants: int | None = None  # about so many, at least 3 per category and city; None: one per two cards
    days: int | None = None  # number of days; None with `events` None: 60
    events: int | None = None  # number of events; the last day may be incomplete
    start_time: int = 1_735_689_600  # epoch seconds at which day 0 begins: 2025-01-01T00:00:00Z
    attributes: int = 0  # so many of `ATTRIBUTES` are fields of the events

    trip_share: float = 1 / 400  # journeys per card and day, so cards are away some 1.3 % of the time

    patterns: tuple[str, ...] = tuple(PATTERNS)  # those that are injected
    pattern_rate: float = 1.0  # factor on the number of their incidents

    drift_day: int | None = None  # first day of the drift; None: no drift
    drift_price_factor: float = 2.0  # on all amounts
    drift_night_share: float = 0.2  # share of normal payments that move to between 0 and 6 o'clock
    drift_category_share: float = 0.1  # share of merchants that get a new category

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be between {low:g} and {high:g}, not {value!r}"
            for name, (low, high) in _RANGES.items()
            if (value := getattr(self, name)) is not None and not low <= value <= high
        ]
        if unknown := [name for name in self.patterns if name not in PATTERNS]:
            problems.append(f"no pattern {', '.join(unknown)}; there are {', '.join(PATTERNS)}")
        if self.start_time % DAY_S:
            problems.append("start_time must be midnight in UTC")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def days_count(self) -> int:
        """Maximum number of days."""
        if self.days is not None:
            return self.days
        return DAYS if self.events is None else DAYS_MAX

    def drifted(self, day: int) -> bool:
        """Whether `day` is after the drift."""
        return self.drift_day is not None and day >= self.drift_day


_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**128 - 1),
    "customers": (1, CUSTOMERS_MAX),
    "merchants": (0, 1_000_000),
    "days": (0, DAYS_MAX),
    "events": (0, 10**12),
    "start_time": (-(10**10), 10**11),
    "attributes": (0, len(ATTRIBUTES)),
    "trip_share": (0.0, 1.0),
    "pattern_rate": (0.0, 1_000.0),
    "drift_day": (0, DAYS_MAX),
    "drift_price_factor": (0.0, 1_000.0),
    "drift_night_share": (0.0, 1.0),
    "drift_category_share": (0.0, 1.0),
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CardsDay:
    """The payments of one day in order of time; n may be 0. All arrays have shape (n,)."""

    day: int  # days since `CardsConfig.start_time`
    event_id: IntArray  # consecutive, also from day to day
    time: FloatArray  # epoch seconds (UTC), whole seconds, never decreasing
    payments: Payments  # amounts have two decimals and are at least .01
    kind: IntArray  # place in KINDS; 0: normal
    incident: IntArray  # number of the incident among those of its kind and day; normal: 0
    attributes: dict[str, IntArray]  # value of each attribute

    def __len__(self) -> int:
        return len(self.event_id)


def simulate(config: CardsConfig) -> Iterator[CardsDay]:
    """Simulate card traffic, day by day.

    Parameters
    ----------
    config : CardsConfig
        What to simulate.

    Yields
    ------
    CardsDay
        Each day once, in order, even without payments. With `events`, the last one may be incomplete.

    Examples
    --------
    >>> days = list(simulate(CardsConfig(seed=1, customers=50, events=1_000)))
    >>> sum(len(day) for day in days)
    1000
    """
    wanted = config.customers // 2 if config.merchants is None else config.merchants
    merchants = draw_merchants(_generator(config, _MERCHANTS), wanted)
    cards = draw_cards(_generator(config, _CARDS), config.customers, merchants)
    attributes = _draw_attributes(config)
    state = first_state(config.customers)
    moved = _generator(config, _NEW_CATEGORIES).random(len(merchants.category)) < config.drift_category_share
    first_date = np.datetime64(config.start_time, "s").astype("datetime64[D]")
    made = 0
    for day in range(config.days_count):
        room = math.inf if config.events is None else config.events - made
        if room <= 0:
            return
        begin_day(_generator(config, _STATE, day), cards, state, day, config.trip_share)
        today = Today.of(day, first_date + np.timedelta64(day, "D"), merchants, cards, state)
        drawn, kind, incident = _draw_day(config, today)
        if config.drifted(day):
            drawn = _shift(config, drawn, kind, moved, day)
        order = np.argsort(drawn.second, kind="stable")[: int(min(room, len(drawn)))]
        drawn = drawn.take(order)
        yield CardsDay(
            day=day,
            event_id=np.arange(made, made + len(order)),
            time=(config.start_time + day * DAY_S + drawn.second).astype(np.float64),
            payments=replace(drawn, amount=np.maximum(np.round(drawn.amount, 2), 0.01)),
            kind=kind[order],
            incident=incident[order],
            attributes={name: value[drawn.card] for name, value in attributes.items()},
        )
        made += len(order)


def to_events(day: CardsDay) -> list[dict[str, object]]:
    """Turn a day into events.

    Parameters
    ----------
    day : CardsDay
        n payments.

    Returns
    -------
    list of dict, length n
        Keys in this order: event_id (str), event_time (str, ISO 8601 in UTC), card, merchant and, unless a
        card was inserted, device (str), amount (float, two decimals), category, channel, country, city (str),
        latitude, longitude (float, degrees, four decimals), and the attributes (str or int). No labels.
    """
    paid = day.payments
    rows = zip(
        day.event_id.tolist(),
        _iso(day.time),
        paid.card.tolist(),
        paid.merchant.tolist(),
        paid.device.tolist(),
        paid.amount.tolist(),
        paid.category.tolist(),
        paid.channel.tolist(),
        paid.city.tolist(),
        np.round(paid.place, 4).tolist(),
        strict=True,
    )
    events = []
    for event_id, time, card, merchant, device, amount, category, channel, city, place in rows:
        event = {
            "event_id": str(event_id),
            "event_time": time,
            "card": f"C{card}",
            "merchant": f"M{merchant}",
        }
        if device != NO_DEVICE:
            event["device"] = f"D{_scrambled(device):012x}"
        event["amount"] = amount
        event["category"], event["channel"] = _SPELLED[category], CHANNELS[channel]
        event["country"], event["city"] = COUNTRIES[city], CITIES[city]
        event["latitude"], event["longitude"] = place
        events.append(event)
    for name, values in day.attributes.items():
        for event, value in zip(events, values.tolist(), strict=True):
            event[name] = f"{name} {value}" if ATTRIBUTES[name] else value
    return events


def label_rows(day: CardsDay) -> list[tuple[str, str, str, str]]:
    """List the frauds of a day: rows of `LABEL_FIELDS`.

    Parameters
    ----------
    day : CardsDay
        n payments.

    Returns
    -------
    list of (event_id, event_time, kind, incident)
        One row per fraud in time order; id and time written as in `to_events`. An incident is named by kind,
        day and number.
    """
    fraud = day.kind > 0
    names = [KINDS[number] for number in day.kind[fraud].tolist()]
    rows = zip(
        day.event_id[fraud].tolist(), _iso(day.time[fraud]), names, day.incident[fraud].tolist(), strict=True
    )
    return [
        (str(event_id), time, name, f"{name}-{day.day}-{number}") for event_id, time, name, number in rows
    ]


# --- helpers: each has a generator of its own purpose ---

_MERCHANTS, _CARDS, _ATTRIBUTES, _STATE, _NORMAL, _DRIFT, _NEW_CATEGORIES, _PATTERN = range(8)


def _generator(config: CardsConfig, purpose: int, day: int = 0) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(purpose, day)))


def _draw_attributes(config: CardsConfig) -> dict[str, IntArray]:
    """Return the value, (customers,), of each attribute; the n-th name is n times rarer than the first."""
    rng = _generator(config, _ATTRIBUTES)
    n = config.customers
    drawn = {}
    for name, count in ATTRIBUTES.items():
        if name == "age":
            drawn[name] = rng.integers(18, 90, n)
        elif name == "income":
            drawn[name] = 100 * np.round(rng.lognormal(np.log(24.0), 0.5, n)).astype(np.int64)
        else:
            weight = 1.0 / np.arange(1, count + 1)
            drawn[name] = rng.choice(count, n, p=weight / weight.sum())
    return {name: drawn[name] for name in list(ATTRIBUTES)[: config.attributes]}


def _draw_day(config: CardsConfig, today: Today) -> tuple[Payments, IntArray, IntArray]:
    """Return normal payments, then those of the patterns; with kinds and numbers of incidents."""
    normal = normal_payments(_generator(config, _NORMAL, today.day), today)
    parts = [normal]
    kinds = incidents = [np.zeros(len(normal), dtype=np.int64)]
    for number, name in enumerate(PATTERNS):
        if name in config.patterns:
            rng = _generator(config, _PATTERN + number, today.day)
            drawn, incident = inject(rng, today, normal, name, config.pattern_rate)
            parts.append(drawn)
            kinds = [*kinds, np.full(len(drawn), 1 + number)]
            incidents = [*incidents, incident]
    return Payments.join(parts), np.concatenate(kinds), np.concatenate(incidents)


def _shift(
    config: CardsConfig, drawn: Payments, kind: IntArray, moved: npt.NDArray[np.bool_], day: int
) -> Payments:
    rng = _generator(config, _DRIFT, day)
    n = int((kind == 0).sum())  # they come first, so that patterns do not change their draws
    at_night = np.zeros(len(drawn), dtype=bool)
    at_night[:n] = rng.random(n) < config.drift_night_share
    second = drawn.second.copy()
    second[:n] = np.where(at_night[:n], rng.integers(0, NIGHT_S, n), second[:n])
    return replace(
        drawn,
        second=second,
        amount=drawn.amount * config.drift_price_factor,
        category=np.where(moved[drawn.merchant], NEW_CATEGORY, drawn.category),
    )


def _scrambled(number: int) -> int:
    """Spell numbers of devices alike, whosever they are: a bijection of 48 bits."""
    return number * 0x5DEECE66D7B1 % (1 << 48)


def _iso(time: FloatArray) -> list[str]:
    spelled: list[str] = np.datetime_as_string(time.astype("datetime64[s]"), timezone="UTC").tolist()
    return spelled

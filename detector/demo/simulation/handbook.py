"""Simulated card traffic: customers, terminals, three kinds of fraud, and optional drift.

What it does
    Follows the published description of the simulator of Le Borgne, Siblini, Lebichot and Bontempi,
    *Reproducible Machine Learning for Credit Card Fraud Detection: Practical Handbook* (2022), chapter 3.
    Only the description was used, none of the code, so the drawn numbers differ.

    A customer has a place, a mean amount and a mean number of transactions per day, and uses the terminals
    within `radius` of that place. Frauds are then added to each day of traffic:

    1. *amount*: a transaction above `amount_limit` is a fraud;
    2. *terminal*: each day a few terminals are compromised; for 28 days all their transactions are frauds
       (only the label changes, so this cannot be detected without labels);
    3. *customer*: each day a few customers are compromised; for 14 days a third of their transactions have
       five times the amount and are frauds.

    If several apply, the transaction has the highest number.

    With `categories` each terminal also has a merchant category (not in the Handbook); low numbers are
    frequent, high ones rare. A drift may double prices, move transactions into the night, and give terminals
    a new category; each of these can be switched off.

Rules
    - One day is simulated at a time. All that is kept of it is how long customers and terminals stay
      compromised, so memory does not grow with the length of the run.
    - Each generator is seeded by (seed, purpose, day). So a shorter run is a prefix of a longer one, the days
      before a drift equal those of a run without it, and switching a scenario off does not change the rest of
      the traffic.

Invariants
    - Times never decrease; ids are 0, 1, 2, ... in order of time; equal times keep the order of the draws.
    - The same configuration gives the same bytes with the same version of numpy (see NEP 19).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

AMOUNT, TERMINAL, CUSTOMER = 1, 2, 3
"""The scenarios, as the Handbook numbers them; 0 is a normal transaction."""

LABEL_FIELDS = ("event_id", "event_time", "scenario")
"""Header of the rows that `label_rows` returns."""

DAY_S = 86_400
NIGHT_S = 6 * 3_600
SIDE = 100.0  # customers and terminals are in a square of this side

# Limit of a run that is limited by `events` only: with a few idle customers it might never end.
DAYS_MAX = 36_525
# (customer, terminal) pairs within reach, at most 8 bytes each: 256 MiB. With the Handbook's radius and two
# terminals per customer, this is enough for some 46,000 customers; the Handbook's 5,000 need 0.4 million.
REACH_PAIRS_MAX = 1 << 25
# A whole day is held in memory, at some 150 bytes per transaction: 1.5 GB.
DAILY_TRANSACTIONS_MAX = 10_000_000
# Distances held at once in the search for terminals within reach: 32 MiB.
DISTANCES_MAX = 1 << 22


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationConfig:
    """What to simulate. The defaults are those of the Handbook.

    The two rates of compromise are shares of the population, so a smaller population has the same share of
    frauds. If the mean number per day is not whole, it is rounded up or down at random, keeping the mean.

    Raises
    ------
    ValueError
        Values are out of range. Names all of them.
    """

    seed: int = 0  # >= 0
    customers: int = 5_000
    terminals: int | None = None  # None: two per customer
    days: int | None = None  # number of days; None with `events` None: 183
    events: int | None = None  # number of events; the last day may be incomplete
    start_time: int = 1_522_540_800  # epoch seconds at which day 0 begins: 2018-04-01T00:00:00Z

    radius: float = 5.0  # distance within which a customer uses terminals, in a square of 100 x 100
    mean_amount_min: float = 5.0  # a customer's mean amount is uniform between these two
    mean_amount_max: float = 100.0
    daily_transactions_max: float = 4.0  # a customer's mean number per day is uniform between 0 and this
    time_of_day_spread_s: float = 20_000.0  # standard deviation around noon
    categories: int = 0  # merchant categories of terminals, the n-th with weight 1 / n; 0: events have none

    amount_limit: float = 220.0  # scenario 1: more is a fraud; math.inf switches it off
    terminal_share_per_day: float = 2 / 10_000  # scenario 2: terminals newly compromised each day
    terminal_days: int = 28  # scenario 2: for how long
    customer_share_per_day: float = 3 / 5_000  # scenario 3: customers newly compromised each day
    customer_days: int = 14  # scenario 3: for how long
    customer_fraud_share: float = 1 / 3  # scenario 3: tampered share of their transactions
    customer_amount_factor: float = 5.0  # scenario 3: on the amounts of these

    drift_day: int | None = None  # first day of the drift; None: no drift
    drift_price_factor: float = 2.0  # on all amounts and on `amount_limit`
    drift_night_share: float = 0.2  # share of transactions that move to between 0 and 6 o'clock
    drift_category_share: float = 0.1  # share of terminals that get a new category, if there are categories

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be between {low:g} and {high:g}, not {value!r}"
            for name, (low, high) in _RANGES.items()
            if (value := getattr(self, name)) is not None and not low <= value <= high
        ]
        if self.mean_amount_max < self.mean_amount_min:
            problems.append("mean_amount_max must not be below mean_amount_min")
        if not problems:
            reach = min(1.0, math.pi * (self.radius / SIDE) ** 2)
            pairs = self.customers * self.terminals_count * reach
            if pairs > REACH_PAIRS_MAX:
                problems.append(
                    f"customers x terminals within radius is about {pairs:,.0f}, the limit is "
                    f"{REACH_PAIRS_MAX:,}: lower customers, terminals or radius"
                )
            daily = self.customers * self.daily_transactions_max / 2
            if daily > DAILY_TRANSACTIONS_MAX:
                problems.append(
                    f"a day would have about {daily:,.0f} transactions, the limit is "
                    f"{DAILY_TRANSACTIONS_MAX:,}: lower customers or daily_transactions_max"
                )
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def terminals_count(self) -> int:
        """Number of terminals."""
        return 2 * self.customers if self.terminals is None else self.terminals

    @property
    def days_count(self) -> int:
        """Maximum number of days."""
        if self.days is not None:
            return self.days
        return 183 if self.events is None else DAYS_MAX

    def drifted(self, day: int) -> bool:
        """Whether `day` is after the drift."""
        return self.drift_day is not None and day >= self.drift_day


# Inclusive. Years have four digits, and amounts in a float64 keep their cents.
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**128 - 1),
    "customers": (1, 10_000_000),
    "terminals": (1, 10_000_000),
    "days": (0, DAYS_MAX),
    "events": (0, 10**12),
    "start_time": (-(10**10), 10**11),
    "radius": (0.0, 2 * SIDE),
    "mean_amount_min": (0.0, 1e9),
    "mean_amount_max": (0.0, 1e9),
    "daily_transactions_max": (0.0, 10_000.0),
    "time_of_day_spread_s": (0.0, 1e6),
    "categories": (0, 1_000),
    "amount_limit": (0.0, math.inf),
    "terminal_share_per_day": (0.0, 1.0),
    "terminal_days": (0, DAYS_MAX),
    "customer_share_per_day": (0.0, 1.0),
    "customer_days": (0, DAYS_MAX),
    "customer_fraud_share": (0.0, 1.0),
    "customer_amount_factor": (0.0, 1_000.0),
    "drift_day": (0, DAYS_MAX),
    "drift_price_factor": (0.0, 1_000.0),
    "drift_night_share": (0.0, 1.0),
    "drift_category_share": (0.0, 1.0),
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SimulatedDay:
    """The transactions of one day, in order of time; n may be 0.

    All arrays have shape (n,).
    """

    day: int  # days since `SimulationConfig.start_time`
    event_id: IntArray  # int64, consecutive, also from day to day
    time: FloatArray  # float64, epoch seconds (UTC), whole seconds, never decreasing
    customer: IntArray  # int64, 0 .. customers - 1
    terminal: IntArray  # int64, 0 .. terminals - 1
    amount: FloatArray  # float64, two decimals, >= 0
    scenario: npt.NDArray[np.int8]  # 0 normal, else AMOUNT, TERMINAL or CUSTOMER
    category: IntArray | None = (
        None  # int64, 0 .. categories - 1, `categories` is the new one; None: without categories
    )

    def __len__(self) -> int:
        return len(self.event_id)


def simulate(config: SimulationConfig) -> Iterator[SimulatedDay]:
    """Simulate traffic, day by day.

    Parameters
    ----------
    config : SimulationConfig
        What to simulate.

    Yields
    ------
    SimulatedDay
        Each day once, in order, even without transactions. With `events`, the last one may be incomplete.

    Examples
    --------
    >>> days = list(simulate(SimulationConfig(seed=1, customers=50, events=1_000)))
    >>> sum(len(day) for day in days)
    1000
    """
    population = _draw_population(config)
    terminal_until = np.zeros(
        config.terminals_count, dtype=np.int64
    )  # first day on which it is no longer compromised
    customer_until = np.zeros(config.customers, dtype=np.int64)
    made = 0
    for day in range(config.days_count):
        room = math.inf if config.events is None else config.events - made
        if room <= 0:
            return
        traffic = _draw_traffic(config, population, day)
        if config.drifted(day):
            traffic = _shift(config, traffic, day)
        rng = _generator(config, _TERMINALS, day)
        _compromise(rng, terminal_until, config.terminal_share_per_day, day, config.terminal_days)
        rng = _generator(config, _CUSTOMERS, day)
        _compromise(rng, customer_until, config.customer_share_per_day, day, config.customer_days)
        amount, scenario = _tamper(config, traffic, day, terminal_until, customer_until)

        order = np.argsort(traffic.second, kind="stable")[: int(min(room, len(traffic.second)))]
        yield SimulatedDay(
            day=day,
            event_id=np.arange(made, made + len(order), dtype=np.int64),
            time=(config.start_time + day * DAY_S + traffic.second[order]).astype(np.float64),
            customer=traffic.customer[order],
            terminal=traffic.terminal[order],
            amount=amount[order],
            scenario=scenario[order],
            category=_categories(config, population, traffic, day)[order] if config.categories else None,
        )
        made += len(order)


def to_events(day: SimulatedDay) -> list[dict[str, object]]:
    """Turn a day into events with the Handbook's field names.

    Parameters
    ----------
    day : SimulatedDay
        n transactions.

    Returns
    -------
    list of dict, length n
        Keys in this order: TRANSACTION_ID (str), TX_DATETIME (str, ISO 8601 in UTC, "2018-04-01T00:00:31Z"),
        CUSTOMER_ID (str), TERMINAL_ID (str), TX_AMOUNT (float, two decimals) and, if there are categories,
        MERCHANT_CATEGORY (str). No labels.
    """
    rows = zip(
        day.event_id.tolist(),
        _iso(day.time),
        day.customer.tolist(),
        day.terminal.tolist(),
        day.amount.tolist(),
        strict=True,
    )
    events: list[dict[str, object]] = [
        {
            "TRANSACTION_ID": str(event_id),
            "TX_DATETIME": time,
            "CUSTOMER_ID": str(customer),
            "TERMINAL_ID": str(terminal),
            "TX_AMOUNT": amount,
        }
        for event_id, time, customer, terminal, amount in rows
    ]
    if day.category is not None:
        for event, category in zip(events, day.category.tolist(), strict=True):
            event["MERCHANT_CATEGORY"] = f"C{category}"
    return events


def label_rows(day: SimulatedDay) -> list[tuple[str, str, int]]:
    """List the frauds of a day: rows of `LABEL_FIELDS`.

    Parameters
    ----------
    day : SimulatedDay
        n transactions.

    Returns
    -------
    list of (event_id, event_time, scenario)
        One row per fraud in time order; id and time written as in `to_events`, scenario 1 to 3.
    """
    fraud = day.scenario > 0
    ids = map(str, day.event_id[fraud].tolist())
    return list(zip(ids, _iso(day.time[fraud]), day.scenario[fraud].tolist(), strict=True))


def _iso(time: FloatArray) -> list[str]:
    stamps = time.astype(np.int64).astype("datetime64[s]")
    spelled: list[str] = np.datetime_as_string(stamps, timezone="UTC").tolist()
    return spelled


# --- helpers: each has a generator of its own purpose ---

_POPULATION, _TRAFFIC, _DRIFT, _TERMINALS, _CUSTOMERS, _TAMPERING, _CATEGORIES = range(7)


def _generator(config: SimulationConfig, purpose: int, day: int = 0) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(purpose, day)))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Population:
    mean_amount: FloatArray  # (customers,)
    daily_transactions: FloatArray  # (customers,) mean number per day
    reach: npt.NDArray[np.int32]  # (pairs,) terminals; those of customer c are reach[first[c]:][:count[c]]
    first: IntArray  # (customers,)
    count: IntArray  # (customers,) at least 1
    category: IntArray  # (terminals,) all 0 without categories
    renewed: BoolArray  # (terminals,) whether a drift gives it the new category


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Traffic:
    second: IntArray  # (n,) of the day
    customer: IntArray  # (n,)
    terminal: IntArray  # (n,)
    amount: FloatArray  # (n,)


def _draw_population(config: SimulationConfig) -> _Population:
    rng = _generator(config, _POPULATION)
    places = rng.uniform(0.0, SIDE, (config.customers, 2))
    mean_amount = rng.uniform(config.mean_amount_min, config.mean_amount_max, config.customers)
    daily_transactions = rng.uniform(0.0, config.daily_transactions_max, config.customers)
    terminal_places = rng.uniform(0.0, SIDE, (config.terminals_count, 2))
    reach, first, count = _within_reach(places, terminal_places, config.radius)
    rng = _generator(config, _CATEGORIES)
    weights = 1.0 / np.arange(1, max(config.categories, 1) + 1)
    category = rng.choice(len(weights), config.terminals_count, p=weights / weights.sum())
    renewed = rng.random(config.terminals_count) < config.drift_category_share
    return _Population(
        mean_amount=mean_amount,
        daily_transactions=daily_transactions,
        reach=reach,
        first=first,
        count=count,
        category=category,
        renewed=renewed,
    )


def _within_reach(
    places: FloatArray, terminal_places: FloatArray, radius: float
) -> tuple[npt.NDArray[np.int32], IntArray, IntArray]:
    """List each customer's terminals within `radius`, or the nearest one if there is none.

    Customers and terminals are sorted by x, so a chunk of customers needs only a range of the terminals.
    """
    by_x = np.argsort(places[:, 0], kind="stable")
    terminals_by_x = np.argsort(terminal_places[:, 0], kind="stable")
    terminal_x = terminal_places[terminals_by_x, 0]
    chunk = max(1, DISTANCES_MAX // len(terminal_places))
    reach: list[npt.NDArray[np.int32]] = []
    count = np.empty(len(places), dtype=np.int64)
    for start in range(0, len(by_x), chunk):
        who = by_x[start : start + chunk]
        low = np.searchsorted(terminal_x, places[who[0], 0] - radius, side="left")
        high = np.searchsorted(terminal_x, places[who[-1], 0] + radius, side="right")
        slab = terminals_by_x[low:high]
        near = _squared_distances(places[who], terminal_places[slab]) <= radius * radius
        count[who] = near.sum(axis=1)
        row, column = np.nonzero(near)
        found = slab[column].astype(np.int32)
        lonely = np.flatnonzero(count[who] == 0)
        if len(lonely):
            nearest = _squared_distances(places[who[lonely]], terminal_places).argmin(axis=1)
            found = np.insert(found, np.searchsorted(row, lonely), nearest.astype(np.int32))
            count[who[lonely]] = 1
        reach.append(found)
    first = np.empty(len(places), dtype=np.int64)
    first[by_x] = np.cumsum(count[by_x]) - count[by_x]
    return np.concatenate(reach), first, count


def _squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return squared distances, shape (len(a), len(b)), of places of shape (len, 2)."""
    across = a[:, None, 0] - b[None, :, 0]
    along = a[:, None, 1] - b[None, :, 1]
    distances: FloatArray = across * across + along * along
    return distances


def _draw_traffic(config: SimulationConfig, population: _Population, day: int) -> _Traffic:
    rng = _generator(config, _TRAFFIC, day)
    customer = np.repeat(np.arange(config.customers), rng.poisson(population.daily_transactions))
    time_of_day = rng.normal(DAY_S / 2, config.time_of_day_spread_s, len(customer))
    within = (time_of_day >= 0) & (time_of_day < DAY_S)
    customer, second = customer[within], np.floor(time_of_day[within]).astype(np.int64)

    mean = population.mean_amount[customer]
    amount = rng.normal(mean, mean / 2)
    amount = np.where(amount < 0, rng.uniform(0.0, 2 * mean), amount)
    pick = population.first[customer] + rng.integers(0, population.count[customer])
    return _Traffic(
        second=second,
        customer=customer,
        terminal=population.reach[pick].astype(np.int64),
        amount=amount,
    )


def _shift(config: SimulationConfig, traffic: _Traffic, day: int) -> _Traffic:
    rng = _generator(config, _DRIFT, day)
    n = len(traffic.second)
    at_night = rng.random(n) < config.drift_night_share
    return _Traffic(
        second=np.where(at_night, rng.integers(0, NIGHT_S, n), traffic.second),
        customer=traffic.customer,
        terminal=traffic.terminal,
        amount=traffic.amount * config.drift_price_factor,
    )


def _categories(config: SimulationConfig, population: _Population, traffic: _Traffic, day: int) -> IntArray:
    renewed = population.renewed if config.drifted(day) else np.zeros_like(population.renewed)
    category = np.where(renewed, config.categories, population.category)
    return category[traffic.terminal]


def _compromise(rng: np.random.Generator, until: IntArray, share: float, day: int, days: int) -> None:
    """Compromise a `share` of all from `day` on, for `days`. Changes `until`, shape (all,), in place."""
    mean = round(share * len(until), 9)  # 2 / 10,000 of 10,000 is exactly 2, despite rounding errors
    number = min(len(until), math.floor(mean) + int(rng.random() < mean % 1))
    until[rng.choice(len(until), number, replace=False)] = day + days


def _tamper(
    config: SimulationConfig, traffic: _Traffic, day: int, terminal_until: IntArray, customer_until: IntArray
) -> tuple[FloatArray, npt.NDArray[np.int8]]:
    """Return amounts rounded to cents, shape (n,), and scenarios, int8, shape (n,)."""
    rng = _generator(config, _TAMPERING, day)
    limit = config.amount_limit * (config.drift_price_factor if config.drifted(day) else 1.0)
    amount = np.round(traffic.amount, 2)
    chosen = rng.random(len(amount)) < config.customer_fraud_share
    taken_over = chosen & (customer_until[traffic.customer] > day)
    scenario = np.zeros(len(amount), dtype=np.int8)
    scenario[amount > limit] = AMOUNT
    scenario[terminal_until[traffic.terminal] > day] = TERMINAL
    scenario[taken_over] = CUSTOMER
    return np.where(taken_over, np.round(amount * config.customer_amount_factor, 2), amount), scenario

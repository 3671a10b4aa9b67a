"""Simulated card traffic with habits, and patterns of fraud injected beside it.

What it does
    Each day: journeys and new devices begin, normal payments are drawn by the cards' habits (`habits`), the
    incidents of each pattern (`patterns`) are added, and all are put in order of time.

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

from detector.demo.simulation.habits import (
    CHANNELS,
    DAY_S,
    NO_DEVICE,
    Payments,
    Today,
    begin_day,
    draw_cards,
    first_state,
    normal_payments,
)
from detector.demo.simulation.patterns import PATTERNS, inject
from detector.demo.simulation.world import CATEGORIES, CITIES, COUNTRIES, FloatArray, IntArray, draw_merchants

NIGHT_S = 6 * 3_600
DAYS_MAX = 36_525
LABEL_FIELDS = ("event_id", "event_time", "kind", "incident")
KINDS = ("", *PATTERNS)

_MERCHANTS, _CARDS, _STATE, _NORMAL, _DRIFT, _NEW_CATEGORIES, _PATTERN = range(7)


@dataclass(frozen=True, kw_only=True, slots=True)
class CardsConfig:
    """What to simulate."""

    seed: int = 0
    cards: int = 3_000
    merchants: int | None = None  # about so many; None: one per two cards
    days: int | None = None
    events: int | None = None
    start_time: int = 1_735_689_600  # 2025-01-01T00:00:00Z
    patterns: tuple[str, ...] = tuple(PATTERNS)
    pattern_rate: float = 1.0  # factor on the number of incidents
    drift_day: int | None = None
    drift_price_factor: float = 2.0
    drift_night_share: float = 0.2
    drift_category_share: float = 0.1

    def drifted(self, day: int) -> bool:
        """Whether `day` is after the drift."""
        return self.drift_day is not None and day >= self.drift_day


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CardsDay:
    """The payments of one day in order of time; arrays of shape (n,)."""

    day: int
    event_id: IntArray
    time: FloatArray  # epoch seconds
    payments: Payments
    kind: IntArray  # place in KINDS, 0 is normal
    incident: IntArray  # number of the incident among those of its kind and day

    def __len__(self) -> int:
        return len(self.event_id)


def simulate_cards(config: CardsConfig) -> Iterator[CardsDay]:
    """Simulate card traffic, day by day."""
    merchants = draw_merchants(_generator(config, _MERCHANTS), config.merchants or config.cards // 2)
    cards = draw_cards(_generator(config, _CARDS), config.cards, merchants)
    state = first_state(config.cards)
    renewed = _generator(config, _NEW_CATEGORIES).random(len(merchants.category)) < config.drift_category_share
    made = 0
    days = config.days if config.days is not None else (183 if config.events is None else DAYS_MAX)
    for day in range(days):
        room = math.inf if config.events is None else config.events - made
        if room <= 0:
            return
        begin_day(_generator(config, _STATE, day), cards, state, day)
        date = np.datetime64(config.start_time, "s").astype("datetime64[D]") + day
        today = Today(day=day, date=date, merchants=merchants, cards=cards, state=state)
        normal = normal_payments(_generator(config, _NORMAL, day), today)
        parts, kinds, incidents = [normal], [np.zeros(len(normal), int)], [np.zeros(len(normal), int)]
        for number, name in enumerate(PATTERNS):
            if name in config.patterns:
                rng = _generator(config, _PATTERN + number, day)
                drawn, incident = inject(rng, today, normal, name, config.pattern_rate)
                parts.append(drawn)
                kinds.append(np.full(len(drawn), KINDS.index(name)))
                incidents.append(incident)
        together = Payments.join(parts)
        order = np.argsort(together.second, kind="stable")[: int(min(room, len(together)))]
        together = together.take(order)
        yield CardsDay(
            day=day,
            event_id=np.arange(made, made + len(order)),
            time=(config.start_time + day * DAY_S + together.second).astype(np.float64),
            payments=replace(together, amount=np.maximum(np.round(together.amount, 2), 0.01)),
            kind=np.concatenate(kinds)[order],
            incident=np.concatenate(incidents)[order],
        )
        made += len(order)


def _generator(config: CardsConfig, purpose: int, day: int = 0) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(purpose, day)))


def to_events(day: CardsDay) -> list[dict[str, object]]:
    """Turn a day into events."""
    paid = day.payments
    places = np.round(paid.place, 4).tolist()
    rows = zip(
        day.event_id.tolist(), iso(day.time), paid.card.tolist(), paid.merchant.tolist(), paid.device.tolist(),
        paid.amount.tolist(), paid.category.tolist(), paid.channel.tolist(), paid.city.tolist(), places,
        strict=True,
    )
    events = []
    for event_id, time, card, merchant, device, amount, category, channel, city, (latitude, longitude) in rows:
        event: dict[str, object] = {
            "event_id": str(event_id), "event_time": time, "card": f"C{card}", "merchant": f"M{merchant}",
        }
        if device != NO_DEVICE:
            event["device"] = f"D{_scrambled(device):012x}"
        event |= {
            "amount": amount, "category": CATEGORIES[category], "channel": CHANNELS[channel],
            "country": COUNTRIES[city], "city": CITIES[city], "latitude": latitude, "longitude": longitude,
        }
        events.append(event)
    return events


def _scrambled(number: int) -> int:
    """Spell numbers of devices alike, whosever they are: a bijection of 48 bits."""
    return number * 0x5DEECE66D7B1 % (1 << 48)


def label_rows(day: CardsDay) -> list[tuple[str, str, str, str]]:
    """List the frauds of a day: rows of `LABEL_FIELDS`."""
    fraud = day.kind > 0
    names = [KINDS[number] for number in day.kind[fraud].tolist()]
    return [
        (str(event_id), time, name, f"{name}-{day.day}-{incident}")
        for event_id, time, name, incident in zip(
            day.event_id[fraud].tolist(), iso(day.time[fraud]), names, day.incident[fraud].tolist(), strict=True
        )
    ]


def iso(time: FloatArray) -> list[str]:
    """Spell epoch seconds, (n,), in ISO 8601, UTC."""
    spelled: list[str] = np.datetime_as_string(time.astype("datetime64[s]"), timezone="UTC").tolist()
    return spelled

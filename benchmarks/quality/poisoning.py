"""Poisoning: how long it takes until an attacker's fraud looks normal, and the effect on other customers.

    python -m benchmarks.quality.poisoning [--attack 3000] [--customers 1000] [--seed 7]

One card, or ten, spend about 50 at some terminals. The attacker wants to spend ten times that at terminals
which the card never used. Once the model is warm, 100 transactions of the attacker a day join the simulated
traffic (some 1,900 a day with 1,000 customers). Their amounts rise evenly (on a logarithmic scale) from the
card's own to ten times that over a number of transactions, or at once. After each day a copy of the model
scores

    learned  is the fraud's score, on at least half of the attacker's cards, below the threshold from before
             the attack, so that the model considers it normal?
    passes   is it below the current threshold, which the attack may have raised?
    others'  ten times their usual amount at a strange terminal on 100 other customers' cards: how many of
             these still reach the current threshold?

Each attack runs with the guard (defaults: profile updates are clipped, nothing above the trim quantile is
learned as normal), without it (both limits too high to act), and there is a run without an attack for
comparison.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from benchmarks.quality.drive import Driven, configuration, in_a_copy, simulated
from detector.config.tree import ModelPart
from detector.demo.simulation.handbook import DAY_S, SimulationConfig

UNGUARDED = {"features": {"clip_spreads": 100.0}, "calibration": {"trim": 1.0 - 1e-9}}
USUAL, FRAUD_FACTOR = 50.0, 10.0
HISTORY_EVENTS = 30  # of each card, before the attack begins
PER_DAY = 100
RAMPS = (0, 1000, 3000)
OTHERS_ASKED = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Attack:
    """Who attacks, and how patiently."""

    cards: int
    ramp_events: int  # from the usual amount to the fraud's; 0: at once
    events: int  # in all

    def amount(self, number: int) -> float:
        """Middle amount of the attack's event `number`."""
        reached = min(number / self.ramp_events, 1.0) if self.ramp_events else 1.0
        return float(USUAL * FRAUD_FACTOR**reached)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the attack came to."""

    learned: int | None  # attacker's events until the fraud scores below the threshold before; None: never
    passes: int | None  # until it scores below the threshold in force
    alerts: int  # about the attacker's cards, since the attack began
    threshold: float  # at the end
    others: float  # share of the others' frauds that reach the threshold, at the end


class World:
    """Simulated honest traffic, day by day, and the attacker's cards in it."""

    def __init__(self, seed: int, customers: int, days: int, cards: int) -> None:
        config = SimulationConfig(
            seed=seed,
            customers=customers,
            days=days,
            amount_limit=float("inf"),
            terminal_share_per_day=0.0,
            customer_share_per_day=0.0,
        )
        self.start_time = config.start_time
        self._rng = np.random.default_rng(seed)
        self._cards = [f"attacker {n}" for n in range(cards)]
        events, _ = simulated(config)
        self.days: list[list[dict[str, Any]]] = [[] for _ in range(days)]
        first = _day(events[0]["TX_DATETIME"])
        amounts: dict[str, list[float]] = {}
        for event in events:
            self.days[_day(event["TX_DATETIME"]) - first].append(event)
            amounts.setdefault(event["CUSTOMER_ID"], []).append(event["TX_AMOUNT"])
        # Customers of whom the model has seen something by the time it is asked.
        known = [customer for customer in sorted(amounts) if len(amounts[customer]) >= HISTORY_EVENTS]
        chosen = self._rng.permutation(known)[:OTHERS_ASKED].tolist()
        self._others = {customer: float(np.mean(amounts[customer])) for customer in chosen}
        self._terminals = config.terminals_count

    def attackers(self, day: int, middles: Sequence[float]) -> list[dict[str, Any]]:
        """One day's transactions of the attacker's cards, in turn, with these middle amounts."""
        count = len(middles)
        seconds = np.sort(self._rng.integers(0, DAY_S, count)).tolist()
        noise = self._rng.lognormal(0.0, 0.2, count)
        return [
            {
                "TRANSACTION_ID": f"a{day}-{n}",
                "TX_DATETIME": self._time(day, seconds[n]),
                "CUSTOMER_ID": self._cards[n % len(self._cards)],
                "TERMINAL_ID": f"{n // len(self._cards) % 20}",
                "TX_AMOUNT": round(middles[n] * float(noise[n]), 2),
            }
            for n in range(count)
        ]

    def traffic(self, day: int, attack: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The day's honest transactions and these, in time order."""
        return sorted([*self.days[day], *attack], key=lambda event: event["TX_DATETIME"])

    def own_frauds(self, day: int) -> list[dict[str, Any]]:
        """The fraud on each of the attacker's cards, at the end of a day."""
        return [self._fraud(day, card, USUAL) for card in self._cards]

    def others_frauds(self, day: int) -> list[dict[str, Any]]:
        """The same fraud on other people's cards."""
        return [self._fraud(day, customer, usual) for customer, usual in self._others.items()]

    def _fraud(self, day: int, customer: str, usual: float) -> dict[str, Any]:
        return {
            "TRANSACTION_ID": f"fraud of {customer}",
            "TX_DATETIME": self._time(day, DAY_S - 1),
            "CUSTOMER_ID": customer,
            "TERMINAL_ID": f"strange {self._rng.integers(1000)}",
            "TX_AMOUNT": round(FRAUD_FACTOR * usual, 2),
        }

    def _time(self, day: int, second: int) -> str:
        moment = datetime.fromtimestamp(self.start_time + day * DAY_S + second, UTC)
        return moment.isoformat().replace("+00:00", "Z")


def warm(config: ModelPart, world: World, days: int) -> Driven:
    """Let the model see honest days, in the last of which the attacker's cards are used honestly too."""
    driven = Driven(config)
    cards = len(world.own_frauds(0))
    for day in range(days):
        mine = HISTORY_EVENTS * cards // 10 if day >= days - 10 else 0
        driven.feed(world.traffic(day, world.attackers(day, [USUAL] * mine)))
    return driven


def carry_out(driven: Driven, world: World, attack: Attack, first_day: int) -> Outcome:
    """Attack from `first_day` on; the model and the world are used up."""
    learned, passes, alerts, made, day = None, None, 0, 0, first_day
    before = driven.threshold
    while made < attack.events:
        count = min(PER_DAY, attack.events - made)
        mine = world.attackers(day, [attack.amount(made + n) for n in range(count)])
        made += count
        fed = driven.feed(world.traffic(day, mine))
        alerts += sum(body["entity"]["value"].startswith("attacker") for body in fed.bodies)
        own = float(np.median(driven.would_score(world.own_frauds(day))))
        learned = made if learned is None and own < before else learned
        passes = made if passes is None and own < driven.threshold else passes
        day += 1
    return Outcome(
        learned=learned,
        passes=passes,
        alerts=alerts,
        threshold=driven.threshold,
        others=_caught(driven, world, day - 1),
    )


def calm(driven: Driven, world: World, first_day: int, days: int) -> Outcome:
    """What the same days come to without an attack."""
    for day in range(first_day, first_day + days):
        driven.feed(world.traffic(day, []))
    others = _caught(driven, world, first_day + days - 1)
    return Outcome(learned=None, passes=None, alerts=0, threshold=driven.threshold, others=others)


def _caught(driven: Driven, world: World, day: int) -> float:
    return float((np.array(driven.would_score(world.others_frauds(day))) >= driven.threshold).mean())


def _day(time: str) -> int:
    return datetime.fromisoformat(time).toordinal()


def measure(
    attack_events: int, customers: int, seed: int, warm_days: int, ramps: Sequence[int] = RAMPS
) -> Iterator[dict[str, Any]]:
    """Yield rows of the table: each attack with and without the guard, each from the same warm model."""
    days = -(-attack_events // PER_DAY)
    for cards in (1, 10):
        for guard, settings in (("on", {}), ("off", UNGUARDED)):
            world = World(seed, customers, warm_days + days, cards)
            driven = warm(configuration(model=settings), world, warm_days)
            before = {"threshold": driven.threshold, "others": _caught(driven, world, warm_days - 1)}
            yield {"cards": cards, "guard": guard, "ramp": "before", "alerts": 0, **before}
            still = in_a_copy(lambda d=driven, w=world: asdict(calm(d, w, warm_days, days)))
            yield {"cards": cards, "guard": guard, "ramp": "no attack", **still}
            for ramp in ramps:
                attack = Attack(cards=cards, ramp_events=ramp, events=attack_events)
                done = in_a_copy(lambda d=driven, w=world, a=attack: asdict(carry_out(d, w, a, warm_days)))
                yield {"cards": cards, "guard": guard, "ramp": ramp, **done}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--attack", type=int, default=3000, help="transactions of the attacker (3000)")
    parser.add_argument("--customers", type=int, default=1000, help="honest ones (1000)")
    parser.add_argument("--warm-days", type=int, default=15, help="honest days before the attack (15)")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    print(
        f"{options.attack:,} attacker's transactions, {options.customers:,} customers, seed {options.seed}\n"
    )
    print(_line("cards", "guard", "amounts rise over", "learned", "passes", "alerts", "threshold", "others'"))
    for row in measure(options.attack, options.customers, options.seed, options.warm_days):
        until = [_until(row, name) for name in ("learned", "passes")]
        print(_line(row["cards"], row["guard"], _rise(row["ramp"]), *until, *_rest(row)), flush=True)


def _rise(ramp: Any) -> str:
    return ramp if isinstance(ramp, str) else f"{ramp:,} events" if ramp else "at once"


def _until(row: Mapping[str, Any], name: str) -> str:
    if isinstance(row["ramp"], str):
        return ""
    return "never" if row[name] is None else f"{row[name]:,}"


def _rest(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(row["alerts"]), f"{row['threshold']:.2f}", f"{100 * row['others']:.0f} %"


def _line(*cells: Any) -> str:
    widths = (5, 5, 17, 7, 7, 6, 9, 7)
    return "  ".join(f"{cell!s:>{width}}" for cell, width in zip(cells, widths, strict=True))


if __name__ == "__main__":
    main()

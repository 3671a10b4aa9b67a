"""Evasion: how much of a fraud's amount passes on a stolen card before the first alert.

    python -m benchmarks.quality.evasion [--days 3] [--customers 1000] [--seed 7] [--channel] [--swaps near]

Ten cards of simulated traffic are stolen once the model is warm. They used to spend 50. The thief makes up to
ten payments a card and day at terminals that are strange to the card, among the honest traffic. A card is
blocked by its first alert, and has a limit of 20 times the usual amount. *passed* is what was paid without an
alert, per card and day, in usual payments; *below the threshold* leaves out what the budget of alerts or the
cooldown held back. Who steals:

    blind     pays ten times the usual amount, and knows nothing (the baseline)
    usual     pays the usual amount
    alerts    sees which payments were alerted: all cards pay 1.3 times as much after each payment without an
              alert, and half as much after one
    scores    sees the scores of all payments so far: 1.3 times as much while the highest score that passed is
              below .8 of the lowest that was alerted, else .8 times as much
    model     has the model and its state: pays the most that scores below the threshold

With `--channel` each terminal has one of eight channels, a category. Without a category or a text the encoder
has no say in scores. `--swaps near` trains it on harder swaps (`near_swaps.py`).
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.quality.drive import Driven, configuration, in_a_copy
from benchmarks.quality.near_swaps import near_the_border
from benchmarks.quality.poisoning import FRAUD_FACTOR, USUAL, World, warm

CARDS = 10
PER_DAY = 10  # payments of a card
FACTOR_MAX = 20.0  # the card's own limit, of the usual amount
ASKED = 7  # times that the model is asked before a payment
THIEVES = ("blind", "usual", "alerts", "scores", "model")


@dataclass(kw_only=True, slots=True)
class Thief:
    """Chooses amounts by what it has seen."""

    kind: str
    factor: float = 1.0  # of the usual amount
    passed: float = 0.0  # highest score without an alert
    alerted: float = field(default=float("inf"))  # lowest score with one

    def amount(self, driven: Driven, payment: dict[str, Any]) -> float:
        """What the next payment takes."""
        match self.kind:
            case "blind":
                return USUAL * FRAUD_FACTOR
            case "model":
                low, high = 0.0, FACTOR_MAX
                for _ in range(ASKED):
                    tried = (low + high) / 2.0
                    offer = {**payment, "TX_AMOUNT": round(USUAL * tried, 2)}
                    if driven.would_score([offer])[0] < driven.threshold:
                        low = tried
                    else:
                        high = tried
                return USUAL * low
            case _:
                return USUAL * min(self.factor, FACTOR_MAX)

    def see(self, score: float, alert: bool) -> None:
        """Learn from what became of a payment."""
        if alert:
            self.alerted = min(self.alerted, score)
        else:
            self.passed = max(self.passed, score)
        if self.kind == "alerts":
            self.factor *= 0.5 if alert else 1.3
        elif self.kind == "scores":
            self.factor *= 1.3 if not alert and score < 0.8 * self.alerted else 0.8


def channel_of(event: Mapping[str, Any]) -> str:
    """Channel of an event's terminal."""
    return f"channel {zlib.crc32(event['TERMINAL_ID'].encode()) % 8}"


class Channels(World):
    """The same traffic, in which each event names its terminal's channel."""

    def traffic(self, day: int, attack: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**event, "CHANNEL": channel_of(event)} for event in super().traffic(day, attack)]


def stolen(driven: Driven, world: World, kind: str, first_day: int, days: int) -> dict[str, Any]:
    """Steal; the model is used up."""
    thief, open_cards = Thief(kind=kind), set(range(CARDS))
    got, below, payments = 0.0, 0.0, 0
    for day in range(first_day, first_day + days):
        mine = world.attackers(day, [USUAL] * (CARDS * PER_DAY))
        for number, event in enumerate(mine):
            event["TERMINAL_ID"] = f"strange {day}-{number}"
            event["CHANNEL"] = channel_of(event)
        fed = 0
        honest = world.traffic(day, [])
        for number, event in enumerate(mine):
            stop = int(np.searchsorted([one["TX_DATETIME"] for one in honest], event["TX_DATETIME"]))
            if stop > fed:
                driven.feed(honest[fed:stop])
                fed = stop
            card = number % CARDS
            if card not in open_cards:
                continue
            event["TX_AMOUNT"] = round(thief.amount(driven, event), 2)
            if event["TX_AMOUNT"] <= 0.0:
                continue
            limit = driven.threshold
            seen = driven.feed([event])
            alert = bool(seen.alert[0])
            thief.see(float(seen.score[0]), alert)
            payments += 1
            if alert:
                open_cards.discard(card)
            else:
                got += float(event["TX_AMOUNT"])
            below += float(event["TX_AMOUNT"]) * float(seen.score[0] < limit)
        driven.feed(honest[fed:])
    return {
        "payments": payments,
        "blocked": CARDS - len(open_cards),
        "got": got / USUAL / CARDS / days,
        "below": below / USUAL / CARDS / days,
    }


def main() -> None:
    """Print the table."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--days", type=int, default=3, help="of theft (3)")
    made.add_argument("--customers", type=int, default=1000, help="honest ones (1000)")
    made.add_argument("--warm-days", type=int, default=15, help="honest days before (15)")
    made.add_argument("--seed", type=int, default=7)
    made.add_argument("--channel", action="store_true", help="a category, by which the encoder has a say")
    made.add_argument("--swaps", choices=("random", "near"), default="random")
    options = made.parse_args()
    kind = Channels if options.channel else World
    world = kind(options.seed, options.customers, options.warm_days + options.days, CARDS)
    category = {"name": "channel", "path": "CHANNEL", "type": "categorical"}
    with near_the_border() if options.swaps == "near" else nullcontext():
        steal(options, warm(configuration([category] * options.channel), world, options.warm_days), world)


def steal(options: argparse.Namespace, driven: Driven, world: World) -> None:
    """Let each kind of thief steal, from the same warm model."""
    print(f"{CARDS} cards, {options.days} days, {options.customers:,} customers, seed {options.seed}")
    print(f"{'':8}{'payments':>10}{'blocked':>9}{'passed':>9}{'below the threshold':>21}")
    for kind in THIEVES:
        row = in_a_copy(lambda k=kind: stolen(driven, world, k, options.warm_days, options.days))
        cells = f"{row['payments']:>10}{row['blocked']:>9}{row['got']:>9.1f}{row['below']:>21.1f}"
        print(f"{kind:8}{cells}", flush=True)


if __name__ == "__main__":
    main()

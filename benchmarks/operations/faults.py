"""Faults for real: `python -m benchmarks.operations.faults [NAME ...] [--faster 10] [--quiet S]`.

A real broker, two daemons, `detector notify`, Prometheus, Alertmanager and a webhook. Each fault of `broken`
is put in by itself. Its alert must reach the webhook within its `for` and a minute from when its condition
holds, no other alert may but that of its cause, and it must be told as resolved once the fault is gone. At
the end traffic goes on without a fault, and nothing may come.

With `--faster N` every `for`, every window and every offset of the rules is an N-th; limits stay as they are.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.operations.broken import CAUSES, FAULTS
from benchmarks.operations.servers import RULES, Alertmanager, Prometheus, Webhook, backfill, notifying
from benchmarks.operations.world import EVENTS_PER_S, World
from tests.kafka.broker import PLAINTEXT, KafkaBroker
from tests.kafka.waiting import poll_until

MARGIN_S = 60.0  # from the end of `for` until the page
SETTLE_S = 60.0  # before the first fault
AFTER_S = 10.0  # after each one, for others that come late
PAGE_S, RESOLVE_S = 1200.0, 900.0  # patience
PAST_S = 8 * 86_400.0  # that Prometheus has from before the start
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION = re.compile(r"(?<=\[)(\d+)([smhdw])(?=\])|(?<=offset )(\d+)([smhdw])")
_AGE_S = re.compile(r"(?<=process_start_time_seconds < )\d+")


def seconds(text: str) -> float:
    """A duration as rules write it."""
    return float(text[:-1]) * _UNITS[text[-1]]


def faster(factor: float) -> dict[str, Any]:
    """The rules with every `for`, window and offset divided by a factor."""

    def shorter(found: re.Match[str]) -> str:
        return f"{max(round(seconds(found[0]) / factor), 1)}s"

    rules: dict[str, Any] = yaml.safe_load(RULES.read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        rule["expr"] = _DURATION.sub(shorter, rule["expr"])
        rule["expr"] = _AGE_S.sub(lambda found: f"{float(found[0]) / factor:.0f}", rule["expr"])
        if "for" in rule:
            rule["for"] = f"{max(round(seconds(rule['for']) / factor), 1)}s"
    return rules


class Result(NamedTuple):
    """One fault; times are in s, infinite: it did not come."""

    name: str
    wait: float  # `for`
    held: float  # from the fault until the condition of the rule held
    page: float  # from then on until the page
    resolved: float  # from the end of the fault until the page was taken back
    others: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether all is as it should be."""
        return self.page <= self.wait + MARGIN_S and self.resolved < RESOLVE_S and not self.others

    def line(self) -> str:
        """As a line of a table."""
        others, word = ", ".join(self.others) or "none", "good" if self.good else "BAD"
        times = " | ".join(f"{value:.0f} s" for value in (self.wait, self.held, self.page, self.resolved))
        return f"| {self.name} | {times} | {others} | {word} |"


HEAD = "| alert | for | condition after | page after | resolved after | others | |\n" + "|---" * 7 + "|"


def firing(prometheus: Prometheus) -> set[str]:
    """Names of the alerts that fire now."""
    return {one["labels"]["alertname"] for one in prometheus.alerts() if one["state"] == "firing"}


def try_one(name: str, world: World, webhook: Webhook, wait_s: float) -> Result:
    """Put a fault in and take it away."""
    webhook.messages.clear()
    print(f"{datetime.now():%H:%M:%S} {name}", file=sys.stderr, flush=True)
    began_s = time.time()
    held: list[float] = []

    def paged() -> bool:
        held.extend(
            datetime.fromisoformat(alert["activeAt"][:19] + "+00:00").timestamp()
            for alert in world.prometheus.alerts()
            if alert["labels"]["alertname"] == name
        )
        return name in webhook.seen("firing")

    with FAULTS[name](world):
        poll_until(paged, timeout_s=PAGE_S, interval_s=1.0)
        paged()
        mended_s = time.time()
    fired_s = webhook.seen("firing").get(name, float("inf"))
    poll_until(lambda: name in webhook.seen("resolved"), timeout_s=RESOLVE_S, interval_s=1.0)
    resolved_s = webhook.seen("resolved").get(name, float("inf"))
    time.sleep(AFTER_S)
    others = tuple(sorted(webhook.seen("firing").keys() - {name} - CAUSES.get(name, set())))
    poll_until(lambda: not firing(world.prometheus), timeout_s=RESOLVE_S, interval_s=1.0)
    # The last time at which the condition began to hold before the page: it may have held before.
    held_s = max((at for at in held if at <= fired_s), default=float("inf"))
    return Result(name, wait_s, held_s - began_s, fired_s - held_s, resolved_s - mended_s, others)


def main(arguments: Sequence[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"Any of {', '.join(FAULTS)}; else all.")
    parser.add_argument("--faster", type=float, default=1.0, metavar="N", help="Divides times of the rules.")
    parser.add_argument("--no-faults", action="store_true", help="Only the time without a fault.")
    parser.add_argument(
        "--quiet", type=float, default=300.0, metavar="S", help="Time without a fault at the end."
    )
    given = parser.parse_args(arguments)
    names = [] if given.no_faults else given.names or list(FAULTS)
    rules = faster(given.faster)
    waits = {
        rule["alert"]: seconds(rule.get("for", "0s"))
        for group in rules["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = folder / "rules.yaml"
        file.write_text(yaml.safe_dump(rules))
        broker = stack.enter_context(KafkaBroker(listeners=[PLAINTEXT]))
        world = World(broker, folder)
        stack.enter_context(world.deployment)
        for member in range(2):
            world.start(member)
        poll_until(lambda: {daemon.owns() for daemon in world.members.values()} == {1, 2}, timeout_s=300)
        world.traffic.start()
        world.analysts.start()
        webhook = Webhook()
        targets = {
            "detector": [],
            "detector-notify": [stack.enter_context(notifying(world.deployment, folder, world.receiver))],
        }
        manager = stack.enter_context(Alertmanager(folder, webhook))
        # DetectorNoTraffic compares with yesterday and with a week ago.
        past_s = range(round(PAST_S / given.faster), 300, -60)
        backfill(folder, 'job:detector_events_received:rate5m{job="detector"}', EVENTS_PER_S, past_s)
        world.prometheus = stack.enter_context(Prometheus(folder, targets, file, manager.address))
        world.scrape()
        time.sleep(SETTLE_S)
        print(HEAD, flush=True)
        bad = []
        for name in names:
            result = try_one(name, world, webhook, waits[name])
            print(result.line(), flush=True)
            bad += [] if result.good else [name]
        webhook.messages.clear()
        time.sleep(given.quiet)
        came = sorted(webhook.seen("firing"))
        print(f"{given.quiet:.0f} s without a fault: {', '.join(came) or 'no alert'}")
        world.traffic.finish()
        world.analysts.finish()
    if bad or came:
        raise SystemExit(f"not as they should be: {', '.join([*bad, *came])}")


if __name__ == "__main__":
    main()

"""Faults for real: `python -m benchmarks.operations.faults [NAME ...]`.

A real broker, two daemons, Prometheus, Alertmanager and a webhook. Each fault is put in by itself. Its alert
must reach the webhook within its `for` and a minute, no other alert may, and it must be told as resolved once
the fault is gone. At the end traffic goes on without a fault, and nothing may come (`--quiet`).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

from benchmarks.operations.live import CONFIG, KAFKA
from benchmarks.operations.servers import RULES, Alertmanager, Prometheus, Webhook
from benchmarks.operations.traffic import Analysts, Traffic
from tests.kafka.broker import PLAINTEXT, KafkaBroker
from tests.kafka.daemons import Deployment
from tests.kafka.waiting import poll_until

MARGIN_S = 60.0  # from the end of `for` until the page
EVENTS_PER_S = 60.0
WINDOW_S = {"DetectorCheckpointsFail": 600.0, "DetectorMostRejected": 600.0}  # a rule looks back so long
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass
class World:
    """What faults are put into."""

    broker: KafkaBroker
    deployment: Deployment
    traffic: Traffic
    prometheus: Prometheus

    @property
    def addresses(self) -> list[str]:
        """Where the members' pages are."""
        return [daemon.url.removeprefix("http://") for daemon in self.deployment.daemons]


@contextmanager
def member_dies(world: World) -> Iterator[None]:
    world.deployment.daemons[-1].kill()
    yield
    _again(world)


def _again(world: World) -> None:
    """Start a member in place of the one that died."""
    world.deployment.daemons.pop()
    made = world.deployment.start()
    world.prometheus.target("detector", world.addresses)
    poll_until(made.ready, timeout_s=900)


@contextmanager
def broker_goes(world: World) -> Iterator[None]:
    world.broker.kill()
    yield
    world.broker.start()


@contextmanager
def store_breaks(world: World) -> Iterator[None]:
    folder = world.deployment.checkpoints
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.write_text("not a folder")
    yield
    folder.unlink()
    aside.rename(folder)


@contextmanager
def retention_shrinks(world: World) -> Iterator[None]:
    _set_retention(world, "86400000")
    yield
    _set_retention(world, "604800000")


def _set_retention(world: World, text: str) -> None:
    topic = world.deployment.topics["transactions"]
    with closing(KafkaAdminClient(bootstrap_servers=world.deployment.bootstrap)) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": text})])


@contextmanager
def format_changes(world: World) -> Iterator[None]:
    world.traffic.broken_share = 0.5
    yield
    world.traffic.broken_share = 0.0


@contextmanager
def transaction_stays_open(world: World) -> Iterator[None]:
    producer = KafkaProducer(
        bootstrap_servers=world.deployment.bootstrap,
        transactional_id="somebody-else",
        transaction_timeout_ms=900_000,
    )
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(world.deployment.topics["alerts"], value=b"{}", partition=0).get(10)
    yield
    producer.abort_transaction()
    producer.close()


FAULTS: dict[str, Callable[[World], AbstractContextManager[None]]] = {
    "DetectorOutputsHidden": transaction_stays_open,
    "DetectorTargetDown": member_dies,
    "DetectorRetentionShort": retention_shrinks,
    "DetectorNotReady": broker_goes,
    "DetectorMostRejected": format_changes,
    "DetectorCheckpointsFail": store_breaks,
}


def waits_s(name: str) -> float:
    """The `for` of an alert, s."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    text: str = next(
        rule.get("for", "0s") for group in groups for rule in group["rules"] if rule.get("alert") == name
    )
    return float(text[:-1]) * _UNITS[text[-1]]


def try_one(name: str, world: World, webhook: Webhook) -> bool:
    """Put a fault in; whether its alert came in time, alone, and was resolved."""
    webhook.messages.clear()
    wait_s, window_s = waits_s(name), WINDOW_S.get(name, 0.0)
    began_s = time.time()
    with FAULTS[name](world):
        poll_until(lambda: name in webhook.seen("firing"), timeout_s=wait_s + 5 * MARGIN_S, interval_s=1.0)
    fired_s = webhook.seen("firing").get(name, float("inf")) - began_s
    mended_s = time.time()
    poll_until(lambda: name in webhook.seen("resolved"), timeout_s=window_s + 5 * MARGIN_S, interval_s=1.0)
    resolved_s = webhook.seen("resolved").get(name, float("inf")) - mended_s
    time.sleep(10)
    others = sorted(webhook.seen("firing").keys() - {name})
    good = fired_s <= wait_s + MARGIN_S and resolved_s < float("inf") and not others
    print(
        f"| {name} | {wait_s:.0f} s | {fired_s:.0f} s | {resolved_s:.0f} s | {', '.join(others) or 'none'} | "
        f"{'good' if good else 'BAD'} |",
        flush=True,
    )
    return good


def main(arguments: Sequence[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"Any of {', '.join(FAULTS)}; else all.")
    parser.add_argument(
        "--quiet", type=float, default=300.0, metavar="S", help="Time without a fault at the end."
    )
    given = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory() as folder_name,
        KafkaBroker(listeners=[PLAINTEXT]) as broker,
        Deployment(
            broker.bootstrap,
            Path(folder_name),
            "faults",
            partitions=4,
            config=CONFIG,
            kafka=KAFKA,
            sides=("feedback", "receipts", "exchange"),
        ) as deployment,
    ):
        folder = Path(folder_name)
        traffic = Traffic(deployment, seed=5, events_per_s=EVENTS_PER_S, now=True)
        analysts = Analysts(deployment)
        for _ in range(2):
            daemon = deployment.start()
            poll_until(daemon.ready, timeout_s=900)
        poll_until(lambda: all(daemon.owns() == 2 for daemon in deployment.daemons), timeout_s=300)
        traffic.start()
        analysts.start()
        webhook = Webhook()
        targets = [daemon.url.removeprefix("http://") for daemon in deployment.daemons]
        with (
            Alertmanager(folder, webhook) as manager,
            Prometheus(folder, {"detector": targets}, alertmanager=manager.address) as prometheus,
        ):
            world = World(broker, deployment, traffic, prometheus)
            time.sleep(60)
            print(
                "| alert | for | page after | resolved after | others | |\n|---|---|---|---|---|---|",
                flush=True,
            )
            bad = [name for name in given.names or FAULTS if not try_one(name, world, webhook)]
            webhook.messages.clear()
            time.sleep(given.quiet)
            came = sorted(webhook.seen("firing"))
            print(f"{given.quiet:.0f} s without a fault: {', '.join(came) or 'no alert'}")
        traffic.finish()
        analysts.finish()
    if bad or came:
        raise SystemExit(f"not as they should be: {', '.join([*bad, *came])}")


if __name__ == "__main__":
    main()

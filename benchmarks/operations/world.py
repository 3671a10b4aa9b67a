"""A service in which faults are put: broker, two members, `detector notify`, traffic, analysts, Prometheus.

Three partitions: one member has two of them, the other one has one.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.operations.faulty import FAULTS
from benchmarks.operations.live import CONFIG
from benchmarks.operations.servers import Hook, Prometheus
from benchmarks.operations.traffic import Analysts, Traffic
from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Daemon, Deployment
from tests.kafka.waiting import poll_until

PARTITIONS = 3
EVENTS_PER_S = 20.0
START_S = 900.0
MEMBER = "member-{}"
SETTINGS: dict[str, Any] = {
    **CONFIG,
    "on_data_loss": "skip",
    "model": {**CONFIG["model"], "labels": {"per_barrier_max": 16}},
}


class World:
    """Everything that runs. Members are made by `faulty`, each with a folder of its own for what is on."""

    def __init__(self, broker: KafkaBroker, folder: Path) -> None:
        self.broker, self.folder = broker, folder
        self.deployment = Deployment(
            broker.bootstrap,
            folder,
            "faults",
            partitions=PARTITIONS,
            config=SETTINGS,
            kafka={"poll_records_max": 16},
            sides=("feedback", "receipts", "exchange"),
            module="benchmarks.operations.faulty",
        )
        self.traffic = Traffic(self.deployment, seed=5, events_per_s=EVENTS_PER_S, now=True)
        self.analysts = Analysts(self.deployment)
        self.receiver = Hook()
        self.members: dict[int, Daemon] = {}
        self.prometheus: Prometheus  # set once it runs

    def flags(self, member: int) -> Path:
        """Folder of a member's faults."""
        return self.folder / f"faults-{member}"

    def start(self, member: int, *settings: str) -> Daemon:
        """Start a member, or another process in its place; returns when it is ready."""
        self.flags(member).mkdir(exist_ok=True)
        os.environ[FAULTS] = str(self.flags(member))
        identity = f"kafka.group_instance_id={MEMBER.format(member)}"
        made = self.members[member] = self.deployment.start(identity, *settings)
        if not poll_until(lambda: made.ready() or not made.alive, timeout_s=START_S, interval_s=0.5):
            raise SystemExit(f"a member is not ready after {START_S:.0f} s:\n{made.log()[-3000:]}")
        if not made.alive:
            raise SystemExit(f"a member has ended:\n{made.log()[-3000:]}")
        return made

    def restart(self, member: int, *settings: str, kill: bool = False) -> Daemon:
        """Put another process in a member's place."""
        old = self.members[member]
        if old.alive:
            old.kill() if kill else old.stop()
        # A start takes longer than DetectorTargetDown waits where `--faster` makes it wait less.
        self.scrape(without=[member])
        made = self.start(member, *settings)
        self.scrape()
        return made

    def owner(self, partitions: int) -> int:
        """The member that has so many partitions."""
        return next(member for member, daemon in self.members.items() if daemon.owns() == partitions)

    def scrape(self, *, without: Collection[int] = ()) -> None:
        """Tell Prometheus where the members' pages are."""
        seen = [daemon for member, daemon in self.members.items() if member not in without]
        self.prometheus.target("detector", [daemon.url.removeprefix("http://") for daemon in seen])

    @contextmanager
    def on(self, flag: str, *members: int, text: str = "") -> Iterator[None]:
        """A fault of `faulty`, in some members or in all, while the block runs."""
        files = [self.flags(member) / flag for member in members or self.members]
        for file in files:
            file.write_text(text)
        yield
        for file in files:
            file.unlink()

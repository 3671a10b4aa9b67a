"""A cluster of brokers, of which one may be down."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from kafka import KafkaAdminClient

from tests.kafka.broker import KafkaBroker, Quorum, Temporary


class KafkaCluster(Temporary):
    """Brokers with all partitions in common, with the PLAINTEXT listener only.

    Every partition, internal ones included, is on all brokers. A record is committed when all but one broker
    have it.

    Parameters
    ----------
    count : int
        Number of brokers; of three, one may be down.
    properties : mapping
        As for `KafkaBroker`.
    """

    def __init__(self, count: int = 3, *, properties: Mapping[str, str] | None = None) -> None:
        quorum = Quorum.of(count)
        self.brokers = tuple(
            KafkaBroker(properties=properties, quorum=quorum, node=node) for node in range(1, count + 1)
        )

    def start(self) -> None:
        """Run all brokers; returns and raises as `KafkaBroker.start`."""
        for broker in self.brokers:
            broker.launch()  # none is up before most of them run
        for broker in self.brokers:
            broker.await_up()

    def remove(self) -> None:
        """Kill all brokers and delete their data."""
        for broker in self.brokers:
            broker.remove()

    @property
    def bootstrap(self) -> str:
        """Addresses of all brokers, running or not, separated by commas."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    def controller(self) -> KafkaBroker:
        """Return the broker that is the active controller."""
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.bootstrap)) as admin:
            (topic,) = admin.describe_metadata_quorum()["topics"]
        return self.brokers[topic["partitions"][0]["leader_id"] - 1]

    def led(self) -> Counter[int]:
        """Return the number of partitions that each node leads."""
        return Counter(partition["leader_id"] for partition in self._partitions())

    def in_sync(self) -> bool:
        """Return whether every broker has all committed records of every partition."""
        return all(len(partition["isr_nodes"]) == len(self.brokers) for partition in self._partitions())

    def _partitions(self) -> list[dict[str, Any]]:
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.bootstrap)) as admin:
            return [partition for topic in admin.describe_topics() for partition in topic["partitions"]]

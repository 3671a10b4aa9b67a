"""Asks beside the loop where the log of each partition ends.

The loop's own client knows the end only as of its last fetch. While the loop stands still, or fetches
nothing, it would tell of no lag. So a thread with a consumer of its own asks every few seconds, and notes
when it got its answer. While the broker is away the last answer stays, and its age says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, closing
from typing import Protocol

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from detector.config.tree import Config
from detector.core.reporting.telemetry import Telemetry
from detector.errors import DetectorError
from detector.ports import Log
from detector.shell.kafka.client import Settings, close_consumer, make_client, translated
from detector.shell.watch import Watch

LOOK_S = 5.0  # between two looks
NOTICE_S = 1.0  # until a partition that was just assigned is asked for
ASK_MS = 4000  # longest wait for the answers of one look


class Ends(Protocol):
    """Tells where logs end."""

    def ask(self, partitions: Collection[int]) -> Mapping[int, int]:
        """Return the offset after the last record of each partition.

        Raises
        ------
        DetectorError
            No answer.
        """

    def close(self) -> None:
        """Let go of the connection; the next `ask` makes another."""


class KafkaEnds:
    """`Ends` of the transactions topic, over a consumer that is in no group.

    The end includes records of open transactions: a producer that never ends one makes lag.

    Parameters
    ----------
    settings
        From `client_settings`.
    """

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config, self._settings = config, settings
        self._consumer: KafkaConsumer | None = None

    def ask(self, partitions: Collection[int]) -> Mapping[int, int]:
        """Ask for the ends; see `Ends`."""
        topic = self._config.topics.transactions
        with translated("read the ends", self._config):
            if self._consumer is None:
                self._consumer = make_client(
                    KafkaConsumer,
                    self._settings | {"bootstrap_timeout_ms": ASK_MS},
                    enable_auto_commit=False,
                    isolation_level="read_uncommitted",
                    allow_auto_create_topics=False,
                    metrics_enabled=False,
                )
            found = self._consumer.end_offsets(
                [TopicPartition(topic, number) for number in partitions], timeout_ms=ASK_MS
            )
        return {at.partition: int(offset) for at, offset in found.items()}

    def close(self) -> None:
        """Let go of the connection."""
        consumer, self._consumer = self._consumer, None
        close_consumer(consumer)


class EndsWatch(Watch):
    """The background thread.

    Parameters
    ----------
    ends
        Asked on the thread only.
    telemetry
        Names the partitions to ask for, and takes the answers.
    log
        Told of bugs; the runner tells of brokers that are away.
    monotonic
        Clock, s: that of the loop.
    """

    def __init__(
        self, ends: Ends, telemetry: Telemetry, log: Log, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__("ends-watch", log)
        self._ends, self._telemetry, self._monotonic = ends, telemetry, monotonic
        self._looked_s, self._asked = float("-inf"), frozenset[int]()

    def session(self) -> AbstractContextManager[object]:
        """Let go of the connection at the end."""
        return closing(self._ends)

    def look(self) -> float:
        """Ask, if it is time for it or if there are new partitions, and note the answers; see `Watch`."""
        now_s, owned = self._monotonic(), self._telemetry.owned
        if now_s - self._looked_s < LOOK_S and owned <= self._asked:
            return NOTICE_S
        self._looked_s, self._asked = now_s, owned
        if not owned:
            return NOTICE_S
        try:
            answers = self._ends.ask(sorted(owned))
        except (DetectorError, KafkaError, OSError):
            self._ends.close()
            return NOTICE_S
        for number, end in answers.items():
            if number in self._telemetry.owned:
                numbers = self._telemetry.partitions[number]
                numbers.log.note(now_s, end, numbers.standing.processed)
        return NOTICE_S

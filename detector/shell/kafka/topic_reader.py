"""Output topics, read from outside of any group: by commands that show them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from kafka import KafkaConsumer, TopicPartition

from detector.config.tree import Config
from detector.core.records import Record
from detector.errors import BrokerUnavailable
from detector.ports import TopicIds
from detector.shell import calls
from detector.shell.kafka.client import (
    CALL,
    client_settings,
    close_consumer,
    make_consumer,
    translated,
)
from detector.shell.kafka.probe import PROBE_S, probe
from detector.shell.kafka.workarounds import ids_of

POLL_MS = 200
LOOK_S = 60.0  # between two looks whether a topic has more partitions


class TopicReader:
    """Reads all partitions of some topics, committed records only. It connects with the first call.

    Parameters
    ----------
    config
        The daemon's configuration.
    topics
        Names of the topics.
    password, key_password
        Resolved values of `kafka.security.password` and `kafka.security.key_password`.

    Raises
    ------
    CredentialsError
        A certificate or key file cannot be used.
    """

    def __init__(
        self,
        config: Config,
        topics: Sequence[str],
        password: str | None = None,
        key_password: str | None = None,
    ) -> None:
        self._config, self._topics = config, topics
        self._settings = client_settings(config, password, key_password)
        self._timeout_ms = config.kafka.request_timeout_ms
        self._consumer: KafkaConsumer | None = None

    def records(
        self,
        since_s: float | None = None,
        *,
        follow: bool = False,
        positions: Mapping[tuple[str, int], int] | None = None,
    ) -> Iterator[Sequence[tuple[str, int, Record]]]:
        """Yield topic, partition and record, in batches: all that are there now, in as many as they come.

        With `follow` it goes on with new ones, until a topic has more partitions than at the start. The first
        empty batch says that all that were there at the start have been read. The records of a partition come
        in their order.

        Parameters
        ----------
        since_s
            Only records of this time or later, s since the epoch; None: from the beginning.
        positions
            Where to begin instead, by topic and partition; what was deleted meanwhile is left out.

        Raises
        ------
        BrokerUnavailable
        LogGone
            Records were deleted while they were read. Begin again.
        """
        consumer = self._open()
        with self._translated():
            ends = self._begin(consumer, since_s, positions or {})
        left, answered_s = set(ends), time.monotonic()
        while left:
            with self._translated():
                fetched = consumer.poll(POLL_MS)
                left = {at for at in left if self._position(consumer, at) < ends[at]}
            batch = [
                (at.topic, at.partition, record)
                for at, records in fetched.items()
                for record in records
                if follow or record.offset < ends[at]
            ]
            if batch:
                yield batch
                answered_s = time.monotonic()
            elif left and time.monotonic() - answered_s > self._timeout_ms / 1000:
                raise BrokerUnavailable(f"Could not read {', '.join(self._topics)}: no answer.")
        yield []
        looked_s = time.monotonic()
        while follow:
            with self._translated():
                fetched = consumer.poll(POLL_MS)
            if time.monotonic() - looked_s > LOOK_S:
                looked_s = time.monotonic()
                if set(self._places(consumer)) - consumer.assignment():
                    follow = False
            yield [(at.topic, at.partition, record) for at, records in fetched.items() for record in records]

    def ids(self) -> Mapping[str, TopicIds]:
        """Return the ids of the cluster and of each topic.

        Raises
        ------
        BrokerUnavailable
        """
        consumer = self._open()
        self._places(consumer)
        return {topic: ids_of(consumer, topic) for topic in self._topics}

    def close(self) -> None:
        """Close the connection. Never raises."""
        consumer, self._consumer = self._consumer, None
        close_consumer(consumer)

    # --- inside ---

    def _open(self) -> KafkaConsumer:
        if self._consumer is None:
            uses = dict.fromkeys(self._topics, "read")
            probe(self._settings, uses, min(PROBE_S, self._timeout_ms / 1000))  # type: ignore[arg-type]
            with self._translated():
                self._consumer = make_consumer(self._settings)
        return self._consumer

    def _begin(
        self, consumer: KafkaConsumer, since_s: float | None, positions: Mapping[tuple[str, int], int]
    ) -> dict[TopicPartition, int]:
        """Go to the start of each partition; returns the ends of those that have records to read."""
        places = self._places(consumer)
        consumer.assign(places)
        ends = consumer.end_offsets(places, timeout_ms=self._timeout_ms)
        starts = consumer.beginning_offsets(places, timeout_ms=self._timeout_ms)
        if since_s is not None:
            asked = dict.fromkeys(places, int(since_s * 1000))
            found = consumer.offsets_for_times(asked, timeout_ms=self._timeout_ms)
            starts = {at: ends[at] if found.get(at) is None else found[at].offset for at in places}
        for at in places:
            wanted = positions.get((at.topic, at.partition), starts[at])
            starts[at] = min(max(wanted, starts[at]), ends[at])
            consumer.seek(at, starts[at])
        return {at: ends[at] for at in places if starts[at] < ends[at]}

    def _position(self, consumer: KafkaConsumer, at: TopicPartition) -> int:
        return consumer.position(at, timeout_ms=self._timeout_ms) or 0

    def _places(self, consumer: KafkaConsumer) -> list[TopicPartition]:
        found = []
        for topic in self._topics:
            with self._translated():
                partitions = calls.within(
                    self._timeout_ms / 1000,
                    lambda topic=topic: consumer.partitions_for_topic(topic),  # type: ignore[misc]
                    name=CALL,
                )
            if not partitions:
                raise BrokerUnavailable(f"Topic {topic} does not exist.")
            found += [TopicPartition(topic, partition) for partition in sorted(partitions)]
        return found

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with translated(f"read {', '.join(self._topics)}", self._config):
            yield

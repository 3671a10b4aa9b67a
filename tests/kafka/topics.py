"""Create topics, produce and read records, through the PLAINTEXT listener."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError

from tests.kafka.waiting import PATIENCE_S, poll_until


def create_topic(bootstrap: str, name: str, partitions: int, config: Mapping[str, str] | None = None) -> None:
    """Create a topic with the default replication. Returns when each partition has a leader."""
    topic = {"num_partitions": partitions, "configs": dict(config or {})}
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        admin.create_topics({name: topic}, wait_for_metadata=True)


def create_anew(bootstrap: str, name: str) -> None:
    """Delete a topic of one partition, and create it again. Returns when it is there."""

    def created() -> bool:
        try:
            admin.create_topics([NewTopic(name, 1, 1)])
        except KafkaError:
            return False  # the one before it is still being deleted
        return True

    with contextlib.closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        admin.delete_topics([name])
        assert poll_until(created)


def produce_all(
    bootstrap: str,
    topic: str,
    records: Iterable[tuple[bytes | None, bytes | None, list[tuple[str, bytes]] | None, int | None]],
) -> None:
    """Send (key, value, headers, partition) records in order. Returns when all are acknowledged."""
    with contextlib.closing(KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5)) as producer:
        sent = [
            producer.send(topic, key=key, value=value, headers=headers, partition=partition)
            for key, value, headers, partition in records
        ]
        producer.flush(timeout=PATIENCE_S)
        for future in sent:
            future.get(timeout=0)


def read_all(
    bootstrap: str, topic: str, isolation_level: str = "read_committed", idle_s: float = PATIENCE_S
) -> list[ConsumerRecord]:
    """Read a topic from its beginning to where it ends now, without a group.

    Parameters
    ----------
    isolation_level : str
        "read_committed" ends at the last stable offset: an open transaction hides all later records.
    idle_s : float
        Raise TimeoutError if nothing has arrived for this time before the end is reached, s.

    Returns
    -------
    list of ConsumerRecord
        By partition, then by offset.
    """
    with contextlib.closing(
        KafkaConsumer(
            bootstrap_servers=bootstrap,
            isolation_level=isolation_level,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
    ) as consumer:
        partitions = sorted(TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic))
        if not partitions:
            raise LookupError(f"no topic {topic!r}")
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        records: dict[TopicPartition, list[ConsumerRecord]] = {tp: [] for tp in partitions}
        deadline = time.monotonic() + idle_s
        while any(consumer.position(tp) < ends[tp] for tp in partitions):
            got = consumer.poll(timeout_ms=100)
            for tp, batch in got.items():
                records[tp] += [record for record in batch if record.offset < ends[tp]]
            if got:
                deadline = time.monotonic() + idle_s
            elif time.monotonic() > deadline:
                at = {tp.partition: (consumer.position(tp), ends[tp]) for tp in partitions}
                raise TimeoutError(f"{topic}: nothing for {idle_s:g} s; partition: (position, end) {at}")
    return [record for tp in partitions for record in records[tp]]

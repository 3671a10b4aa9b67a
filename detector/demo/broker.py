"""The broker of one demonstration: a real one, or librdkafka's mock cluster in this process."""

from __future__ import annotations

import ctypes
import uuid
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from detector.config.extras import install
from detector.errors import BrokerUnavailable, NeedsOperator

PARTITIONS = 2
TOPICS: Mapping[str, int] = {  # with their partitions
    "transactions": PARTITIONS,
    "alerts": PARTITIONS,
    "dead_letter": 1,
    "case_updates": PARTITIONS,
    "feedback": 1,
    "receipts": 1,
    "exchange": 1,
}
ANSWER_S = 10.0


class Broker:
    """The topics of one demonstration, its producer, and a reader of its alerts.

    Parameters
    ----------
    bootstrap
        HOST:PORT of a real broker; None: the mock cluster.

    Raises
    ------
    NeedsOperator
        A package is missing, or topics cannot be created.
    BrokerUnavailable
    """

    def __init__(self, bootstrap: str | None) -> None:
        try:
            import confluent_kafka
        except ImportError:
            raise NeedsOperator(f"the demo needs confluent-kafka: {install('demo')}") from None
        self._kafka = confluent_kafka
        self.real = bootstrap is not None
        self.run = f"demo-{uuid.uuid4().hex[:8]}"
        self.topics = {name: f"{self.run}-{name}" for name in TOPICS}
        partitions = {self.topics[name]: count for name, count in TOPICS.items()}
        self.address = bootstrap or _mock_cluster(partitions)
        self._producer = confluent_kafka.Producer(
            {"bootstrap.servers": self.address, "linger.ms": 5, "log_level": 0}
        )
        try:
            self._producer.list_topics(timeout=ANSWER_S)
        except confluent_kafka.KafkaException as error:
            raise BrokerUnavailable(f"no broker at {self.address}: {error}") from None
        if self.real:
            self._create(partitions)
        self._consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": f"{self.run}-viewer",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "log_level": 0,
            }
        )
        alerts = self.topics["alerts"]
        self._consumer.assign(
            [confluent_kafka.TopicPartition(alerts, number, 0) for number in range(PARTITIONS)]
        )

    def send(self, event: Mapping[str, object]) -> None:
        """Queue one event, keyed by its card."""
        key = str(event["card"]).encode()
        partition = zlib.crc32(key) % PARTITIONS
        self._producer.produce(self.topics["transactions"], msgspec.json.encode(event), key, partition)

    def flush(self) -> None:
        """Wait until the broker has all queued events."""
        self._producer.flush(ANSWER_S)

    def alerts(self, seconds: float) -> Iterator[dict[str, Any]]:
        """Yield the alerts that arrive within `seconds`."""
        for message in self._consumer.consume(num_messages=500, timeout=seconds):
            body = message.value()
            if message.error() is None and body is not None:
                yield msgspec.json.decode(body)

    def _create(self, partitions: Mapping[str, int]) -> None:
        from confluent_kafka import admin as found

        admin: Any = found  # its stubs do not export NewTopic
        client = admin.AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        topics = [admin.NewTopic(topic, count, 1) for topic, count in partitions.items()]
        try:
            for future in client.create_topics(topics).values():
                future.result(ANSWER_S)
        except self._kafka.KafkaException as error:
            raise NeedsOperator(f"topics cannot be created at {self.address}: {error}") from None


def _mock_cluster(partitions: Mapping[str, int]) -> str:
    """Start a mock cluster of one broker with these topics, and return HOST:PORT. It ends with the process.

    Only librdkafka's C interface (rdkafka_mock.h) can say how many partitions a topic has; a topic that the
    cluster makes by itself has four.
    """
    from confluent_kafka import cimpl

    library = ctypes.CDLL(cimpl.__file__)  # with librdkafka, which it is linked to
    for name in ("conf_new", "new", "mock_cluster_new", "mock_cluster_bootstraps"):
        getattr(library, f"rd_kafka_{name}").restype = ctypes.c_void_p
    why = ctypes.create_string_buffer(512)
    settings = ctypes.c_void_p(library.rd_kafka_conf_new())
    library.rd_kafka_conf_set(settings, b"log_level", b"0", why, ctypes.c_size_t(len(why)))
    producer = 0  # RD_KAFKA_PRODUCER
    handle = ctypes.c_void_p(library.rd_kafka_new(producer, settings, why, ctypes.c_size_t(len(why))))
    cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(handle, 1) if handle else None)
    if not cluster:
        raise NeedsOperator(f"the mock cluster cannot be started: {why.value.decode(errors='replace')}")
    for topic, count in partitions.items():
        if library.rd_kafka_mock_topic_create(cluster, topic.encode(), count, 1):
            raise NeedsOperator(f"the mock cluster cannot make topic {topic}")
    return ctypes.string_at(library.rd_kafka_mock_cluster_bootstraps(cluster)).decode()

"""Topics and a group for one test, and members of the group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from detector.config.tree import Config
from detector.core.records import Record
from detector.errors import (
    DetectorError,
)
from detector.ports import Change, Commit, Committed, Message
from detector.shell import calls
from detector.shell.kafka import KafkaStream
from tests.kafka.broker import MTLS, PLAINTEXT, SASL_SSL, KafkaBroker
from tests.kafka.topics import create_topic, produce_all, read_all
from tests.kafka.waiting import PATIENCE_S, poll_until

PROTOCOLS = {PLAINTEXT: "PLAINTEXT", SASL_SSL: "SASL_SSL", MTLS: "SSL"}


class Place:
    """Topics and a group for one test. Its streams are closed when the test ends."""

    def __init__(self, broker: KafkaBroker, name: str, partitions: int = 2) -> None:
        self.broker = broker
        self.name = name
        self.transactions, self.alerts, self.rejected = (f"{name}.{kind}" for kind in ("in", "out", "bad"))
        create_topic(broker.bootstrap, self.transactions, partitions)
        create_topic(broker.bootstrap, self.alerts, 1)
        create_topic(broker.bootstrap, self.rejected, 1)
        self._streams: list[KafkaStream] = []

    def config(self, listener: str = PLAINTEXT, **changes: Any) -> Config:
        kafka = {
            "bootstrap_servers": [self.broker.bootstrap_for(listener)],
            "group_id": self.name,
            "session_timeout_ms": 30_000,
            "request_timeout_ms": 30_000,
            "security": self._security(listener) | changes.pop("security", {}),
        }
        return Config.model_validate(
            {
                "event": {"id": "id", "time": {"path": "t"}, "entities": [{"name": "card", "path": "card"}]},
                "kafka": kafka | changes.pop("kafka", {}),
                "topics": {
                    "transactions": self.transactions,
                    "alerts": self.alerts,
                    "dead_letter": self.rejected,
                }
                | changes.pop("topics", {}),
            }
            | changes
        )

    def stream(self, listener: str = PLAINTEXT, password: str | None = None, **changes: Any) -> KafkaStream:
        stream = KafkaStream(self.config(listener, **changes), password)
        self._streams.append(stream)
        return stream

    @property
    def password(self) -> str:
        self.broker.bootstrap_for(SASL_SSL)  # skips the test where there is no such listener
        return self.broker.password

    def produce(self, *values: bytes, partition: int = 0) -> None:
        produce_all(
            self.broker.bootstrap,
            self.transactions,
            [(b"key", value, [("h", b"1")], partition) for value in values],
        )

    def alert(self, value: bytes, offset: int = 0) -> Message:
        return Message(
            topic=self.alerts,
            key=b"card",
            value=value,
            headers=(("ce_id", b"1"),),
            partition=0,
            offset=offset,
        )

    def ends(self, topic: str) -> int:
        """Sum of a topic's end offsets, transaction markers included."""
        with closing(KafkaConsumer(bootstrap_servers=self.broker.bootstrap)) as consumer:
            at = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            return sum(consumer.end_offsets(at).values())

    def alerts_seen(self) -> list[bytes | None]:
        return [record.value for record in read_all(self.broker.bootstrap, self.alerts)]

    def close(self) -> None:
        for stream in self._streams:
            stream.close()

    def _security(self, listener: str) -> dict[str, Any]:
        security: dict[str, Any] = {"protocol": PROTOCOLS[listener]}
        if listener != PLAINTEXT:
            settings = self.broker.client_settings(listener)
            security["ca_file"] = settings["ssl_cafile"]
        if listener == MTLS:
            security |= {"cert_file": settings["ssl_certfile"], "key_file": settings["ssl_keyfile"]}
        if listener == SASL_SSL:
            security |= {
                "sasl_mechanism": settings["sasl_mechanism"],
                "username": settings["sasl_plain_username"],
                "password": {"env": "UNUSED"},
            }
        return security


class Member:
    """A stream, and what its polls have returned so far. Partitions begin at their committed offsets."""

    def __init__(self, stream: KafkaStream) -> None:
        self.stream = stream
        self.owned: set[int] = set()
        self.changes: list[Change] = []
        self.records: list[Record] = []
        self.membership: Any = None

    def poll(self, timeout_ms: int = 50) -> None:
        poll = self.stream.poll(timeout_ms)
        self.membership = poll.membership
        fresh: set[int] = set()
        for change in poll.changes:
            self.changes.append(change)
            if change.kind == "assigned":
                self.owned |= set(change.partitions)
                fresh |= set(change.partitions)
            else:
                self.owned -= set(change.partitions)
        for partition, committed in self.stream.committed(fresh).items():
            begin = self.stream.start(partition) if committed is None else committed.offset
            self.stream.seek(partition, begin)
        for partition, records in poll.records.items():
            if partition not in fresh:
                self.records += records

    def values(self) -> list[bytes | None]:
        return [record.value for record in self.records]

    def commit(self, messages: Sequence[Message], positions: dict[int, Committed], **changes: Any) -> None:
        self.stream.commit(
            Commit(
                messages=messages, positions=positions, membership=changes.get("membership", self.membership)
            )
        )


def poll_for(condition: Callable[[], bool], *members: Member) -> None:
    def step() -> bool:
        for member in members:
            member.poll()
        return condition()

    assert poll_until(step)


def settled(*members: Member) -> Callable[[], bool]:
    """Whether these members own both partitions, evenly."""
    return lambda: (
        sorted(len(m.owned) for m in members) == [2 // len(members)] * len(members)
        and all(m.stream.settled() for m in members)
    )


def trouble(call: Callable[[], object]) -> DetectorError:
    """Return what a call raises. The call must end."""
    with pytest.raises(DetectorError) as caught:
        calls.within(PATIENCE_S, call)
    return caught.value


@contextmanager
def impatient(stream: KafkaStream) -> Iterator[None]:
    """Let calls of a stream that wait for a broker give up soon.

    For a broker that does not answer. Such a timeout in the configuration would be too short for the rest of
    the test on a busy machine.
    """
    config, timeout_s = stream._config, stream._timeout_s
    kafka = config.kafka.model_copy(update={"request_timeout_ms": 1000})
    stream._config, stream._timeout_s = config.model_copy(update={"kafka": kafka}), 1.0
    yield
    stream._config, stream._timeout_s = config, timeout_s

"""The topics of alerts and case updates, as a member of the group of one receiver."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.structs import OffsetAndMetadata

from detector.config.tree import Config
from detector.core.records import Record
from detector.notify import Arrived, Message, read_message
from detector.notify.delivery import At
from detector.shell import calls
from detector.shell.kafka.client import (
    CALL,
    CLOSE_S,
    CONSUMER_CLOSE_MS,
    client_settings,
    make_consumer,
    translated,
)
from detector.shell.kafka.probe import PROBE_S, Rights, Use, probe
from detector.shell.kafka.workarounds import (
    keep_unfinished_join,
    limit_coordinator_lookups,
    release_parked_records,
)

POLL_RECORDS_MAX = 100

_log = logging.getLogger(__name__)


class KafkaInbox(ConsumerRebalanceListener):  # type: ignore[misc]
    """A `detector.notify.Inbox`. It connects with the first poll, and anew after any error.

    A partition that the group has never committed begins at `notify.start`, and that position is committed at
    once: what is published while no member runs is delivered later.

    Parameters
    ----------
    config
        The configuration; its group is `kafka.group_id` with ``-notify-NAME`` behind it.
    receiver
        NAME.
    password, key_password
        Resolved values of `kafka.security.password` and `kafka.security.key_password`.

    Raises
    ------
    CredentialsError
        A certificate or key file cannot be used.
    """

    def __init__(
        self, config: Config, receiver: str, password: str | None = None, key_password: str | None = None
    ) -> None:
        self._config = config
        self._group = group_of(config, receiver)
        self._topics = [
            topic for topic in (config.topics.alerts, config.topics.case_updates) if topic is not None
        ]
        self._uses: dict[str, Use] = dict.fromkeys(self._topics, "read")
        self._settings = client_settings(config, password, key_password)
        self._settings["client_id"] = self._group
        self._consumer: KafkaConsumer | None = None
        self._revoked: list[At] = []
        self._positions: dict[At, int] = {}  # behind what was polled, of the partitions we have

    # --- detector.notify.Inbox -----------------------------------------------------------------------------

    def poll(self, timeout_s: float, *, more: bool) -> Arrived:
        """Wait for messages; see `detector.notify.Inbox`."""
        with self._translated("read alerts"):
            fetched = self._fetch(self._open(), int(timeout_s * 1000), paused=not more)
        messages: list[Message] = []
        unreadable = 0
        for at, records in fetched.items():
            read = [read_message(at.topic, at.partition, record) for record in records]
            messages += [message for message in read if message is not None]
            unreadable += sum(message is None for message in read)
            if records:
                self._positions[at.topic, at.partition] = records[-1].offset + 1
        revoked, self._revoked = self._revoked, []
        return Arrived(
            messages=messages, positions=dict(self._positions), revoked=revoked, unreadable=unreadable
        )

    def commit(self, positions: Mapping[At, int]) -> None:
        """Commit positions; see `detector.notify.Inbox`."""
        with self._translated("commit"):
            consumer = self._open()
            ours = {TopicPartition(*at) for at in positions} & consumer.assignment()
            offsets = {at: OffsetAndMetadata(positions[at.topic, at.partition], "", -1) for at in ours}
            if offsets:
                timeout_ms = self._config.kafka.request_timeout_ms
                calls.within(timeout_ms / 1000, lambda: consumer.commit(offsets), name=CALL)

    def close(self) -> None:
        """Leave the group. Returns within `CLOSE_S` and never raises."""
        consumer, self._consumer = self._consumer, None
        self._positions.clear()
        if consumer is not None:
            with suppress(Exception):  # the process may end without it
                calls.within(CLOSE_S, lambda: consumer.close(timeout_ms=CONSUMER_CLOSE_MS), name=CALL)

    # --- ConsumerRebalanceListener, on the client's thread -------------------------------------------------

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Note which partitions are gone."""
        for at in revoked:
            self._positions.pop((at.topic, at.partition), None)
            self._revoked.append((at.topic, at.partition))

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Do nothing: `poll` looks at what is assigned."""

    # --- inside ---

    def _open(self) -> KafkaConsumer:
        if self._consumer is None:
            kafka = self._config.kafka
            rights = Rights(uses=self._uses, group=self._group, transactional_id=None)
            probe(self._settings, self._uses, min(PROBE_S, kafka.request_timeout_ms / 1000), rights)
            self._consumer = make_consumer(
                self._settings,
                group_id=self._group,
                session_timeout_ms=kafka.session_timeout_ms,
                heartbeat_interval_ms=kafka.session_timeout_ms // 5,
            )
            limit_coordinator_lookups(self._consumer)
            self._consumer.subscribe(self._topics, listener=self)
        return self._consumer

    def _fetch(
        self, consumer: KafkaConsumer, timeout_ms: int, *, paused: bool
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        """Poll. A partition without any position gets the configured one, which is committed."""
        keep_unfinished_join(consumer)
        release_parked_records(consumer)
        change = consumer.pause if paused else consumer.resume
        change(*consumer.assignment())
        try:
            return consumer.poll(timeout_ms, max_records=POLL_RECORDS_MAX)  # type: ignore[no-any-return]
        except kafka_errors.NoOffsetForPartitionError as error:
            for at in error.args[0]:
                self._seek(consumer, at, latest=self._config.notify.start == "latest")
        except kafka_errors.OffsetOutOfRangeError as error:
            for at in error.args[0]:
                self._seek(consumer, at, latest=False)
                _log.error("the next alerts of %s/%s were deleted before they were sent", *at)
        return {}

    def _seek(self, consumer: KafkaConsumer, at: TopicPartition, *, latest: bool) -> None:
        ask = consumer.end_offsets if latest else consumer.beginning_offsets
        position = ask([at], timeout_ms=self._config.kafka.request_timeout_ms)[at]
        consumer.seek(at, position)
        self._positions[at.topic, at.partition] = position

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            with translated(doing, self._config):
                yield
        except BaseException:
            self.close()
            raise


def group_of(config: Config, receiver: str) -> str:
    """Name of a receiver's consumer group."""
    return f"{config.kafka.group_id}-notify-{receiver}"

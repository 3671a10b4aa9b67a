"""The producer of the output topics, and its transactions."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from kafka.errors import KafkaError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from detector.config.tree import Config
from detector.core.reporting.outputs import topic_names
from detector.errors import CredentialsError
from detector.ports import Message
from detector.shell import calls
from detector.shell.kafka.client import CALL, Settings, make_client
from detector.shell.kafka.probe import PROBE_S, Use, probe
from detector.shell.kafka.size_limits import REQUEST_BYTES_MAX, fitted
from detector.shell.kafka.transactions import Transactions
from detector.shell.kafka.workarounds import abandon

_ABORT_S = 1.0  # maximum wait for an abort; otherwise the next producer or a timeout aborts the transaction

_log = logging.getLogger(__name__)


class Publisher:
    """Publishes messages, with the offsets of their inputs in the same transaction.

    Parameters
    ----------
    config
        The daemon's configuration.
    settings
        From `client_settings`.
    transactional_id
        Used when `delivery` is `exactly_once`.
    """

    def __init__(self, config: Config, settings: Settings, transactional_id: str) -> None:
        self._config = config
        self._settings = settings
        self._transactional_id = transactional_id
        self._producer: KafkaProducer | None = None
        self._used = config.kafka.group_instance_id is not None  # the id may have had a producer before

    def connect(self) -> KafkaProducer:
        """Return the producer. A new one fences the one before it.

        It is made only when all output topics have leaders. It aborts what its predecessor left open, and a
        restarting broker (4.3) writes no markers to partitions whose leader it does not know yet. The aborted
        records would then be committed with the next transaction, so missing markers are written first.

        Raises
        ------
        CredentialsError
            A broker rejects us, or does not allow us to write to a topic.
        BrokerUnavailable
            No broker is reached, or an output topic does not exist or has no leader.
        KafkaError
            The producer could not be made.
        """
        if self._producer is not None:
            return self._producer
        kafka = self._config.kafka
        probe(self._settings, self._outputs(), min(PROBE_S, kafka.request_timeout_ms / 1000))
        exactly_once = self._config.delivery == "exactly_once"
        transactional = {
            "transactional_id": self._transactional_id,
            "transaction_timeout_ms": kafka.transaction_timeout_ms,
        }
        producer = make_client(
            KafkaProducer,
            self._settings,
            **(transactional if exactly_once else {}),
            acks="all",
            max_block_ms=kafka.request_timeout_ms // 2,
            delivery_timeout_ms=2 * kafka.request_timeout_ms,
            max_request_size=REQUEST_BYTES_MAX,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        try:
            if exactly_once:
                producer.init_transactions()
                if self._used:
                    calls.within(kafka.request_timeout_ms / 1000, self._end_own, name=CALL)
        except BaseException:
            abandon(producer)
            raise
        self._producer, self._used = producer, True
        return producer

    def drop(self) -> None:
        """Abandon the producer: the next `connect` makes another one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            abandon(producer)

    def transact(
        self,
        producer: KafkaProducer,
        messages: Sequence[Message],
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        membership: ConsumerGroupMetadata,
        deadline: float,
    ) -> None:
        """Publish and commit in one transaction. May block for ever, so call it in a helper thread.

        1. Send the messages, and wait until the broker has all of them. If one failed during the commit, the
           client (3.0.12) would continue under a new epoch and report the commit as done although nothing was
           published. The next commit would then move the offsets past outputs that nobody has.
        2. Send the offsets, which the broker checks against the group's generation (KIP-447).
        3. Commit, which makes both visible.

        Parameters
        ----------
        deadline
            Latest time for step 1, monotonic s.
        """
        sent: list[Any] = []
        try:
            producer.begin_transaction()
            # Step 1
            sent = self.send_all(producer, messages)
            await_all(producer, sent, deadline)
            # Step 2
            producer.send_offsets_to_transaction(offsets, membership)
            # Step 3
            producer.commit_transaction()
        except KafkaError:
            # Without an abort, readers wait for the transaction's timeout, even over a restart of the broker.
            with suppress(Exception):
                calls.within(_ABORT_S, producer.abort_transaction, name=CALL)
            # The error says only "in an error state". The reason is with the message that caused it.
            for future in sent:
                if future.failed() and isinstance(future.exception, kafka_errors.BrokerResponseError):
                    raise future.exception from None
            raise

    def publish(self, producer: KafkaProducer, messages: Sequence[Message], deadline: float) -> None:
        """Send the messages without a transaction, and wait until the broker has all of them."""
        await_all(producer, self.send_all(producer, messages), deadline)

    def send_all(self, producer: KafkaProducer, messages: Iterable[Message]) -> list[Any]:
        """Send the messages, cut where they are too large; return a future for each."""
        sent = []
        for message in messages:
            fit = fitted(message, dead_letter=message.topic == self._config.topics.dead_letter)
            sent.append(producer.send(fit.topic, value=fit.value, key=fit.key, headers=list(fit.headers)))
        return sent

    def _end_own(self) -> None:
        """End the hanging transactions of our own id, if we may. All are told in one line."""
        transactions = Transactions(self._config, self._settings, self._transactional_id)
        try:
            with transactions.connected():
                ended = transactions.mend(transactions.hanging(own_only=True))
        except CredentialsError as error:
            _log.warning("hanging transactions were not looked for: %s", error)
            return
        if ended:
            _log.warning("ended hanging transactions: %s", "; ".join(map(str, ended)))

    def _outputs(self) -> dict[str, Use]:
        return dict.fromkeys(topic_names(self._config.topics).values(), "write")


def await_all(producer: KafkaProducer, sent: Iterable[Any], deadline: float) -> None:
    """Wait until the broker has all messages. Raises the error of the first one that failed.

    Parameters
    ----------
    deadline
        Latest time, monotonic s.
    """
    producer.flush(timeout=max(0.0, deadline - time.monotonic()))
    for future in sent:
        future.get(timeout=0)

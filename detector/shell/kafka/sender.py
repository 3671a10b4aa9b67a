"""Sends records to a topic, outside of any transaction: feedback, of commands and of the console."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Any, NamedTuple

from kafka import KafkaProducer

from detector.config.tree import Config
from detector.shell.kafka.client import client_settings, make_client, translated
from detector.shell.kafka.probe import PROBE_S, probe
from detector.shell.kafka.publisher import await_all
from detector.shell.kafka.size_limits import REQUEST_BYTES_MAX


class Written(NamedTuple):
    """Where a record is in its topic."""

    partition: int
    offset: int  # -1: it was written twice, and the broker did not say where


class RecordWriter:
    """Writes records to one topic. It connects with the first call, and anew after any error.

    Safe to use from several threads: they take turns.

    Parameters
    ----------
    password, key_password
        Resolved values of `kafka.security.password` and `kafka.security.key_password`.

    Raises
    ------
    CredentialsError
        A certificate or key file cannot be used.
    """

    def __init__(
        self, config: Config, topic: str, password: str | None = None, key_password: str | None = None
    ) -> None:
        self._config, self._topic = config, topic
        self._settings = client_settings(config, password, key_password)
        self._timeout_ms = config.kafka.request_timeout_ms
        self._lock = threading.Lock()
        self._producer: KafkaProducer | None = None

    def send(
        self, records: Sequence[tuple[bytes | None, bytes]], partition: int | None = None
    ) -> list[Written]:
        """Write records, given as key and value, and wait until the broker has all of them.

        Parameters
        ----------
        partition
            Where to; None: by the keys.

        Raises
        ------
        CredentialsError
            A broker rejects us, or does not allow us to write to the topic.
        BrokerUnavailable
            No broker is reached, or the topic does not exist. Some records may have been written.
        """
        with self._lock:
            try:
                producer = self._open()
                with translated(f"write to {self._topic}", self._config):
                    sent: list[Any] = [
                        producer.send(self._topic, value=value, key=key, partition=partition)
                        for key, value in records
                    ]
                    await_all(producer, sent, time.monotonic() + self._timeout_ms / 1000)
                    facts = [future.get(timeout=0) for future in sent]
            except BaseException:
                self._abandon()
                raise
        return [Written(one.partition, one.offset) for one in facts]

    def close(self) -> None:
        """Close the connection. Never raises."""
        with self._lock:
            self._abandon()

    def _open(self) -> KafkaProducer:
        if self._producer is None:
            probe(self._settings, {self._topic: "write"}, min(PROBE_S, self._timeout_ms / 1000))
            with translated(f"write to {self._topic}", self._config):
                self._producer = make_client(
                    KafkaProducer,
                    self._settings,
                    acks="all",
                    max_block_ms=self._timeout_ms,
                    delivery_timeout_ms=2 * self._timeout_ms,
                    max_request_size=REQUEST_BYTES_MAX,
                    allow_auto_create_topics=False,
                    metrics_enabled=False,
                )
        return self._producer

    def _abandon(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(Exception):  # the next call makes another one
                producer.close(timeout=1)


def send_records(
    config: Config,
    topic: str,
    records: Sequence[tuple[bytes | None, bytes]],
    password: str | None = None,
    key_password: str | None = None,
) -> None:
    """Write records once, as `RecordWriter` does, and close the connection."""
    with closing(RecordWriter(config, topic, password, key_password)) as writer:
        writer.send(records)

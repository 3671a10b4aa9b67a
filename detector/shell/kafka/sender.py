"""Sends records to a topic, outside of any transaction: for commands that write feedback."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kafka import KafkaProducer

from detector.config.tree import Config
from detector.shell.kafka.client import client_settings, make_client, translated
from detector.shell.kafka.probe import PROBE_S, probe
from detector.shell.kafka.publisher import await_all
from detector.shell.kafka.size_limits import REQUEST_BYTES_MAX


def send_records(
    config: Config,
    topic: str,
    records: Sequence[tuple[bytes | None, bytes]],
    password: str | None = None,
    key_password: str | None = None,
) -> None:
    """Write records, given as key and value, and wait until the broker has all of them.

    Raises
    ------
    CredentialsError
        A broker rejects us, or does not allow us to write to the topic.
    BrokerUnavailable
        No broker is reached, or the topic does not exist. Some records may have been written.
    """
    settings, timeout_s = (
        client_settings(config, password, key_password),
        config.kafka.request_timeout_ms / 1000,
    )
    probe(settings, {topic: "write"}, min(PROBE_S, timeout_s))
    with translated(f"write to {topic}", config):
        producer = make_client(
            KafkaProducer,
            settings,
            acks="all",
            max_block_ms=config.kafka.request_timeout_ms,
            delivery_timeout_ms=2 * config.kafka.request_timeout_ms,
            max_request_size=REQUEST_BYTES_MAX,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        try:
            sent = [producer.send(topic, value=value, key=key) for key, value in records]
            await_all(producer, sent, time.monotonic() + timeout_s)
        finally:
            producer.close(timeout=1)

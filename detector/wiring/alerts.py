"""Alerts and case updates, read back from their topics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

from detector.config.secrets import resolve_secrets
from detector.config.tree import Config
from detector.notify import Message, read_message
from detector.shell.kafka import TopicReader


def read_alerts(
    config: Config,
    environ: Mapping[str, str],
    *,
    since_s: float | None = None,
    follow: bool = False,
    updates: bool = True,
) -> Iterator[Sequence[Message]]:
    """Yield the alerts, and with `updates` the case updates, of the topics; see `TopicReader.records`.

    Raises
    ------
    OperatorError
        Configuration or credentials.
    OutsideError
        Kafka is unavailable.
    """
    secrets = resolve_secrets(config, environ)
    named = (config.topics.alerts, config.topics.case_updates if updates else None)
    topics = [topic for topic in named if topic is not None]
    reader = TopicReader(config, topics, secrets.password, secrets.key_password)
    with closing(reader):
        for records in reader.records(since_s, follow=follow):
            read = (read_message(*place) for place in records)
            yield [message for message in read if message is not None]

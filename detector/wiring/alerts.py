"""Alerts and case updates, read back from their topics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from detector.config.tree import Config
from detector.notify import Message, read_message
from detector.wiring.common import topic_records


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
    named = (config.topics.alerts, config.topics.case_updates if updates else None)
    topics = [topic for topic in named if topic is not None]
    for records in topic_records(config, environ, topics, since_s, follow=follow):
        read = (read_message(*place) for place in records)
        yield [message for message in read if message is not None]

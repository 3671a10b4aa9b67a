"""Feedback, written to its topic; and the receipts for it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import msgspec

from detector.config.secrets import resolve_secrets
from detector.config.tree import Config
from detector.core.alerts.score_record import iso
from detector.core.labels.commands import Malformed, read_command
from detector.errors import ConfigError, Problem
from detector.shell.kafka import send_records
from detector.wiring.common import check_no_shadow, topic_records

EARLIER_S = 60.0  # clocks of brokers and of this machine may differ by so much


def send_feedback(
    config: Config, environ: Mapping[str, str], records: Sequence[Mapping[str, Any]]
) -> Sequence[str]:
    """Write feedback records; returns their ids.

    A record without `feedback_id` gets one, a record without `time` that of now. All of them are checked
    before the first one is written.

    Raises
    ------
    ConfigError
        There is no `topics.feedback`, or a record would be malformed. Lists all of them.
    OperatorError, OutsideError
        Kafka refuses us, or is unavailable.
    """
    check_no_shadow(config, "the service's configuration: a shadow reads the same feedback")
    topic = config.topics.feedback
    if topic is None:
        problem = Problem(path="topics.feedback", value="null", allowed="the topic that feedback goes to")
        raise ConfigError("configuration", [problem])
    secrets, now = resolve_secrets(config, environ), iso(time.time())
    whole = [{"feedback_id": uuid.uuid4().hex, "time": now, **record} for record in records]
    encoded = [msgspec.json.encode(record) for record in whole]
    read = [read_command(raw) for raw in encoded]
    problems = [
        Problem(
            path=f"record {number}", value="a malformed one", allowed=f"one that is understood: {one.why}"
        )
        for number, one in enumerate(read, start=1)
        if isinstance(one, Malformed)
    ]
    if problems:
        raise ConfigError("feedback", problems)
    ids = [str(record["feedback_id"]) for record in whole]
    keyed = list(zip((id_.encode() for id_ in ids), encoded, strict=True))
    send_records(config, topic, keyed, secrets.password, secrets.key_password)
    return ids


def receipts(
    config: Config, environ: Mapping[str, str], ids: Sequence[str], wait_s: float
) -> Iterator[Mapping[str, Any]]:
    """Yield the receipts of feedback records as they come, for `wait_s` at most.

    Raises
    ------
    ConfigError
        There is no `topics.receipts`.
    """
    topic = config.topics.receipts
    if topic is None:
        problem = Problem(
            path="topics.receipts", value="null", allowed="the topic of receipts, to wait for them"
        )
        raise ConfigError("configuration", [problem])
    left, until_s = set(ids), time.monotonic() + wait_s
    with closing(topic_records(config, environ, [topic], time.time() - EARLIER_S, follow=True)) as batches:
        for batch in batches:
            for _, _, record in batch:
                body = msgspec.json.decode(record.value or b"{}")
                id_ = (body.get("feedback") or {}).get("feedback_id")
                if id_ in left:
                    left.discard(id_)
                    yield body
            if not left or time.monotonic() > until_s:
                return

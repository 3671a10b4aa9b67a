"""The output topics: one row for each says where it is named, what goes there, and how a record looks.

To add an output topic, add its name to `detector.config.tree.Topics` and a row to `OUTPUT_TOPICS`. The runner
publishes it, the Kafka client checks that it may be written, and `docs/how-to/operations.md` lists it
(`make docs`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from detector.config.tree import Topics
from detector.core.alerts.score_record import HEADERS as SCORE_HEADERS
from detector.core.alerts.score_record import encode_scores
from detector.core.records import Headers, Identity, Outputs

Content = tuple[int, bytes | None, bytes | None, Headers]
"""Offset of the input record, key, value, headers."""

Publication = tuple[str, int, bytes | None, bytes | None, Headers]
"""Topic, then as `Content`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputTopic:
    """One output topic."""

    setting: str  # its key in the configuration, below `topics`; null there: nothing is published
    content: str  # what one record is
    key: str  # of a record
    headers: str  # of a record
    when: str  # which commit publishes a record
    records: Callable[[Outputs, Identity], Iterator[Content]]  # ascending offsets


def _alerts(outputs: Outputs, _: Identity) -> Iterator[Content]:
    for alert in outputs.alerts:
        yield alert.offset, alert.key, alert.body, alert.headers


def _case_updates(outputs: Outputs, _: Identity) -> Iterator[Content]:
    for update in outputs.case_updates:
        yield update.offset, update.key, update.body, update.headers


def _dead_letters(outputs: Outputs, _: Identity) -> Iterator[Content]:
    for dead in outputs.dead_letters:
        yield dead.offset, dead.key, dead.value, dead.headers


def _scores(outputs: Outputs, identity: Identity) -> Iterator[Content]:
    for scored in outputs.scored:
        for offset, key, body in encode_scores(scored, identity):
            yield offset, key, body, SCORE_HEADERS


def _receipts(outputs: Outputs, _: Identity) -> Iterator[Content]:
    for receipt in outputs.receipts:
        yield receipt.offset, receipt.key, receipt.body, receipt.headers


def _peer_messages(outputs: Outputs, _: Identity) -> Iterator[Content]:
    for message in outputs.peer_messages:
        yield message.offset, None, message.value, ()


OUTPUT_TOPICS: tuple[OutputTopic, ...] = (
    OutputTopic(
        setting="alerts",
        content="an alert: JSON, schema `detector/schemas/alert.v1.json`",
        key="the main entity's value, or its pseudonym; without one the event's id",
        headers="`ce_*` (CloudEvents), `content-type`",
        when="with the event's offset",
        records=_alerts,
    ),
    OutputTopic(
        setting="case_updates",
        content="what was held back of a case: JSON, schema `detector/schemas/case.updated.v1.json`",
        key="the main entity's value",
        headers="`ce_*` (CloudEvents), `content-type`",
        when="with the event's offset, or that of the event at which a cooldown ended",
        records=_case_updates,
    ),
    OutputTopic(
        setting="dead_letter",
        content="an event that was not scored: its original bytes",
        key="the record's own",
        headers="the record's own, then `detector_reason`, `detector_detail` and its coordinates",
        when="with the event's offset",
        records=_dead_letters,
    ),
    OutputTopic(
        setting="scores",
        content="the score of an event: JSON",
        key="a keyed hash of the main entity's value; `alerts.scores_key: record`: the record's own",
        headers="`content-type`",
        when="with the event's offset",
        records=_scores,
    ),
    OutputTopic(
        setting="receipts",
        content="what became of a feedback record: JSON, schema `detector/schemas/receipt.v1.json`",
        key="the record's `feedback_id`; without one the receipt's id",
        headers="`ce_*` (CloudEvents), `content-type`",
        when="with the barrier that decides it",
        records=_receipts,
    ),
    OutputTopic(
        setting="exchange",
        content="a message from one shard to its peers: msgpack",
        key="none",
        headers="none",
        when="with the barrier that made it",
        records=_peer_messages,
    ),
)


def topic_names(topics: Topics) -> dict[str, str]:
    """Names of the output topics that are configured, by setting."""
    names = {output.setting: getattr(topics, output.setting) for output in OUTPUT_TOPICS}
    return {setting: name for setting, name in names.items() if name is not None}


def publications(outputs: Outputs, identity: Identity, topics: Topics) -> Iterator[Publication]:
    """Everything to publish, topic by topic; within a topic by ascending offset."""
    names = topic_names(topics)
    for output in OUTPUT_TOPICS:
        if (topic := names.get(output.setting)) is not None:
            for offset, key, value, headers in output.records(outputs, identity):
                yield topic, offset, key, value, headers


def markdown_table() -> str:
    """The table of the output topics for `docs/how-to/operations.md`."""
    rows = [
        f"| `topics.{output.setting}` | {output.content} | {output.key} | {output.headers} | {output.when} |"
        for output in OUTPUT_TOPICS
    ]
    return "\n".join(["| setting | a record | key | headers | published |", "|---|---|---|---|---|", *rows])

"""The table of output topics: what is published where, and how a topic is added."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.config.tree import Topic, Topics
from detector.core.records import Identity, Outputs
from detector.core.reporting import outputs as outputs_module
from detector.core.reporting.outputs import (
    OUTPUT_TOPICS,
    Content,
    OutputTopic,
    markdown_table,
    topic_names,
)
from detector.shell.kafka.publisher import Publisher
from tests.unit.runner_world import World, config

DOCUMENT = Path(__file__).parents[2] / "docs" / "how-to" / "operations.md"


def test_every_topic_of_the_configuration_is_read_or_written() -> None:
    read = {"transactions", "feedback", "exchange"}
    assert read | {output.setting for output in OUTPUT_TOPICS} == set(Topics.model_fields)


def test_topics_that_are_not_configured_are_left_out() -> None:
    assert topic_names(Topics()) == {"alerts": "alerts", "dead_letter": "dead_letter"}
    named = Topics(feedback="f", receipts="r", scores="s", exchange="x", case_updates="c")
    assert topic_names(named).keys() == {output.setting for output in OUTPUT_TOPICS}


def test_the_documentation_has_the_table_of_the_topics() -> None:
    assert f"\n{markdown_table()}\n" in DOCUMENT.read_text()


class WiderTopics(Topics):
    """As if `tree.Topics` had one more field."""

    summaries: Topic | None = "summaries"


def summaries(outputs: Outputs, identity: Identity) -> Iterator[Content]:
    for scored in outputs.scored:
        value = b"partition %d: %d scored" % (identity.partition, len(scored.offsets))
        yield int(scored.offsets[-1]), None, value, (("kind", b"summary"),)


def test_a_topic_is_added_by_its_name_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner publishes it, and the Kafka client checks at the start that it may be written."""
    row = OutputTopic(
        setting="summaries", content="how many", key="none", headers="kind", when="always", records=summaries
    )
    monkeypatch.setattr(outputs_module, "OUTPUT_TOPICS", (*OUTPUT_TOPICS, row))
    made = config().model_copy(update={"topics": WiderTopics(scores="scores")})
    world = World(config=made)
    for number in range(20):
        world.broker.append(0, b'{"id": "%d", "t": %d, "x": 1}' % (number, number))
    world.finish()
    published = [message for message in world.broker.published if message.topic == "summaries"]
    assert sum(int((message.value or b"").split()[2]) for message in published) == 20
    assert published[0].headers == (("kind", b"summary"),)
    written = Publisher(made, {}, "detector")._outputs()
    assert written.keys() == {"alerts", "dead_letter", "scores", "summaries"}

"""Alerted events stay answerable for their time at any rate; of the others a sample with known weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.config.tree import Event
from detector.config.tree import Features as FeaturesConfig
from detector.config.tree import Labels as LabelsConfig
from detector.core.events import TEXT_GRAMS_MAX
from detector.core.features import DAY_S, Layout
from detector.core.labels.case_alerts import CaseAlerts
from detector.core.labels.desk import Desk
from detector.core.labels.event_archive import Columns, EventArchive
from detector.core.labels.event_buffer import ALERTED, FRAUD, EventBuffer, sizes
from detector.core.labels.routing import Routing
from detector.core.records import Identity
from detector.core.state import pack, unpack

SCHEMA = Event.model_validate(
    {"id": "id", "time": {"path": "time"}, "entities": [{"name": "card", "path": "card"}], "fields": []}
)
LAYOUT = Layout(SCHEMA, FeaturesConfig())
RECENT = 1024
PER_SECOND = 200.0


def columns(numbers: NDArray[np.int64], alerted: NDArray[np.bool_], per_s: float = PER_SECOND) -> Columns:
    count = len(numbers)
    return {
        "offsets": numbers,
        "ids": numbers.astype(np.uint64),
        "times": numbers / per_s,
        "keys": np.full((count, 1), 7, dtype=np.uint64),
        "inputs": np.zeros((count, 3), dtype=np.float16),
        "grams": np.zeros((count, 0, TEXT_GRAMS_MAX), dtype=np.uint32),
        "plain": np.zeros(count, dtype=np.float32),
        "labelled": np.zeros(count, dtype=np.float32),
        "flags": np.where(alerted, ALERTED, 0).astype(np.uint8),
    }


def archive(kept_max: int = 100, sampled_max: int = 200) -> EventArchive:
    nothing = np.zeros(0, dtype=np.int64)
    return EventArchive(columns(nothing, nothing > 0), kept_max, sampled_max)


def added(
    made: EventArchive, first: int, count: int, alerted_every: int = 10, piece: int = 64
) -> EventArchive:
    for start in range(first, first + count, piece):
        numbers = np.arange(start, min(start + piece, first + count))
        made.add({"numbers": numbers, **columns(numbers, numbers % alerted_every == 0)})
    return made


class Stream:
    """Events of one shard, 200 a second, every thousandth alerted."""

    def __init__(self, **labels: int | str) -> None:
        config = LabelsConfig.model_validate({"buffer_events_max": RECENT, **labels})
        self.buffer = EventBuffer(config, LAYOUT, 3)
        identity = Identity(topic="payments", group="g", partition=0, entity_key=b"k")
        cases, routing = CaseAlerts(self.buffer, 1e6), Routing(0, 1, "alone")
        self.book = Desk(config, identity, self.buffer, lambda text: int(text), routing, cases)

    def happen(self, events: int, from_s: float = 0.0) -> Stream:
        for _ in range(0, events, 256):
            numbers = np.arange(self.buffer.events, self.buffer.events + 256)
            fields = columns(numbers, numbers % 1000 == 0)
            self.buffer.append(**{**fields, "times": fields["times"] + from_s})
        self.buffer.expire(float(fields["times"][-1]) + from_s)
        return self

    def answer(self, event: int, label: str = "fraud") -> str:
        named = {"event_id": str(event), "partition": 0, "offset": event, "time": 0, "label": label}
        applied = self.book.apply([(0, json.dumps(named).encode())], 1e6)
        for answer in applied.answers:
            self.buffer.put_flags(answer.number, FRAUD if answer.label == "fraud" else 0)
        ((outcome, _),) = applied.outcomes.items()
        return outcome


def test_an_alert_is_answered_after_20_days_and_not_after_31() -> None:
    """The ring holds an 80th of the day's events, fewer than the default one at 200 events/s does."""
    made = Stream().happen(80 * RECENT)
    made.happen(40 * RECENT, from_s=20 * DAY_S)
    assert [made.answer(n) for n in (0, 1000, 40_000)] == ["applied"] * 3
    assert made.answer(1000, "retracted") == "retracted"
    assert made.buffer.older.dropped == 0
    made.happen(40 * RECENT, from_s=31 * DAY_S)
    assert [made.answer(n) for n in (2000, 3000)] == ["forgotten"] * 2
    assert made.answer(100_000) == "applied"


def test_labelled_events_stay_too() -> None:
    made = Stream().happen(4 * RECENT)
    recent = made.buffer.oldest + 5
    assert made.answer(recent) == "applied"
    made.happen(100 * RECENT)
    assert made.answer(recent, "retracted") == "retracted"
    assert made.buffer.weights(np.array([recent])).tolist() == [1.0]


def test_alerted_events_beyond_the_bytes_are_dropped_oldest_first_and_counted() -> None:
    made = added(archive(), 0, 5000, alerted_every=10)
    kept = made.numbers[made.column("flags", made.numbers) != 0]
    assert 90 <= len(kept) <= 100
    assert made.dropped == 500 - len(kept)
    assert kept.tolist() == list(range(5000 - 10 * len(kept), 5000, 10))


@given(count=st.integers(0, 20_000), sampled_max=st.integers(64, 4000))
@settings(max_examples=40, deadline=None)
def test_the_sample_is_bounded_and_its_weights_are_known(count: int, sampled_max: int) -> None:
    made = added(archive(sampled_max=sampled_max), 0, count, alerted_every=100_000, piece=512)
    numbers = made.numbers
    unalerted = numbers[numbers > 0]
    assert len(unalerted) <= sampled_max
    weights = made.weights(unalerted)
    assert set(weights.tolist()) <= {1 / made.share}
    error = 4 * count / np.sqrt(max(len(unalerted), 1)) * (made.share < 1)
    assert abs(weights.sum() + 1 - count) <= error + 1


@given(
    cuts=st.lists(st.integers(0, 4000), max_size=6),
    alerted_every=st.integers(2, 50),
    kept_max=st.integers(16, 300),
)
@settings(max_examples=40, deadline=None)
def test_it_does_not_matter_how_many_come_at_once(cuts: list[int], alerted_every: int, kept_max: int) -> None:
    whole = added(archive(kept_max), 0, 4000, alerted_every, piece=4000)
    pieces = archive(kept_max)
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 4000], strict=True):
        added(pieces, start, end - start, alerted_every, piece=4000)
    assert pack(whole.to_state()) == pack(pieces.to_state())


def test_a_sample_with_room_takes_more_events_again() -> None:
    made = added(archive(), 0, 100_000, alerted_every=100_000, piece=1000)
    level = made.level
    for _ in range(level + 5):
        made.expire(before=99_999 / PER_SECOND)
    assert len(made) <= 1
    assert made.level == 0
    added(made, 100_000, 150, alerted_every=100_000)
    assert made.weights(made.numbers).tolist() == [1.0] * len(made)


def test_a_label_keeps_an_event_of_the_sample_with_its_weight() -> None:
    made = added(archive(), 0, 2000, alerted_every=10_000)
    number, weight = int(made.numbers[5]), 1 / made.share
    made.put_flags(number, FRAUD)
    added(made, 2000, 50_000, alerted_every=100_000)
    assert made.share < 1 / weight
    assert made.weights(np.array([number])).tolist() == [weight]
    made.put_flags(number, 0)
    added(made, 52_000, 500_000, alerted_every=1_000_000, piece=5000)
    assert number not in made.numbers.tolist() or made.weights(np.array([number]))[0] > weight


@pytest.mark.parametrize("sampled_max", [50, 200, 1000])
def test_it_goes_on_from_its_state_within_its_bounds(sampled_max: int) -> None:
    first, second = added(archive(), 0, 3000), archive(sampled_max=sampled_max)
    second.load(unpack(pack(first.to_state())))
    assert len(second) <= 100 + sampled_max
    for made in (first, second):
        added(made, 3000, 3000)
    if sampled_max == 200:
        assert pack(first.to_state()) == pack(second.to_state())


def test_the_default_memory_holds_the_alerts_of_30_days() -> None:
    """At 200 events/s and the default share of alerts, with three numerics' worth of inputs."""
    limits = sizes(LabelsConfig(), LAYOUT, 40)
    assert limits.kept >= 30 * DAY_S * PER_SECOND * 0.001
    assert limits.bytes_max <= LabelsConfig().buffer_bytes_max


def test_a_state_stays_as_it_is() -> None:
    """Checkpoints are written while the next events come."""
    made = added(archive(), 0, 5000)
    state = made.to_state()
    before = pack(state)
    made.put_flags(int(made.numbers[3]), FRAUD)
    added(made, 5000, 20_000)
    made.expire(before=20_000 / PER_SECOND)
    assert pack(state) == before

"""Every feedback record has one outcome, and is applied once to the event that it names."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.config.tree import Event
from detector.config.tree import Features as FeaturesConfig
from detector.config.tree import Labels as LabelsConfig
from detector.core.events import TEXT_GRAMS_MAX, id_hash
from detector.core.features import Layout
from detector.core.labels import feedback
from detector.core.labels.case_alerts import CaseAlerts
from detector.core.labels.commands import feedback_time, read_command
from detector.core.labels.desk import Desk
from detector.core.labels.event_buffer import EventBuffer
from detector.core.labels.feedback import Answer
from detector.core.labels.receipts import OUTCOMES
from detector.core.labels.receipts import Barrier as BarrierDone
from detector.core.labels.routing import Routing
from detector.core.records import Identity
from detector.core.state import pack, unpack

TOPIC, PARTITION = "payments", 3
EVENTS_MAX = 4096
SCHEMA = Event.model_validate(
    {"id": "id", "time": {"path": "time"}, "entities": [{"name": "card", "path": "card"}], "fields": []}
)
LAYOUT = Layout(SCHEMA, FeaturesConfig())
INPUTS = 3
NOW = 2e9  # event time
DAY_S = 86_400.0
hash_of = partial(id_hash, key=b"a key of the tests")


class Book(Desk):
    """A desk with a buffer of its own, saved and restored together."""

    def __init__(self, **changes: int) -> None:
        config = LabelsConfig(**{"buffer_events_max": EVENTS_MAX, "labels_max": 16, **changes})
        self.buffer = EventBuffer(config, LAYOUT, INPUTS)
        identity = Identity(topic=TOPIC, group="g", partition=PARTITION, entity_key=b"k")
        routing = Routing(PARTITION, 1, "alone")
        super().__init__(config, identity, self.buffer, hash_of, routing, CaseAlerts(self.buffer, 7 * DAY_S))

    @property
    def labels(self) -> Any:
        return self.book.labels

    def receipts(self, *lines: bytes, now: float = 2e9) -> list[dict[str, Any]]:
        """Receipts of lines, one at a barrier."""
        found = []
        for position, raw in enumerate(lines):
            self.apply([(position, raw)], now)
            self.write(BarrierDone(position=5000, event_time=now))
            found += [json.loads(receipt.body) for receipt in self.collect()]
        return found

    def remember(self, ids: list[str], offsets: np.ndarray[Any, Any], card: int = 7) -> None:
        count = len(ids)
        self.buffer.append(
            ids=np.array([hash_of(id_) for id_ in ids], dtype=np.uint64),
            offsets=offsets,
            times=np.zeros(count),
            keys=np.full((count, 1), card, dtype=np.uint64),
            inputs=np.zeros((count, INPUTS), dtype=np.float16),
            grams=np.zeros((count, 0, TEXT_GRAMS_MAX), dtype=np.uint32),
            plain=np.zeros(count),
            labelled=np.zeros(count),
            flags=np.zeros(count, dtype=np.uint8),
        )

    def to_state(self) -> dict[str, Any]:
        return {"book": super().to_state(), "buffer": self.buffer.to_state()}

    def load(self, state: Any) -> None:
        super().load(state["book"])
        self.buffer.load(state["buffer"])


def book(**changes: int) -> Book:
    return Book(**changes)


def filled(count: int = 100, **changes: int) -> Book:
    """Events e-0, e-1, ... at offsets 1000, 1002, ..."""
    made = book(**changes)
    for start in range(0, count, 64):
        numbers = np.arange(start, min(start + 64, count))
        made.remember([f"e-{n}" for n in numbers], 1000 + 2 * numbers)
    return made


def line(**changes: Any) -> bytes:
    fields = {"time": "2024-03-01T12:00:00Z", "label": "fraud", "event_id": "e-5", **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def apply(made: Book, *lines: bytes, now: float = NOW) -> list[str]:
    """Outcome of each line."""
    outcomes = []
    for position, raw in enumerate(lines):
        ((outcome, count),) = made.apply([(position, raw)], now).outcomes.items()
        assert count == 1
        made.write(BarrierDone(position=5000, event_time=now))
        outcomes.append(outcome)
    return outcomes


# --- outcomes ----------------------------------------------------------------------------------------------


def test_a_label_is_kept_under_its_events_offset() -> None:
    made = filled()
    assert apply(made, line(), line(event_id="e-7", label="legitimate")) == ["applied", "applied"]
    assert dict(made.labels) == {1010: "fraud", 1014: "legitimate"}


def test_outcomes_are_counted() -> None:
    lines = [
        line(),
        line(event_id="e-6"),
        line(event_id="x"),
        b"{}",
        line(kind="hush"),
        line(label="retracted"),
    ]
    assert filled().apply(list(enumerate(lines)), NOW).outcomes == {
        "applied": 2,
        "unknown_event": 1,
        "malformed": 1,
        "unknown_kind": 1,
        "retracted": 1,
    }
    nothing = filled().apply([], NOW)
    assert (nothing.outcomes, nothing.answers, nothing.cleared) == ({}, (), None)


def test_a_later_answer_replaces_an_earlier_one() -> None:
    made = filled()
    apply(made, line(), line(label="legitimate"))
    assert dict(made.labels) == {1010: "legitimate"}


def test_a_retracted_answer_is_gone() -> None:
    made = filled()
    assert apply(made, line(), line(label="retracted"), line(event_id="e-6", label="retracted")) == [
        "applied",
        "retracted",
        "retracted",
    ]
    assert not made.labels


def test_an_event_may_be_named_by_the_coordinates_of_its_alert() -> None:
    made = filled()
    here = {"event_id": ..., "topic": TOPIC, "partition": PARTITION, "offset": 1008}
    assert apply(made, line(**here)) == ["applied"]
    assert apply(made, line(**here | {"topic": ...})) == ["applied"]
    assert dict(made.labels) == {1008: "fraud"}
    elsewhere = [{"topic": "refunds"}, {"partition": 2}, {"offset": 1009}, {"offset": 5000}]
    assert apply(made, *(line(**here | change) for change in elsewhere)) == ["unknown_event"] * 4


@pytest.mark.parametrize("offset", [-1, -(10**30), 10**30, 2**63])
@pytest.mark.parametrize("count", [0, 100])
def test_offsets_that_no_event_has_are_unknown(offset: int, count: int) -> None:
    made = filled(count)
    raw = line(event_id=..., partition=PARTITION, offset=offset)
    assert apply(made, raw) == ["malformed" if offset < 0 else "unknown_event"]
    assert not made.labels


def test_ids_are_text_or_whole_numbers_alike() -> None:
    made = book()
    made.remember(["42"], np.array([7]))
    assert apply(made, line(event_id=42), line(event_id="42")) == ["applied", "applied"]
    assert dict(made.labels) == {7: "fraud"}


def test_a_label_means_the_latest_event_with_its_id() -> None:
    made = book()
    made.remember(["twice", "twice"], np.array([3, 9]))
    apply(made, line(event_id="twice"))
    assert list(made.labels) == [9]


def test_a_feedback_id_is_applied_once() -> None:
    made = filled()
    once = line(feedback_id="f-1")
    assert apply(made, once, once, line(feedback_id="f-1", label="legitimate")) == [
        "applied",
        "duplicate",
        "duplicate",
    ]
    assert dict(made.labels) == {1010: "fraud"}
    assert apply(made, line(feedback_id="f-2", label="legitimate")) == ["applied"]


@pytest.mark.parametrize("kind", ["hush", "", "la"])
def test_unknown_kinds_are_skipped(kind: str) -> None:
    assert apply(filled(), line(kind=kind), line(kind=kind, label=..., event_id=...)) == ["unknown_kind"] * 2


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"hello",
        b"\xff",
        line(label=...),
        line(label=None),
        line(label="maybe"),
        line(event_id=...),
        line(event_id=..., offset=1000),
        line(event_id=..., partition=PARTITION),
        line(event_id=1.5),
        line(time=...),
        line(time=None),
        line(time="yesterday"),
        line(time=True),
        line(time=10**400),
        line(time=-(10**400)),
        line(event_id="\ud800"),
        line(note="x" * 100_000),
        line(feedback_id="x" * 1025),
        b"[" * 60_000,
        b'{"time":' * 5_000,
    ],
)
def test_malformed_records_change_nothing(raw: bytes) -> None:
    made = filled()
    assert apply(made, raw) == ["malformed"]
    assert not made.labels


any_value = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**20, -1, 10**400, 1e300, 2**63, -(2**63) - 1])
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.sampled_from(
        ["e-5", TOPIC, "label", "\ud800", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]
    )
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=2), st.integers() | st.text(max_size=2), max_size=2)
)
NAMES = (
    "time",
    "label",
    "kind",
    "event_id",
    "topic",
    "partition",
    "offset",
    "feedback_id",
    "entities",
    "until",
    "x",
)


@given(
    lines=st.lists(
        st.binary(max_size=60)
        | st.dictionaries(st.sampled_from(NAMES), any_value, max_size=6).map(lambda d: json.dumps(d).encode())
        | st.dictionaries(st.sampled_from(NAMES), any_value, max_size=3).map(lambda d: line(**d)),
        max_size=12,
    )
)
@settings(max_examples=300, deadline=None)
def test_any_line_has_an_outcome(lines: list[bytes]) -> None:
    made = filled()
    outcomes = made.apply(list(enumerate(lines)), NOW).outcomes
    assert sum(outcomes.values()) == len(lines)
    assert set(outcomes) <= set(OUTCOMES)
    assert set(made.labels) <= {1000 + 2 * n for n in range(100)}
    assert set(made.labels.values()) <= {"fraud", "legitimate"}
    for raw in lines:
        read_command(raw)
        time = feedback_time(raw)
        assert time is None or np.isfinite(time)
    again = book()
    again.load(unpack(pack(made.to_state())))
    assert pack(again.to_state()) == pack(made.to_state())


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("2023-11-14T22:13:20Z", 1_700_000_000.0),
        ("2023-11-14T22:13:20", 1_700_000_000.0),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000.0),
        (1_700_000_000, 1_700_000_000.0),
        (1_700_000_000_500, 1_700_000_000.5),
        ("soon", None),
        (None, None),
        (10**400, None),
    ],
)
def test_times_of_feedback(time: Any, seconds: float | None) -> None:
    assert feedback_time(line(time=time)) == seconds


# --- bounds and state --------------------------------------------------------------------------------------


def test_recent_events_and_a_sample_of_older_ones_are_found() -> None:
    count = 4 * EVENTS_MAX
    made = filled(count)
    older = set(made.buffer.older.numbers.tolist())
    sampled, gone = min(older), min(set(range(count)) - older)
    labels = [line(event_id=f"e-{n}") for n in (sampled, gone, count - EVENTS_MAX, count - 1)]
    assert apply(made, *labels) == ["applied", "unknown_event", "applied", "applied"]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "forgotten"),
        ({"event_id": ...}, "forgotten"),
        ({"topic": TOPIC}, "forgotten"),
        ({"topic": "others"}, "unknown_event"),
        ({"partition": PARTITION + 1}, "unknown_event"),
        ({"offset": 999}, "unknown_event"),
        ({"offset": 1000 + 2 * 10 * EVENTS_MAX}, "unknown_event"),
    ],
)
def test_a_label_with_the_place_of_an_event_that_is_gone_is_forgotten(
    changes: dict[str, Any], outcome: str
) -> None:
    """Without a place nobody can tell: the event may be of another partition."""
    made = filled(4 * EVENTS_MAX)
    gone = min(set(range(4 * EVENTS_MAX)) - set(made.buffer.older.numbers.tolist()))
    named = {"event_id": f"e-{gone}", "partition": PARTITION, "offset": 1000 + 2 * gone, **changes}
    assert apply(made, line(**named)) == [outcome]


def test_labels_and_feedback_ids_are_bounded_and_the_oldest_goes() -> None:
    made = filled()
    apply(made, *(line(event_id=f"e-{n}", feedback_id=f"f-{n}") for n in range(20)))
    assert list(made.labels) == [1000 + 2 * n for n in range(4, 20)]
    state = made.to_state()["book"]
    assert len(state["applied"]) == len(state["labels"]) == 16
    assert apply(made, line(feedback_id="f-19"), line(feedback_id="f-0")) == ["duplicate", "applied"]


def test_an_answer_given_again_counts_as_new() -> None:
    made = filled()
    apply(made, *(line(event_id=f"e-{n}") for n in range(16)), line(event_id="e-0"), line(event_id="e-50"))
    assert 1000 in made.labels
    assert 1002 not in made.labels


@pytest.mark.parametrize("count", [0, 5, 4096, 5000, 9000])
def test_a_book_goes_on_from_its_state(count: int) -> None:
    first, second = filled(count), book()
    apply(first, line(feedback_id="f-1"), line(event_id=f"e-{count - 1}"))
    snapshot = first.to_state()
    saved = pack(snapshot)
    second.load(unpack(saved))
    later = [
        line(feedback_id="f-1"),
        line(event_id=f"e-{count - 2}"),
        line(event_id="new-3"),
        line(event_id="e-0"),
    ]
    outcomes = []
    for made in (first, second):
        made.remember([f"new-{n}" for n in range(700)], np.arange(10_000, 10_700))
        outcomes.append(apply(made, *later))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][2] == "applied"
    assert pack(first.to_state()) == pack(second.to_state())
    assert pack(snapshot) == saved


# --- what is learned, and from whom ------------------------------------------------------------------------


def test_applied_labels_are_in_the_order_of_the_topic() -> None:
    lines = [line(), line(event_id="x"), line(event_id="e-6", label="legitimate"), line(label="retracted")]
    applied = filled().apply(list(enumerate(lines)), NOW)
    noon = 1_709_294_400.0
    assert applied.answers == (
        Answer(5, 1010, "fraud", noon),
        Answer(6, 1012, "legitimate", noon),
        Answer(5, 1010, "retracted", noon),
    )
    assert applied.by_offset == {1010: "retracted", 1012: "legitimate"}
    assert [array.tolist() for array in applied.fraud_events] == [[0.0], [[7]]]


def test_frauds_of_one_entity_are_limited_and_a_retraction_makes_room() -> None:
    made = filled(per_entity_max=3)
    frauds = [line(event_id=f"e-{n}") for n in range(4)]
    assert apply(made, *frauds) == ["applied"] * 3 + ["rate_limited"]
    assert apply(made, frauds[0], line(event_id="e-9", label="legitimate")) == ["applied", "applied"]
    assert apply(made, line(event_id="e-1", label="retracted"), frauds[3]) == ["retracted", "applied"]
    made.remember(["other"], np.array([9_000]), card=8)
    assert apply(made, line(event_id="other")) == ["applied"]


def test_labels_of_one_actor_are_limited_a_day() -> None:
    made = filled(per_actor_max=2)
    today = [line(event_id=f"e-{n}", actor="ann") for n in range(3)]
    assert apply(made, *today) == ["applied", "applied", "rate_limited"]
    assert apply(made, line(event_id="e-3", actor="bob")) == ["applied"]
    assert apply(made, line(event_id="e-0", actor="ann", label="retracted")) == ["retracted"]
    assert apply(made, today[2], now=NOW + DAY_S) == ["applied"]


@given(
    st.lists(
        st.sampled_from(["2191-01-01T00:00:00Z", "1971-01-01T00:00:00Z", 1_709_294_400, 6.9e9]), max_size=9
    )
)
def test_the_day_that_a_label_names_neither_lifts_a_limit_nor_lowers_it(times: list[Any]) -> None:
    made = filled(per_actor_max=2)
    outcomes = apply(made, *(line(event_id=f"e-{n}", actor="ann", time=t) for n, t in enumerate(times)))
    assert outcomes == (["applied"] * 2 + ["rate_limited"] * 7)[: len(times)]
    assert apply(made, line(actor="ann"), now=NOW + DAY_S) == ["applied"]  # nobody is silenced for longer


def test_labels_without_an_actor_share_one_limit() -> None:
    made = filled(per_actor_max=3)
    nameless = [{}, {"actor": None}, {"actor": ""}, {}, {"actor": ""}]
    outcomes = apply(made, *(line(event_id=f"e-{n}", **who) for n, who in enumerate(nameless)))
    assert outcomes == ["applied"] * 3 + ["rate_limited"] * 2
    assert apply(made, line(actor="ann")) == ["applied"]


def test_more_actors_than_are_counted_share_the_limit_of_the_nameless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feedback, "ACTORS_MAX", 2)
    made = filled(per_actor_max=2)
    apply(made, line(actor="ann"), line(actor="bob"))
    others = [line(event_id=f"e-{n}", actor=f"made-up-{n}") for n in range(4)]
    assert apply(made, *others) == ["applied", "applied", "rate_limited", "rate_limited"]
    assert apply(made, line(actor="ann"), line(actor="ann")) == ["applied", "rate_limited"]


@pytest.mark.parametrize("time", ["2191-01-01T00:00:00Z", 6_900_000_000_000, 6.9e9])
def test_a_label_from_the_future_counts_as_given_now(time: Any) -> None:
    (answer,) = filled().apply([(0, line(time=time))], NOW).answers
    assert answer.time == NOW


def test_the_state_does_not_grow_with_what_others_write() -> None:
    longest = "x" * 1024
    made = filled(labels_max=1024, per_entity_max=1024)
    for n in range(1024):
        record = line(
            event_id=f"e-{n % 100}", feedback_id=f"{longest[:1000]}{n}", actor=f"{longest[:1000]}{n}"
        )
        assert apply(made, record) == ["applied"]
    assert len(pack(made.to_state()["book"])) < 128 * 1024
    assert apply(made, line(actor=longest + "x")) == ["malformed"]


def test_limits_go_on_from_a_books_state() -> None:
    made = filled(per_entity_max=2, per_actor_max=3)
    apply(made, line(event_id="e-1", actor="ann"), line(event_id="e-2", actor="ann"))
    again = book(per_entity_max=2, per_actor_max=3)
    again.load(unpack(pack(made.to_state())))
    assert apply(again, line(event_id="e-3")) == ["rate_limited"]
    answers = [line(event_id=f"e-{n}", actor="ann", label="legitimate") for n in (4, 5)]
    assert apply(again, *answers) == ["applied", "rate_limited"]
    assert apply(again, line(event_id="e-1", label="retracted"), line(event_id="e-3")) == [
        "retracted",
        "applied",
    ]

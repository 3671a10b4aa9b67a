"""Records that are no plain labels: cases, snoozes, contradictions, and what is remembered of answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detector.config.tree import Alerts
from detector.core.alerts.case_rows import Candidate
from detector.core.alerts.cases import Cases
from detector.core.labels import feedback
from detector.core.labels.case_alerts import CaseAlerts
from detector.core.labels.event_buffer import ALERTED
from detector.core.labels.feedback import LastAnswer
from detector.core.state import pack, unpack
from tests.unit.test_labels import DAY_S, NOW, PARTITION, TOPIC, Book, apply, book, filled, line

NOON = 1_709_294_400.0  # of `line`


def alert_id(number: int) -> str:
    return f"{TOPIC}-{PARTITION}-{1000 + 2 * number}"


def alerted(*numbers: int, days: float = 0.0, **changes: Any) -> Book:
    """As `filled`, with alerts about some events; those after the first two come some days later."""
    made = filled(**changes)
    for number in numbers:
        made.buffer.put_flags(number, ALERTED)
        if number > numbers[1]:
            made.buffer._arrays["times"][number] += days * DAY_S
    return made


def label(named: dict[str, Any], **changes: Any) -> bytes:
    return line(**{"event_id": ..., **named, **changes})


def test_an_answer_to_a_case_answers_all_its_alerts() -> None:
    made = alerted(3, 7, 20)
    (receipt,) = made.receipts(label({"case_id": alert_id(3)}, label="legitimate"))
    assert dict(made.labels) == {1006: "legitimate", 1014: "legitimate", 1040: "legitimate"}
    assert (receipt["outcome"], receipt["events_count"]) == ("applied", 3)
    assert [event["source"]["offset"] for event in receipt["events"]] == [1006, 1014, 1040]
    assert receipt["text"] == "The label legitimate counts for 3 events of the case."


def test_a_case_ends_where_the_entity_had_no_alert_for_long() -> None:
    made = alerted(3, 7, 20, days=8.0)
    made.receipts(label({"case_id": alert_id(3)}))
    assert list(made.labels) == [1006, 1014]


def test_what_a_limit_leaves_out_of_a_case_is_said() -> None:
    made = alerted(3, 7, 20, per_entity_max=2)
    (receipt,) = made.receipts(label({"case_id": alert_id(3)}))
    assert [event["outcome"] for event in receipt["events"]] == ["applied", "applied", "rate_limited"]
    assert "It was not applied to 1 of the case's events: rate_limited." in receipt["text"]


def test_an_alert_is_told_from_another_event() -> None:
    made = alerted(3, 7)
    assert apply(made, label({"alert_id": alert_id(3)}), label({"alert_id": alert_id(4)})) == [
        "applied",
        "unknown_alert",
    ]
    assert apply(made, label({"case_id": alert_id(4)}), label({"case_id": alert_id(5000)})) == [
        "unknown_alert",
        "unknown_event",
    ]


def test_an_alert_of_another_cluster_answers_no_event_of_this_one() -> None:
    """A mirror has the events at other offsets, so ids of alerts repeat; those of events do not."""
    made = alerted(3, 7)
    wrong, right = ({"alert_id": alert_id(3), "event_id": event_id} for event_id in ("e-7", "e-3"))
    (receipt,) = made.receipts(label(wrong))
    assert receipt["outcome"] == "unknown_event"
    assert "another event_id" in receipt["text"]
    assert apply(made, label(right)) == ["applied"]


def test_an_alert_and_other_coordinates_contradict_each_other() -> None:
    made = alerted(3, 7)
    named = {"alert_id": alert_id(3), "topic": TOPIC, "partition": PARTITION}
    assert apply(made, label({**named, "offset": 1006}), label({**named, "offset": 1014})) == [
        "applied",
        "malformed",
    ]


def test_a_closed_case_ends_and_its_answers_stay_its_own() -> None:
    made, cases = alerted(3, 7, 20), Cases(Alerts(), b"key")
    made._cases = CaseAlerts(made.buffer, 7 * DAY_S, cases)

    def alert(number: int) -> None:
        offset, time = 1000 + 2 * number, float(number)
        cases.alert(Candidate(7, "card", offset, time, time, None, 0, 4.0))

    alert(3)
    alert(7)
    close = {"kind": "close", "code": "false_positive"}
    texts = [receipt["text"] for receipt in made.receipts(label({**close, "alert_id": alert_id(7)}))]
    assert texts == ["The case is closed: the entity's next alert begins a new one."]
    assert cases.totals(7) is None
    (again,) = made.receipts(label({**close, "case_id": alert_id(3)}))
    assert (again["outcome"], again["text"]) == ("closed", "The case was not open any more.")
    alert(20)
    made.receipts(label({"case_id": alert_id(3)}), label({**close, "case_id": alert_id(3)}))
    assert list(made.labels) == [1006, 1014]
    assert cases.totals(7) is not None


class Snoozed(dict[Any, float]):
    """Snoozes in a table."""

    def snooze(self, entity: int, code: str | None, until: float, now: float) -> float:
        self[entity, code] = until
        return until

    def unsnooze(self, entity: int, code: str | None = None) -> bool:
        return self.pop((entity, code), None) is not None


def test_snoozes_are_passed_on() -> None:
    made = alerted(3, 7)
    snooze = {"kind": "snooze", "alert_id": alert_id(3), "until": NOON + DAY_S}
    assert apply(made, label(snooze)) == ["unsupported"]
    made._snoozes = snoozed = Snoozed()
    receipts = made.receipts(
        label(snooze, code="hour"),
        label({**snooze, "kind": "unsnooze"}, code="hour"),
        label({**snooze, "kind": "unsnooze"}, code="hour"),
        label(snooze),
        now=NOON,
    )
    assert [(receipt["outcome"], receipt["text"]) for receipt in receipts] == [
        ("snoozed", "Alerts of the entity are held back until 2 March 2024."),
        ("unsnoozed", "The snooze is lifted."),
        ("unsnoozed", "There was no snooze any more."),
        ("snoozed", "Alerts of the entity are held back until 2 March 2024."),
    ]
    assert snoozed == {(7, None): NOON + DAY_S}
    (late,) = made.receipts(label(snooze))
    assert "over already" in late["text"]


# --- contradictions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seniors", "first", "second", "wins"),
    [
        ((), "ann", "bob", "second"),
        (("ann",), "ann", "bob", "first"),
        (("bob",), "ann", "bob", "second"),
        (("ann", "bob"), "ann", "bob", "second"),
        (("ann",), "ann", "ann", "second"),
        (("ann",), "ann", None, "first"),
    ],
)
def test_the_later_or_the_senior_answer_counts(
    seniors: tuple[str, ...], first: str, second: str | None, wins: str
) -> None:
    made = filled(senior_actors=seniors)
    lines = [line(actor=first), line(actor=second, label="legitimate", time="2024-03-02T12:00:00Z")]
    _, receipt = made.receipts(*lines)
    assert dict(made.labels) == {1010: "legitimate" if wins == "second" else "fraud"}
    assert receipt["outcome"] == ("applied" if wins == "second" else "contradicts")
    if first != second:
        assert "ann answered fraud on 1 March 2024" in receipt["text"]


def test_of_two_actors_the_one_with_the_later_time_counts_whatever_the_order() -> None:
    made = filled()
    later = line(actor="ann", time="2024-03-02T12:00:00Z")
    assert apply(made, later, line(actor="bob", label="legitimate")) == ["applied", "contradicts"]
    assert apply(made, line(actor="bob", label="retracted")) == ["contradicts"]
    assert apply(made, line(actor="bob")) == ["applied"]  # it says the same
    assert apply(made, line(actor="bob", label="legitimate")) == ["applied"]  # an answer of his own now


def test_a_name_that_was_forgotten_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "ACTORS_MAX", 1)
    made = filled()
    apply(made, line(actor="ann"), line(event_id="e-6", actor="bob"))
    (receipt,) = made.receipts(line(actor="eve", label="legitimate", time="2024-03-02T12:00:00Z"))
    assert "another actor answered fraud" in receipt["text"]


# --- what is remembered ------------------------------------------------------------------------------------


def test_the_last_answer_about_an_entity_is_known_until_it_is_taken_back() -> None:
    made = filled()
    made.remember(["other"], np.array([9000]), card=8)
    assert made.book.last_answer(7) is None
    apply(made, line(), line(event_id="e-6", label="legitimate"), line(event_id="other"))
    assert made.book.last_answer(7) == LastAnswer("legitimate", NOON)
    assert made.book.last_answer(8) == LastAnswer("fraud", NOON)
    again = book()
    again.load(unpack(pack(made.to_state())))
    assert again.book.last_answer(7) == made.book.last_answer(7)
    apply(made, line(event_id="e-6", label="retracted"), now=NOW)
    assert made.book.last_answer(7) is None


def test_last_answers_are_bounded() -> None:
    made = book(labels_max=16)
    for card in range(1, 40):
        made.remember([f"of-{card}"], np.array([9000 + card]), card=card)
        apply(made, line(event_id=f"of-{card}"))
    assert made.book.last_answer(23) is None
    assert made.book.last_answer(24) is not None

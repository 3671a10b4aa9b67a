"""Cases, folded from alerts and case updates; feedback that is checked before it is sent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.config.tree import Config
from detector.core.records import Record
from detector.errors import ConfigError
from detector.notify import Message, read_message
from detector.notify.cases import Cases, fold
from detector.wiring.feedback import send_feedback

EVENT = {"id": "id", "time": {"path": "t"}, "entities": [{"name": "card", "path": "card"}]}


def told(offset: int, number: int, total: float, kind: str = "alert", **body: Any) -> Message:
    what = "alert" if kind == "alert" else "case.updated"
    made = {
        "severity": "low",
        "case_id": "in-0-1",
        "entity": {"name": "card", "value": "c1"},
        "event_time": f"2026-03-01T08:{offset:02d}:00Z",
        "case": {"number": number, "sum": total, "largest": total},
    } | body
    headers = (("ce_id", f"in-0-{offset}".encode()), ("ce_type", f"detector.{what}.v1".encode()))
    read = read_message("alerts", 0, Record(offset, 0, None, msgspec.json.encode(made), headers))
    assert read is not None
    return read


def test_a_case_has_the_totals_of_what_tells_most() -> None:
    found = fold([told(1, 1, 5.0), told(2, 4, 70.5, "case", severity="high"), told(3, 2, 9.0)])
    case = found.of["in-0-1"]
    assert (case.events, case.sum, case.severity_name) == (4, 70.5, "high")
    assert (case.first_time, case.last_time) == ("2026-03-01T08:01:00Z", "2026-03-01T08:03:00Z")


@given(st.permutations(list(range(1, 8))))
def test_totals_do_not_depend_on_the_order_of_two_topics(order: list[int]) -> None:
    messages = [told(n, n, float(n), "case" if n % 2 else "alert") for n in order]
    case = fold([*messages, *messages]).of["in-0-1"]
    assert (case.events, case.sum, len(case.messages)) == (7, 7.0, 7)


def test_what_is_kept_of_cases_is_bounded_and_what_is_left_out_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, most in (("CASES_MAX", 3), ("MESSAGES_MAX", 2), ("IDS_MAX", 4)):
        monkeypatch.setattr(f"detector.notify.cases.{name}", most)
    found = Cases()
    for n in range(1, 6):
        found.add(told(n, 1, 1.0, case_id=f"in-0-{n}"))
        found.add(told(10 + n, n, float(n), case_id="in-0-0"))
    assert (list(found.of), found.left_out) == (["in-0-4", "in-0-5", "in-0-0"], 3)
    case = found.of["in-0-0"]
    assert (case.events, len(case.messages), case.left_out) == (5, 2, 3)


def test_feedback_is_checked_before_any_of_it_is_sent() -> None:
    config = Config.model_validate({"event": EVENT, "topics": {"feedback": "feedback"}})
    records = [{"alert_id": "in-0-1", "label": "fraud"}, {"label": "fraud"}, {"alert_id": "x", "label": "?"}]
    with pytest.raises(ConfigError) as caught:
        send_feedback(config, {}, records)
    assert [problem.path for problem in caught.value.problems] == ["record 2", "record 3"]
    with pytest.raises(ConfigError, match=r"topics\.feedback"):
        send_feedback(Config.model_validate({"event": EVENT}), {}, records[:1])

"""Delivery of alerts to receivers: rules, order, retries, rates, and what a receiver gets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from detector.cli.alerts import shown
from detector.config.tree import Hours, Notify, Receiver
from detector.core.records import Record
from detector.errors import BrokerUnavailable
from detector.notify import Arrived, Counts, Delivery, Message, Refused, Unavailable, bodies, read_message
from detector.notify.delivery import RETRY_MAX_S, WAITING_MAX, At
from detector.notify.mail import mail
from detector.notify.rules import takes
from detector.notify.texts import details, line, sentences, title
from detector.shell.metrics import NotifyCollector, renderer
from detector.testing import FakeClock, MemoryLog

MONDAY_S = 1_700_438_400.0  # 2023-11-20T00:00:00Z


def webhook(**settings: Any) -> Receiver:
    return Receiver.model_validate({"name": "r", "kind": "webhook", "url": "http://h/x"} | settings)


def message(offset: int = 0, *, partition: int = 0, at_s: float = MONDAY_S, **body: Any) -> Message:
    made = {
        "severity": "high",
        "case_id": "in-0-1",
        "entity": {"name": "card", "value": "c1"},
        "exposure": 1234.5,
        "reasons": [{"detail": "Amount is unusual"}],
    } | body
    headers = {
        "ce_id": f"in-{partition}-{offset}",
        "ce_type": "detector.alert.v1",
        "ce_source": "/detector/g",
        "ce_subject": "c1",
    }
    raw = tuple((name, text.encode()) for name, text in headers.items())
    record = Record(offset, int(at_s * 1000), b"c1", msgspec.json.encode(made), raw)
    read = read_message("alerts", partition, record)
    assert read is not None
    return read


class MemoryInbox:
    """Partitions of messages, and what was committed; `down` makes the next calls fail."""

    def __init__(self, clock: FakeClock, messages: Mapping[int, Sequence[Message]]) -> None:
        self.clock, self.messages = clock, messages
        self.committed: dict[At, int] = {}
        self.next: dict[int, int] = {}
        self.down = 0
        self.closed = False

    def poll(self, timeout_s: float, *, more: bool) -> Arrived:
        if self.down:
            self.down -= 1
            self.next = {}
            raise BrokerUnavailable("away")
        found: list[Message] = []
        for partition, messages in self.messages.items():
            begin = self.next.get(partition, self.committed.get(("alerts", partition), 0))
            taken = list(messages[begin : begin + 3]) if more else []
            found += taken
            self.next[partition] = begin + len(taken)
        if not found:
            self.clock.sleep(timeout_s)
        return Arrived(messages=found, positions={("alerts", p): n for p, n in self.next.items()})

    def commit(self, positions: Mapping[At, int]) -> None:
        self.committed |= positions

    def close(self) -> None:
        self.closed = True


class Told:
    """A sender that keeps what it was given, and fails as told."""

    def __init__(self, batch_max: int = 100) -> None:
        self.batch_max = batch_max
        self.batches: list[list[str]] = []
        self.times: list[float] = []
        self.fails: list[Exception | None] = []
        self.refused: set[str] = set()

    @property
    def ids(self) -> list[str]:
        return [id_ for batch in self.batches for id_ in batch]

    def send(self, messages: Sequence[Message], sent_s: float) -> None:
        if self.fails and (error := self.fails.pop(0)) is not None:
            raise error
        if self.refused & {one.id for one in messages}:
            raise Refused("HTTP 400")
        self.batches.append([one.id for one in messages])
        self.times.append(sent_s)


def delivery(
    messages: Mapping[int, Sequence[Message]], **settings: Any
) -> tuple[Delivery, MemoryInbox, Told, FakeClock, MemoryLog]:
    clock, log = FakeClock(), MemoryLog()
    inbox, told = MemoryInbox(clock, messages), Told()
    return Delivery(webhook(**settings), inbox, told, clock, log), inbox, told, clock, log


# --- delivery ----------------------------------------------------------------------------------------------


def test_each_message_is_delivered_in_order_and_committed() -> None:
    messages = [message(n) for n in range(10)]
    one, inbox, told, *_ = delivery({0: messages})
    for _ in range(12):
        one.turn()
    assert told.batches == [[m.id] for m in messages]
    assert inbox.committed == {("alerts", 0): 10}
    assert (one.counts.delivered, one.counts.waiting, one.counts.oldest_s) == (10, 0, None)


def test_a_receiver_that_is_away_gets_everything_later() -> None:
    one, inbox, told, clock, log = delivery({0: [message(n) for n in range(5)]})
    told.fails = [Unavailable("HTTP 503")] * 8
    began_s = clock.monotonic()
    while len(told.ids) < 5:
        one.turn()
        assert inbox.committed.get(("alerts", 0), 0) <= len(told.ids)
    assert told.ids == [f"in-0-{n}" for n in range(5)]
    assert clock.monotonic() - began_s == pytest.approx(1 + 2 + 4 + 8 + 16 + 32 + 2 * RETRY_MAX_S, abs=10)
    assert one.counts.failures == 8
    assert "receiver_back" in log.events()
    assert one.counts.problem == ""


@pytest.mark.parametrize("trouble", ["down", "slow", "errors", "killed"])
def test_ten_minutes_of_trouble_lose_nothing_and_keep_the_order_of_each_entity(trouble: str) -> None:
    messages = {
        partition: [
            message(n, partition=partition, entity={"name": "card", "value": f"c{partition}{n % 3}"})
            for n in range(20)
        ]
        for partition in (0, 1)
    }
    one, inbox, _, clock, log = delivery(messages)
    began_s = born_s = clock.monotonic()

    class Troubled(Told):
        def send(self, some: Sequence[Message], sent_s: float) -> None:
            early = clock.monotonic() - began_s < 600.0
            if trouble == "slow" and early:
                clock.sleep(25.0)
            if early and trouble in ("down", "killed"):
                raise Unavailable("no connection")
            if early and trouble == "errors" and len(self.times) % 2 == 0:
                self.times.append(sent_s)
                raise Unavailable("HTTP 500")
            super().send(some, sent_s)

    troubled = Troubled()
    one = Delivery(webhook(), inbox, troubled, clock, log)
    while sum(inbox.committed.values()) < 40:
        one.turn()
        if trouble == "killed" and clock.monotonic() - born_s > 45.0:  # it starts anew at what was committed
            inbox.next, born_s = {}, clock.monotonic()
            one = Delivery(webhook(), inbox, troubled, clock, log)
    firsts = list(dict.fromkeys(troubled.ids))
    for sent in messages.values():
        for entity in {one.entity for one in sent}:
            wanted = [one.id for one in sent if one.entity == entity]
            assert [id_ for id_ in firsts if id_ in wanted] == wanted


def test_a_receiver_may_ask_for_a_longer_wait() -> None:
    one, _, told, clock, _ = delivery({0: [message(0)]})
    told.fails = [Unavailable("HTTP 429", 30.0)]
    began_s = clock.monotonic()
    while not told.ids:
        one.turn()
    assert 30.0 <= clock.monotonic() - began_s <= 31.0


def test_a_refused_message_is_left_out_and_named() -> None:
    one, inbox, told, _, log = delivery({0: [message(n) for n in range(4)]}, digest="1s")
    told.refused = {"in-0-2"}
    for _ in range(20):
        one.turn()
    assert told.ids == ["in-0-0", "in-0-1", "in-0-3"]
    assert one.counts.refused == 1
    assert inbox.committed == {("alerts", 0): 4}
    assert any("in-0-2" in str(entry) for entry in log.lines)


def test_what_is_faster_than_the_rate_goes_out_together() -> None:
    messages = [message(n) for n in range(200)]
    one, _, told, clock, _ = delivery({0: messages}, rate=6)
    began_s = clock.monotonic()
    while len(told.ids) < 200:
        one.turn()
    assert told.ids == [m.id for m in messages]
    assert len(told.batches) <= 6 + 6 * (clock.monotonic() - began_s) / 60 + 1
    assert len(told.batches) < 20


def test_a_digest_collects_from_the_first_message_on() -> None:
    one, _, told, clock, _ = delivery({0: [message(n) for n in range(5)]}, digest="15m")
    began_s = clock.monotonic()
    while not told.ids:
        one.turn()
    assert told.batches == [[f"in-0-{n}" for n in range(5)]]
    assert clock.monotonic() - began_s == pytest.approx(900, abs=2)


def test_memory_is_bounded_while_a_receiver_is_away() -> None:
    one, _, told, *_ = delivery({0: [message(n) for n in range(1000)]})
    told.fails = [Unavailable("away")] * 3
    for _ in range(200):
        one.turn()
        assert one.counts.waiting <= WAITING_MAX + 3


@given(data=st.data())
def test_every_message_arrives_at_least_once_in_its_order(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, 12), min_size=1, max_size=3))
    messages = {p: [message(n, partition=p) for n in range(count)] for p, count in enumerate(counts)}
    settings: dict[str, Any] = {"rate": data.draw(st.sampled_from([1, 10, 6000]))}
    if data.draw(st.booleans()):
        settings["digest"] = "20s"
    one, inbox, told, clock, log = delivery(messages, **settings)
    told.batch_max = data.draw(st.sampled_from([1, 4, 100]))
    for _ in range(data.draw(st.integers(0, 30))):
        what = data.draw(st.sampled_from(["turn", "fail", "kafka", "restart"]))
        told.fails = [Unavailable("away")] if what == "fail" else []
        inbox.down = what == "kafka"
        if what == "restart":
            inbox.next = {}
            one = Delivery(webhook(**settings), inbox, told, clock, log)
        with suppress(BrokerUnavailable):
            one.turn()
    told.fails, inbox.down = [], 0
    for _ in range(4000):
        one.turn()
        if not one.counts.waiting and inbox.committed == {("alerts", p): n for p, n in enumerate(counts)}:
            break
    first: dict[str, int] = {}
    for place, id_ in enumerate(told.ids):
        first.setdefault(id_, place)
    for partition in messages.values():
        assert [one.id for one in partition] == sorted((m.id for m in partition), key=first.__getitem__)


# --- rules -------------------------------------------------------------------------------------------------


def test_a_message_says_what_its_summary_says() -> None:
    summary = {"headline": "card c1, EUR 5.00 at risk", "sentences": ["first\x1b[31m", "second"]}
    told = message(summary=summary)
    assert title(told) == "HIGH alert: card c1, EUR 5.00 at risk"
    assert sentences(told) == ["first [31m", "second"]


def test_a_title_has_one_severity() -> None:
    """Readers could not decide about an alert that was "HIGH (instead of low)"."""
    assert title(message(score={"fitting": "low"})).startswith("HIGH alert: ")


def test_other_entities_are_named_if_no_sentence_does() -> None:
    other = "shop A (never seen before)"
    summary = {"headline": "card c1", "sentences": ["first"], "with": other}
    entities = {"card": "c1", "shop": "A"}
    assert details(message(summary=summary, entities=entities))[1] == f"with: {other}"
    summary["sentences"] = ["first time at shop A"]
    assert other not in str(details(message(summary=summary, entities=entities)))


def test_events_before_are_shown_with_what_became_of_them_and_how_unusual_they_were() -> None:
    recent = [
        {"time": "2026-01-04T08:12:09Z", "amount": 1061.2, "score": 3.4, "case": "alerted"},
        {"time": "2026-01-04T08:10:09Z", "amount": 5.0, "score": 2.3, "case": "none"},
        {"time": "2026-01-04T08:00:09Z", "amount": None, "score": 1.3, "case": "none"},
        {"time": "2026-01-02T08:00:09Z", "amount": 7.5, "score": 4.0, "case": "none"},  # not told of any more
    ]
    lines = list(shown(message(recent=recent, event_time="2026-01-04T09:00:00Z")))
    assert lines[lines.index("before") + 1 :] == [
        "  2026-01-04T08:12:09Z  1,061.20  alerted, 1 event in 2,500 as unusual",
        "  2026-01-04T08:10:09Z      5.00  1 event in 200 as unusual",
        "  2026-01-04T08:00:09Z",
        "  2026-01-02T08:00:09Z      7.50",
    ]


def test_events_before_are_shown_with_what_they_met() -> None:
    one = {"amount": 5.0, "score": 1.0, "case": "none"}
    recent = [
        {**one, "time": "2026-01-04T08:12:09Z", "same": ["shop", "channel"], "new": ["shop"]},
        {**one, "time": "2026-01-04T08:10:09Z", "same": ["channel"], "new": ["city"], "why": "hour"},
        {**one, "time": "2026-01-04T08:00:09Z", "same": ["channel"], "new": []},
    ]
    entities = {"card": "c1", "shop": "A"}
    lines = list(shown(message(recent=recent, entities=entities, event_time="2026-01-04T09:00:00Z")))
    assert lines[lines.index("before") + 1 :] == [
        "  2026-01-04T08:12:09Z  5.00  same shop (then new)",
        "  2026-01-04T08:10:09Z  5.00  new city; an unusual hour",
        "  2026-01-04T08:00:09Z  5.00",
    ]


def test_without_a_summary_it_says_its_facts_and_reasons_once() -> None:
    body = {
        "facts": [{"code": "since_last", "detail": "2 hours after the last event of this card"}],
        "reasons": [{"detail": "far from the usual places"}, {"detail": "far from the usual places"}],
        "case": {"number": 3, "sum": 2000.0},
    }
    assert sentences(message(**body)) == [
        "2 hours after the last event of this card",
        "far from the usual places",
    ]
    assert title(message(**body)).endswith(": card c1, 1,234.50 at risk, 3 events in its case with 2,000.00")


def test_a_number_has_no_more_digits_than_were_written() -> None:
    assert line(208.35000000000002) == "208.35"
    assert line(1234567.25) == "1234567.25"


def test_rules_choose_by_severity_priority_entity_and_type() -> None:
    assert takes(webhook(severity="high"), message(severity="high"))
    assert not takes(webhook(severity="critical"), message(severity="high"))
    assert not takes(webhook(priority=100.0), message(priority=99.0))
    assert takes(webhook(priority=100.0), message(priority=100.0))
    assert takes(webhook(entities=["card"]), message())
    assert not takes(webhook(entities=["account"]), message())
    assert not takes(webhook(entities=["account"]), message(entity=None))
    assert not takes(webhook(types=["case"]), message())


def test_hours_are_those_of_their_zone_and_may_go_past_midnight() -> None:
    day = Hours.model_validate({"from": "08:00", "to": "18:00", "days": ["mon"], "zone": "Europe/Paris"})
    assert not day.hold(MONDAY_S + 6.9 * 3600)  # 07:54 in Paris
    assert day.hold(MONDAY_S + 7 * 3600)
    assert not day.hold(MONDAY_S + 17 * 3600)
    assert not day.hold(MONDAY_S + 34 * 3600)
    night = Hours.model_validate({"from": "22:00", "to": "06:00", "days": ["mon"]})
    assert night.hold(MONDAY_S + 23 * 3600)
    assert night.hold(MONDAY_S + 29 * 3600)
    assert not night.hold(MONDAY_S + 5 * 3600)


def test_records_that_are_no_messages_are_not_read() -> None:
    good = message()
    headers = (("ce_id", b"x"), ("ce_type", b"detector.alert.v1"))
    for value, with_headers in (
        (None, headers),
        (b"{", headers),
        (b"[]", headers),
        (b'{"severity": "huge"}', headers),
        (good.raw, ()),
        (good.raw, (("ce_id", b"x"), ("ce_type", b"other"))),
        (b"[" * 100_000, headers),
    ):
        assert read_message("alerts", 0, Record(0, 0, None, value, with_headers)) is None


# --- what receivers get ------------------------------------------------------------------------------------


def test_a_webhook_gets_a_cloud_event_with_a_signature_that_others_can_check() -> None:
    request = bodies.webhook("whsec_" + base64.b64encode(b"a key").decode())([message(7)], 1000.9)
    event = json.loads(request.body)
    assert (event["id"], event["type"], event["data"]["severity"]) == ("in-0-7", "detector.alert.v1", "high")
    signed = b"in-0-7.1000." + request.body
    digest = base64.b64encode(hmac.new(b"a key", signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{digest}"
    batch = bodies.webhook(None)([message(1), message(2)], 0.0)
    assert batch.headers["Content-Type"] == "application/cloudevents-batch+json"
    assert [one["id"] for one in json.loads(batch.body)] == ["in-0-1", "in-0-2"]


def test_slack_pagerduty_and_alertmanager_get_their_forms() -> None:
    text = json.loads(bodies.slack([message(reasons=[{"detail": "<!channel> & more"}])], 0.0).body)["text"]
    assert "&lt;!channel&gt; &amp; more" in text
    assert "HIGH alert: card c1, 1,234.50 at risk" in text
    event = json.loads(bodies.pagerduty("routing")([message()], 0.0).body)
    assert (event["routing_key"], event["dedup_key"]) == ("routing", "in-0-1")
    assert event["payload"]["severity"] == "error"
    [alert] = json.loads(bodies.alertmanager(3600.0)([message()], MONDAY_S).body)
    assert alert["labels"]["severity"] == "high"
    assert (alert["startsAt"], alert["endsAt"]) == ("2023-11-20T00:00:00.000Z", "2023-11-20T01:00:00.000Z")


def test_a_mail_has_no_headers_from_outside() -> None:
    hostile = message(entity={"name": "card", "value": "x\r\nBcc: all@example.com"})
    letter = mail([hostile], "a@example.com", ["b@example.com"], 0.0)
    assert letter["Bcc"] is None
    assert b"\nBcc:" not in letter.as_bytes().split(b"\n\n")[0]
    assert letter["Message-ID"] == mail([hostile], "a@example.com", ["b@example.com"], 9.0)["Message-ID"]


@given(st.text(max_size=2000))
def test_texts_are_inert_and_short(text: str) -> None:
    shown = line(text)
    assert len(shown) <= 240
    assert not any(ord(c) < 32 or c in "\u202e\u2066\u200b\x7f" for c in shown)
    hostile = message(entity={"name": text, "value": text}, reasons=[{"detail": text}] * 50)
    assert "\n" not in title(hostile)
    assert len(details(hostile)) <= 12


# --- configuration -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "webhook"}, "exactly one of url and secret_url"),
        ({"kind": "webhook", "url": "http://u:p@h/"}, "without a password"),
        ({"kind": "webhook", "url": "ftp://h/"}, "an http"),
        ({"kind": "pagerduty"}, "pagerduty needs it"),
        ({"kind": "email", "sender": "a@b.c", "to": ["a@b.c"]}, "email needs it"),
        ({"kind": "slack", "url": "http://h/", "smtp": "h:25"}, "slack does not use it"),
        ({"kind": "webhook", "url": "http://h/", "hours": {"zone": "Mars"}}, "a time zone"),
        ({"kind": "webhook", "url": "http://h/", "hours": {"from": "8"}}, "a time of day"),
    ],
)
def test_mistakes_are_named(settings: Mapping[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Receiver.model_validate({"name": "r", **settings})
    assert any(says in error["msg"] for error in caught.value.errors())


def test_names_of_receivers_are_different() -> None:
    with pytest.raises(ValidationError, match="different names"):
        Notify(receivers=(webhook(), webhook()))


def test_order_per_entity_is_that_of_the_topic() -> None:
    messages = [message(n, entity={"name": "card", "value": str(n % 3)}) for n in range(30)]
    one, _, told, *_ = delivery({0: messages}, rate=3)
    told.fails = [None, Unavailable("x"), None, Unavailable("x")]
    while len(told.ids) < 30:
        one.turn()
    by_entity: dict[int, list[int]] = defaultdict(list)
    for id_ in told.ids:
        offset = int(id_.rpartition("-")[2])
        by_entity[offset % 3].append(offset)
    assert all(offsets == sorted(offsets) for offsets in by_entity.values())


def test_the_page_shows_every_receiver() -> None:
    counts = {"a": Counts(delivered=3, waiting=2, oldest_s=MONDAY_S), "b": Counts(problem="HTTP 503")}
    body, _ = renderer(NotifyCollector(counts, lambda: MONDAY_S + 60.0))(False)
    text = body.decode()
    assert 'detector_notify_messages_total{outcome="delivered",receiver="a"} 3.0' in text
    assert 'detector_notify_oldest_age_seconds{receiver="a"} 60.0' in text
    assert 'detector_notify_up{receiver="b"} 0.0' in text

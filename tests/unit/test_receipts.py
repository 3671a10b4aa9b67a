"""Every feedback record gets exactly one receipt, with the right words, whatever happens to the runner."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from detector.config.tree import Topics
from detector.core.codes import CODES
from detector.core.labels.commands import KINDS, LABELS, Command, Malformed, known_word, read_command
from detector.core.labels.receipts import OUTCOMES, STATUSES
from detector.core.labels.routing import PENDING_MAX, Routing
from detector.core.recovery.journal import Barrier, Journal
from detector.core.recovery.sides import SideRange
from detector.core.shard import partition as partition_module
from detector.core.shard.replay import follow
from detector.errors import NeedsOperator
from detector.shell.runner.quiet import QUIET_S, SPREAD_S
from tests.chain import ChainShard
from tests.unit.runner_world import Crash, World, model_config, until

EVENTS = 1000  # of each partition: there is no threshold before 512
TOPIC = "transactions"
TIME = "2020-09-14T04:00:00Z"


def world(partitions: int, **changes: Any) -> World:
    """Events of 40 cards, all in the log; those with large amounts give alerts."""
    topics = {"feedback": "feedback", "receipts": "receipts", "exchange": "exchange"}
    settings = model_config()
    settings = settings.model_copy(update={"topics": settings.topics.model_copy(update=topics)})
    model = settings.model.model_copy(
        update={"labels": settings.model.labels.model_copy(update={"buffer_events_max": 2048, **changes})}
    )
    made = World(
        partitions=partitions, poll_records_max=200, config=settings.model_copy(update={"model": model})
    )
    count, rng = EVENTS * partitions, np.random.default_rng(7)
    for n, (x, y) in enumerate(np.exp(rng.normal(size=(count, 2)) + 4 * (rng.random((count, 1)) < 0.02))):
        card = f"c{n % 40}"
        event = {
            "id": f"e-{n}",
            "t": 1_600_000_000 + 60 * n / partitions,
            "card": card,
            "x": float(x),
            "y": float(y),
        }
        made.broker.append(n % partitions, json.dumps(event).encode(), key=card.encode())
    return made


def processed(made: World) -> bool:
    ends = {number: made.broker.end(number) for number in range(made.partitions)}
    return {number: found.offset for number, found in made.broker.committed.items()} == ends


def receipts(made: World) -> list[dict[str, Any]]:
    """All receipts; each is as its schema says."""
    schema = json.loads(files("detector").joinpath("schemas/receipt.v1.json").read_text())
    assert schema["properties"]["outcome"]["enum"] == list(OUTCOMES)
    found = []
    for message in made.broker.published:
        if message.topic == "receipts":
            found.append(json.loads(message.value or b""))
            Draft202012Validator(schema).validate(found[-1])
            headers = dict(message.headers)
            assert headers["ce_id"].decode() == found[-1]["receipt_id"]
            assert headers["ce_dataschema"].decode() == schema["$id"]
            assert message.key in (headers["ce_id"], (found[-1]["feedback"]["feedback_id"] or "").encode())
    return found


def lines(made: World) -> list[tuple[Any, str]]:
    """40 records of every kind and mistake, and the outcome of each."""
    alerts = [json.loads(body) for body in made.alerts()]
    assert len(alerts) > 8
    ids = [alert["alert_id"] for alert in alerts]
    quiet = next(f"e-{n}" for n in range(EVENTS) if f"e-{n}" not in {alert["event_id"] for alert in alerts})
    source = alerts[3]["source"]
    held = next(n for n in range(EVENTS) if f"e-{n}" == quiet)
    place = {"partition": held % made.partitions, "offset": held // made.partitions}
    no_alert = f"{TOPIC}-{place['partition']}-{place['offset']}"
    fraud, legit = {"label": "fraud"}, {"label": "legitimate"}
    return [
        ({"event_id": "e-900", **fraud}, "applied"),
        ({"event_id": "e-901", "label": " Confirmed-Fraud "}, "applied"),
        ({"event_id": "e-902", "label": "FALSE POSITIVE"}, "applied"),
        ({"event_id": "e-903", "label": "legit", "kind": "Label"}, "applied"),
        ({"event_id": "e-904", "label": "fruad"}, "applied"),
        ({"alert_id": ids[0], **fraud, "feedback_id": "once", "actor": "ann"}, "applied"),
        ({"alert_id": ids[0], **fraud, "feedback_id": "once", "actor": "ann"}, "duplicate"),
        ({"alert_id": ids[0], **legit, "actor": "bob", "time": "2020-09-14T03:00:00Z"}, "contradicts"),
        ({"alert_id": ids[1], **legit, "actor": "ann"}, "applied"),
        ({"alert_id": ids[1], **fraud, "actor": "bob"}, "applied"),
        ({"case_id": alerts[2]["case_id"], **legit}, "applied"),
        ({**source, **fraud}, "applied"),
        ({**source, "kind": "retract_label"}, "retracted"),
        ({**source, "label": "retracted"}, "retracted"),
        ({"alert_id": no_alert, **fraud}, "unknown_alert"),
        ({**place, "offset": str(place["offset"]), **legit}, "applied"),
        ({"event_id": "nobody", **fraud}, "unknown_event"),
        ({"event_id": "nobody", "kind": "note", "note": "?"}, "unknown_event"),
        ({"alert_id": f"{TOPIC}-0-99999999", **fraud}, "unknown_event"),
        ({"alert_id": f"{TOPIC}-99-5", **fraud}, "unknown_event"),
        ({"alert_id": "refunds-0-5", **fraud}, "unknown_event"),
        ({"kind": "note", "alert_id": ids[4], "note": "called the customer"}, "noted"),
        ({"kind": "ASSIGN", "alert_id": ids[4], "assignee": "ann"}, "assigned"),
        ({"kind": "close", "case_id": alerts[4]["case_id"], "code": "false_positive"}, "closed"),
        ({"kind": "note", "alert_id": ids[4]}, "malformed"),
        ({"kind": "close", "alert_id": ids[4]}, "malformed"),
        ({"kind": "snooze", "alert_id": ids[5]}, "malformed"),
        ({"kind": "snooze", "alert_id": ids[5], "until": "2020-09-14T03:30:00Z"}, "malformed"),
        ({"kind": "hush", "alert_id": ids[5]}, "unknown_kind"),
        ({"kind": 7, "alert_id": ids[5]}, "unknown_kind"),
        ({"event_id": "e-905"}, "malformed"),
        ({"event_id": "e-905", "label": "maybe"}, "malformed"),
        ({"label": "fraud"}, "malformed"),
        ({"event_id": "e-905", **fraud, "time": "yesterday"}, "malformed"),
        ({"event_id": "e-905", **fraud, "time": None}, "malformed"),
        ({"alert_id": "7", **fraud}, "malformed"),
        ({"partition": 0, **fraud}, "malformed"),
        (b"hello", "malformed"),
        (b"[1]", "malformed"),
        (b'"' + b"x" * 70_000 + b'"', "malformed"),
    ]


def record(content: Any) -> bytes:
    return content if isinstance(content, bytes) else json.dumps({"time": TIME, **content}).encode()


@pytest.mark.parametrize("partitions", [1, 4])
def test_forty_records_of_every_kind_and_mistake_have_one_receipt_each(partitions: int) -> None:
    """Also where the runner is killed at many places while they are applied."""
    made = world(partitions)
    until(lambda: processed(made), made.runner())
    made.broker.evict(made.stream)
    wanted = lines(made)
    assert len(wanted) == 40
    for content, _ in wanted:
        made.feedback.append(record(content))
    made.broker.closed = True
    for left in (3, 9, 11, 14, 18, 25, 33):  # steps until a kill; less than a run to the end takes

        def hook(step: str, at: list[int] = [left]) -> None:  # noqa: B006
            at[0] -= 1
            if at[0] < 0:
                raise Crash

        runner, made.hook = made.runner(), hook
        with pytest.raises(Crash):
            until(lambda: False, runner)
        made.hook = lambda step: None
        made.broker.evict(made.stream)
    made.finish()
    found = receipts(made)
    by_position = {receipt["feedback"]["position"]: receipt for receipt in found}
    assert len(found) == len(by_position) == 40
    for position, (content, outcome) in enumerate(wanted):
        receipt = by_position[position]
        assert (content, receipt["outcome"], receipt["text"]) == (content, outcome, receipt["text"])
        assert receipt["status"] == STATUSES[outcome]
        assert receipt["text"].endswith(".")
    totals = made.telemetry.totals()
    assert sum(totals.receipts.values()) >= 40 - 1  # a kill may come between a commit and its count
    contradiction = by_position[7]["text"]
    assert "ann answered fraud on 14 September 2020" in contradiction
    assert "that of ann counts" in contradiction
    assert "that of bob counts" in by_position[9]["text"]
    assert by_position[10]["events_count"] >= 1
    learned = by_position[0]["learned"]
    assert learned["replayed_frauds"][1] > learned["replayed_frauds"][0]
    assert "at most 65,536 are allowed" in by_position[39]["text"]
    assert by_position[6]["feedback"] == {
        "position": 6,
        "feedback_id": "once",
        "kind": "label",
        "actor": "ann",
        "time": "2020-09-14T04:00:00.000Z",
    }


def test_receipts_are_the_same_whatever_happens_to_the_runner() -> None:
    """Bytes: what a barrier decides follows from the log and the journal."""
    bodies = []
    for killed in (False, True):
        made = world(1)
        until(lambda made=made: processed(made), made.runner())  # type: ignore[misc]
        made.broker.evict(made.stream)
        for content, _ in lines(made):
            made.feedback.append(record(content))
        made.broker.closed = True
        if killed:
            made.broker.fail_commits(2)
        made.finish()
        bodies.append([m.value for m in made.broker.published if m.topic == "receipts"])
    assert bodies[0] == bodies[1]


def test_a_partition_without_events_says_that_it_holds_none() -> None:
    made = world(1)
    made.broker.grow(1)
    runner = made.runner()
    until(lambda: 0 in made.broker.committed and made.broker.committed[0].offset == EVENTS, runner)
    made.broker.evict(made.stream)
    made.feedback.append(record({"event_id": "nobody", "label": "fraud"}))
    made.feedback.append(record({"event_id": "e-900", "label": "fraud"}))
    made.broker.closed = True
    made.finish()
    assert sorted(receipt["outcome"] for receipt in receipts(made)) == ["applied", "unknown_event"]
    assert made.journal(1).end("feedback") == 2


def test_several_partitions_need_messages_between_shards() -> None:
    made = world(2)
    topics = made.config.topics.model_copy(update={"exchange": None})
    made.config = made.config.model_copy(update={"topics": topics})
    with pytest.raises(NeedsOperator, match=r"topics\.exchange"):
        until(lambda: False, made.runner())


def test_receipts_need_feedback() -> None:
    with pytest.raises(ValueError, match=r"topics\.feedback"):
        Topics(receipts="receipts")


# --- a quiet topic -----------------------------------------------------------------------------------------


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> World:
    """All events are processed, and no more will come; the model is a hash chain."""
    monkeypatch.setattr(partition_module, "Shard", ChainShard)
    made = World()
    topics = made.config.topics.model_copy(update={"receipts": "receipts"})
    made.config = made.config.model_copy(update={"topics": topics})
    made.produce(40)
    return made


def answered(made: World) -> int:
    return sum(m.topic == "receipts" for m in made.broker.published)


def test_feedback_on_a_quiet_topic_is_applied_within_ten_seconds(quiet: World) -> None:
    runner = quiet.runner(live=True)
    until(lambda: processed(quiet), runner)
    quiet.feedback.append(b"label")
    began_s = quiet.clock.now_s
    until(lambda: answered(quiet) == 1, runner)
    assert QUIET_S <= quiet.clock.now_s - began_s < 10.0
    assert quiet.journal().barriers[-1].cause == "quiet"
    assert quiet.telemetry.partitions[0].standing.feedback_pending == 0


def test_the_age_of_feedback_is_that_of_the_oldest_record_that_waits(quiet: World) -> None:
    """Answers that keep coming, each applied soon, are no fault: some of them always wait."""
    labels = quiet.config.model.labels.model_copy(update={"per_barrier_max": 2})
    model = quiet.config.model.model_copy(update={"labels": labels})
    quiet.config = quiet.config.model_copy(update={"model": model})
    runner = quiet.runner(live=True)
    until(lambda: processed(quiet), runner)
    standing = quiet.telemetry.partitions[0].standing

    def age_s() -> float:
        return quiet.clock.monotonic() - (standing.feedback_since_s or quiet.clock.monotonic())

    def follow(turns: int, each: int) -> list[float]:
        ages = []
        for _ in range(turns):
            for _ in range(each):
                quiet.feedback.append(b"label")
            ended_s = quiet.clock.now_s + 1.0
            until(lambda ended_s=ended_s: quiet.clock.now_s >= ended_s, runner)  # type: ignore[misc]
            ages.append(age_s())
        return ages

    until(lambda: standing.feedback_pending == 0, runner)
    assert standing.feedback_since_s is None
    assert max(follow(60, 0)) == 0.0
    quiet.feedback.append(b"label")
    assert 2.0 < max(follow(60, 0)) < 10.0
    assert follow(60, 3)[-1] > 40.0  # more come than two a barrier
    until(lambda: standing.feedback_pending == 0, runner, turns=5_000)
    assert standing.feedback_since_s is None


def test_partitions_take_turns_with_their_barriers_by_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "Shard", ChainShard)
    made = World(partitions=4)
    made.produce(160)
    runner = made.runner(live=True)
    until(lambda: processed(made), runner)
    made.feedback.append(b"label")
    began_s, at = made.clock.now_s, dict[int, float]()

    def all_answered() -> bool:
        for number in range(4):
            if made.journal(number).end("feedback") == 1:
                at.setdefault(number, made.clock.now_s)
        return len(at) == 4

    until(all_answered, runner)
    times = sorted(at.values())
    assert min(np.diff(times)) >= 0.9 * SPREAD_S / 4
    assert times[-1] - began_s <= QUIET_S + SPREAD_S + 1.0


def test_feedback_does_not_overtake_the_events_that_are_in_the_log_before_it(quiet: World) -> None:
    quiet.poll_records_max = 1
    runner = quiet.runner(live=True)
    until(lambda: 0 in quiet.broker.committed and quiet.broker.committed[0].offset > 5, runner)
    quiet.feedback.append(b"label")
    quiet.clock.sleep(60.0)
    until(lambda: answered(quiet) == 1, runner)
    assert quiet.journal().barriers[-1].position == quiet.broker.end(0) or processed(quiet)


def test_barriers_by_command_are_made_again_at_the_same_place(quiet: World) -> None:
    """Also several of them without an event between, from a checkpoint between two of them."""
    runner = quiet.runner(live=True)
    until(lambda: processed(quiet), runner)
    for number in range(4):
        quiet.feedback.append(b"label %d" % number)
        until(lambda number=number: answered(quiet) == number + 1, runner)  # type: ignore[misc]
        quiet.clock.sleep(1.0)
    before = runner._owned[0].partition.state_hash
    quiet.broker.evict(quiet.stream)
    again = quiet.runner(live=True)
    until(lambda: 0 in again._owned and again._owned[0].caught_up and not again._owned[0].at_block_end, again)
    assert again._owned[0].partition.state_hash == before
    assert again._owned[0].partition.mismatches == 0
    assert not again._owned[0].partition.follows
    quiet.produce(200, start=40)
    quiet.broker.closed = True
    again.run()
    assert answered(quiet) == 4
    assert processed(quiet)


def test_a_file_has_no_barriers_that_depend_on_time(quiet: World) -> None:
    runner = quiet.runner()
    until(lambda: processed(quiet), runner)
    quiet.feedback.append(b"label")
    for _ in range(100):
        runner.turn()
    assert not answered(quiet)
    quiet.broker.closed = True
    runner.run()
    assert answered(quiet) == 1


def test_a_journal_begins_after_the_barrier_that_its_checkpoint_was_taken_at() -> None:
    """Two barriers may be at the same position."""
    first = Barrier(position=7, cause="quiet", sides={"feedback": SideRange(0, 2)})
    second = Barrier(position=7, cause="quiet", sides={"feedback": SideRange(2, 3)})
    begun = Journal(checkpoint="", position=3, config="ab")
    early, late = begun.extended(first), begun.extended(first).extended(second)
    assert late.rebased("", 7, early).barriers == (second,)
    assert late.rebased("", 7, late).barriers == ()
    assert late.rebased("", 7).barriers == ()
    assert Journal.from_text(late.to_text()) == late


# --- who answers -------------------------------------------------------------------------------------------


@given(st.data())
def test_of_several_shards_exactly_one_answers(data: st.DataObject) -> None:
    """Whatever the order in which shards read records and messages; at the end all have read all."""
    partitions = data.draw(st.integers(2, 4))
    holders = data.draw(st.lists(st.none() | st.integers(0, partitions - 1), max_size=12))
    shards = [Routing(number, partitions, "shared") for number in range(partitions)]
    said: Counter[int] = Counter()
    outbox: list[Any] = []
    order = [*data.draw(st.permutations([*range(partitions)] * 4)), *range(1, partitions), 0]
    for turn, number in enumerate(order):
        shard, last = shards[number], turn >= len(order) - partitions
        stop = len(holders) if last else data.draw(st.integers(shard.read, len(holders)))
        for position in range(shard.read, stop):
            if holders[position] == number:
                shard.claim(position)
                said[position] += 1
            elif number == 0:
                shard.wait(position, read_command(b"{}").echo)
        if stop > shard.read:
            shard.passed(stop)
        outbox += shard.publish()
        if number == 0:
            for _, arrays in outbox:
                assert shard.receive(arrays)
            outbox.clear()
            for position, _ in shard.decided():
                assert holders[position] is None
                said[position] += 1
        again = Routing(number, partitions, "shared")
        again.load(shard.to_state())
        shards[number] = again
    assert said == Counter(range(len(holders)))
    assert not shards[0].waiting
    assert shards[0].room == PENDING_MAX


def test_what_anybody_may_write_to_the_exchange_is_checked() -> None:
    shard = Routing(0, 2, "shared")
    good = {"shard": np.array([1, 5]), "claimed": np.array([3])}
    wrong = [
        {},
        {"shard": np.array([1, 5])},
        {**good, "shard": np.array([1.0, 5.0])},
        {**good, "shard": np.array([1, -5])},
        {**good, "shard": np.array([0, 5])},
        {**good, "shard": np.array([[1, 5]])},
        {**good, "claimed": np.array([-1])},
        {**good, "claimed": np.array([[1]])},
    ]
    before = shard.to_state()
    assert [shard.receive(arrays) for arrays in wrong] == [False] * len(wrong)
    assert str(shard.to_state()) == str(before)
    assert shard.receive(good)


# --- words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("Fraud", "fraud"),
        ("FRAUD", "fraud"),
        ("confirmed_fraud", "fraud"),
        ("Confirmed Fraud", "fraud"),
        ("frauds", "fraud"),
        ("legit", "legitimate"),
        ("legitmate", "legitimate"),
        ("false-positive", "legitimate"),
        ("not fraud", "legitimate"),
        ("ok", None),
        ("1", None),
        ("", None),
        ("illegitimate", None),
        ("suspicious", None),
    ],
)
def test_words_are_forgiven_where_there_is_no_doubt(word: str, label: str | None) -> None:
    assert known_word(word, LABELS) == label


@pytest.mark.parametrize("table", [KINDS, LABELS])
def test_no_known_word_is_taken_for_another(table: Any) -> None:
    for key, words in table.items():
        assert {known_word(word, table) for word in words} == {key}
    assert len({word for words in table.values() for word in words}) == sum(map(len, table.values()))


@given(st.binary(max_size=80) | st.dictionaries(st.text(max_size=9), st.integers() | st.text()).map(record))
def test_every_mistake_has_its_reason_in_words(raw: bytes) -> None:
    read = read_command(raw)
    assert isinstance(read, Command) or (isinstance(read, Malformed) and len(read.why.split()) > 2)


def test_what_the_schema_of_feedback_allows_is_understood() -> None:
    schema = json.loads(files("detector").joinpath("schemas/feedback.v1.json").read_text())
    Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]["kind"]["enum"]) == set(KINDS)
    assert set(schema["properties"]["label"]["enum"]) == set(LABELS)
    values = {
        "alert_id": ["t-0-5", "t"],
        "event_id": ["e", 5, 1.5],
        "label": ["fraud", "none"],
        "until": ["2020-09-15T04:00:00Z"],
        "note": ["n"],
        "assignee": ["ann"],
        "code": ["c", "hour"],
        "partition": [0, -1],
        "offset": [5],
        "actor": ["ann", None],
    }
    for kind, name, other in itertools.product([*KINDS, "hush"], values, values):
        for one, two in itertools.product(values[name], values[other]):
            document = {"kind": kind, "time": TIME, name: one, other: two}
            if Draft202012Validator(schema).is_valid(document):
                assert isinstance(read_command(json.dumps(document).encode()), Command), document


def test_a_snooze_names_a_code_of_alerts_or_is_told_which_there_are() -> None:
    snooze = {"kind": "snooze", "time": TIME, "until": "2020-09-20T03:00:00Z", "event_id": "e"}
    read = read_command(record({**snooze, "code": "Small then Large"}))
    assert isinstance(read, Command)
    assert read.code == "small_then_large"
    for kind in ("snooze", "unsnooze"):
        wrong = read_command(record({**snooze, "kind": kind, "code": "amount"}))
        assert isinstance(wrong, Malformed)
        assert all(code in wrong.why for code in (*CODES, "amount"))
    assert isinstance(read_command(record({**snooze, "kind": "close", "code": "amount"})), Command)


def test_every_outcome_has_a_status() -> None:
    assert set(STATUSES.values()) == {"applied", "declined", "malformed"}
    assert len(set(OUTCOMES)) == len(OUTCOMES)


def test_an_audit_follows_barriers_by_command(quiet: World) -> None:
    runner = quiet.runner(live=True)
    until(lambda: processed(quiet), runner)
    for number in range(2):
        quiet.feedback.append(b"label %d" % number)
        until(lambda number=number: answered(quiet) == number + 1, runner)  # type: ignore[misc]
    owned = runner._owned[0].partition
    again = partition_module.Partition(
        owned.identity, quiet.config.model_part(1), quiet.journal(), until=owned.position,
        restored=None, configs={},
    )  # fmt: skip
    if not quiet.newest():
        steps = follow(
            again, [list(quiet.broker.records(0))], lambda side, wanted: quiet.feedback.read(*wanted)
        )
        causes = [step.barrier.cause for step in steps if step.barrier is not None]
        assert causes[-2:] == ["quiet", "quiet"]
        assert again.state_hash == owned.state_hash

"""What analysts see and do: the queue, a case, acts, conflicts, undo, statistics."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from detector.console import filters
from detector.console.acts import NotAllowed
from detector.console.book import UNSURE_S, SqliteBook
from detector.console.reading import Told
from detector.console.views import Command, Filter, Order, Person, Sent
from detector.core.alerts.score_record import iso
from detector.core.alerts.severity import SEVERITIES
from detector.errors import BrokerUnavailable
from tests.unit.console_world import ANN, BOB, LEA, T0, VIC, World, alert, labelled, receipt, told

EVERY = Filter(states=("open", "answered", "closed", "snoozed"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.close()


def fill(world: World, count: int, seed: int = 1) -> None:
    """Cases of one alert each, with many equal values."""
    rng = random.Random(seed)
    bodies = [
        alert(
            n, n, time_s=T0 + rng.randint(0, 9), amount=float(rng.randint(1, 5)),
            priority=float(rng.randint(1, 4)),
            severity=rng.choice(SEVERITIES), card=f"C{n}", merchant=f"M{n % 7}",
            channel=rng.choice(("web", "pos")), codes=rng.sample(("window", "earlier", "speed"), 2),
        )
        for n in range(count)
    ]  # fmt: skip
    world.fold.add([told("alerts", n, body) for n, body in enumerate(bodies)])


def answer(case: int, label: str = "fraud", form: str = "form") -> Command:
    return Command(kind="label", id=form, case_ids=(f"transactions-0-{case}",), detail={"label": label})


# --- the queue ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", filters.ORDERS)
@pytest.mark.parametrize("descending", [True, False])
def test_pages_together_are_the_whole_queue_in_order(world: World, order: Order, descending: bool) -> None:
    fill(world, 120)
    asked, seen, after = Filter(order=order, descending=descending), [], None
    while True:
        page = world.book.queue(asked, after=after, limit=17)
        seen += page.rows
        assert page.count == 120
        if (after := page.next) is None:
            break
    names = {"time": "last_s"}
    values = [getattr(row, names.get(order, order)) for row in seen]
    assert values == sorted(values, reverse=descending)
    assert len({row.id for row in seen}) == 120
    assert world.book.selected(asked, 1000) == [row.id for row in seen]
    case = world.book.case(seen[40].id, asked)
    assert case is not None
    assert case.next_id == seen[41].id


def test_filters_take_the_rows_that_a_reader_would_take(world: World) -> None:
    fill(world, 80)
    world.book.send(
        LEA, Command(kind="assign", id="a", case_ids=("transactions-0-3",), detail={"assignee": "bob"})
    )
    rows = world.book.queue(EVERY, limit=500).rows
    tests = {
        Filter(severity=2): lambda row: row.severity >= 2,
        Filter(assignee="bob"): lambda row: row.assignee == "bob",
        Filter(assignee=""): lambda row: row.assignee is None,
        Filter(amount_min=2.0, amount_max=3.0): lambda row: 2 <= row.sum <= 3,
        Filter(since_s=T0 + 3, until_s=T0 + 5): lambda row: T0 + 3 <= row.last_s <= T0 + 5,
        Filter(text="c7"): lambda row: row.entity[1].startswith("C7"),
        Filter(text="E12"): lambda row: row.id == "transactions-0-12",
        Filter(text="%"): lambda row: False,
    }
    for asked, takes in tests.items():
        page = world.book.queue(asked, limit=500)
        assert {row.id for row in page.rows} == {row.id for row in rows if takes(row)}, asked
        assert page.count == len(page.rows)
    for code in ("window", "speed"):
        for row in world.book.queue(Filter(code=code)).rows:
            (one,) = world.book.case(row.id).alerts  # type: ignore[union-attr]
            assert code in [fact["code"] for fact in one.body["facts"]]
    assert sum(world.book.queue(Filter(segment=("channel", name))).count for name in ("web", "pos")) == 80
    assert world.book.choices() == {
        "assignee": ["bob"], "code": ["earlier", "speed", "value", "window"],
        "segment": ["channel=pos", "channel=web"],
    }  # fmt: skip


@pytest.mark.parametrize("cursor", ["", "x", "!!", "W10", "bnVsbA", "W1siYSJdXQ", "A" * 5000, "\ud800"])
def test_a_cursor_that_is_not_ours_is_ignored(world: World, cursor: str) -> None:
    fill(world, 5)
    assert world.book.queue(Filter(), after=cursor) == world.book.queue(Filter())
    assert world.book.acts(after=cursor) == world.book.acts()


# --- a case ------------------------------------------------------------------------------------------------


def test_what_cases_share_links_them(world: World) -> None:
    bodies = [
        alert(1, 1, card="C1", merchant="M1"), alert(2, 2, card="C2", merchant="M1"),
        alert(3, 3, card="C3", merchant="M3", related=["transactions-0-2"]),
        alert(4, 4, card="C1", merchant="M4"),
        *(alert(n, n, card=f"C{n}", merchant="BUSY") for n in range(100, 160)),
    ]  # fmt: skip
    world.fold.add([told("alerts", n, body) for n, body in enumerate(bodies)])
    view = world.book.case("transactions-0-1")
    assert view is not None
    assert [(row.id, what) for row, what in view.related] == [
        ("transactions-0-4", "the same card"), ("transactions-0-2", "merchant M1"),
    ]  # fmt: skip
    assert view.links == [("transactions-0-1", "transactions-0-2"), ("transactions-0-2", "transactions-0-3")]
    busy = world.book.case("transactions-0-100")
    assert busy is not None
    assert (busy.related, busy.links) == ([], [])


def test_reported_events_are_found_by_each_name(world: World) -> None:
    world.fold.add(
        [told("alerts", 0, alert(7, 7, time_s=T0)), told("alerts", 1, alert(8, 8, time_s=T0 + 500))]
    )
    named = [
        {"event_id": "E7"}, {"partition": 0, "offset": 8}, {"alert_id": "transactions-0-7"},
        {"entity": "C1", "time": iso(T0 + 480)}, {"entity": "C1", "time": iso(T0 + 9e5)}, {"entity": "C1"},
        {"event_id": "none"}, {},
    ]  # fmt: skip
    assert world.book.find(named) == [
        "transactions-0-7", "transactions-0-8", "transactions-0-7", "transactions-0-8",
        None, None, None, None,
    ]  # fmt: skip
    assert world.book.case_of("transactions-0-8") == "transactions-0-8"


# --- acts --------------------------------------------------------------------------------------------------


def test_an_answer_is_a_record_of_the_person_and_is_seen_at_once(world: World) -> None:
    fill(world, 2)
    sent = world.book.send(ANN, answer(1))
    (record,) = world.topic.records
    assert record.value is not None
    body = msgspec.json.decode(record.value)
    assert body["feedback_id"] == sent.feedback_ids[0]
    assert {name: body[name] for name in ("kind", "case_id", "label", "actor", "time")} == {
        "kind": "label", "case_id": "transactions-0-1", "label": "fraud", "actor": "ann", "time": iso(T0),
    }  # fmt: skip
    assert [
        (row.id, row.answer, row.assignee) for row in world.book.queue(Filter(states=("answered",))).rows
    ] == [("transactions-0-1", "fraud", "ann")]
    before = world.pages()
    world.fold.add(world.topic.records)  # as the topic gives it
    assert world.pages() == before
    ((name, line),) = world.log
    assert name == "act"
    assert (line["actor"], line["kind"], line["case_id"]) == ("ann", "label", "transactions-0-1")


def test_a_form_that_is_sent_twice_is_one_act_and_another_choice_is_another(world: World) -> None:
    fill(world, 2)
    first = world.book.send(ANN, answer(1))
    world.clock.sleep(5)
    assert world.book.send(ANN, answer(1)) == first
    world.restart()
    assert world.book.send(ANN, answer(1)) == first
    assert len(world.topic.records) == 1
    world.book.send(ANN, answer(1, "legitimate"))
    assert len(world.topic.records) == 2


def test_a_snooze_that_is_sent_twice_is_one_act_though_its_end_follows_from_the_moment(world: World) -> None:
    fill(world, 1)

    def snooze(days: int) -> Sent:
        detail = {"until": world.clock.time() + days * 86_400}
        asked = Command(
            kind="snooze", id="f", case_ids=("transactions-0-1",), detail=detail, lasts=f"{days} days"
        )
        return world.book.send(ANN, asked)

    first = snooze(1)
    world.clock.sleep(5)
    assert snooze(1) == first
    assert len(world.topic.records) == 1
    assert snooze(2) != first


@pytest.mark.parametrize(
    ("person", "command", "why"),
    [
        (VIC, answer(1), "viewer"),
        (ANN, Command(kind="erase", case_ids=("transactions-0-1",)), "lead may erase"),
        (ANN, replace(answer(1), case_ids=tuple(f"transactions-0-{n}" for n in range(101))), "more than 100"),
        (LEA, replace(answer(1), case_ids=tuple(f"t-0-{n}" for n in range(10_001))), "At most 10,000"),
        (ANN, Command(kind="snooze", case_ids=("t-0-1",), detail={"until": T0 + 8 * 86_400}), "7 days"),
        (ANN, Command(kind="snooze", case_ids=("t-0-1",), detail={"until": "2040-01-01"}), "7 days"),
        (ANN, Command(kind="snooze", case_ids=("t-0-1",)), "until is missing"),
        (ANN, answer(1, "maybe"), "label is 'maybe'"),
        (ANN, Command(kind="label", case_ids=("x",), detail={"label": "fraud"}), "TOPIC-PARTITION-OFFSET"),
        (ANN, Command(kind="note", case_ids=("transactions-0-1",), detail={"note": "x" * 70_000}), "65,536"),
        (ANN, Command(kind="label", detail={"label": "fraud"}, other=({"amount": 5},)), "names no event"),
    ],
)  # fmt: skip
def test_what_may_not_be_sent_is_refused_whole(
    world: World, person: Person, command: Command, why: str
) -> None:
    with pytest.raises(NotAllowed, match=why):
        world.book.send(person, command)
    assert world.topic.records == []


def test_a_replay_refuses_acts_with_its_sentence(world: World) -> None:
    book = SqliteBook(
        world.database, world.fold, world.clock, world, topic="t",
        send=None, originals=None, why="This is a replay.",
    )  # fmt: skip
    with pytest.raises(NotAllowed, match=r"This is a replay\."):
        book.send(ANN, answer(1))
    assert book.originals([(0, 5)])[0].why == "This is a replay."


def test_who_comes_second_is_told_and_may_insist(world: World) -> None:
    fill(world, 2)
    row = world.book.case("transactions-0-1").row  # type: ignore[union-attr]
    seen = {row.id: row.version}
    world.book.send(ANN, replace(answer(1, form="a"), seen=seen))
    world.clock.sleep(61)
    second = replace(answer(1, "legitimate", form="b"), seen=seen)
    sent = world.book.send(BOB, second)
    (conflict,) = sent.conflicts
    assert sent.feedback_ids == ()
    assert (conflict.case_id, conflict.by) == (row.id, "ann")
    assert conflict.what == f"ann answered fraud at {iso(T0)[11:16]} UTC."
    sent = world.book.send(BOB, second, anyway=True)
    assert (len(sent.feedback_ids), sent.conflicts) == (1, ())
    after = world.book.case(row.id)
    assert after is not None
    assert (after.row.answer, [act.actor for act in after.acts]) == ("legitimate", ["ann", "bob"])
    again = world.book.send(ANN, replace(answer(1, form="c"), seen=seen))
    assert [one.by for one in again.conflicts] == ["bob"]


def lost_answer(world: World, *, arrives: bool) -> tuple[Command, Sequence[Told]]:
    """Ann's act, to which she got no answer, and what the topic will tell of it; then Bob answered."""
    fill(world, 2)
    row = world.book.case("transactions-0-1").row  # type: ignore[union-attr]
    seen, late = {row.id: row.version}, list[Told]()

    def unanswered(records: Sequence[tuple[bytes, bytes]]) -> Sequence[Told]:
        late.extend(world.topic.send(records) if arrives else ())
        raise BrokerUnavailable("no answer")

    world.book._send = unanswered
    mine = replace(answer(1, form="a"), seen=seen)
    with pytest.raises(BrokerUnavailable):
        world.book.send(ANN, mine)
    world.book._send = world.topic.send
    world.book.send(BOB, replace(answer(1, "legitimate", form="b"), seen=seen))
    return mine, late


def test_who_lost_the_answer_to_an_act_is_not_told_that_it_was_not_sent(world: World) -> None:
    mine, late = lost_answer(world, arrives=True)
    with pytest.raises(BrokerUnavailable, match="not known yet"):
        world.book.send(ANN, mine)
    world.fold.add(late)
    assert len(world.book.send(ANN, mine).feedback_ids) == 1


def test_a_lost_act_that_never_arrived_is_a_conflict_in_the_end(world: World) -> None:
    mine, _ = lost_answer(world, arrives=False)
    world.clock.sleep(UNSURE_S + 1)
    assert [one.by for one in world.book.send(ANN, mine).conflicts] == ["bob"]


def test_one_conflict_in_a_bulk_holds_back_its_case_alone(world: World) -> None:
    fill(world, 5)
    seen = {row.id: row.version for row in world.book.queue(EVERY).rows}
    world.book.send(ANN, answer(2, form="a"))
    ids = tuple(sorted(seen))
    sent = world.book.send(
        BOB, Command(kind="close", id="b", case_ids=ids, detail={"code": "done"}, seen=seen)
    )
    assert [one.case_id for one in sent.conflicts] == ["transactions-0-2"]
    assert len(sent.feedback_ids) == 4
    assert world.book.queue(Filter(states=("closed",))).count == 4


def test_two_analysts_on_one_case_lose_no_act_and_are_both_told(world: World) -> None:
    for seed in range(1000):
        check_two_analysts(world, seed)


def check_two_analysts(shared: World, seed: int) -> None:
    """Each has a page, at some moment; each act either counts or is refused with the other one's name."""
    rng, case = random.Random(seed), 1000 + seed
    shared.fold.add([told("alerts", seed, alert(case, case, card=f"C{case}"))])
    id_, pages = f"transactions-0-{case}", {}
    sent: dict[str, str] = {}
    acted: list[tuple[str, str]] = []  # actor and feedback id, in order
    for step in range(rng.randint(2, 8)):
        person = rng.choice((ANN, BOB))
        move = rng.choice(("look", "act", "act", "read"))
        if move == "look":
            pages[person.name] = (shared.book.case(id_).row.version, len(acted))  # type: ignore[union-attr]
        elif move == "read":
            shared.fold.add(shared.topic.records[-3:])
        elif person.name in pages:
            version, known = pages[person.name]
            label = rng.choice(("fraud", "legitimate"))
            command = replace(answer(case, label, form=f"{seed}.{step}"), seen={id_: version})
            done = shared.book.send(person, command)
            others = [actor for actor, _ in acted[known:] if actor != person.name]
            assert [one.by for one in done.conflicts] == others[-1:]
            if done.conflicts:
                done = shared.book.send(person, command, anyway=True)
            acted.append((person.name, done.feedback_ids[0]))
            sent[done.feedback_ids[0]] = label
            shared.clock.sleep(1)
    view = shared.book.case(id_)
    assert view is not None
    assert [act.feedback_id for act in view.acts] == [id_ for _, id_ in acted]
    assert view.row.answer == (sent[acted[-1][1]] if acted else None)


def test_an_answer_is_taken_back_within_ten_seconds_by_who_gave_it(world: World) -> None:
    fill(world, 2)
    (id_,) = world.book.send(ANN, answer(1)).feedback_ids
    with pytest.raises(NotAllowed, match="your own"):
        world.book.undo(BOB, [id_])
    world.clock.sleep(9)
    first = world.book.undo(ANN, [id_])
    assert world.book.undo(ANN, [id_]) == first  # a second click
    assert world.book.queue(Filter()).count == 2
    (id_,) = world.book.send(ANN, answer(1, form="other")).feedback_ids
    world.clock.sleep(13)
    with pytest.raises(NotAllowed, match="10 seconds"):
        world.book.undo(ANN, [id_])


def test_an_undone_answer_is_again_the_one_before(world: World) -> None:
    fill(world, 2)
    world.book.send(BOB, answer(1, "legitimate"))
    world.clock.sleep(60)
    (id_,) = world.book.send(ANN, answer(1, "fraud")).feedback_ids
    world.clock.sleep(1)
    world.book.undo(ANN, [id_])
    assert world.book.case("transactions-0-1").row.answer == "legitimate"  # type: ignore[union-attr]


def test_undo_does_not_take_back_what_another_said_since(world: World) -> None:
    fill(world, 2)
    (id_,) = world.book.send(ANN, answer(1)).feedback_ids
    world.clock.sleep(1)
    world.book.send(BOB, answer(1, "legitimate"))
    world.clock.sleep(1)
    assert [one.by for one in world.book.undo(ANN, [id_]).conflicts] == ["bob"]
    assert world.book.case("transactions-0-1").row.answer == "legitimate"  # type: ignore[union-attr]


# --- what was done -----------------------------------------------------------------------------------------


def test_acts_are_listed_by_whom_and_about_what_in_pages(world: World) -> None:
    fill(world, 5)
    for n in range(5):
        world.clock.sleep(1)
        world.book.send((ANN, BOB)[n % 2], answer(n, form=f"f{n}"))
    world.fold.add([told("receipts", 0, receipt(1, "contradicts"))])
    listed, after = [], None
    while True:
        page, after = world.book.acts(after=after, limit=2)
        listed += page
        if after is None:
            break
    assert [act.case_id for act in listed] == [f"transactions-0-{n}" for n in (4, 3, 2, 1, 0)]
    assert [act.status for act in listed] == ["pending", "pending", "pending", "declined", "pending"]
    assert [act.actor for act in world.book.acts(actor="bob")[0]] == ["bob", "bob"]
    assert [act.case_id for act in world.book.acts(entity="C3")[0]] == ["transactions-0-3"]
    assert [act.text for act in world.book.acts(case_id="transactions-0-1")[0]] == ["It is contradicts."]


def test_answers_are_counted_for_all_and_for_each(world: World) -> None:
    bodies = [alert(n, n, card=f"C{n}", severity="high", codes=("window",)) for n in range(4)]
    world.fold.add([told("alerts", n, body) for n, body in enumerate(bodies)])
    for n, (actor, label) in enumerate((("ann", "fraud"), ("ann", "legitimate"), ("bob", "fraud"))):
        said = labelled(n, label, at_s=T0 + 10 * (n + 1), actor=actor, id_=f"f{n}")
        world.fold.add([told("feedback", n, said)])
    all_, ann, bob = world.book.answered()
    assert (all_.actor, all_.answers, all_.seconds_to_answer) == (None, 3, 20.0)
    assert (ann.actor, ann.answers, ann.per_hour, ann.seconds_to_answer) == ("ann", 2, 2.0, 15.0)
    assert list(all_.precision) == [("high", 2, 3), ("value", 2, 3), ("window", 2, 3)]
    assert (bob.actor, list(bob.precision)) == ("bob", [("high", 1, 1), ("value", 1, 1), ("window", 1, 1)])

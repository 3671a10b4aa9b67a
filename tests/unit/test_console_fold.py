"""The console's database is a function of the records that were read, whatever their order."""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.console.database import Database
from detector.console.fold import unpack
from detector.console.reading import Kind, Told
from detector.console.views import Filter
from detector.core.alerts.score_record import iso
from detector.errors import NeedsOperator, OutsideError
from tests.unit.console_world import T0, World, alert, labelled, numbered, receipt, told, update

DAY_S = 86_400.0


def history(seed: int, *, erased: bool = False) -> list[Told]:
    """Records of a few cases: alerts, some of them twice, updates, answers of several people, receipts."""
    rng = random.Random(seed)
    records: list[tuple[Kind, int, float, dict[str, Any]]] = []
    at = lambda: T0 + round(rng.uniform(0, 3 * DAY_S), 3)  # noqa: E731
    for case in range(rng.randint(1, 5)):
        first = 100 * case
        for number in range(rng.randint(1, 4)):
            body = alert(
                first + number, first, time_s=at(), number=number + 1, card=f"C{case}",
                merchant=f"M{rng.randint(0, 2)}", severity=rng.choice(("low", "medium", "high", "critical")),
                codes=rng.sample(("window", "earlier", "speed"), 2),
            )  # fmt: skip
            records += [("alerts", case % 2, at(), body)] * rng.choice((1, 1, 1, 2))
        for number in range(rng.randint(0, 2)):
            body = update(first, number + 1, events=rng.randint(1, 6), time_s=at(), card=f"C{case}")
            records.append(("case_updates", case % 2, at(), body))
    gone: set[int] = set()
    for position in range(rng.randint(0, 10)):
        case = 100 * rng.randint(0, 4)
        kind = rng.choice(("label", "label", "label", "retract_label", "snooze", "note", "assign", "close"))
        time_s = at()
        said: dict[str, Any] = {
            "kind": kind, "label": rng.choice(("fraud", "legitimate")), "note": "x", "code": "window",
            "until": iso(time_s + rng.uniform(1, 2 * DAY_S)), "assignee": "bob", "time": iso(time_s),
            "actor": rng.choice(("ann", "bob")), "feedback_id": f"f{rng.randint(0, 8)}",
        }  # fmt: skip
        said |= rng.choice(
            (
                {"case_id": f"transactions-0-{case}"},
                {"alert_id": f"transactions-0-{case + 1}"},
                {"event_id": f"E{case}"},
                {"partition": 0, "offset": case},
                {"label": "perhaps", "event_id": "E1"},
            )
        )
        if erased and case >= 300 - 100 * rng.randint(0, 2) and rng.random() < 0.5:
            said["kind"] = "erase"
            if rng.random() < 0.5:
                said = {key: value for key, value in said.items() if key in ("kind", "time", "feedback_id")}
                said["entity"] = f"C{case // 100}"
        records.append(("feedback", 0, at(), said))
        for partition in rng.sample((0, 1), rng.randint(0, 2)):
            outcome = rng.choice(("applied", "duplicate", "contradicts"))
            if said["kind"] == "erase" and case not in gone:
                outcome = "erased"  # a second erasure finds nothing of it
                gone.add(case)
            records.append(("receipts", partition, at(), receipt(position, outcome, partition=partition)))
    return numbered(records)


def shuffled(records: list[Told], rng: random.Random) -> list[Told]:
    """The records in another order, in which those of one partition still come one after the other."""
    left: dict[tuple[str, int], list[Told]] = {}
    for one in records:
        left.setdefault((one.topic, one.partition), []).append(one)
    order = []
    while left:
        at = rng.choice(sorted(left))
        order.append(left[at].pop(0))
        if not left[at]:
            del left[at]
    return order


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from(((30.0, 1000), (1.0, 1000), (30.0, 4), (1.5, 3))))
def test_any_interleaving_cut_repeat_and_restart_gives_the_same_database(
    seed: int, bounds: tuple[float, int]
) -> None:
    rng, records = random.Random(seed), history(seed, erased=bounds == (30.0, 1000))
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        plain = World(Path(one), days=bounds[0], rows=bounds[1])
        plain.fold.add(records)
        world = World(Path(other), days=bounds[0], rows=bounds[1])
        left = shuffled(records, rng)
        done: list[Told] = []
        while left:
            count = rng.randint(1, 5)
            again = rng.sample(done, min(len(done), rng.randint(0, 3)))
            world.fold.add([*sorted(again, key=lambda told: told.offset), *left[:count]])
            done, left = done + left[:count], left[count:]
            if rng.random() < 0.2:
                world.restart()
        assert world.dump() == plain.dump()
        assert world.pages() == plain.pages()
        assert world.fold.positions() == plain.fold.positions()
        plain.database.close()
        world.database.close()


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made = World(tmp_path)
    yield made
    made.database.close()


def test_a_case_tells_what_its_newest_message_tells(world: World) -> None:
    world.fold.add(
        numbered(
            [
                ("alerts", 0, T0, alert(1, 1, amount=50.0, severity="low", time_s=T0 - 30)),
                ("alerts", 0, T0 + 60, alert(5, 1, number=2, amount=80.0, severity="critical")),
                ("case_updates", 0, T0 + 90, update(1, 1, events=4, time_s=T0 + 50)),
            ]
        )
    )
    (row,) = world.book.queue(Filter()).rows
    assert (row.id, row.entity, row.events, row.sum, row.severity) == (
        "transactions-0-1", ("card", "C1"), 4, 40.0, 3,
    )  # fmt: skip
    assert row.headline == "card C1, 80.00 at risk"
    assert row.chips == ("Amount high", "much in a short time")
    assert (row.first_s, row.last_s, row.published_s) == (T0 - 30, T0 + 50, T0)
    view = world.book.case(row.id)
    assert view is not None
    assert [one.id for one in view.alerts] == ["transactions-0-5", "transactions-0-1"]
    assert [one["update_id"] for one in view.updates] == ["transactions-0-1#1"]
    assert view.left_out == 0


@pytest.mark.parametrize(
    ("outcome", "state", "answer"),
    [(None, "answered", "fraud"), ("applied", "answered", "fraud"), ("contradicts", "open", None)],
)
def test_a_declined_answer_does_not_count_and_a_pending_one_does(
    world: World, outcome: str | None, state: str, answer: str | None
) -> None:
    world.fold.add([told("alerts", 0, alert(1, 1))])
    world.fold.add([told("feedback", 0, labelled(1, "fraud", at_s=T0 + 9))])
    if outcome is not None:
        world.fold.add([told("receipts", 0, receipt(0, outcome))])
    view = world.book.case("transactions-0-1")
    assert view is not None
    assert (view.row.state, view.row.answer) == (state, answer)
    assert view.row.assignee == (None if outcome == "contradicts" else "ann")
    (act,) = view.acts
    assert act.status == {None: "pending", "applied": "applied", "contradicts": "declined"}[outcome]


def test_an_alert_after_the_answer_opens_the_case_again(world: World) -> None:
    world.fold.add([told("alerts", 0, alert(1, 1))])
    world.fold.add([told("feedback", 0, labelled(1, "fraud", at_s=T0 + 100))])
    assert world.book.queue(Filter()).count == 0
    world.fold.add([told("alerts", 1, alert(9, 1, number=2), at_s=T0 + 200)])
    (row,) = world.book.queue(Filter()).rows
    assert (row.state, row.answer) == ("open", "fraud")


def test_a_case_whose_alerts_are_answered_one_by_one_is_answered(world: World) -> None:
    world.fold.add([told("alerts", 0, alert(1, 1)), told("alerts", 1, alert(2, 1, number=2))])
    first = {**labelled(1, "fraud", at_s=T0 + 9), "alert_id": "transactions-0-1"}
    del first["case_id"]
    world.fold.add([told("feedback", 0, first)])
    assert world.book.queue(Filter()).count == 1
    world.fold.add([told("feedback", 1, {**first, "alert_id": "transactions-0-2", "feedback_id": "g"})])
    assert world.book.queue(Filter()).count == 0


def test_a_snooze_ends_by_the_clock(world: World) -> None:
    snooze = {**labelled(1, "", at_s=T0), "kind": "snooze", "until": iso(T0 + 3600)}
    world.fold.add([told("alerts", 0, alert(1, 1)), told("feedback", 0, snooze)])
    world.fold.add([told("alerts", 1, alert(9, 9, time_s=T0 + 10 * DAY_S, card="C2"))])  # a wrong clock
    assert world.book.queue(Filter(states=("snoozed",))).count == 1
    world.clock.sleep(3601)
    assert world.book.queue(Filter(states=("snoozed",))).count == 0
    assert world.book.queue(Filter()).count == 2


@pytest.mark.parametrize("named", [{"case_id": "transactions-0-1"}, {"alert_id": "transactions-0-1"},
                                   {"event_id": "E1"}, {"entity": "SECRET-77"}])  # fmt: skip
def test_what_was_erased_is_in_no_byte_of_the_file(world: World, named: dict[str, str]) -> None:
    note = {**labelled(1, "", at_s=T0, id_="n"), "kind": "note", "note": "rang at SECRET-77"}
    erase = {"kind": "erase", "time": iso(T0 + 9), "actor": "lea", "feedback_id": "e", **named}
    world.fold.add(
        [
            told("alerts", 0, alert(1, 1, card="SECRET-77")),
            told("alerts", 1, alert(2, 2, card="SECRET-77", number=2)),
            told("alerts", 2, alert(3, 3, card="C3")),
            told("case_updates", 0, update(1, 1, events=3, card="SECRET-77")),
            told("feedback", 0, note),
            told("feedback", 1, erase),
        ]
    )
    assert held(world, b"SECRET-77")
    world.fold.add([told("receipts", 0, receipt(1, "erased"), at_s=T0 + 10)])
    assert not held(world, b"SECRET-77")
    assert [row.entity for row in world.book.queue(Filter(states=())).rows] == [("card", "C3")]
    assert [(act.kind, act.actor, act.entity) for act in world.book.acts()[0]] == [
        ("erase", "lea", None), ("note", "ann", None),
    ]  # fmt: skip
    world.fold.add([told("alerts", 3, alert(4, 4, card="SECRET-77"), at_s=T0 + 8)])  # read late
    assert not held(world, b"SECRET-77")
    world.fold.add([told("alerts", 4, alert(5, 5, card="SECRET-77"), at_s=T0 + 11)])  # it has come back
    assert world.book.queue(Filter()).count == 2


def held(world: World, text: bytes) -> bool:
    """Whether files of the database hold a text, packed or not."""
    files = [path.read_bytes() for path in world.folder.glob("console.db*")]
    bodies = [unpack(row[1]) for row in world.dump()["bodies"]]
    return any(text in one for one in files) or any(text.decode() in str(body) for body in bodies)


def test_an_erasure_that_was_declined_erases_nothing(world: World) -> None:
    erase = {"kind": "erase", "time": iso(T0 + 9), "actor": "lea", "feedback_id": "e", "entity": "C1"}
    world.fold.add([told("alerts", 0, alert(1, 1)), told("feedback", 0, erase)])
    world.fold.add([told("receipts", 0, receipt(0, "unknown_entity"))])
    assert world.book.queue(Filter(states=())).count == 1


def test_what_the_topic_gave_first_stays_as_the_topic_has_it(world: World) -> None:
    said = labelled(1, "fraud", at_s=T0)
    world.fold.add([told("feedback", 0, said, at_s=T0 + 1)])
    before = world.dump()
    world.fold.sent([told("feedback", 0, said, at_s=T0 + 2)])  # whoever sent it learns of it later
    assert world.dump() == before
    world.fold.sent([told("feedback", 1, {**said, "feedback_id": "g"}, at_s=T0 + 2)])
    world.fold.add([told("feedback", 1, {**said, "feedback_id": "g"}, at_s=T0 + 3)])
    assert [row[1] for row in world.dump()["acts"]] == [T0 + 1, T0 + 3]


def test_nothing_that_a_topic_holds_stops_the_fold(world: World) -> None:
    values: list[bytes | None] = [
        None, b"", b"{", b"[]", b"1", b"\xff", b"[" * 100_000, b"{}", b'{"alert_id": 3}',
        b'{"alert_id": "x", "severity": "high", "event_time": "never"}',
        b'{"alert_id": "\\ud800", "severity": "high", "event_time": "2026-01-01T00:00:00Z"}',
        b'{"alert_id": "x", "severity": ["high"], "event_time": 1e999}',
        msgspec.json.encode({**alert(1, 1), "case": {"number": 1 << 80, "sum": 1e308, "largest": "x"}}),
        msgspec.json.encode({**alert(2, 1), "reasons": 5, "facts": [None], "entities": [], "priority": None}),
        msgspec.json.encode({**receipt(0), "feedback": {"position": 1 << 70}}),
        msgspec.json.encode({**receipt(0), "decided": None, "learned": [1]}),
        msgspec.json.encode({"kind": {"a": 1}, "time": True, "actor": 5}),
    ]  # fmt: skip
    for kind in ("alerts", "case_updates", "receipts", "feedback"):
        world.fold.add([Told(kind, kind, 0, offset, T0, value) for offset, value in enumerate(values)])
    assert world.fold.positions()["alerts", 0] == len(values)
    world.pages()


def test_a_damaged_or_foreign_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "console.db"
    for before in (b"", b"no database" * 1000):
        path.write_bytes(before)
        Database(path, "a").close()
    database = Database(path, "a")
    with database.writing() as connection:
        connection.execute("INSERT INTO positions VALUES ('alerts', 0, 7)")
    database.close()
    for of, count in (("a", 1), ("b", 0)):
        database = Database(path, of)
        with database.reading() as connection:
            assert connection.execute("SELECT count(*) FROM positions").fetchone()[0] == count
        database.close()


def test_two_consoles_do_not_share_a_file(world: World, tmp_path: Path) -> None:
    with pytest.raises(NeedsOperator, match="another console uses"):
        Database(tmp_path / "console.db", "a test")


def test_a_transaction_that_fails_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = world.dump()
    monkeypatch.setattr("detector.console.fold.derive", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.fold.add([told("alerts", 0, alert(1, 1))])
    assert world.dump() == before
    assert world.fold.positions() == {}
    monkeypatch.undo()
    world.fold.add([told("alerts", 0, alert(1, 1))])
    assert world.book.queue(Filter()).count == 1


def test_a_disk_that_is_full_is_told_and_tried_again(world: World) -> None:
    with world.database.writing() as connection:
        connection.execute("PRAGMA max_page_count=1")
    bodies = [told("alerts", n, {**alert(n, n), "more": "x" * 50 + str(n)}) for n in range(500)]
    with pytest.raises(OutsideError, match="cannot be used now: database or disk is full"):
        world.fold.add(bodies)
    with world.database.writing() as connection:
        connection.execute("PRAGMA max_page_count=100000")
    assert world.fold.add(bodies) == 500
    assert world.book.queue(Filter()).count == 500

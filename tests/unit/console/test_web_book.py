"""The pages over the real book: what an analyst does, until the receipt is on the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from detector.console.reading import Told
from tests.unit.console.fake_book import bodies
from tests.unit.console.world import AccessAs, FixedClock, World, hidden
from tests.unit.console_world import World as Store
from tests.unit.console_world import receipt


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    made.fold.add(
        [
            Told("alerts", "alerts", 0, n, made.clock.time(), msgspec.json.encode(b))
            for n, b in enumerate(bodies())
        ]
    )
    made.fold.add(
        [
            Told("case_updates", "updates", 0, n, made.clock.time(), msgspec.json.encode(b))
            for n, b in enumerate(bodies("updates"))
        ]
    )
    yield made
    made.database.close()


def seen_by(store: Store, name: str = "ann") -> World:
    clock = FixedClock(store.clock.time())
    return World(book=store.book, clock=clock, access=AccessAs("analyst", clock, name=name))  # type: ignore[arg-type]


def first(world: World) -> str:
    return world.get("/cases").text.split('id="case-')[1].split('"')[0]


def test_every_case_can_be_opened_and_counts_agree(store: Store) -> None:
    world = seen_by(store)
    page = world.get("/cases").text
    ids = [part.split('"')[0] for part in page.split('id="case-')[1:]]
    assert f"<strong>{len(ids)}</strong> cases" in page
    for case_id in ids:
        case = world.get(f"/cases/{case_id}")
        assert case.status_code == 200
        assert "svg" in case.text


def test_an_answer_is_pending_and_then_applied(store: Store) -> None:
    world = seen_by(store)
    case_id = first(world)
    answer = world.act(case_id, "legitimate:travel", note="called")
    assert answer.status_code == 303, answer.text
    assert case_id not in answer.headers["location"].split("?")[0]
    page = world.get(f"/cases/{case_id}").text
    assert "pending" in page
    assert "travel" in page
    assert "called" in page
    assert case_id not in world.get("/cases").text
    world.act(first(world), "fraud")
    positions = len(store.topic.records)
    store.fold.add(
        [
            Told("receipts", "receipts", 0, n, store.clock.time(), msgspec.json.encode(receipt(n)))
            for n in range(positions)
        ]
    )
    page = world.get("/answers").text
    assert "0 pending" in page
    assert "labels fraud: 0 → 1" in page


def test_two_analysts_are_told_of_each_other(store: Store) -> None:
    ann, bob = seen_by(store), seen_by(store, "bob")
    case_id = first(ann)
    version = hidden(bob.get(f"/cases/{case_id}").text, "version")
    ann.act(case_id, "fraud")
    answer = bob.post("/acts", {"case": case_id, "version": version, "act": "legitimate:other"})
    assert answer.status_code == 409
    assert "ann" in answer.text
    assert len(store.topic.records) == 1


def test_undo_takes_the_answer_back(store: Store) -> None:
    world = seen_by(store)
    case_id = first(world)
    page = world.get(world.act(case_id, "fraud").headers["location"]).text
    world.post("/undo", {"done": hidden(page, "done")})
    assert case_id in world.get("/cases").text


def test_a_lead_erases_after_a_page_that_says_so(store: Store) -> None:
    analyst = seen_by(store)
    case_id = first(analyst)
    assert "Erase" not in analyst.get(f"/cases/{case_id}").text
    clock = FixedClock(store.clock.time())
    access = AccessAs("lead", clock, name="lea")
    lead = World(book=store.book, clock=clock, access=access)  # type: ignore[arg-type]
    pick = hidden(lead.get(f"/cases/{case_id}").text, "pick")
    assert analyst.post("/bulk", {"pick": pick, "act": "erase"}).status_code == 422
    page = lead.post("/bulk", {"pick": pick, "act": "erase"})
    assert "to be erased" in page.text
    assert not store.topic.records
    sent = lead.post("/bulk/send", {"command": hidden(page.text, "command")})
    assert "1 sent" in sent.text, sent.text
    assert b'"kind":"erase"' in (store.topic.records[0].value or b"")


def test_missed_frauds_are_matched(store: Store) -> None:
    world = seen_by(store)
    body = bodies()[0]
    rows = f"event_id\n{body['event_id']}\nunknown\n"
    page = world.post("/report", {"rows": rows})
    assert "<strong>1</strong> was alerted" in page.text
    data = {"report": hidden(page.text, "report")}
    assert world.post("/report/send", data).status_code == 200
    assert len(store.topic.records) == 2

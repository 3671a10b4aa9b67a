"""What analysts do on pages, and what they see of it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from detector.console.acts import NotAllowed
from detector.console.views import Command
from detector.console.web import Replica
from detector.core.alerts.score_record import iso
from detector.errors import NeedsOperator
from detector.ports import PartitionStatus, ShardFigures, Status
from tests.unit.console.fake_book import FakeBook
from tests.unit.console.world import ORIGIN, AccessAs, World, hidden


def last(world: World) -> Command:
    return world.book.commands[-1][1]


def test_the_state_says_how_each_shard_does() -> None:
    figures = {
        0: ShardFigures(
            warming_up=True, model_version=6, lag_records=1204, lag_s=75, alerts_per_day=20.2, budget_used=1.1
        )
    }
    parts = tuple(PartitionStatus(partition=n, state="running", reason="") for n in (0, 50))
    world = World(replicas=(Replica(url="a", status=Status(partitions=parts), figures=figures),))
    page = " ".join(re.sub(r"<[^>]*>", " ", world.get("/state").text).split())
    count = sum(alert["source"]["partition"] == 0 for alert in world.book.alerts)
    assert f"version 6, warming up {count} of 20.2 a day, budget used up 1,204 events, 1 min" in page
    assert "50 running – 0 –" in page  # of another partition nothing is known


def test_the_count_is_that_of_the_rows() -> None:
    world = World()
    page = world.get("/cases").text
    assert page.count("data-row") == len(world.ids())
    assert f"<strong>{len(world.ids())}</strong> cases" in page
    some = world.ids()[0]
    page = world.get("/cases", params={"q": some}).text
    assert page.count("data-row") == 1
    assert "<strong>1</strong> case" in page


def test_pages_of_the_queue_are_the_queue() -> None:
    world = World()
    one = world.book.alerts[0]
    world.book.alerts += [one | {"case_id": f"t-9-{n}", "alert_id": f"t-9-{n}"} for n in range(120)]
    seen: list[str] = []
    path = "/cases?severity=low"
    while path:
        page = world.get(path).text
        seen += [part.split('"')[0] for part in page.split('id="case-')[1:]]
        path = next(
            (p.split('href="')[1].split('"')[0] for p in page.split("<a") if 'rel="next"' in p), ""
        ).replace("&amp;", "&")
    assert seen == world.ids()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("q=nothing", "No case fits"),
        ("state=closed", "No case is in this state"),
        ("severity=%00&min=x&order=;", "cases"),
    ],
)
def test_an_empty_queue_says_what_helps(query: str, words: str) -> None:
    assert words in World().get(f"/cases?{query}").text


def test_a_done_queue_says_so() -> None:
    assert "the queue is done" in World(book=FakeBook(alerts=[])).get("/cases").text


def test_an_answer_opens_the_next_case() -> None:
    world = World()
    first, second = world.ids()[:2]
    answer = world.act(first, "fraud")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"/cases/{second}?")
    assert last(world).case_ids == (first,)
    assert last(world).detail == {"label": "fraud"}
    page = world.get(answer.headers["location"]).text
    assert "answered fraud" in page
    assert "Undo" in page


def test_the_queue_goes_on_within_its_filter() -> None:
    world = World()
    page = world.get("/cases?severity=medium").text
    link = page.split('id="case-')[1].split('href="')[1].split('"')[0].replace("&amp;", "&")
    form = world.get(link).text
    data = {name: hidden(form, name) for name in ("case", "version", "queue")}
    answer = world.post("/acts", data | {"act": "fraud"}, follow_redirects=False)
    assert "queue=severity%3Dmedium" in answer.headers["location"]


def test_the_last_answer_leads_back_to_the_queue() -> None:
    world = World()
    world.book.alerts = world.book.alerts[:1]
    answer = world.act(world.ids()[0], "fraud")
    assert answer.headers["location"].startswith("/cases?done=")
    assert "the queue is done" in world.get(answer.headers["location"]).text


@pytest.mark.parametrize(
    ("fields", "kind", "detail"),
    [
        ({"act": "legitimate:travel"}, "label", {"label": "legitimate", "code": "travel"}),
        ({"act": "close", "close_code": "duplicate"}, "close", {"code": "duplicate"}),
        ({"act": "assign", "assignee": "bob"}, "assign", {"assignee": "bob"}),
        ({"act": "take"}, "assign", {"assignee": "ann"}),
        ({"act": "note", "note": " called \n twice "}, "note", {"note": "called \n twice"}),
        ({"act": "retract"}, "retract_label", {}),
        ({"act": "unsnooze"}, "unsnooze", {}),
    ],
)
def test_each_act_is_its_record(fields: dict[str, str], kind: str, detail: dict[str, str]) -> None:
    world = World()
    world.act(world.ids()[0], **fields)
    assert last(world).kind == kind
    assert last(world).detail == detail


@pytest.mark.parametrize(
    ("last_event", "until"),
    [
        ("2025-01-05T11:59:54Z", "LATER"),  # of last week: seven days from now
        ("2095-01-05T11:59:54Z", "2095-01-12T11:59:54Z"),  # the service ends it by event time
    ],
)
def test_a_snooze_ends_days_after_now_or_the_last_event(last_event: str, until: str) -> None:
    world = World()
    world.book.alerts = [world.book.alerts[0] | {"event_time": last_event}]
    world.act(world.ids()[0], "snooze", days="7")
    now_s = world.clock.time()
    assert last(world).detail == {"until": iso(now_s + 7 * 86_400) if until == "LATER" else until}
    assert last(world).lasts == "7 days"  # which tells it from another snooze by the same form


@pytest.mark.parametrize(
    "fields",
    [
        {"act": ""},
        {"act": "erase"},
        {"act": "legitimate:whatever"},
        {"act": "close", "close_code": "x"},
        {"act": "snooze", "days": "30"},  # of a lead
        {"act": "snooze", "days": "-1"},
        {"act": "note", "note": "  "},
        {"act": "assign", "assignee": ""},
    ],
)
def test_an_unclear_form_says_what_is_missing(fields: dict[str, str]) -> None:
    world = World()
    answer = world.act(world.ids()[0], **fields)
    assert answer.status_code == 422
    assert "Nothing was sent" in answer.text
    assert not world.book.commands


def test_a_note_goes_with_an_answer() -> None:
    world = World()
    world.act(world.ids()[0], "fraud", note="customer called")
    assert [command.kind for _, command in world.book.commands] == ["label", "note"]
    assert len({act.feedback_id for act in world.book.done}) == 2


def test_alerts_can_be_answered_alone() -> None:
    world = World()
    case_id = world.ids()[0]
    alert = world.book.of(case_id)[0]["alert_id"]
    answer = world.act(case_id, "legitimate:travel", alert=[alert, "somebody-0-1"])
    assert (last(world).alert_ids, last(world).case_ids) == ((alert,), ())
    assert f"/cases/{case_id}?" in answer.headers["location"]  # the rest of the case waits


@pytest.mark.parametrize(
    "act", [{"act": "fraud"}, {"act": "snooze", "days": "1"}], ids=lambda act: act["act"]
)
def test_a_form_sent_twice_is_one_act(act: dict[str, str]) -> None:
    world = World()
    case_id = world.ids()[0]
    form = hidden(world.get(f"/cases/{case_id}").text, "form")
    data = {"form": form, "case": case_id, **act}
    for _ in range(2):
        world.clock.sleep(5.0)
        assert (
            world.http.post(
                "/acts", data=data, headers={"Origin": ORIGIN}, follow_redirects=False
            ).status_code
            == 303
        )
    assert len(world.book.done) == 1


def test_undo_takes_the_answer_back_within_ten_seconds() -> None:
    world = World()
    case_id = world.ids()[0]
    page = world.get(world.act(case_id, "fraud").headers["location"]).text
    done = hidden(page, "done")
    answer = world.post("/undo", {"done": done}, follow_redirects=False)
    assert answer.headers["location"].startswith(f"/cases/{case_id}")
    assert not world.book.done
    world.clock.sleep(11)
    assert "Undo" not in world.get(f"/help?done={done}").text


def test_somebody_else_cannot_undo_it() -> None:
    world = World()
    done = hidden(world.get(world.act(world.ids()[0], "fraud").headers["location"]).text, "done")
    other = World(book=world.book, access=AccessAs("lead", world.clock, name="bob"))
    assert other.post("/undo", {"done": done}).status_code == 409
    assert world.book.done


def test_who_answered_meanwhile_is_told_and_nothing_is_overwritten() -> None:
    world = World()
    case_id = world.ids()[0]
    form = {name: hidden(world.get(f"/cases/{case_id}").text, name) for name in ("form", "version", "case")}
    world.act(case_id, "legitimate:travel")
    answer = world.http.post("/acts", data=form | {"act": "fraud"}, headers={"Origin": ORIGIN})
    assert answer.status_code == 409
    assert "bob answered it fraud" in answer.text
    assert len(world.book.done) == 1
    again = form | {"act": "fraud", "anyway": "1", "form": hidden(answer.text, "form")}
    assert (
        world.http.post("/acts", data=again, headers={"Origin": ORIGIN}, follow_redirects=False).status_code
        == 303
    )
    assert len(world.book.done) == 2


def test_trouble_with_the_broker_is_a_sentence() -> None:
    world = World()
    world.book.fails = NeedsOperator("kafka.bootstrap_servers: nobody answers")
    answer = world.act(world.ids()[0], "fraud")
    assert answer.status_code == 503
    assert "nobody answers" in answer.text


# --- many cases ----------------------------------------------------------------------------------------


def preview(world: World, **fields: Any) -> Any:
    return world.post("/bulk", {"queue": ""} | fields)


def test_many_cases_are_previewed_and_then_sent_once() -> None:
    world = World()
    picks = [f"{row} {world.book.row(row).version}" for row in world.ids()[:3]]
    page = preview(world, pick=picks, act="close", close_code="duplicate")
    assert page.status_code == 200
    assert "3 cases to be closed: duplicate of another case" in page.text
    assert not world.book.commands
    data = {name: hidden(page.text, name) for name in ("form", "command", "queue")}
    for _ in range(2):
        sent = world.http.post("/bulk/send", data=data, headers={"Origin": ORIGIN})
        assert "3 sent" in sent.text
    assert [act.case_id for act in world.book.done] == [pick.split()[0] for pick in picks]


def test_a_whole_view_can_be_answered_up_to_the_limit_of_the_role() -> None:
    book = FakeBook()
    one = book.alerts[0]
    book.alerts += [one | {"case_id": f"t-9-{n}", "alert_id": f"t-9-{n}"} for n in range(120)]
    assert preview(World(book=book), all="1", act="fraud").status_code == 403
    page = preview(World(book=book, role="lead"), all="1", act="fraud")
    assert page.status_code == 200
    world = World(book=book, role="lead")
    data = {name: hidden(page.text, name) for name in ("form", "command", "queue")}
    world.http.post("/bulk/send", data=data, headers={"Origin": ORIGIN})
    assert len(last(world).case_ids) == len(set(last(world).case_ids)) > 120


def test_of_many_those_that_others_changed_are_told() -> None:
    world = World()
    picks = [f"{row} {world.book.row(row).version}" for row in world.ids()[:3]]
    world.act(world.ids()[0], "take")
    page = preview(world, pick=picks, act="fraud")
    data = {name: hidden(page.text, name) for name in ("form", "command", "queue")}
    sent = world.http.post("/bulk/send", data=data, headers={"Origin": ORIGIN})
    assert sent.status_code == 409
    assert "2 sent" in sent.text
    assert "1 not sent" in sent.text


def test_many_answers_are_undone_at_once() -> None:
    world = World()
    picks = [f"{row} {world.book.row(row).version}" for row in world.ids()[:3]]
    page = preview(world, pick=picks, act="fraud").text
    data = {name: hidden(page, name) for name in ("form", "command", "queue")}
    sent = world.http.post("/bulk/send", data=data, headers={"Origin": ORIGIN})
    answer = world.post("/undo", {"done": hidden(sent.text, "done")})
    assert "3 undone" in answer.text
    assert not world.book.done


def test_what_a_role_may_not_do_is_said() -> None:
    world = World()
    world.book.fails = NotAllowed("Only a lead may erase an entity.")
    answer = world.act(world.ids()[0], "fraud")
    assert answer.status_code == 403
    assert "Only a lead may erase an entity." in answer.text


def test_a_forged_preview_is_refused() -> None:
    world = World()
    assert world.post("/bulk/send", {"command": "x.y.z"}).status_code == 403
    assert preview(world, act="fraud").status_code == 422
    assert not world.book.commands


# --- reports -------------------------------------------------------------------------------------------


def test_missed_frauds_are_previewed_and_sent() -> None:
    world = World()
    known = world.book.alerts[0]
    rows = f"event_id\n{known['event_id']}\nunknown-1\n"
    page = world.post("/report", {"rows": rows})
    assert page.status_code == 200
    assert "2 reported" in page.text
    data = {name: hidden(page.text, name) for name in ("form", "report")}
    world.http.post("/report/send", data=data, headers={"Origin": ORIGIN})
    assert last(world).alert_ids == (known["alert_id"],)
    assert last(world).other == ({"event_id": "unknown-1"},)
    assert last(world).detail == {"label": "fraud"}


def test_an_uploaded_file_is_read() -> None:
    world = World()
    rows = "\ufeffpartition;offset\n0;12\n1;7\n".encode()
    answer = world.post("/report", {}, files={"file": ("c.csv", rows, "text/csv")})
    assert "2 reported" in answer.text


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("", "Write an event"),
        ("a,b\n1,2\n", "must name its columns"),
        ("partition,offset\nx,2\n", "Row 2: partition and offset must be whole numbers"),
        ("entity,time\nC1,yesterday\n", "Row 2: the time must look like"),
        ("event_id\n", "no row"),
        ("entity\nC1\n", "Row 2: needs an event_id"),
        ("event_id\n" + "1\n" * 10_001, "more than 10,000 rows"),
        ('event_id\n"' + "x" * 200_000 + '"\n', "cannot be read"),
    ],
)
def test_a_list_that_cannot_be_read_says_where_and_why(rows: str, words: str) -> None:
    world = World()
    answer = world.post("/report", {"rows": rows})
    assert answer.status_code == 422
    assert words in answer.text


def test_more_than_a_hundred_reports_are_for_a_lead() -> None:
    rows = "event_id\n" + "".join(f"{number}\n" for number in range(101))
    assert "you may report 100 at once" in World().post("/report", {"rows": rows}).text
    assert "101 reported" in World(role="lead").post("/report", {"rows": rows}).text


def test_an_entity_and_a_time_name_only_what_was_alerted() -> None:
    page = World().post("/report", {"entity": "C1", "time": "2025-01-05T11:59:54Z"})
    assert "cannot be sent" in page.text
    assert 'action="/report/send"' not in page.text


# --- what was done -------------------------------------------------------------------------------------


def test_answers_are_pending_then_applied_with_what_they_taught() -> None:
    world = World()
    world.act(world.ids()[0], "fraud")
    assert "Waits for the service" in world.get("/answers").text
    world.book.apply()
    page = world.get("/answers").text
    assert "1 applied" in page
    assert "fraud share: 0.1 → 0.2" in page
    world.book.apply("declined", "A senior analyst said legitimate.")
    assert "A senior analyst said legitimate." in world.get("/answers").text


def test_only_a_lead_sees_the_answers_of_others() -> None:
    assert World(role="analyst").get("/answers?actor=bob").status_code == 403
    assert World(role="lead").get("/answers?actor=bob").status_code == 200
    assert "<h3>bob" not in World(role="analyst").get("/answers").text


def test_the_audit_is_exported_with_inert_cells() -> None:
    world = World()
    world.act(world.ids()[0], "note", note="=HYPERLINK(1)")
    text = world.get("/audit.csv").text
    assert text.splitlines()[0].startswith("time,actor,kind")
    assert ",'=HYPERLINK(1)," in text
    assert len(text.splitlines()) == 2


def test_entities_are_masked_for_roles_that_shall_not_see_them() -> None:
    world = World(role="viewer", masked=("viewer",))
    world.book.alerts = [_with_entity(body, "4000123412341234") for body in world.book.alerts[:2]]
    for path in ("/cases", f"/cases/{world.ids()[0]}", "/audit", "/audit.csv"):
        assert "4000123412341234" not in world.get(path).text
    assert "40…34" in world.get("/cases").text


def _with_entity(body: dict[str, Any], value: str) -> dict[str, Any]:
    old = body["entity"]["value"]
    summary = body["summary"] | {"headline": body["summary"]["headline"].replace(old, value)}
    entities = body["entities"] | {body["entity"]["name"]: value}
    return body | {"entity": body["entity"] | {"value": value}, "entities": entities, "summary": summary}


def test_the_script_hears_of_changes() -> None:
    world = World()
    before = world.get("/fresh").json()["number"]
    world.act(world.ids()[0], "fraud")
    assert world.get("/fresh").json()["number"] > before


def test_keys_can_be_turned_off() -> None:
    world = World()
    assert 'data-keys="on"' in world.get("/cases").text
    world.post("/help", {"keys": "off"})
    assert 'data-keys="off"' in world.get("/cases").text


def test_an_unknown_case_and_page_say_what_helps() -> None:
    world = World()
    assert world.get("/cases/none-0-1").status_code == 404
    assert "search of the queue" in world.get("/cases/none-0-1").text
    assert "queue has all cases" in world.get("/nowhere").text

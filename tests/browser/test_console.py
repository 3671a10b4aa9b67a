"""The console in a real Chromium: accessible, by keyboard alone, without scripts, deaf to hostile texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from detector.config.tree import Console as Settings
from detector.console.access import Access
from detector.console.tokens import make_token
from detector.console.views import Command, EmbeddingPicture, Person, Spot
from detector.console.web import Replica, make_app
from detector.ports import PartitionStatus, ShardFigures, Status
from tests.browser.conftest import Served, serve
from tests.unit.console.fake_book import FakeBook, bodies
from tests.unit.console.test_web_hostile import TEXTS, hostile
from tests.unit.console.world import KEY, AccessAs, FixedClock, Lines

AXE = files("axe_playwright_python").joinpath("axe.min.js")
STATUS = Status(
    ready=True,
    reason="running",
    partitions=(PartitionStatus(partition=0, state="running", reason="up to date"),),
    warnings=("The feedback topic has no reader.",),
    drift=("amount has doubled since 14:05 UTC",),
)
FIGURES = {
    0: ShardFigures(
        warming_up=True, model_version=6, lag_records=1204, lag_s=75, alerts_per_day=20.2, budget_used=1.1
    )
}
MAP = EmbeddingPicture(
    clusters=[Spot(x=n % 7, y=n % 5, events=n + 1, rank=n % 3) for n in range(60)],
    alerts={n: (n % 11, n % 3) for n in range(3_000)},
    frauds={10_000: (3.0, 3.0)},
    said=["trustworthiness 0.86 (1: neighbours seen here are neighbours in truth)"],
)
PAGES = (
    "queue",
    "filtered",
    "empty",
    "case",
    "answered",
    "originals",
    "map",
    "answers",
    "report",
    "state",
    "audit",
    "help",
    "sorry",
)


def many(count: int) -> list[dict[str, Any]]:
    """So many cases, made of the real ones."""
    alerts = bodies()
    made = []
    for number in range(count):
        one = alerts[number % len(alerts)]
        id_ = f"transactions-0-{number}"
        entity = one["entity"] | {"value": f"C{number}"}
        made.append(
            one
            | {
                "alert_id": id_,
                "case_id": id_,
                "entity": entity,
                "related": [f"transactions-0-{number // 2}"],
            }
        )
    return made


def served(alerts: list[dict[str, Any]]) -> tuple[Served, Any]:
    book = FakeBook(alerts=alerts, updates=[])
    clock = FixedClock()
    replicas = [
        Replica(url="http://a:9464", status=STATUS, figures=FIGURES),
        Replica(url="http://b:9464", status=None, why="It is off."),
    ]
    access = AccessAs("lead", clock)
    app = make_app(
        book=book, access=access, key=KEY, clock=clock, log=Lines(), replicas=lambda: replicas,
        maps=lambda _: MAP,
    )  # fmt: skip
    url, stop = serve(app)
    return Served(url=url, book=book), stop


@pytest.fixture
def console() -> Iterator[Served]:
    made, stop = served(many(30))
    yield made
    stop()


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    """A console with answers, for tests that only look."""
    made, stop = served(many(60))
    for number, detail in enumerate(({"label": "fraud"}, {"label": "legitimate", "code": "travel"})):
        made.book.send(
            Person(name="ann", role="lead"),
            Command(kind="label", id=f"f{number}", case_ids=(f"transactions-0-{number}",), detail=detail),
        )
    made.book.apply()
    yield made
    stop()


def paths(page: str) -> str:
    return {
        "queue": "/cases",
        "filtered": "/cases?q=C1&severity=low",
        "empty": "/cases?q=nothing",
        "case": "/cases/transactions-0-5",
        "answered": "/cases/transactions-0-0",
        "originals": "/cases/transactions-0-5/originals",
        "map": "/cases/transactions-0-5/map",
        "sorry": "/cases/none",
    }.get(page, f"/{page}")


def violations(page: Any) -> list[str]:
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{one['id']}: {node['html'][:150]}" for one in found["violations"] for node in one["nodes"]]


def cut_off(page: Any) -> list[str]:
    """What does not fit on the screen's width, beside regions that scroll by themselves."""
    return page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth ? [] :
        [...document.querySelectorAll("main *, header *")].filter(e => !e.closest(".scroll, .hide") &&
        e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"""
    )


# 640 pixels are a window of 1280 at a zoom of 200 %, to CSS.
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 640, 390])
@pytest.mark.parametrize("scripts", [True, False])
def test_every_page_is_accessible(
    browser: Any, shared: Served, scheme: str, width: int, scripts: bool
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        java_script_enabled=True,
        bypass_csp=True,
    )
    if not scripts:  # axe is a script itself: ours alone is kept away
        context.route("**/console.js*", lambda route: route.abort())
    page = context.new_page()
    found = {}
    for name in PAGES:
        page.goto(shared.url + paths(name))
        found[name] = violations(page) + cut_off(page)
    context.close()
    assert {name: one for name, one in found.items() if one} == {}


@pytest.mark.parametrize("scripts", [True, False])
def test_nothing_is_refused_by_the_policy_and_nothing_asked_elsewhere(
    browser: Any, shared: Served, scripts: bool
) -> None:
    context = browser.new_context(java_script_enabled=scripts)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    for name in PAGES:
        page.goto(shared.url + paths(name))
    context.close()
    assert [one for one in said if "404" not in one] == []
    assert [url for url in asked if not url.startswith(shared.url)] == []


def test_twenty_cases_are_answered_with_two_keys_each_at_most(browser: Any, console: Served) -> None:
    page = browser.new_page()
    page.goto(f"{console.url}/cases")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/cases/**")
    for number in range(20):
        before = page.input_value('input[name="case"]')
        for key in ("f",) if number % 2 else ("l", "2"):
            page.keyboard.press(key)
        page.wait_for_function("id => document.querySelector('input[name=case]')?.value !== id", arg=before)
        assert console.book.row(before).answer == ("fraud" if number % 2 else "legitimate")
    assert len({act.case_id for act in console.book.done}) == 20
    page.close()


def test_keys_on_the_queue_and_a_case(browser: Any, console: Served) -> None:
    page = browser.new_page()
    page.goto(f"{console.url}/cases")
    for key in "jjxjx":
        page.keyboard.press(key)
    assert page.locator('[name="pick"]:checked').count() == 2
    box = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert box == "solid"  # where the focus is, is seen
    page.keyboard.press("f")
    page.wait_for_url("**/bulk")
    assert "2 cases to be answered fraud" in page.inner_text("h1")
    page.goto(f"{console.url}/cases/transactions-0-3")
    page.keyboard.press("n")
    page.keyboard.type("fl called")
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    page.wait_for_selector("#undo")
    assert [act.kind for act in console.book.done] == ["label", "note"]
    page.keyboard.press("u")
    page.wait_for_url("**/cases/transactions-0-3*")
    assert [act.kind for act in console.book.done] == ["note"]
    page.keyboard.press("?")
    page.wait_for_url("**/help")
    page.click("text=Turn them off")
    page.goto(f"{console.url}/cases/transactions-0-3")
    page.keyboard.press("f")
    assert [act.kind for act in console.book.done] == ["note"]
    page.close()


def test_a_new_alert_appears_by_itself_and_the_selection_stays(browser: Any, console: Served) -> None:
    page = browser.new_page()
    page.goto(f"{console.url}/cases")
    page.keyboard.press("j")
    page.keyboard.press("x")
    focused = page.evaluate("document.activeElement.id")
    console.book.alerts += [
        one | {"case_id": "new-0-1", "alert_id": "new-0-1", "priority": 1e9} for one in bodies()[:1]
    ]
    console.book.changes += 1
    page.wait_for_selector("#case-new-0-1", timeout=2500)
    assert "31" in page.inner_text(".count")
    assert page.locator('[name="pick"]:checked').count() == 1
    assert page.evaluate("document.activeElement.id") == focused
    page.close()


def test_a_case_that_others_changed_says_so_and_its_receipt_appears(browser: Any, console: Served) -> None:
    page = browser.new_page()
    page.goto(f"{console.url}/cases/transactions-0-3")
    page.fill("#note", "half a note")
    console.book.send(
        Person(name="bob", role="lead"),
        Command(kind="label", id="b", case_ids=("transactions-0-3",), detail={"label": "fraud"}),
    )
    page.wait_for_selector("#said >> text=news on this case", timeout=2500)
    console.book.apply()
    page.wait_for_selector("#acts >> text=applied", timeout=2500)
    assert page.input_value("#note") == "half a note"
    page.click("#answer >> text=Fraud")
    page.wait_for_selector("text=Somebody else was here")
    page.close()


def test_times_are_in_the_readers_zone_and_nothing_jumps(browser: Any, shared: Served) -> None:
    context = browser.new_context(timezone_id="Asia/Tokyo")
    page = context.new_page()
    page.goto(f"{shared.url}/cases")
    shown = page.locator("tbody time").first
    utc = shown.get_attribute("datetime") or ""
    hour = (int(utc[11:13]) + 9) % 24
    assert f" {hour:02d}:" in shown.inner_text()
    assert utc[11:16] in (shown.get_attribute("title") or "")
    moved = page.evaluate(
        """() => new Promise(done => {
            let sum = 0;
            const seen = list => { for (const one of list.getEntries()) sum += one.value; };
            new PerformanceObserver(seen).observe({type: "layout-shift", buffered: true});
            setTimeout(() => done(sum), 500);
        })"""
    )
    assert moved < 0.01
    context.close()


def test_without_scripts_a_case_is_answered_and_undone(browser: Any, console: Served) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{console.url}/cases")
    page.click("tbody .who a >> nth=0")
    case_id = page.input_value('input[name="case"]')
    page.click("text=travel or move")
    assert console.book.row(case_id).answer == "legitimate"
    page.click("text=Undo")
    assert console.book.row(case_id).answer is None
    page.check('[name="alert"] >> nth=0')
    page.click("#answer >> text=Fraud")
    assert len(console.book.done) == 1
    context.close()


def test_hostile_texts_stay_texts(browser: Any) -> None:
    alerts = []
    for number, text in enumerate(TEXTS.values()):
        id_ = f"transactions-0-{number}"
        body = bodies()[0] | {"alert_id": id_, "case_id": id_, "related": ["transactions-0-0"]}
        alerts.append(hostile(body, text.encode("utf-8", "replace").decode()))
    made, stop = served(alerts)
    context = browser.new_context()
    page = context.new_page()
    trouble: list[str] = []
    page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on(
        "request", lambda request: None if request.url.startswith(made.url) else trouble.append(request.url)
    )
    for path in ["/cases", "/answers", "/audit", *(f"/cases/{one['case_id']}" for one in alerts)]:
        page.goto(made.url + path)
        page.mouse.move(300, 200)
        assert (
            page.locator(
                "iframe, img, base, script:not([src='/static/console.js']), [onerror], [onload]"
            ).count()
            == 0
        )
        assert cut_off(page) == [], path
    context.close()
    stop()
    assert trouble == []


def test_a_case_is_printed_without_what_is_pressed(browser: Any, shared: Served) -> None:
    page = browser.new_page()
    page.goto(f"{shared.url}/cases/transactions-0-5")
    page.emulate_media(media="print")
    assert not page.is_visible("#answer")
    assert page.is_visible("#verdict")
    assert page.is_visible("svg.timeline")
    page.close()


def test_the_page_of_the_queue_is_small(browser: Any, shared: Served) -> None:
    page = browser.new_page()
    answer = page.goto(f"{shared.url}/cases")
    assert len(answer.body()) < 100_000
    assert re.search(r"<strong>\d+</strong> cases", answer.text())
    assert json.loads(page.request.get(f"{shared.url}/fresh").text())["number"] >= 0
    page.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_pages_that_follow_a_form_are_accessible(
    browser: Any, console: Served, scheme: str, width: int
) -> None:
    viewport = {"width": width, "height": 900}
    context = browser.new_context(viewport=viewport, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    found = {}
    page.goto(f"{console.url}/report")
    page.fill("textarea", f"event_id\n{console.book.alerts[0]['event_id']}\nunknown\n")
    page.click("text=See what is known")
    found["matched"] = violations(page) + cut_off(page)
    page.goto(f"{console.url}/report")
    page.click("text=See what is known")
    found["trouble"] = violations(page) + cut_off(page)
    page.goto(f"{console.url}/cases")
    page.check('[name="pick"] >> nth=0')
    page.click("#bulk >> text=Fraud")
    found["preview"] = violations(page) + cut_off(page)
    page.click("text=Confirm")
    found["sent"] = violations(page) + cut_off(page)
    page.goto(f"{console.url}/cases/transactions-0-7")
    bob = Person(name="bob", role="lead")
    detail = {"assignee": "bob"}
    console.book.send(bob, Command(kind="assign", id="b", case_ids=("transactions-0-7",), detail=detail))
    page.click("#answer >> text=Fraud")
    found["conflict"] = violations(page) + cut_off(page)
    page.click("text=Send mine all the same")
    found["undo"] = violations(page) + cut_off(page)
    assert "Undo" in page.inner_text("#said")
    context.close()
    assert {name: one for name, one in found.items() if one} == {}


def test_the_log_in_is_accessible_and_keeps_the_way(browser: Any, tmp_path: Path) -> None:
    tokens = tmp_path / "console.tokens"
    token = make_token(tokens, "ann", "analyst")
    clock = FixedClock()
    access = Access(Settings(mode="token", tokens=str(tokens)), KEY, clock)
    url, stop = serve(make_app(book=FakeBook(), access=access, key=KEY, clock=clock, log=Lines()))
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(f"{url}/audit?actor=ann")
    assert violations(page) == []
    page.keyboard.type(token)  # the field has the focus
    page.keyboard.press("Enter")
    page.wait_for_url("**/audit?actor=ann")
    page.click("text=Log out")
    page.wait_for_url("**/login")
    context.close()
    stop()

"""Who gets which page: every route, role and mode; forms of ours alone; headers on every answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from detector.config.tree import Console
from detector.console.access import Access
from detector.console.tokens import make_token
from detector.console.views import Role
from detector.console.web.app import ROUTES
from detector.console.web.guard import HEADERS
from detector.console.web.visit import BODY_BYTES_MAX
from tests.unit.console.world import KEY, ORIGIN, FixedClock, World, hidden

ROLES: tuple[Role, ...] = ("viewer", "analyst", "lead")
# Lowest role of each route; nobody: also who is not logged in.
LOWEST = {
    "GET /": "nobody",
    "GET /healthz": "nobody",
    "GET /login": "nobody",
    "POST /login": "nobody",
    "POST /logout": "nobody",
    "GET /cases": "viewer",
    "GET /fresh": "viewer",
    "GET /cases/{id}": "viewer",
    "GET /cases/{id}/originals": "viewer",
    "GET /cases/{id}/map": "viewer",
    "POST /acts": "analyst",
    "POST /undo": "analyst",
    "POST /bulk": "analyst",
    "POST /bulk/send": "analyst",
    "GET /answers": "viewer",
    "GET /audit": "viewer",
    "GET /audit.csv": "viewer",
    "GET /report": "analyst",
    "POST /report": "analyst",
    "POST /report/send": "analyst",
    "GET /state": "viewer",
    "GET /help": "viewer",
    "POST /help": "viewer",
}
PAGES = [route for route, role in LOWEST.items() if role != "nobody"]


def ask(world: World, route: str, *, form: bool = True) -> Any:
    method, path = route.split()
    path = path.replace("{id}", world.ids()[0])
    if method == "GET":
        return world.get(path, follow_redirects=False)
    if form:
        return world.post(path, {}, follow_redirects=False)
    return world.http.post(path, data={}, follow_redirects=False)


def with_tokens(folder: Path, clock: FixedClock, **roles: Role) -> tuple[World, dict[str, str]]:
    path = folder / "console.tokens"
    tokens = {name: make_token(path, name, role) for name, role in roles.items()}
    access = Access(Console(mode="token", tokens=str(path)), KEY, clock)
    return World(access=access, clock=clock), tokens


def test_the_table_has_every_route() -> None:
    found = {
        f"{method} {route.path}"
        for route in ROUTES
        if isinstance(route, Route)
        for method in (route.methods or {"GET"}) - {"HEAD"}
    }
    assert found == set(LOWEST)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", PAGES)
def test_a_page_is_for_its_role_and_those_above(route: str, role: Role) -> None:
    answer = ask(World(role=role), route)
    allowed = ROLES.index(role) >= ROLES.index(LOWEST[route])
    signed = route.endswith("/send")  # what an empty form sends is refused to all
    assert (answer.status_code == 403) is (not allowed or signed)
    if not allowed:
        assert "Nothing was done" in answer.text


@pytest.mark.parametrize("route", PAGES)
def test_without_a_session_nothing_is_shown(route: str, tmp_path: Path) -> None:
    world, _ = with_tokens(tmp_path, FixedClock(), ann="lead")
    answer = ask(world, route, form=False)
    if route.startswith("GET"):
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login?next=")
    else:
        assert answer.status_code == 401
    assert not world.book.commands


@pytest.mark.parametrize("route", PAGES)
def test_behind_a_proxy_a_request_without_a_token_is_refused(route: str) -> None:
    proxy = {"issuer": "https://id.example", "audience": "console", "jwks": "keys.json"}
    access = Access(Console(mode="proxy", proxy=proxy), KEY, FixedClock())
    answer = ask(World(access=access), route, form=False)
    assert answer.status_code == 401
    assert "proxy" in answer.text


@pytest.mark.parametrize("route", sorted(LOWEST))
def test_every_answer_has_the_headers(route: str) -> None:
    answer = ask(World(role="viewer"), route, form=False)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert answer.headers["cache-control"] == "no-store"
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_pages_have_nothing_inline() -> None:
    world = World()
    for path in ("/cases", f"/cases/{world.ids()[0]}", "/help", "/nowhere"):
        text = world.get(path).text
        assert "style=" not in text
        assert " onclick" not in text
        assert "<script>" not in text
        assert "http:" not in text.replace("http://127.0.0.1:9464", "")


# --- sessions ------------------------------------------------------------------------------------------


def log_in(world: World, token: str, **more: str) -> Any:
    return world.http.post(
        "/login", data={"token": token} | more, headers={"Origin": ORIGIN}, follow_redirects=False
    )


def test_a_token_opens_a_session_until_the_log_out(tmp_path: Path) -> None:
    world, tokens = with_tokens(tmp_path, FixedClock(), ann="analyst")
    answer = log_in(world, tokens["ann"], next="/audit?actor=ann")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/audit?actor=ann"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert tokens["ann"] not in cookie
    assert "ann, analyst" in world.get("/cases").text
    kept = dict(world.http.cookies)
    assert world.http.post("/logout", headers={"Origin": ORIGIN}, follow_redirects=False).status_code == 303
    world.http.cookies.update(kept)  # somebody has a copy
    assert world.get("/cases", follow_redirects=False).status_code == 303


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb"]
)
def test_a_log_in_leads_to_our_pages_only(back: str, tmp_path: Path) -> None:
    world, tokens = with_tokens(tmp_path, FixedClock(), ann="viewer")
    assert log_in(world, tokens["ann"], next=back).headers["location"] == "/cases"


def test_wrong_tokens_are_few_a_minute(tmp_path: Path) -> None:
    clock = FixedClock()
    world, tokens = with_tokens(tmp_path, clock, ann="viewer")
    codes = [log_in(world, "guess").status_code for _ in range(7)]
    assert codes[:5] == [401] * 5
    assert codes[-1] == 429
    assert log_in(world, tokens["ann"]).status_code == 429
    clock.sleep(61)
    assert log_in(world, tokens["ann"]).status_code == 303
    assert all("guess" not in str(line) for line in world.log.lines)


def test_who_acts_is_the_session_and_not_the_form(tmp_path: Path) -> None:
    world, tokens = with_tokens(tmp_path, FixedClock(), ann="analyst")
    log_in(world, tokens["ann"])
    world.act(world.ids()[0], "fraud", actor="bob", person="bob", role="lead")
    assert [person.name for person, _ in world.book.commands] == ["ann"]


def test_there_is_no_log_in_without_tokens() -> None:
    assert World().get("/login").status_code == 404


# --- forms ---------------------------------------------------------------------------------------------


def fraud(world: World) -> dict[str, str]:
    return {"case": world.ids()[0], "act": "fraud"}


def test_a_form_without_our_token_does_nothing() -> None:
    world = World()
    for token in (
        "",
        "x",
        "a.b.c",
        hidden(World(role="lead", book=world.book).get("/help").text, "form")[:-5] + "xxxxx",
    ):
        answer = world.http.post("/acts", data=fraud(world) | {"form": token}, headers={"Origin": ORIGIN})
        assert answer.status_code == 403
        assert "Nothing was done" in answer.text
    assert not world.book.commands


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_form_from_elsewhere_does_nothing(headers: dict[str, str]) -> None:
    world = World()
    answer = world.post("/acts", fraud(world), headers=headers)
    assert answer.status_code == 403
    assert not world.book.commands


def test_a_form_is_good_for_a_day() -> None:
    world = World()
    token = hidden(world.get("/help").text, "form")
    world.clock.sleep(25 * 3600)
    answer = world.http.post("/acts", data=fraud(world) | {"form": token}, headers={"Origin": ORIGIN})
    assert answer.status_code == 403
    assert not world.book.commands


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9470", "127.0.0.1.evil.example", "", "[", "localhost@evil.example"]
)
def test_a_foreign_host_is_refused(host: str) -> None:
    answer = World().get("/cases", headers={"Host": host})
    assert answer.status_code == 421
    assert "card" not in answer.text


def test_bodies_are_bounded() -> None:
    world = World()
    answer = world.post("/report", {"rows": "x" * (BODY_BYTES_MAX + 1)})
    assert answer.status_code == 413
    many = {f"field{number}": "1" for number in range(5000)}
    assert world.http.post("/acts", data=many, headers={"Origin": ORIGIN}).status_code in (400, 403, 413)
    assert not world.book.commands

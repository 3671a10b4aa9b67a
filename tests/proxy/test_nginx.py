"""The console behind a real nginx, in mode proxy: who gets where, whatever a browser sends.

    browser ─ cookie ─> nginx ─ auth_request ─> provider: the token of the cookie
                          └─ X-Forwarded-Access-Token ─> console

The configuration of nginx is that of docs/how-to/console.md. Skipped where there is no nginx.
"""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from detector.config.tree import Console, ConsoleProxy
from detector.console.access import Access
from detector.console.oidc import Oidc
from detector.console.serving import Server
from detector.console.web.app import make_app
from detector.shell.clock import SystemClock
from tests.kafka.broker import free_ports
from tests.kafka.waiting import poll_until
from tests.unit.console.fake_book import FakeBook
from tests.unit.console.test_web_access import LOWEST, ROLES
from tests.unit.console.world import KEY, Lines

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx")
HEADER = "X-Forwarded-Access-Token"
GUIDE = Path(__file__).parents[2] / "docs/how-to/console.md"
OURS, OTHER = (RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}) for _ in range(2))
NOBODY = ("nothing", "forged", "expired", "wrong audience", "wrong issuer", "unsigned", "no role")


def token(key: RSAKey = OURS, **changes: Any) -> str:
    claims = {
        "iss": "https://idp", "aud": "console", "exp": int(time.time()) + 300, "preferred_username": "ann",
        "roles": ["viewer"], **changes,
    }  # fmt: skip
    return jwt.encode({"alg": "RS256", "kid": "one"}, claims, key)


def unsigned() -> str:
    return "eyJhbGciOiJub25lIn0." + token(roles=["lead"]).split(".")[1] + "."


TOKENS = {
    **{role: token(roles=[role], preferred_username=role) for role in ROLES},
    "forged": token(OTHER, roles=["lead"]),
    "expired": token(roles=["lead"], exp=int(time.time()) - 60),
    "wrong audience": token(roles=["lead"], aud="another"),
    "wrong issuer": token(roles=["lead"], iss="https://idp.example"),
    "unsigned": unsigned(),
    "no role": token(roles=["admin"]),
    "nothing": "",
}
"""What the provider has for each cookie."""


class Provider(BaseHTTPRequestHandler):
    """Says which token belongs to the cookie of a request, as an identity provider's helper does."""

    def do_GET(self) -> None:
        cookie = self.headers.get("Cookie", "").partition("who=")[2].replace("_", " ")
        self.send_response(200)
        self.send_header("X-Auth-Request-Access-Token", TOKENS.get(cookie, ""))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Behind:
    """A console behind nginx."""

    port: int  # of nginx
    direct: int  # of the console
    book: FakeBook

    def ask(
        self, who: str, method: str, path: str, *, headers: Mapping[str, str] | None = None,
        body: Mapping[str, str] | bytes | None = None, port: int | None = None, twice: str = "",
    ) -> tuple[int, str]:  # fmt: skip
        """Send a request through nginx, as somebody's browser does; status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=20)
        given = {"Host": f"console.test:{self.port}", "Cookie": f"who={who.replace(' ', '_')}"} | dict(
            headers or {}
        )
        raw = body if isinstance(body, bytes | None) else urlencode(body).encode()
        try:
            connection.putrequest(method, path, skip_host=True)
            for name, value in given.items():
                connection.putheader(name, value)
            if twice:
                connection.putheader(HEADER, twice)
                connection.putheader(HEADER, twice)
            if raw is not None:
                connection.putheader("Content-Type", "application/x-www-form-urlencoded")
                connection.putheader("Content-Length", str(len(raw)))
            connection.endheaders(raw)
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def form(self, who: str) -> str:
        """The hidden field of a page of theirs."""
        found = re.search(r'name="form" value="([^"]*)"', self.ask(who, "GET", "/help")[1])
        return found[1] if found else "none"

    @property
    def origin(self) -> dict[str, str]:
        return {"Origin": f"http://console.test:{self.port}"}


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    folder = tmp_path_factory.mktemp("nginx")
    port, direct = free_ports(2)
    provider = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    proxy = ConsoleProxy(issuer="https://idp", audience="console", jwks="keys.json", header=HEADER)
    settings = Console(
        address=f"127.0.0.1:{direct}", mode="proxy", proxy=proxy, origin=f"http://console.test:{port}"
    )
    clock, book = SystemClock(), FakeBook()
    keys = msgspec.json.encode({"keys": [OURS.as_dict(private=False)]})
    access = Access(settings, KEY, clock, tokens=Oidc(proxy, lambda: keys, clock, Lines()))
    server = Server(make_app(book=book, access=access, key=KEY, clock=clock, log=Lines()), settings.address)
    server.start()
    file = folder / "nginx.conf"
    file.write_text(configuration(folder, port, direct, provider.server_address[1]))
    assert NGINX is not None
    nginx = subprocess.Popen([NGINX, "-c", str(file), "-p", str(folder)], stderr=subprocess.DEVNULL)
    try:
        made = Behind(port=port, direct=direct, book=book)
        assert poll_until(lambda: _answers(made), timeout_s=30), (folder / "error.log").read_text()
        yield made
    finally:
        nginx.terminate()
        nginx.wait(20)
        server.stop()
        provider.shutdown()


def _answers(made: Behind) -> bool:
    try:
        return made.ask("lead", "GET", "/healthz")[0] == 200
    except OSError:
        return False


def configuration(folder: Path, port: int, console: int, provider: int) -> str:
    """The guide's server, with this test's addresses."""
    (server,) = re.findall(r"```nginx\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    for there, here in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        ("server_name console.example.com;", "server_name console.test;"),
        ("http://127.0.0.1:4180/oauth2/auth", f"http://127.0.0.1:{provider}/"),
        ("http://127.0.0.1:9470", f"http://127.0.0.1:{console}"),
    ):
        assert there in server, there
        server = server.replace(there, here)
    temporary = "".join(
        f"{name}_temp_path {folder};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
access_log off;
{temporary}
{server}
}}
"""


def ask_route(behind: Behind, who: str, route: str, *, form: bool = True) -> int:
    method, path = route.split()
    path = path.replace("{id}", next(iter(behind.book.alerts))["case_id"])
    if method == "GET":
        return behind.ask(who, "GET", path)[0]
    body = {"form": behind.form(who)} if form else {}
    return behind.ask(who, "POST", path, headers=behind.origin, body=body)[0]


@pytest.mark.parametrize("route", [route for route, role in LOWEST.items() if role != "nobody"])
def test_each_route_is_for_its_role_and_those_above(behind: Behind, route: str) -> None:
    lowest = ROLES.index(LOWEST[route])  # type: ignore[arg-type]
    for rank, role in enumerate(ROLES):
        status = ask_route(behind, role, route)
        signed = route.endswith("/send")  # what an empty form sends is refused to all
        assert (status == 403) is (rank < lowest or signed), (role, status)
        assert status in (200, 303, 403, 404, 409, 422), (role, status)
        if route.startswith("POST"):
            assert ask_route(behind, role, route, form=False) == 403
    for who in NOBODY:
        assert ask_route(behind, who, route) == 401, who


def test_log_in_is_the_proxys(behind: Behind) -> None:
    assert behind.ask("lead", "GET", "/login")[0] == 404
    assert behind.ask("lead", "POST", "/logout", headers=behind.origin, body={})[0] == 404


@pytest.mark.parametrize(
    "name",
    [HEADER, HEADER.lower(), "X_Forwarded_Access_Token", "x-forwarded_access-token", "Authorization",
     "X-Auth-Request-Access-Token", "X-Forwarded-User", "X-Forwarded-Preferred-Username"],
)  # fmt: skip
@pytest.mark.parametrize("who", ["viewer", "nothing"])
def test_a_header_of_the_browser_changes_nobody(behind: Behind, name: str, who: str) -> None:
    value = TOKENS["lead"] if "Token" in name.title() or name == "Authorization" else "lead"
    for written in (value, f"Bearer {value}"):
        status, page = behind.ask(who, "GET", "/cases", headers={name: written})
        assert status == (200 if who == "viewer" else 401)
        assert "viewer, viewer" in page or who == "nothing"
        assert "lead, lead" not in page
    assert behind.ask("nothing", "GET", "/cases", twice=TOKENS["lead"])[0] == 401


def test_other_headers_of_proxies_change_nothing(behind: Behind) -> None:
    for headers in (
        {"X-Forwarded-For": "10.0.0.1"}, {"X-Forwarded-Host": "evil.example"}, {"X-Forwarded-Proto": "https"},
        {"Forwarded": "for=10.0.0.1;host=evil.example"}, {"X-Original-URL": "/audit.csv"},
        {"X-Rewrite-URL": "/audit.csv"}, {"X-HTTP-Method-Override": "POST"},
    ):  # fmt: skip
        status, page = behind.ask("viewer", "GET", "/help", headers=headers)
        assert status == 200
        assert "evil" not in page
        assert "<title>Help" in page or "Keys" in page


def test_an_act_of_another_site_is_refused(behind: Behind) -> None:
    before, case = len(behind.book.commands), behind.book.alerts[0]["case_id"]
    body = {"form": behind.form("analyst"), "case": case, "act": "fraud", "version": "0"}
    wrong = [
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": f"http://127.0.0.1:{behind.direct}"},
        behind.origin | {"Sec-Fetch-Site": "cross-site"}, {"Referer": "https://evil.example/console.test"},
    ]  # fmt: skip
    for headers in wrong:
        assert behind.ask("analyst", "POST", "/acts", headers=headers, body=body)[0] == 403, headers
    assert behind.ask("lead", "POST", "/acts", headers=behind.origin, body=body)[0] == 403  # another's form
    assert len(behind.book.commands) == before
    assert behind.ask("analyst", "POST", "/acts", headers=behind.origin, body=body)[0] in (303, 409)
    person, _ = behind.book.commands[-1]
    assert person.name == "analyst"


def test_a_foreign_host_and_a_large_body_are_refused(behind: Behind) -> None:
    assert behind.ask("viewer", "GET", "/cases", headers={"Host": "evil.example"})[0] == 421
    large = b"x" * (6 << 20)
    assert behind.ask("analyst", "POST", "/report", headers=behind.origin, body=large)[0] == 413


def test_who_reaches_the_console_past_the_proxy_needs_a_token_all_the_same(behind: Behind) -> None:
    for name in ("nothing", "lead"):
        assert behind.ask(name, "GET", "/cases", port=behind.direct)[0] == 401
    given = {HEADER: TOKENS["forged"]}
    assert behind.ask("lead", "GET", "/cases", port=behind.direct, headers=given)[0] == 401

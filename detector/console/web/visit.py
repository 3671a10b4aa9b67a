"""One request: who asks, what the form says, and the ways to answer it.

    request ─> host, size (`guard`) ─> person ─> role ─> form: body, Origin, token ─> the page's own function

`page` makes the endpoint, so no page can leave one of these out. The functions of pages are plain, run on
threads, and take a `Visit`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import jinja2
from itsdangerous import BadData, URLSafeTimedSerializer
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from detector.console.access import Access
from detector.console.acts import NotAllowed
from detector.console.tokens import ROLES
from detector.console.views import ANALYST_BULK_MAX, BULK_MAX, Book, EmbeddingPicture, Person, Role
from detector.console.web import addresses, drawing, evidence, text
from detector.console.web.text import seen
from detector.errors import DetectorError
from detector.ports import Log, ShardFigures, Status

BODY_BYTES_MAX = 4 << 20  # of a form, with its file
FIELDS_MAX = 1000  # of a form
DONE_S = 60.0  # how long a page says what was done before it
KEYS_COOKIE = "console_keys"


@dataclass(frozen=True, kw_only=True, slots=True)
class Replica:
    """What a running service says of itself."""

    url: str
    status: Status | None
    figures: Mapping[int, ShardFigures] = field(default_factory=dict)  # by partition
    why: str = ""  # why there is no status


@dataclass(frozen=True, kw_only=True)
class Console:
    """What all pages share."""

    book: Book
    access: Access
    templates: jinja2.Environment
    signer: URLSafeTimedSerializer
    replicas: Callable[[], Sequence[Replica]]
    maps: Callable[[int], EmbeddingPicture] | None
    masked: frozenset[Role]  # roles that see no entity whole
    log: Log
    now_s: Callable[[], float] = time.time


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One request of a known person."""

    console: Console
    request: Request
    person: Person
    form: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    form_id: str = ""  # of the form that was sent: what it does is done once

    @property
    def book(self) -> Book:
        return self.console.book

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    def one(self, name: str, chars_max: int = 1024) -> str:
        """Give the value of a form's field, without spaces around it; empty if it has none."""
        values = self.form.get(name) or ("",)
        return values[-1].strip()[:chars_max]

    def may(self, role: Role) -> bool:
        """Whether the person's role is at least this one."""
        return ROLES.index(self.person.role) >= ROLES.index(role)

    @property
    def bulk_max(self) -> int:
        """How many cases or records the person may act on at once."""
        return BULK_MAX if self.may("lead") else ANALYST_BULK_MAX

    def render(
        self, template: str, *, status: int = 200, hidden: Sequence[str] = (), **values: Any
    ) -> Response:
        """Make a page. `hidden` are entities' values, which are masked for some roles."""
        masked = self.person.role in self.console.masked
        context = {
            "visit": self,
            "person": self.person,
            "mode": self.console.access.mode,
            "path": self.request.url.path,
            "new_form": lambda: self.console.access.new_form(self.person),
            "now_s": self.console.now_s(),
            "fresh": self.book.fresh(),
            "keys_on": self.request.cookies.get(KEYS_COOKIE) != "off",
            "done": self.done(),
            "hidden": sorted({one for one in hidden if one}, key=len, reverse=True) if masked else (),
        }
        page = self.console.templates.get_template(template).render(context | values)
        return HTMLResponse(page, status)

    def sorry(self, status: int, title: str, *sentences: str) -> Response:
        """Make a page that says what went wrong, and what helps."""
        return self.render("sorry.html", status=status, title=title, sentences=sentences)

    # --- what a page remembers for the next one, signed ----------------------------------------------------

    def sign(self, kind: str, value: object) -> str:
        """Sign a value for this person, so that it comes back unchanged."""
        return str(self.console.signer.dumps([kind, self.person.name, value]))

    def signed(self, kind: str, text: str, age_s: float) -> Any:
        """Give a signed value; None if it is not ours, is too old, or another person's."""
        try:
            found = self.console.signer.loads(text, max_age=int(age_s))
        except BadData:
            return None
        same = isinstance(found, list) and found[:2] == [kind, self.person.name]
        return found[2] if same else None

    def redirect(self, path: str, query: str = "", done: Mapping[str, Any] | None = None) -> Response:
        """Go on to another page, which may say what was done."""
        if done is not None:
            query += ("&" if query else "") + urlencode({"done": self.sign("done", dict(done))})
        return RedirectResponse(f"{path}?{query}" if query else path, 303)

    def done(self) -> Mapping[str, Any] | None:
        """What was done before this page, with the token that takes it back."""
        token = self.query.get("done", "")
        found = self.signed("done", token, DONE_S) if token else None
        return None if found is None else found | {"token": token}


NOT_OURS = (
    "Its page was older than a day, another person's, or not of this console. Nothing was done.",
    "Open the page again, and do it there.",
)

Handler = Callable[[Visit], Response]


def page(handler: Handler, *, role: Role = "viewer", form: bool = False) -> Callable[[Request], Any]:
    """Make an endpoint of a page's function, for people of at least `role`; `form`: for our forms."""

    async def endpoint(request: Request) -> Response:
        console: Console = request.app.state.console
        headers = headers_of(request)
        person = await run_in_threadpool(console.access.authenticate, headers, request.cookies)
        if person is None:
            return _not_logged_in(console, request)
        visit = Visit(console=console, request=request, person=person)
        if not visit.may(role):
            sentence = f"This needs the role {role}; yours is {person.role}. Nothing was done."
            return await run_in_threadpool(visit.sorry, 403, "Not allowed", sentence)
        if form:
            values, files = await read_form(request)
            visit = replace(visit, form=values, files=files)
            form_id = console.access.read_form(person, visit.one("form", 4096))
            if form_id is None or not console.access.origin_ok(headers):
                return await run_in_threadpool(visit.sorry, 403, "This form was not sent", *NOT_OURS)
            visit = replace(visit, form_id=form_id)
        try:
            return await run_in_threadpool(handler, visit)
        except NotAllowed as error:
            return await run_in_threadpool(visit.sorry, 403, "Not allowed", str(error), "Nothing was sent.")
        except DetectorError as error:
            console.log.warning("console_trouble", path=request.url.path, error=str(error))
            return await run_in_threadpool(
                visit.sorry,
                503,
                "That did not work",
                str(error),
                "Nothing is known to be sent. Try again in a moment.",
            )

    return endpoint


def _not_logged_in(console: Console, request: Request) -> Response:
    if console.access.mode == "proxy":
        raise HTTPException(
            401, "The proxy sent no valid token for you. Log in there, then open this page again."
        )
    if request.method != "GET":
        raise HTTPException(
            401, "You are not logged in any more. Nothing was done. Log in, then do it again."
        )
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?{urlencode({'next': back})}", 303)


async def read_form(request: Request) -> tuple[dict[str, list[str]], dict[str, bytes]]:
    """Read a form: its values, and the bytes of its files."""
    sent: FormData
    async with request.form(max_files=1, max_fields=FIELDS_MAX, max_part_size=BODY_BYTES_MAX) as sent:
        values: dict[str, list[str]] = {}
        files: dict[str, bytes] = {}
        for name, value in sent.multi_items():
            if isinstance(value, UploadFile):
                files[name] = await value.read()
            else:
                values.setdefault(name, []).append(value)
    return values, files


def headers_of(request: Request) -> dict[str, str]:
    """Headers by their names in lower case, without those that come twice: which one counts is not clear."""
    found: dict[str, str] = {}
    twice: set[str] = set()
    for raw, value in request.headers.raw:
        name = raw.decode("latin-1").lower()
        twice |= {name} & set(found)
        found[name] = value.decode("latin-1")
    return {name: value for name, value in found.items() if name not in twice}


def environment() -> jinja2.Environment:
    """Make the templates' environment: all is escaped, and every text goes through `seen`."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("detector.console.web"),
        autoescape=True,
        finalize=_finalized,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "exact": text.exact,
        "number": text.number,
        "when": text.when,
        "age": text.age,
        "words": text.words,
        "short": lambda value, most=60: seen(value, most),
    }
    made.globals |= {
        "amount": text.amount,
        "share": text.share,
        "drawing": drawing,
        "points": evidence.points,
        "address": addresses.address,
        "case_address": addresses.case_path,
        "queue_path": addresses.queue_path,
        "originals_path": lambda id_: f"{addresses.case_path(id_).unescape()}/originals",
        "map_path": lambda id_: f"{addresses.case_path(id_).unescape()}/map",
        "queried": addresses.queried,
        "visit_iso": lambda time_s: "" if time_s is None else text.iso(time_s),
    }
    return made


@jinja2.pass_context
def _finalized(context: jinja2.runtime.Context, value: object) -> object:
    hidden = context.get("hidden", ())
    if isinstance(value, Markup):
        return value
    text = seen(value)
    for one in hidden:
        text = text.replace(one, masked(one))
    return text


def masked(value: str) -> str:
    """Hide the middle of an entity's value."""
    return f"{value[:2]}…{value[-2:]}" if len(value) > 6 else "…"

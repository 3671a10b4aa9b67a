"""The application: its routes, and what becomes of errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from itsdangerous import URLSafeTimedSerializer
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from detector.console.access import Access
from detector.console.views import Book, EmbeddingPicture, Role
from detector.console.web import about, answers, bulk, case, map_, queue, report, session
from detector.console.web.guard import Guard
from detector.console.web.visit import Console, Replica, environment, page
from detector.ports import Clock, Log


def make_app(
    *,
    book: Book,
    access: Access,
    key: bytes,
    clock: Clock,
    log: Log,
    replicas: Callable[[], Sequence[Replica]] = tuple,
    maps: Callable[[int], EmbeddingPicture] | None = None,
    masked: Iterable[Role] = (),
) -> Starlette:
    """Make the application.

    Parameters
    ----------
    book
        What pages show, and what takes acts.
    access
        Who somebody is.
    key
        Signs what pages hand on to the next one.
    replicas
        Asks the services for their state; may be slow.
    maps
        Gives the map of a partition's embedding; quick. None: there are no maps.
    masked
        Roles whose pages show entities masked.
    """
    app = Starlette(
        routes=ROUTES,
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={HTTPException: _refused, 500: _broken},
    )
    app.state.console = Console(
        book=book,
        access=access,
        templates=environment(),
        signer=URLSafeTimedSerializer(key, salt="detector.console.web"),
        replicas=replicas,
        maps=maps,
        masked=frozenset(masked),
        log=log,
        now_s=clock.time,
    )
    return app


async def _alive(request: Request) -> Response:
    """Answer that the process lives; for probes."""
    return PlainTextResponse("ok\n")


async def _first(request: Request) -> Response:
    return RedirectResponse("/cases", 303)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentences = {
        404: "There is no such page. Its address may be old; the queue has all cases.",
        405: "That page is not used this way.",
    }
    return await _plain(request, error.status_code, sentences.get(error.status_code, error.detail))


async def _broken(request: Request, error: Exception) -> Response:
    console: Console = request.app.state.console
    console.log.error("console_bug", path=request.url.path, error=repr(error))
    return await _plain(
        request, 500, "This is a mistake of the console. It is in its log; nothing is known to be sent."
    )


async def _plain(request: Request, status: int, sentence: str) -> Response:
    """Make a page for somebody who may not be known."""
    console: Console = request.app.state.console
    template = console.templates.get_template("plain.html")
    text = await run_in_threadpool(template.render, title="That did not work", sentence=sentence)
    return HTMLResponse(text, status)


ROUTES = [
    Route("/", _first),
    Route("/healthz", _alive),
    Mount("/static", StaticFiles(packages=[("detector.console.web", "static")])),
    Route("/login", session.login_page, methods=["GET"]),
    Route("/login", session.log_in, methods=["POST"]),
    Route("/logout", session.log_out, methods=["POST"]),
    Route("/cases", page(queue.queue)),
    Route("/fresh", page(queue.fresh)),
    Route("/cases/{id}", page(case.case)),
    Route("/cases/{id}/originals", page(case.originals)),
    Route("/cases/{id}/map", page(map_.of_case)),
    Route("/acts", page(case.act, role="analyst", form=True), methods=["POST"]),
    Route("/undo", page(case.undo, role="analyst", form=True), methods=["POST"]),
    Route("/bulk", page(bulk.preview, role="analyst", form=True), methods=["POST"]),
    Route("/bulk/send", page(bulk.send, role="analyst", form=True), methods=["POST"]),
    Route("/answers", page(answers.mine)),
    Route("/audit", page(answers.audit)),
    Route("/audit.csv", page(answers.audit_csv)),
    Route("/report", page(report.ask, role="analyst"), methods=["GET"]),
    Route("/report", page(report.preview, role="analyst", form=True), methods=["POST"]),
    Route("/report/send", page(report.send, role="analyst", form=True), methods=["POST"]),
    Route("/state", page(about.state)),
    Route("/help", page(about.help_), methods=["GET"]),
    Route("/help", page(about.keys, form=True), methods=["POST"]),
]

"""Log-in and log-out. In mode none there is neither; in mode proxy both are the proxy's."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from detector.console.web.visit import Console, headers_of, read_form
from detector.errors import NeedsOperator

TOKEN_CHARS_MAX = 4096


async def login_page(request: Request) -> Response:
    """Show the form for a token."""
    return await _form(request, 200, _back(request.query_params.get("next", "")))


async def log_in(request: Request) -> Response:
    """Open a session."""
    console: Console = request.app.state.console
    _only_with_tokens(console)
    if not console.access.origin_ok(headers_of(request)):
        raise HTTPException(
            403, "The log-in came from another site. Open the console itself, and log in there."
        )
    values, _ = await read_form(request)
    token, back = values.get("token", [""])[-1].strip(), _back(values.get("next", [""])[-1])
    peer = request.client.host if request.client else ""
    if not console.access.may_try(peer):
        console.log.warning("console_log_in_refused", peer=peer, why="too many tries")
        return await _form(
            request, 429, back, "Too many wrong tokens came from your address. Wait a minute, then try again."
        )
    cookie = await run_in_threadpool(console.access.login, token[:TOKEN_CHARS_MAX], peer)
    if cookie is None:
        console.log.warning("console_log_in_refused", peer=peer, why="wrong token")
        return await _form(
            request, 401, back, "Nobody has this token. Whoever runs the console can make a new one."
        )
    answer = RedirectResponse(back, 303)
    answer.set_cookie(
        console.access.cookie,
        cookie,
        max_age=console.access.session_s,
        secure=console.access.secure,
        httponly=True,
        samesite="lax",  # strict: a link in a chat would always ask for the token again
        path="/",
    )
    return answer


async def log_out(request: Request) -> Response:
    """End the session. Needs no form of ours: at worst somebody has to log in again."""
    console: Console = request.app.state.console
    _only_with_tokens(console)
    if not console.access.origin_ok(headers_of(request)):
        raise HTTPException(403, "The log-out came from another site. Nothing was done.")
    try:
        await run_in_threadpool(console.access.logout, request.cookies)
    except NeedsOperator as error:
        console.log.error("console_log_out", error=str(error))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(
        console.access.cookie, path="/", secure=console.access.secure, httponly=True, samesite="lax"
    )
    return answer


def _only_with_tokens(console: Console) -> None:
    if console.access.mode != "token":
        raise HTTPException(404)


async def _form(request: Request, status: int, back: str, trouble: str = "") -> Response:
    console: Console = request.app.state.console
    _only_with_tokens(console)
    template = console.templates.get_template("login.html")
    text = await run_in_threadpool(template.render, back=back, trouble=trouble)
    return HTMLResponse(text, status)


def _back(text: str) -> str:
    """Give the page to go on to: one of ours, whatever the address says."""
    ours = (
        text.startswith("/")
        and not text.startswith(("//", "/\\"))
        and text.isprintable()
        and len(text) < 2000
    )
    return text if ours else "/cases"

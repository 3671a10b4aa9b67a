"""Pages about the service and the console itself."""

from __future__ import annotations

from starlette.responses import Response

from detector.console.web.acts import CLOSED, DAY_S, LEGITIMATE
from detector.console.web.visit import KEYS_COOKIE, Visit
from detector.ports import ShardFigures


def state(visit: Visit) -> Response:
    """Show what the services say of themselves."""
    number, age_s = visit.book.fresh()
    published = visit.book.published(visit.console.now_s() - DAY_S)
    return visit.render(
        "state.html",
        replicas=visit.console.replicas(),
        number=number,
        age_s=age_s,
        published=published,
        unknown=ShardFigures(),
    )


def help_(visit: Visit) -> Response:
    """Show the keys, the roles and the words."""
    return visit.render("help.html", legitimate=LEGITIMATE, closed=CLOSED)


def keys(visit: Visit) -> Response:
    """Turn keys of one letter on or off, for this browser."""
    answer = visit.redirect("/help")
    value = "off" if visit.one("keys") == "off" else "on"
    secure = visit.console.access.secure
    answer.set_cookie(
        KEYS_COOKIE, value, max_age=365 * 86_400, httponly=True, samesite="lax", secure=secure, path="/"
    )
    return answer

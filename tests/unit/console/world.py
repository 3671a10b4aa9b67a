"""A console over a book in memory, and a browser without a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html import unescape
from typing import Any

from starlette.testclient import TestClient

from detector.config.tree import Console
from detector.console.access import Access
from detector.console.views import EmbeddingPicture, Filter, Person, Role
from detector.console.web import Replica, make_app
from tests.unit.console.fake_book import NOW_S, FakeBook

KEY = b"k" * 32
ORIGIN = "http://127.0.0.1:9470"


@dataclass
class FixedClock:
    """A clock that a test moves."""

    now_s: float = NOW_S

    def time(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass
class Lines:
    """A log in memory."""

    lines: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)

    def __getattr__(self, level: str) -> Any:
        return lambda event, **values: self.lines.append((level, event, values))


class AccessAs(Access):
    """Access of mode none, for a person of any role."""

    def __init__(self, role: Role, clock: FixedClock, name: str = "ann") -> None:
        super().__init__(Console(), KEY, clock)
        self._local = Person(name=name, role=role)


@dataclass
class World:
    """The console as one person sees it."""

    role: Role = "analyst"
    book: FakeBook = field(default_factory=FakeBook)
    clock: FixedClock = field(default_factory=FixedClock)
    masked: tuple[Role, ...] = ()
    replicas: tuple[Replica, ...] = ()
    maps: Callable[[int], EmbeddingPicture] | None = None
    access: Access | None = None
    log: Lines = field(default_factory=Lines)

    def __post_init__(self) -> None:
        app = make_app(
            book=self.book,
            access=self.access or AccessAs(self.role, self.clock),
            key=KEY,
            clock=self.clock,
            log=self.log,
            replicas=lambda: self.replicas,
            maps=self.maps,
            masked=self.masked,
        )
        self.http = TestClient(app, base_url=ORIGIN, raise_server_exceptions=True)

    def get(self, path: str, **more: Any) -> Any:
        return self.http.get(path, **more)

    def post(self, path: str, data: dict[str, Any], *, page: str = "/help", **more: Any) -> Any:
        """Send a form with the token that a page of ours has."""
        token = hidden(self.get(page).text, "form")
        headers = {"Origin": ORIGIN} | more.pop("headers", {})
        return self.http.post(path, data={"form": token} | data, headers=headers, **more)

    def act(self, case_id: str, act: str, **more: Any) -> Any:
        """Answer a case, as its page does."""
        version = hidden(self.get(f"/cases/{case_id}").text, "version")
        data = {"case": case_id, "version": version, "act": act} | more
        return self.post("/acts", data, follow_redirects=False)

    def ids(self) -> list[str]:
        return [row.id for row in self.book.rows(Filter())]


def hidden(page: str, name: str) -> str:
    """Value of a hidden field of a page."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, name
    return unescape(found[1])


__all__ = ["AccessAs", "FakeBook", "FixedClock", "Lines", "World", "hidden"]

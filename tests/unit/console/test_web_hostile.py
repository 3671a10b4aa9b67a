"""Texts that try to command a browser or deceive a reader, in every field of every page."""

from __future__ import annotations

import csv
import io
import unicodedata
from html.parser import HTMLParser
from typing import Any

import pytest

from detector.console.web.text import seen
from tests.unit.console.fake_book import FakeBook, bodies
from tests.unit.console.world import World

TEXTS = {
    "script": "<script>alert(1)</script>",
    "attribute": '" onmouseover="alert(1)" x=\'',
    "image": "<img src=x onerror=alert(1)>",
    "svg": "</text></svg><svg onload=alert(1)>",
    "title": "</title></textarea></style><iframe src=javascript:alert(1)>",
    "link": "javascript:alert(1)",
    "template": "{{7*7}}{% raw %} ${x} %s",
    "comment": "<!-- --!><base href=//evil.example>",
    "bidi": "pay\u202egnp.exe\u202c\u2066x\u2069\u200b\ufeff\u061c",
    "control": "a\x00b\x1b[31m\x07\x7f\x85\u2028c\td",
    "lines": "a\r\nSet-Cookie: x=1\r\n\r\nbody",
    "zalgo": "Z" + "\u0301" * 100,
    "blank": "a\u3164\u115f\u2800b\u00a0c\u00add\U000e0041",
    "surrogate": "a\ud800b",
    "formula": "=cmd|'/c calc'!A1",
    "long": "x" * 300_000,
    "css": "url(//evil.example/x) expression(alert(1)) }</style>",
    "entity": "&lt;b&gt; &#x3c;script&#x3e;",
}
ALLOWED_SIGNS = "\n"  # of our own templates


class Structure(HTMLParser):
    """Elements with the names of their attributes, and every address and text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.kinds: set[tuple[str, tuple[str, ...]]] = set()
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.kinds.add((tag, tuple(sorted(name for name, _ in attrs))))
        for name, value in attrs:
            if name in ("href", "src", "action", "formaction"):
                self.addresses.append(value or "")
            if name != "value":  # it is sent back as it came
                self.texts.append(value or "")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data[:50]!r}")

    def handle_decl(self, decl: str) -> None:
        assert decl == "doctype html"


def replaced(value: Any, text: str) -> Any:
    """Put a text in place of every text that an event can choose."""
    if isinstance(value, dict):
        return {key: replaced(one, text) for key, one in value.items()}
    if isinstance(value, list):
        return [replaced(one, text) for one in value]
    return text if isinstance(value, str) else value


KEPT = ("alert_id", "case_id", "severity", "event_time", "source", "model", "recent", "related", "selection")


def hostile(body: dict[str, Any], text: str) -> dict[str, Any]:
    made: dict[str, Any] = replaced(body, text)
    made |= {name: body[name] for name in KEPT if name in body}
    made["score"] = body["score"]
    made["event"] = (body["event"] or {}) | {text[:100]: text, "ok": text}
    made["entities"] = made["entities"] | {text[:60]: text}
    return made


def world(text: str | None) -> World:
    alerts = bodies()[:6]
    for one in alerts[1:]:
        one["related"] = [alerts[0]["case_id"]]
    alerts[0]["related"] = [alerts[1]["case_id"]]
    if text is not None:
        alerts = [hostile(body, text) for body in alerts]
    made = World(role="lead", book=FakeBook(alerts=alerts, updates=[]))
    made.act(made.ids()[1], "note", note="plain" if text is None else text[:4000] or "x")
    made.act(made.ids()[1], "assign", assignee="bob" if text is None else text[:200])
    made.act(made.ids()[1], "fraud")
    made.book.apply(text="plain" if text is None else text)
    return made


def pages(made: World, text: str) -> dict[str, str]:
    case_id = next(body["case_id"] for body in made.book.alerts)
    answered = made.ids()[0]
    all_ = {
        "queue": made.get("/cases", params={"state": "all", "q": ""}).text,
        "searched": made.get("/cases", params={"q": text[:200]}).text,
        "case": made.get(f"/cases/{case_id}").text,
        "answered": made.get(f"/cases/{made.book.done[0].case_id}").text,
        "originals": made.get(f"/cases/{case_id}/originals").text,
        "answers": made.get("/answers").text,
        "of": made.get("/answers", params={"actor": text[:200]}).text,
        "audit": made.get("/audit", params={"actor": "", "entity": text[:100]}).text,
        "all acts": made.get("/audit").text,
        "report": made.post("/report", {"event_id": text[:1000]}).text,
        "unread": made.post("/report", {"time": text[:1000], "entity": text[:50]}).text,
        "preview": made.post(
            "/bulk", {"pick": f"{answered} 1", "act": "assign", "assignee": text[:200]}
        ).text,
        "nowhere": made.get("/cases/x%0d%0aSet-Cookie").text,
    }
    return all_


@pytest.fixture(scope="module")
def plain() -> set[tuple[str, tuple[str, ...]]]:
    """Elements and attributes of all pages with harmless texts."""
    made = world(None)
    return {kind for page in pages(made, "C1").values() for kind in Structure(page).kinds}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_stays_a_text(name: str, plain: set[tuple[str, tuple[str, ...]]]) -> None:
    text = TEXTS[name]
    made = world(text.encode("utf-8", "replace").decode())
    for where, page in pages(made, text.encode("utf-8", "replace").decode()).items():
        found = Structure(page)
        assert found.kinds <= plain | OPTIONAL, where
        for address in found.addresses:
            assert address.startswith(("/", "#", "?")), (where, address[:80])
            assert not address.startswith("//"), (where, address[:80])
        for shown in found.texts:
            assert not [sign for sign in shown if unseen(sign)], (where, shown[:80])
        assert len(page) < 250_000, where


# What some pages have only now and then.
OPTIONAL = {
    ("p", ("class", "role")),
    ("option", ("selected", "value")),
    ("li", ()),
}


def unseen(sign: str) -> bool:
    return sign not in ALLOWED_SIGNS and unicodedata.category(sign) in (
        "Cc",
        "Cf",
        "Co",
        "Cs",
        "Cn",
        "Zl",
        "Zp",
    )


@pytest.mark.parametrize("name", TEXTS)
def test_the_export_is_one_inert_row_an_act(name: str) -> None:
    made = world(TEXTS[name].encode("utf-8", "replace").decode())
    rows = list(csv.reader(io.StringIO(made.get("/audit.csv").text)))
    assert len(rows) == 1 + len(made.book.done)
    for row in rows:
        for value in row:
            assert not value.startswith(("=", "+", "-", "@", "\t", "\r"))
            assert not [sign for sign in value if unseen(sign)]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_seen_shows_every_sign(text: str) -> None:
    shown = seen(text)
    assert not [
        sign for sign in shown if unicodedata.category(sign) in ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp")
    ]
    assert len(shown) < 20_000


def test_two_texts_that_look_alike_are_shown_apart() -> None:
    pairs = [
        ("C1", "C1\u200b"),
        ("C 1", "C\u00a01"),
        ("C1", "C1\ufe0f"),
        ("C1", "\u2066C1"),
        ("C1", "C1\u3164"),
    ]
    for one, other in pairs:
        assert seen(one) != seen(other)
    for name in ("Łódź", "東京", "Ñandú", "مرحبا", "🙂"):
        assert seen(name) == name

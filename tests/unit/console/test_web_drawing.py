"""Drawings: attributes alone, within their borders, with words for who cannot see them."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import cast
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from detector.console.views import Alert, CaseView
from detector.console.web.drawing import NODES_MAX, Point, expected_range, graph, timeline
from detector.console.web.evidence import events, known_frauds
from detector.core.codes import FACTS

numbers = st.floats(allow_nan=True, allow_infinity=True)
finite = st.floats(min_value=-1e12, max_value=1e12)


def inside(drawn: str) -> ElementTree.Element:
    """Parse a drawing; all its places are within it."""
    svg = ElementTree.fromstring(drawn)
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    for node in svg.iter():
        assert "style" not in node.attrib
        for name, most in (
            ("x", width),
            ("cx", width),
            ("x1", width),
            ("y", height),
            ("cy", height),
            ("y2", height),
        ):
            if name in node.attrib:
                assert -1 <= float(node.attrib[name]) <= most + 1, (node.tag, node.attrib)
        assert "nan" not in str(node.attrib.get("d", ""))
    return svg


@given(numbers, st.none() | numbers, st.none() | st.tuples(finite, finite).map(sorted))
def test_a_range_is_drawn_or_left_out(
    observed: float, expected: float | None, usual: list[float] | None
) -> None:
    drawn = expected_range(observed, expected, usual, "EUR")
    if drawn:
        assert inside(drawn).attrib["aria-label"].startswith("observed")


@given(
    st.lists(st.tuples(st.floats(0, 4e9), numbers), max_size=60),
    st.none() | st.tuples(finite, finite).map(sorted),
)
def test_a_timeline_is_within_its_borders(
    events: list[tuple[float, float]], usual: list[float] | None
) -> None:
    drawn = timeline([Point(time_s=t, amount=a, kind="alert", name="<x>") for t, a in events], usual, "EUR")
    if drawn:
        inside(drawn)


def test_an_amount_far_above_leaves_the_others_visible() -> None:
    points = [Point(time_s=float(n), amount=10.0 + n, kind="earlier", name="") for n in range(9)]
    drawn = timeline([*points, Point(time_s=10.0, amount=50_000.0, kind="alert", name="")], (5.0, 30.0), None)
    heights = {float(y) for y in re.findall(r'cy="([\d.]+)"', drawn)}
    assert max(heights) - min(heights) > 5


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), max_size=30))
def test_a_graph_shows_what_is_two_steps_away(links: list[tuple[str, str]]) -> None:
    near = {b for a, b in links if a == "a"} | {a for a, b in links if b == "a"}
    near |= {b for a, b in links if a in near} | {a for a, b in links if b in near}
    drawn = graph("a", links, {}, {})
    if near - {"a"}:
        assert len(inside(drawn).findall("a")) == len(near | {"a"})
    else:
        assert not drawn


def test_a_graph_is_bounded() -> None:
    drawn = graph("a", [("a", f"n{number}") for number in range(500)], {}, {"n1": "fraud"})
    assert len(inside(drawn).findall("a")) == NODES_MAX


def test_known_frauds_are_confirmed_ones() -> None:
    facts = [{"code": code, "detail": f"of {code}"} for code in FACTS]
    view = SimpleNamespace(alerts=[Alert(id="t-0-1", published_s=0.0, body={"facts": facts})])
    assert known_frauds(cast(CaseView, view)) == ["of frauds_there", "of near_fraud"]


def test_earlier_events_say_what_they_met_beside_the_newest_alert() -> None:
    def alert(offset: int, *recent: dict[str, object]) -> Alert:
        source, score = {"partition": 0, "offset": offset}, {"raw": 3.0}
        body = {"source": source, "score": score, "entities": {"card": "c", "shop": "s"}, "recent": recent}
        return Alert(id=f"t-0-{offset}", published_s=float(offset), body=body)

    then = {"offset": 3, "time": "2026-01-04T08:12:09Z", "amount": 1.0, "score": 1.0}
    older = alert(5, {**then, "same": [], "new": ["shop"]})
    newest = alert(9, {**then, "same": ["shop", "channel"], "new": ["shop"]})
    found = {
        one.offset: one.met
        for one in events(cast(CaseView, SimpleNamespace(alerts=[newest, older], updates=[])))
    }
    assert found == {9: "", 5: "", 3: "same shop (then new)"}

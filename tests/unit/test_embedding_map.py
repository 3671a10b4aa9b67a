"""Maps of the embedding: the plane, how steady it is, what it tells and what it keeps to itself."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from detector.core.model.projection import (
    continuity,
    principal,
    steadied,
    trustworthiness,
)
from detector.core.shard.embedded import Embedded
from detector.core.shard.embedding_map import Anchors, EmbeddingMap, Wanted, embedding_map, shared_clusters
from detector.rendering.maps import Method, layout_of
from detector.rendering.maps.page import page
from detector.rendering.maps.svg import read_before, svg
from tests.unit.test_shard import part, restored, undisturbed

RNG = np.random.default_rng(4)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


@cache
def embedded(back: int = 0) -> Embedded:
    """Of the last checkpoint of a run with labels, or of one so many before it."""
    snapshots = undisturbed().snapshots
    (_, state), _ = restored(snapshots[sorted(snapshots)[-1 - back]])
    return Embedded.of_state(part(), state)


@cache
def drawn(back: int = 0) -> tuple[EmbeddingMap, Anchors]:
    return embedding_map(embedded(back), Wanted(), name=f"00000/{back}")


# --- the plane ---------------------------------------------------------------------------------------------


def test_a_plane_is_found_and_its_signs_do_not_hang_on_those_of_the_points() -> None:
    points = RNG.normal(size=(200, 2)) @ np.array([[3.0, 0.0, 4.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
    weights = np.ones(len(points), dtype=np.int64)
    plane = principal(points, weights)
    assert sum(plane.explained) == pytest.approx(1.0)
    assert plane.axes @ plane.axes.T == pytest.approx(np.eye(2), abs=1e-9)
    turned = principal(-points, weights)
    assert turned.axes == pytest.approx(plane.axes)
    assert trustworthiness(points, plane.place(points)) == pytest.approx(1.0)
    assert continuity(points, plane.place(points)) == pytest.approx(1.0)


@pytest.mark.parametrize(("method", "package"), [("tsne", "sklearn"), ("umap", "umap")])
def test_other_methods_keep_groups_apart_and_give_the_same_twice(method: Method, package: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # umap says that Tensorflow is not installed
        pytest.importorskip(package)
    _, place = layout_of(method)
    assert place is not None
    points = RNG.normal(size=(60, 8)).astype(np.float32)
    points[30:] += 50.0
    placed = place(points)
    assert placed.shape == (60, 2)
    assert placed.mean(axis=0) == pytest.approx(0.0, abs=1e-9)
    assert trustworthiness(points, placed) > 0.8
    near = np.linalg.norm(placed[:, None] - placed, axis=2) + 1e9 * np.eye(60)
    assert ((near.argmin(axis=1) < 30) == (np.arange(60) < 30)).all()
    assert (place(points) == placed).all()
    # Few points, and those of an encoder that has collapsed.
    for few in (points[:1], points[:3], np.ones((40, 8), dtype=np.float32)):
        assert np.isfinite(place(few)).all()


def test_heavy_points_count_more() -> None:
    points = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, -2.0]])
    assert abs(principal(points, np.array([99, 99, 1, 1])).axes[0, 0]) == pytest.approx(1.0)
    assert abs(principal(points, np.array([1, 1, 1, 1])).axes[0, 2]) == pytest.approx(1.0)


def test_a_turned_and_shifted_layout_is_brought_back() -> None:
    placed, weights = RNG.normal(size=(40, 2)), RNG.integers(1, 9, 40)
    turn = np.array([[0.0, 1.0], [1.0, 0.0]])  # a reflection
    motion = steadied(placed @ turn + 7.0, placed, weights)
    assert motion.move(placed @ turn + 7.0) == pytest.approx(placed)


def test_a_layout_by_chance_is_not_trusted() -> None:
    points = RNG.normal(size=(300, 8))
    assert trustworthiness(points, RNG.normal(size=(300, 2))) == pytest.approx(0.5, abs=0.05)
    assert continuity(points, RNG.normal(size=(300, 2))) == pytest.approx(0.5, abs=0.05)


def test_few_points_are_not_judged() -> None:
    assert np.isnan(trustworthiness(np.zeros((3, 4)), np.zeros((3, 2))))


# --- the map -----------------------------------------------------------------------------------------------


def test_the_same_checkpoint_gives_the_same_bytes() -> None:
    again, _ = embedding_map(embedded(), Wanted(), name="00000/0")
    assert page(again, "t-0") == page(drawn()[0], "t-0")


def test_shared_clusters_move_less_with_the_turn_than_without() -> None:
    later, _ = embedding_map(embedded(), Wanted(), before=drawn(1)[1])
    moved = later.steadied
    assert moved is not None
    assert moved.shared >= 3
    assert moved.shift < moved.unturned


def test_a_version_shares_all_clusters_with_itself() -> None:
    here, there = shared_clusters(drawn()[1], drawn()[1])
    assert here.tolist() == there.tolist()
    assert len(here) >= 0.9 * len(drawn()[0].clusters)
    again, _ = embedding_map(embedded(), Wanted(), before=drawn()[1])
    assert again.steadied is not None
    assert again.steadied.shift == pytest.approx(0.0, abs=1e-3)


def test_what_is_drawn_is_what_is_known() -> None:
    shard, (made, _) = embedded(), drawn()
    clusters = shard.space.clusters
    assert [one.events for one in made.clusters] == clusters.sizes.tolist()
    assert made.alerts
    assert made.frauds
    assert all("alerted" in dot.said for dot in made.alerts)
    assert {dot.offset for dot in made.frauds} >= set(shard.frauds.offsets.tolist())
    ages = [one.age_s for one in made.clusters if one.age_s == one.age_s]
    assert all(age >= 0.0 and age % 3600.0 == 0.0 for age in ages)  # not the time of one event


def test_alerts_of_a_period_and_the_path_of_an_entity() -> None:
    shard = embedded()
    times = sorted(dot.time for dot in drawn()[0].alerts if dot.time is not None)
    middle = times[len(times) // 2]
    entity = int(shard.buffer.main(shard.buffer.stored()[-1:])[0])
    made, _ = embedding_map(shard, Wanted(start=middle, entity=entity, shown_as="customer x"))
    assert 0 < len(made.alerts) < len(times)
    assert all(dot.time is not None and dot.time >= middle for dot in made.alerts)
    path = [dot.time for dot in made.path if dot.time is not None]
    assert path
    assert path == sorted(path)


def test_values_are_told_only_of_clusters_of_ten_entities() -> None:
    shown = [one for one in drawn()[0].clusters if one.usual]
    assert shown
    assert all(one.entities >= 10 for one in shown)
    few = replace(shown[0], entities=9, usual=None)
    text = page(replace(drawn()[0], clusters=[few]), "t-0")
    assert "not shown: fewer than 10" in text
    assert "amount" not in text


# --- the page ----------------------------------------------------------------------------------------------


class Checked(HTMLParser):
    """Collects what could ask somebody else or run."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe", "object", "image", "use"):
            self.bad.append(tag)
        self.bad += [name for name, _ in attrs if name in ("src", "href", "xlink:href") or name[:2] == "on"]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_runs_nothing_asks_nobody_and_is_well_formed() -> None:
    attack = "<script>alert(1)</script>&<img src='http://x'>"
    hostile = replace(drawn()[0], path=drawn()[0].alerts[:3], path_of=attack, people=attack, name=attack)
    for text in (page(drawn()[0], "t-0"), page(hostile, attack), svg(hostile, attack)):
        checked = Checked()
        checked.feed(text)
        assert checked.bad == []
        assert checked.open == []
        assert "url(" not in text


def test_the_tables_have_everything_that_the_picture_has() -> None:
    made, text = drawn()[0], page(drawn()[0], "t-0")
    below = text.split("</svg>")[1]
    assert below.count("<tr>") == len(made.clusters) + len(made.alerts) + len(made.frauds) + 3
    assert f"trustworthiness {made.trustworthiness:.2f}" in below
    assert f"<td>t-0-{made.alerts[0].offset}</td>" in below


def test_a_map_tells_where_its_clusters_lie() -> None:
    for text in (page(drawn()[0], "t-0"), svg(drawn()[0], "t-0")):
        assert read_before(text) == ("00000/0", [(one.x, one.y) for one in drawn()[0].clusters])
    for wrong in (
        "",
        "<svg></svg>",
        '<metadata>{"clusters":[[1]]}</metadata>',
        "<metadata>{nonsense}</metadata>",
    ):
        assert read_before(wrong) is None
    assert read_before('<metadata>{"checkpoint":"x","clusters":[[1,NaN]]}</metadata>') is None


def test_events_far_out_are_drawn_at_the_edge() -> None:
    far = replace(drawn()[0].alerts[0], x=1e6)
    text = svg(replace(drawn()[0], alerts=[far]), "t-0")
    assert "it lies farther out" in text
    assert max(float(x) for x in re.findall(r'cx="([\d.]+)"', text)) < 960
    json.dumps(text)

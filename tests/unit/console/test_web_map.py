"""The alerts of a case on the map of the embedding."""

from __future__ import annotations

import threading
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import msgspec
import pytest

from detector.config.tree import Config
from detector.console.views import EmbeddingPicture, Spot
from detector.console.web.map_ import HEIGHT, WIDTH, draw
from detector.testing import FakeClock, MemoryLog
from detector.wiring.console import maps as drawing
from detector.wiring.console.maps import DRAWING, FAILED_S, Maps
from tests.unit.console.world import World

SHOWN = EmbeddingPicture(
    made_s=1.0,
    clusters=(Spot(x=0.0, y=0.0, events=900, rank=0), Spot(x=2.0, y=1.0, events=3, rank=2)),
    alerts={7: (0.5, 0.5), 8: (1e9, -1e9)},
    frauds={9: (1.0, 1.0)},
    said=("trustworthiness <0.9>",),
)


def test_a_cases_own_alerts_are_numbered_and_all_are_within_the_picture() -> None:
    drawn = draw(SHOWN, [7, 9, 100])
    assert drawn.count('class="cluster') == 2
    assert drawn.count('class="alerted"') == 2
    assert drawn.count('class="other"') == 1
    assert drawn.count('class="confirmed"') == 0
    assert ">1</text>" in drawn
    assert ">2</text>" in drawn
    for mark in drawn.split(' d="M')[1:]:
        x, y = (float(part) for part in mark.split("m")[0].split())
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT


def test_one_cluster_alone_is_drawn() -> None:
    assert "cluster" in draw(EmbeddingPicture(clusters=SHOWN.clusters[:1]), [])


def test_the_page_of_a_case_says_which_alerts_are_on_the_map() -> None:
    world = World(maps=lambda _: SHOWN)
    id_ = world.ids()[0]
    assert f"/cases/{id_}/map" in world.get(f"/cases/{id_}").text
    page = world.get(f"/cases/{id_}/map").text
    assert "trustworthiness &lt;0.9&gt;" in page
    assert "are not on the map" in page


def test_without_a_map_the_page_says_why() -> None:
    world = World(maps=lambda _: EmbeddingPicture(why="It is being drawn."))
    assert "It is being drawn." in world.get(f"/cases/{world.ids()[0]}/map").text
    plain = World()
    assert "console.map_every" in plain.get(f"/cases/{plain.ids()[0]}/map").text
    assert "/map" not in plain.get(f"/cases/{plain.ids()[0]}").text
    assert plain.get("/cases/none/map").status_code == 404


class Draws:
    """The process that draws, of which a test says what it writes."""

    def __init__(self, body: dict[str, Any] | None) -> None:
        self.body, self.commands = body, list[list[str]]()
        self.may = threading.Event()

    def __call__(self, command: list[str], **_: Any) -> CompletedProcess[bytes]:
        assert self.may.wait(30)
        self.commands.append(command)
        if self.body is None:
            return CompletedProcess(command, 3, b"", b"detector: there is no checkpoint\n")
        Path(command[-1]).write_bytes(msgspec.json.encode(self.body))
        return CompletedProcess(command, 0, b"", b"")


def maps(monkeypatch: pytest.MonkeyPatch, draws: Draws, clock: FakeClock) -> Maps:
    monkeypatch.setattr(drawing.subprocess, "run", draws)
    event = {"id": "id", "time": {"path": "t"}, "fields": [{"name": "a", "path": "a", "type": "numeric"}]}
    config = Config.model_validate({"event": event, "console": {"map_every": "1h"}})
    return Maps(config, {}, clock, MemoryLog())


def drawn(asked: Maps) -> EmbeddingPicture:
    """What is there once nothing is being drawn."""
    with asked._drawing:
        return asked(1)


def test_a_map_is_drawn_once_within_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    body = {
        "clusters": [{"x": x, "y": 1.0, "events": 5, "age_s": age_s} for x, age_s in ((0.0, None), (1.0, 9))],
        "alerts": [{"x": 0.5, "y": 0.5, "offset": 7}], "frauds": [], "said": ["a"], "newest": 5.0,
    }  # fmt: skip
    draws, clock = Draws(body), FakeClock()
    asked = maps(monkeypatch, draws, clock)
    assert asked(1).why == DRAWING
    assert asked(1).why == DRAWING  # not twice at once
    draws.may.set()
    found = drawn(asked)
    assert (found.why, found.alerts, len(found.clusters)) == ("", {7: (0.5, 0.5)}, 2)
    assert asked(1) is found
    assert len(draws.commands) == 1
    assert "--partition" in draws.commands[0]
    clock.sleep(3601)
    assert asked(1) is found  # until the next one is there
    drawn(asked)
    assert len(draws.commands) == 2


@pytest.mark.parametrize("body", [None, {"clusters": "none"}, {}])
def test_a_map_that_cannot_be_drawn_is_told_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, body: dict[str, Any] | None
) -> None:
    draws, clock = Draws(body), FakeClock()
    draws.may.set()
    asked = maps(monkeypatch, draws, clock)
    asked(1)
    why = drawn(asked).why
    assert why == "there is no checkpoint" if body is None else "cannot be read" in why
    clock.sleep(FAILED_S + 1)
    asked(1)
    drawn(asked)
    assert len(draws.commands) == 2


def test_a_map_for_which_there_is_no_room_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> str:
        raise OSError(28, "No space left on device")

    asked = maps(monkeypatch, Draws(None), FakeClock())
    monkeypatch.setattr(drawing.tempfile, "TemporaryDirectory", full)
    asked(1)
    assert "No space left" in drawn(asked).why

"""The dashboards: as the code writes them, every metric on a panel, no query impossible, no overlap."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.promql import SERIES, labels_of, names_in
from tests.unit.test_rules import ALERTS, RUNBOOKS, recorded

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
UNITS = {"s", "short", "bytes", "percentunit", "eps", "bool_yes_no"}
# What Grafana puts in place of its variables.
FILLED = {"$job": "detector", "$instance": ".*", "$__rate_interval": "1m"}


@pytest.fixture(scope="module")
def build() -> Iterator[Any]:
    """The script, with the modules beside it."""
    path, modules = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    yield import_module("build")
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


FILES = sorted(FOLDER.glob("*.json"))
BOARDS: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in FILES}
PANELS = [
    pytest.param(panel, id=f"{name}:{panel['title']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
]


def filled(query: str) -> str:
    for variable, value in FILLED.items():
        query = query.replace(variable, value)
    assert "$" not in query
    return query


def queries() -> list[str]:
    return [filled(target["expr"]) for panel in PANELS for target in panel.values[0]["targets"]]


def test_the_files_are_what_the_code_writes(build: Any) -> None:
    assert {board.uid: build.build(board) for board in build.BOARDS} == {
        path.stem: path.read_text() for path in FILES
    }


def test_a_dashboard_keeps_its_address(build: Any) -> None:
    assert sorted(BOARDS) == ["detector-alerts", "detector-drift", "detector-service"]
    for name, board in BOARDS.items():
        assert board["uid"] == name
        assert len(board["uid"]) <= 40
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(set(numbers)) == len(numbers)
        titles = [panel["title"] for panel in board["panels"]]
        assert all(title[0].isupper() or title.startswith("detector ") for title in titles)


@pytest.mark.parametrize("name", BOARDS)
def test_panels_do_not_overlap(name: str) -> None:
    places = [panel["gridPos"] for panel in BOARDS[name]["panels"]]
    for place in places:
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
    for a, b in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or below, (a, b)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["description"].endswith(".")
    for link in panel.get("links") or ():
        alert = link["title"].removeprefix("Runbook: ")
        assert alert in ALERTS
        assert link["url"].endswith(f"/how-to/runbooks/#{alert.lower()}")
        assert f"### {alert}\n" in RUNBOOKS.read_text()


@pytest.mark.parametrize("panel", PANELS)
def test_a_query_can_be_answered_and_a_legend_names_labels_of_the_answer(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        labels = labels_of(
            filled(target["expr"]), recorded() | {"ALERTS": frozenset({"alertname", "alertstate"})}
        )
        legend = target["legendFormat"]
        assert set(re.findall(r"{{(\w+)}}", legend)) == labels, target["expr"]
        assert legend != "__auto"


def test_every_metric_is_on_a_panel_or_excused(build: Any) -> None:
    shown = set[str]().union(*(names_in(query) for query in queries()))
    excused = {name: reason for board in build.BOARDS for name, reason in board.excused.items()}
    assert all(excused.values())
    assert not excused.keys() & shown
    bases = {re.sub("_(bucket|sum|count)$", "", name) for name in shown} | shown
    missing = {name for name in SERIES if re.sub("_(bucket|sum|count)$", "", name) not in bases}
    assert missing == excused.keys()


def test_every_alert_is_linked_from_a_panel() -> None:
    linked = {link["title"] for panel in PANELS for link in panel.values[0].get("links") or ()}
    away = {"DetectorGone", "DetectorMostRejected", "DetectorPartitionStalled"}
    assert {name.removeprefix("Runbook: ") for name in linked} == ALERTS.keys() - away

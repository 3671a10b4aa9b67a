"""Plots: what is drawn, not how it looks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import matplotlib
import msgspec
import numpy as np
import polars
import pytest
from matplotlib import pyplot

from detector import Detector
from detector.api import Alert, plots
from detector.errors import UsageError
from tests.unit.test_api import CONFIG, simulated

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def replayed() -> tuple[Detector, polars.DataFrame, polars.DataFrame]:
    events = polars.DataFrame(list(simulated(4_000)), infer_schema_length=None)
    detector = Detector.from_config(CONFIG, ["alerts.budget.share=0.01"])
    return detector, events, detector.replay(events)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    pyplot.close("all")


def labels(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_scores_over_time(replayed: tuple[Detector, Any, Any]) -> None:
    detector, _, result = replayed
    axes = plots.scores(*replayed)
    points = axes.collections[0].get_offsets()
    assert np.array_equal(points[:, 1], result["score"].to_numpy())
    assert sum(len(drawn.get_offsets()) for drawn in axes.collections[1:]) == len(detector.alerts) > 5
    assert {"events", "threshold"} < set(labels(axes))
    axes.figure.canvas.draw()


def test_the_history_of_an_entity(replayed: tuple[Detector, Any, Any]) -> None:
    detector, events, _ = replayed
    alert = detector.alerts[-1]
    assert alert.entity is not None
    axes = plots.history(*replayed, alert.entity[1])
    own = events.filter(polars.col("card") == alert.entity[1])
    assert list(axes.lines[0].get_ydata()) == own["amount"].to_list()
    assert axes.get_ylabel() == "Amount, EUR"
    assert "alerts" in labels(axes)
    axes.figure.canvas.draw()
    with pytest.raises(UsageError, match="no event of card 'nobody'"):
        plots.history(*replayed, "nobody")
    with pytest.raises(UsageError, match="got the field 'city', expected one of amount"):
        plots.history(*replayed, "C1", field="city")


def test_the_reasons_of_an_alert(replayed: tuple[Detector, Any, Any]) -> None:
    body = msgspec.json.decode(replayed[0].alerts[0].json)
    body["reasons"][0]["detail"] = r"$\frac{1}{0}$ is $no$ formula"
    alert = Alert(msgspec.json.encode(body))
    axes = plots.reasons(alert)
    assert [bar.get_width() for bar in axes.patches] == [reason.share for reason in alert.reasons]
    axes.figure.canvas.draw()


def test_what_does_not_belong_together(replayed: tuple[Detector, Any, Any]) -> None:
    detector, events, result = replayed
    with pytest.raises(UsageError, match="got 4000 events and a result of 10 rows"):
        plots.scores(detector, events, result[:10])
    with pytest.raises(UsageError, match="has no column score"):
        plots.scores(detector, events, [{}])
    rows = [*simulated(3), {"event_id": "broken"}]
    axes = plots.scores(Detector.from_config(CONFIG), rows, Detector.from_config(CONFIG).replay(rows))
    axes.figure.canvas.draw()


def test_a_missing_package_is_named() -> None:
    code = """
import sys
sys.modules["matplotlib"] = None
from detector.api import plots
try:
    plots._axes(None)
except ValueError as error:
    assert "detector[notebook]" in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

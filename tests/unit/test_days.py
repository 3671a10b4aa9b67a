"""Times that are days: nothing is said of what came within an hour."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detector.config.tree import Event, TimeField
from detector.config.tree import Features as FeaturesConfig
from detector.core.alerts.evidence import Evidence, Fact
from detector.core.alerts.facts import Facts
from detector.core.alerts.known import fastest_move, pace
from detector.core.alerts.recent import History
from detector.core.alerts.words import Sentences
from detector.core.events import View, resolution_s
from detector.core.features import DAY_S, Layout, Profiles, Rows, Units, empty_rows
from tests.unit.test_habits import key

START_S = 20_000 * DAY_S


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ({"path": "t"}, 0.0),
        ({"path": "t", "format": "iso8601"}, 0.0),
        ({"path": "t", "format": "iso8601", "resolution": "1d"}, DAY_S),
        ({"path": "t", "format": "date", "resolution": "1h"}, 3600.0),
        ({"path": "t", "format": "date"}, DAY_S),
        ({"path": "t", "format": "date", "clock": "c"}, 0.0),
        ({"path": "t", "format": "%d.%m.%Y"}, DAY_S),
        ({"path": "t", "format": "%d.%m.%Y", "clock": "c"}, 0.0),
        ({"path": "t", "format": "%d.%m.%Y %H:%M"}, 0.0),
        ({"path": "t", "format": "%d.%m.%Y %I %p"}, 0.0),
        ({"path": "y, m, d", "format": "apart"}, DAY_S),
        ({"path": "y, m, d, h", "format": "apart"}, 0.0),
        ({"path": "step", "format": "steps", "step": 3600.0}, 3600.0),
    ],
)
def test_a_format_says_how_exact_its_times_are(time: dict[str, Any], seconds: float) -> None:
    assert resolution_s(TimeField.model_validate(time)) == seconds


def schema(format_: str) -> Event:
    return Event.model_validate(
        {
            "id": "id",
            "time": {"path": "time", "format": format_},
            "entities": [{"name": "card", "path": "card"}],
            "fields": [
                {"name": "amount", "path": "amount", "type": "numeric", "unit": "EUR"},
                {"name": "place", "path": "lat, lon", "type": "geo"},
            ],
            "exposure": "amount",
        }
    )


def statement(layout: Layout) -> Rows:
    """Ninety days of one payment each, then four small ones and a large one far away, all on one day."""
    rows = empty_rows(95, layout)
    rows.times[:90] = START_S + np.arange(90) * DAY_S
    rows.times[90:] = START_S + 90 * DAY_S
    rows.clocks[:] = rows.times
    rows.entities[:, 0] = key(1)
    rows.numerics[:, 0] = np.arcsinh(40.0 + np.arange(95) % 7)
    rows.numerics[90:94, 0], rows.numerics[94, 0] = np.arcsinh(1.0), np.arcsinh(900.0)
    rows.points[:, 0] = (1.0, 0.0, 0.0)
    rows.points[94, 0] = (np.cos(0.1), np.sin(0.1), 0.0)
    profiles = Profiles(layout, FeaturesConfig())
    profiles.reserve(95)
    profiles.observe(rows)
    return rows


def facts(format_: str) -> dict[str, Fact]:
    """Facts of the large payment."""
    event = schema(format_)
    layout = Layout(event, FeaturesConfig())
    rows = statement(layout)
    amounts = np.sinh(rows.numerics[93::-1, 0])
    zeros = np.zeros(94)
    past = History(np.arange(94)[::-1], rows.times[93::-1], amounts, zeros, -np.inf, zeros.astype(np.int64))
    values = {"amount": 900.0, "place": None}
    view = View(main="C1", entities={"card": "C1"}, values=values, carried={}, traces=(), document=b"")
    found = Facts(layout, Units(np.ones(1)), Sentences(event)).find(
        Evidence(event=rows.take(slice(-1, None)), view=view, amount=900.0, history=past)
    )
    return {fact.code: fact for fact in found}


def test_what_came_on_one_day_did_not_come_within_an_hour() -> None:
    exact, days = facts("auto"), facts("date")
    assert {"small_then_large", "speed"} <= exact.keys()
    assert not {"small_then_large", "speed"} & days.keys()
    assert exact["window"].values["window_s"] == 3600.0
    assert days["window"].detail.startswith("5 events in the last day, ")
    assert days["since_last"].detail.startswith("less than 24 hours after the last event of this card")


def test_nobody_is_fast_or_busy_within_a_day() -> None:
    for format_, told in (("auto", True), ("date", False)):
        layout = Layout(schema(format_), FeaturesConfig())
        last = statement(layout).take(slice(-1, None))
        found = pace(layout, last, 0)
        assert found is not None
        assert found.fast == told
        assert (fastest_move(layout, last, 0) is not None) == told

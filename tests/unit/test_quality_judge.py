"""Figures at a budget, their effects, and ties between detectors, against examples computed by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality import patterns
from benchmarks.quality.inputs import InputError, Labels, Scores
from benchmarks.quality.judge import OWN, by_kind, effect, judged, ranking, service
from benchmarks.quality.metrics import ALERTS_PER_WINDOW, DAY_S, budget_use, share_looked_at, time_to_alert
from benchmarks.quality.report import add_verdicts, summarise, verdict
from benchmarks.quality.streams import Facts
from detector.config.tree import Config

CONFIG = Config.model_validate(
    {
        "event": {
            "id": "id",
            "time": {"path": "t"},
            "fields": [{"name": "v", "path": "v", "type": "numeric"}],
        },
        "alerts": {"budget": {"share": 0.1}},
    }
)


def facts(
    kind: list[int], *, card: list[int] | None = None, amount: list[float] | None = None, step_s: float = 1.0
) -> Facts:
    """Events `step_s` apart."""
    n = len(kind)
    return Facts(
        ids=[f"e{i}" for i in range(n)],
        time=step_s * np.arange(n, dtype=float),
        kind=np.array(kind),
        card=None if card is None else np.array(card),
        amount=None if amount is None else np.array(amount),
    )


def every(n: int) -> np.ndarray:
    return np.ones(n, dtype=bool)


def at(n: int, *places: int) -> np.ndarray:
    return np.isin(np.arange(n), places)


# --- what is looked at ---


@pytest.mark.parametrize(
    ("score", "budget", "looked"),
    [
        ([5, 1, 4, 2, 3], 0.4, [1, 0, 1, 0, 0]),
        # One place is left for three that are tied at the cut: a third of each.
        ([5, 4, 4, 4, 3], 0.4, [1, 1 / 3, 1 / 3, 1 / 3, 0]),
        ([7, 7, 7, 7], 0.25, [1 / 4] * 4),
        # At least one event is looked at.
        ([1, 2], 0.001, [0, 1]),
        ([1, math.inf, 3], 1.0, [1, 1, 1]),
    ],
)
def test_a_budget_is_spent_on_the_highest_scores(
    score: list[float], budget: float, looked: list[float]
) -> None:
    assert share_looked_at(np.array(score, dtype=float), budget) == pytest.approx(looked)


def test_a_nan_score_is_not_looked_at_but_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        share_looked_at(np.array([1.0, math.nan]), 0.5)


def test_precision_and_recall_at_a_budget() -> None:
    # 1,000 events, 4 anomalies at ranks 1, 3, 10 and 500: 1 of 1 within .1 %, 3 of 10 within 1 %.
    kind = np.zeros(1_000, dtype=int)
    kind[[0, 2, 9, 499]] = 1
    found = ranking(facts(kind.tolist()), -np.arange(1_000.0), every(1_000))
    assert (found["precision 0.1%"], found["recall 0.1%"]) == (1.0, 0.25)
    assert (found["precision 1%"], found["recall 1%"]) == (pytest.approx(0.3), 0.75)
    assert (found["events"], found["anomalies"]) == (1_000, 4)
    assert found["false per caught"] == pytest.approx(7 / 3)  # events, as there are no cards
    assert not {"cp@100", "amount caught", "cards found", "recall of 1"} & found.keys()


def test_only_judged_events_count() -> None:
    some = facts([1] + [0] * 18 + [1])
    tested = judged(some, week=False)
    assert tested.tolist() == [False] * 2 + [True] * 18
    score = np.zeros(20)
    score[19] = 1.0
    assert ranking(some, score, tested)["ap"] == 1.0


# --- what comes of it ---


def test_the_effect_of_looking() -> None:
    # Card 1 is hit at its third transaction (kind 1, 30) and again (kind 3, 70), card 2 once (kind 1, 100),
    # 3 and 4 never. Looked at: card 1's second fraud, card 3 twice, card 4 once, card 1's first, honest one.
    rows = [
        (1, 0, 5, 1),
        (2, 0, 5, 0),
        (1, 0, 5, 0),
        (3, 0, 5, 1),
        (1, 1, 30, 0),
        (3, 0, 5, 1),
        (2, 1, 100, 0),
        (1, 0, 5, 0),
        (1, 3, 70, 1),
        (4, 0, 5, 1),
    ]
    card, kind, amount, looked = map(list, zip(*rows, strict=True))
    some = facts(kind, card=card, amount=amount, step_s=1_800.0)
    found = effect(some, np.array(looked, dtype=float), every(len(rows)))
    assert found == {
        "recall of 1": 0.0,
        "recall of 3": 1.0,
        "amount caught": pytest.approx(70 / 200),
        "cards found": 1 / 2,
        "transactions to alert": 2.0,  # an honest one, then the one that is looked at
        "hours to alert": 2.0,
        "false per caught": 2.0,  # customers 3 and 4; 1's honest transaction is no innocent's
    }


def test_the_effect_of_looking_nowhere() -> None:
    found = effect(facts([0, 1], card=[1, 1], amount=[1.0, 1.0]), np.zeros(2), every(2))
    assert (found["amount caught"], found["cards found"]) == (0.0, 0.0)
    assert all(
        math.isnan(found[name]) for name in ("transactions to alert", "hours to alert", "false per caught")
    )


def test_the_time_from_a_first_fraud_to_a_first_alert() -> None:
    card = np.array([1, 2, 1, 3, 1, 2, 1])
    label, alerted = at(7, 2, 5, 6), at(7, 0, 5, 6)
    # Card 1: alerted too early (0), then on its third transaction from the fraud on; card 2: at once.
    transactions, hours, cards = time_to_alert(card, 3600.0 * np.arange(7), label, alerted)
    assert transactions.tolist() == [2, 0]
    assert hours.tolist() == [4.0, 0.0]
    assert cards == 2
    assert time_to_alert(card, np.arange(7.0), label, at(7))[2] == 2
    assert time_to_alert(card, np.arange(7.0), at(7), alerted)[2] == 0


def test_alerts_per_day_over_the_budget() -> None:
    # Seven days of 100, 200, ... events, at 1 %; the first and the last may be incomplete.
    events = [100, 200, 100, 100, 400, 100, 100]
    alerts = [9, 2, 0, 3, 2, 1, 9]
    time = np.concatenate([day * DAY_S + np.arange(n) for day, n in enumerate(events)])
    alert = np.concatenate([np.arange(n) < a for n, a in zip(events, alerts, strict=True)])
    ratios, window = budget_use(time, alert, 0.01)
    assert window == "day"
    assert ratios == pytest.approx([1.0, 0.0, 3.0, 0.5, 1.0])


def test_a_short_stream_has_windows_of_events() -> None:
    events = round(ALERTS_PER_WINDOW / 0.1)
    ratios, window = budget_use(np.arange(4.0 * events), np.arange(4 * events) % 10 == 0, 0.1)
    assert window == "50 events"
    assert ratios == pytest.approx([1.0, 1.0])


def test_the_services_alerts_are_judged_as_they_were_sent() -> None:
    some = facts([0] * 90 + [1] * 10, card=list(range(100)))
    alert = at(100, 5, 50, 95, 96)
    found = service(some, np.arange(100.0), alert, judged(some, week=False), CONFIG)
    assert (found["alerts"], found["precision_of_alerts"], found["recall_of_alerts"]) == (
        3,
        pytest.approx(2 / 3),
        pytest.approx(2 / 10),
    )
    assert found[f"{OWN}cards found"] == pytest.approx(2 / 10)
    assert found[f"{OWN}false per caught"] == pytest.approx(1 / 2)
    assert math.isnan(found["budget q50"])  # 90 events are one whole window of 50 and a part


# --- means, spreads and ties ---


def row(instance: str, detector: str, ap: float, **more: Any) -> dict[str, Any]:
    named = {"stream": "s", "instance": instance, "detector": detector, "columns": "", "labels": "none"}
    values = {"partitions": 1, "config": "", "note": "", "failure": "", "ap": ap, "us per event": 10.0}
    return named | values | more


@pytest.mark.parametrize(
    ("value", "spread", "base", "base_spread", "word"),
    [
        (0.50, 0.02, 0.53, 0.01, "behind"),
        (0.50, 0.04, 0.53, 0.01, "tie"),  # within the wider of the two
        (0.56, 0.02, 0.53, 0.01, "ahead"),
        (0.50, math.nan, 0.53, math.nan, "behind"),  # one run: nothing known of its spread
        (0.53, math.nan, 0.53, math.nan, "tie"),
    ],
)
def test_a_gap_within_the_spread_is_a_tie(
    value: float, spread: float, base: float, base_spread: float, word: str
) -> None:
    assert verdict(value, spread, base, base_spread) == word


def test_runs_of_one_name_are_averaged_and_compared_with_ours() -> None:
    summary = summarise(
        [
            row("order 0", "detector", 0.4),
            row("order 0", "hst", 0.1),
            row("order 1", "detector", 0.6, cp=math.nan),
            row("order 1", "hst", 0.2, cp=0.3),
            row("order 2", "hst", math.nan, failure="broke"),
        ]
    )
    add_verdicts(summary)
    ours, hst = summary
    assert (ours["ap"], ours["ap spread"]) == (pytest.approx(0.5), pytest.approx(math.sqrt(0.02)))
    assert (hst["ap"], hst["verdict"]) == (pytest.approx(0.15), "behind")
    assert hst["instances"] == ["order 0", "order 1"]  # failures are reported, not averaged
    assert hst["failure"] == "order 2: broke"
    assert hst["cp"] == pytest.approx(0.3)


# --- patterns ---


def labelled(kinds: dict[int, tuple[int, str]], n: int) -> tuple[Facts, Labels]:
    """Events e0 ... of which some, by number, have a kind and an incident; kind 1 is "odd", 2 is "burst"."""
    labels = Labels(
        kind={f"e{row}": kind for row, (kind, _) in kinds.items()},
        name={1: "odd", 2: "burst"},
        incident={f"e{row}": name for row, (_, name) in kinds.items()},
    )
    return Facts.of([f"e{row}" for row in range(n)], np.arange(n, dtype=float), labels), labels


def test_kinds_are_judged_by_the_normal_events_quantile_and_by_incident() -> None:
    n = 400
    score = np.arange(n) / 100.0  # the .99 quantile of the normal ones is near 3.95
    kinds = {399: (1, "a"), 10: (1, "b"), 398: (2, "c"), 20: (2, "c"), 30: (2, "d")}
    known, labels = labelled(kinds, n)
    alert = at(n, 20, 399)
    found = by_kind(known, score, alert, every(n))
    assert found == {
        "recall: odd": 0.5,
        "incidents: odd": 0.5,
        "events of odd": 2,
        "incidents of odd": 2,
        "recall: burst": pytest.approx(1 / 3),
        "incidents: burst": 0.5,
        "events of burst": 3,
        "incidents of burst": 2,
    }
    assert known.kind.tolist().count(2) == 3
    with pytest.raises(ValueError, match="no incidents"):
        by_kind(facts([0, 1]), score[:2], alert[:2], every(2))
    # The first tenth is not judged: row 10, 20 and 30 are in it.
    rows = {f"e{row}": row for row in range(n)}
    row = patterns.judge(Scores(row_of=rows, score=score, alert=alert), labels)
    assert row["recall: odd"] == 1.0
    assert row["ap"] == 1.0
    heads, lines = patterns.cells([row])
    assert heads == ["pattern", "events", "incidents", "scores"]
    assert lines[1] == ["odd", "1", "1", "1.00 / 1.00"]
    assert lines[-1][0] == "average precision"
    with pytest.raises(InputError, match="kind and incident"):
        patterns.judge(
            Scores(row_of=rows, score=score, alert=alert), Labels(kind={"e1": 1}, name={1: "1"}, incident={})
        )


def test_the_services_incidents_are_those_of_its_own_alerts() -> None:
    known, _ = labelled({399: (1, "a"), 200: (1, "b")}, 400)
    score = np.arange(400.0)
    assert ranking(known, score, every(400))["incidents: odd"] == 0.5
    assert service(known, score, at(400, 200, 399), every(400), CONFIG)["incidents: odd"] == 1.0


def test_scores_that_are_there_are_judged_by_pattern(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores, labels = tmp_path / "s.csv", tmp_path / "l.csv"
    lines = [f"e{n},t,{n / 10},.5,{int(n == 99)}" for n in range(100)]
    scores.write_text("\n".join(["event_id,event_time,score,quantile,alert", *lines]) + "\n")
    labels.write_text(
        "event_id,event_time,kind,incident\ne99,t,odd_hour,odd_hour-1-0\ne50,t,far_jump,far_jump-1-0\n"
    )
    assert patterns.main(["--scores", str(scores), "--labels", str(labels)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[-3:] for line in said[-3:-1]] == [["0.00", "/", "0.00"], ["1.00", "/", "1.00"]]
    labels.write_text("event_id,label\ne99,1\n")
    assert patterns.main(["--scores", str(scores), "--labels", str(labels)]) == 2
    assert "kind and incident" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        patterns.main(["--scores", str(scores)])

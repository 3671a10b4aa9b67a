"""Figures of the quality benchmark, against examples computed by hand."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quality import handbook_week
from benchmarks.quality.evaluate import main
from benchmarks.quality.handbook_week import in_test
from benchmarks.quality.metrics import average_precision, card_precision, figures, roc_auc


def labels(text: str) -> np.ndarray:
    return np.array([character == "+" for character in text])


# --- rankings ---


@pytest.mark.parametrize(
    ("label", "score", "auc", "precision"),
    [
        ("++--", [4, 3, 2, 1], 1, 1),
        ("--++", [4, 3, 2, 1], 0, (1 / 3 + 2 / 4) / 2),
        # Wins of the positives at 4 and 2 over the negatives at 3 and 1: 2 and 1 of 2.
        ("+-+-", [4, 3, 2, 1], 3 / 4, (1 / 1 + 2 / 3) / 2),
        # All tied: half of every comparison; one threshold, whose precision is the share of positives.
        ("+--+-", [7, 7, 7, 7, 7], 1 / 2, 2 / 5),
        # Two wins of the positive at 5, one and a half of the tied one at 3; precision 1 and 2 / 3.
        ("++--", [5, 3, 3, 1], 7 / 8, (1 + 2 / 3) / 2),
        ("+-", [math.inf, 1], 1, 1),
    ],
)
def test_rankings_by_hand(label: str, score: list[float], auc: float, precision: float) -> None:
    assert roc_auc(labels(label), np.array(score)) == pytest.approx(auc)
    assert average_precision(labels(label), np.array(score)) == pytest.approx(precision)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40), st.randoms())
def test_rankings_follow_their_definitions_whatever_the_order(
    rows: list[tuple[bool, int]], random: object
) -> None:
    positive = [score for is_positive, score in rows if is_positive]
    negative = [score for is_positive, score in rows if not is_positive]
    random.shuffle(rows)  # type: ignore[attr-defined]
    label, score = np.array([row[0] for row in rows]), np.array([float(row[1]) for row in rows])
    if positive and negative:
        wins = sum((p > n) + (p == n) / 2 for p in positive for n in negative)
        assert roc_auc(label, score) == pytest.approx(wins / len(positive) / len(negative))
    else:
        assert math.isnan(roc_auc(label, score))
    if positive:
        steps = [
            positive.count(t) * sum(p >= t for p in positive) / sum(s >= t for s in score)
            for t in range(6)
            if t in positive
        ]
        assert average_precision(label, score) == pytest.approx(sum(steps) / len(positive))
    else:
        assert math.isnan(average_precision(label, score))


def test_a_score_that_is_nan_is_refused() -> None:
    for figure in (roc_auc, average_precision):
        with pytest.raises(ValueError, match="NaN"):
            figure(labels("+-"), np.array([1.0, math.nan]))


def test_alerts_have_precision_and_recall() -> None:
    result = figures(np.array([2, 0, 1, 0, 1]), np.arange(5.0), labels("++--+"))
    assert result["anomalies_scenario_1"] == 2
    assert (result["alerts"], result["precision_of_alerts"]) == (3, pytest.approx(2 / 3))
    assert result["recall_of_alerts"] == pytest.approx(2 / 3)
    silent = figures(np.array([1, 0]), np.arange(2.0), labels("--"))
    assert math.isnan(silent["precision_of_alerts"])
    assert silent["recall_of_alerts"] == 0


# --- the Handbook's week ---


def test_card_precision_takes_found_cards_out_of_the_following_days() -> None:
    # Day 1: cards 1 (9, by its higher score) and 2 (8) are looked at, 1 is fraudulent. Day 2: 1 is out, so
    # 3 (5) and 4 (4) are looked at, both fraudulent. (1/2 + 2/2) / 2.
    rows = [(1, 1, "-", 2), (1, 1, "+", 9), (1, 2, "-", 8), (1, 3, "+", 7)]
    rows += [(2, 1, "+", 9), (2, 3, "+", 5), (2, 4, "+", 4), (2, 5, "-", 3)]
    day, customer, label, score = map(np.array, zip(*rows, strict=True))
    assert card_precision(day, customer, label == "+", score.astype(float), top=2) == pytest.approx(3 / 4)


def test_ties_of_cards_count_against_the_detector() -> None:
    day, customer = np.ones(2, dtype=int), np.arange(2)
    assert card_precision(day, customer, labels("+-"), np.ones(2), top=1) == 0
    assert card_precision(day, customer, labels("-+"), np.ones(2), top=1) == 0


def test_a_customer_leaves_once_a_fraud_is_known() -> None:
    # (day, customer, scenario): 1 had a fraud in training, 2 on day 7, known on day 15; 3 never.
    rows = [
        (6, 1, 3),
        (7, 2, 3),
        (13, 3, 0),
        (14, 1, 0),
        (14, 2, 0),
        (14, 3, 0),
        (15, 2, 1),
        (15, 3, 1),
        (21, 3, 0),
    ]
    day, customer, scenario = map(np.array, zip(*rows, strict=True))
    tested = in_test(day, customer, scenario)
    assert [row for row, is_tested in zip(rows, tested, strict=True) if is_tested] == [
        (14, 2, 0),
        (14, 3, 0),
        (15, 3, 1),
    ]


# --- the command ---

HEADER = "event_id,event_time,score,quantile,alert\n"


def write(path: Path, text: str) -> str:
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
        file.write(text)
    return str(path)


def run(*arguments: str) -> int:
    return main(list(arguments))


def scores(tmp_path: Path, count: int = 10) -> str:
    rows = (f"e{n},2018-08-08T00:00:{n:02}Z,{n}.5,0.9,{int(n > 7)}\n" for n in range(count))
    return write(tmp_path / "scores.csv.gz", HEADER + "".join(rows))


def test_a_stream_is_judged_after_its_first_tenth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = write(tmp_path / "labels.csv", "event_id,label\ne0,1\ne9,1\ne7,1\nelsewhere,1\ne3,0\n")
    assert run("--scores", scores(tmp_path), "--labels", listed) == 0
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert printed == {
        "warm_up_events": "1",
        "anomalies_without_score": "1",
        "events": "9",
        "anomalies": "2",
        "roc_auc": "0.9286",  # 7 + 6 of 14
        "average_precision": "0.8333",  # (1 + 2 / 3) / 2
        "alerts": "2",
        "precision_of_alerts": "0.5000",
        "recall_of_alerts": "0.5000",
    }


def week(tmp_path: Path) -> list[str]:
    """Two customers on the first test day; the first one's transaction is a fraud."""
    fields = '{{"TRANSACTION_ID":"e{0}","TX_DATETIME":"2018-08-08T00:00:0{0}Z","CUSTOMER_ID":"{0}"}}\n'
    events = write(tmp_path / "events.jsonl", "".join(fields.format(n) for n in range(2)))
    frauds = write(tmp_path / "frauds.csv", "TRANSACTION_ID,TX_DATETIME,TX_FRAUD_SCENARIO\ne1,,1\n")
    return ["--labels", frauds, "--handbook", "--events", events]


def test_a_stream_other_than_the_handbooks_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--scores", scores(tmp_path), *week(tmp_path)) == 2
    said = capsys.readouterr()
    assert "must have 58,264 transactions and 385 frauds (by scenario {1: 20, 2: 281, 3: 84})" in said.err
    assert "but has 2 transactions and 1 frauds" in said.err
    assert said.out == ""


def test_the_week_is_judged_with_its_cards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handbook_week, "EXPECTED", {0: 1, 1: 1})
    assert run("--scores", scores(tmp_path), *week(tmp_path)) == 0
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert printed["roc_auc"] == printed["average_precision"] == "1.0000"
    assert printed["card_precision_at_100"] == "0.0100"

    assert run("--scores", scores(tmp_path, count=1), *week(tmp_path)) == 2
    assert "1 tested transactions have no score, the first is e1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("", "the header must be event_id,"),
        (HEADER, "no scores"),
        (HEADER + "a,,1,1\n", ":2: not a row of scores"),
        (HEADER + "a,,high,1,0\n", ":2: not a row of scores"),
        (HEADER + "a,,1,1,maybe\n", ":2: not a row of scores"),
        (HEADER + "a,,1,1,0\na,,1,1,0\n", ":3: event a is scored a second time"),
        (HEADER + "a,,nan,1,0\n", "1 scores are NaN"),
        (HEADER + "b,,1,1,0\n", "none of the labelled events has a score"),
    ],
)
def test_files_that_cannot_be_judged_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: str, problem: str
) -> None:
    listed = write(tmp_path / "labels.csv", "event_id\na\n")
    assert run("--scores", write(tmp_path / "scores.csv", rows), "--labels", listed) == 2
    assert problem in capsys.readouterr().err


def test_a_missing_file_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--scores", str(tmp_path / "none.csv"), "--labels", "none.csv") == 2
    assert "No such file" in capsys.readouterr().err


def test_the_week_needs_the_events(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run("--scores", scores(tmp_path), "--labels", "none.csv", "--handbook")

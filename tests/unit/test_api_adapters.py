"""The detector with the interfaces of river and scikit-learn."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pandas
import pytest
import river.checks
import river.datasets
from sklearn.utils.estimator_checks import check_estimator

from detector import Detector
from detector.api.online import EXAMPLES, OnlineDetector
from detector.api.outlier import OutlierDetector
from detector.errors import ConfigError, UsageError
from tests.unit.test_api import CONFIG, simulated

ROWS_MAX = 1_200  # of a check, which asks for 1,000 or 10,000: that would take minutes


class StandIn:
    """In place of `river.datasets.CreditCard`, which is downloaded: 10 features, 1 in 50 an outlier."""

    def take(self, count: int) -> Iterator[tuple[dict[str, float], int]]:
        rng = np.random.default_rng(5)
        for number in range(min(count // 2, ROWS_MAX)):
            outlier = int(number % 50 == 49)
            values = rng.normal(size=10) * (1.0 + 4.0 * outlier)
            yield {f"V{j}": float(value) for j, value in enumerate(values)}, outlier


def rows_of(count: int) -> list[dict[Any, Any]]:
    return [row for row, _ in islice(StandIn().take(2 * count), count)]


# --- river -------------------------------------------------------------------------------------------------


def test_river_checks_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(river.datasets, "CreditCard", StandIn)
    model = OnlineDetector(seed=1)
    checks = list(river.checks.yield_checks(model))
    assert len(checks) > 25
    for check in checks:
        check(model.clone())


def test_an_online_score_is_that_of_a_replay() -> None:
    events = list(simulated(700))
    wanted = Detector.from_config(CONFIG).replay(events)
    model = OnlineDetector(str(CONFIG))
    for number, event in enumerate(events):
        if number % 50 == 0:
            assert model.score_one(event) == wanted[number]["score"]
        model.learn_one(event)
    with pytest.raises(UsageError, match="rejected, missing: id"):
        model.score_one({})
    with pytest.raises(ConfigError):
        OnlineDetector({"event": {}})


def test_features_of_any_name_and_type() -> None:
    model = OnlineDetector()
    for row in rows_of(EXAMPLES):
        model.learn_one({**row, 7: np.float32(1.5), "a.b'": "text", ("t",): True, "": None})
    assert model.score_one({"V0": 50.0, 7: float("nan"), "a.b'": "new", "unknown": 1}) > 0.0
    assert model.score_one({}) >= 0.0


def test_a_copy_goes_on_by_itself() -> None:
    model = OnlineDetector()
    for row in rows_of(400):
        model.learn_one(row)
    other, third = copy.deepcopy(model), pickle.loads(pickle.dumps(model))  # noqa: S301
    (row,) = rows_of(1)
    before = model.score_one(row)
    assert other.score_one(row) == third.score_one(row) == before
    for row in rows_of(300):
        other.learn_one(row)
    assert third.score_one(row) == model.score_one(row)


# --- scikit-learn ------------------------------------------------------------------------------------------

EXPECTED_FAILURES: dict[str, str] = {}
"""Checks of scikit-learn that cannot apply: none."""


def test_scikit_learn_checks_pass() -> None:
    results = check_estimator(
        OutlierDetector(), expected_failed_checks=EXPECTED_FAILURES, on_skip=None, on_fail=None
    )
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] not in ("passed", "skipped")}
    assert not failed
    assert {r["check_name"] for r in results if r["status"] == "skipped"} <= {"check_array_api_input"}
    assert len(results) > 40


def test_outliers_are_found_and_rows_do_not_depend_on_each_other() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 3))
    X[::100] += 8.0
    X[5, 1] = np.nan
    model = OutlierDetector(contamination=0.01).fit(X)
    assert set(np.flatnonzero(model.predict(X) == -1)) == set(range(0, 1000, 100))
    scores = model.score_samples(X)
    assert np.array_equal(model.score_samples(X[::-1]), scores[::-1])
    assert np.array_equal(model.decision_function(X), scores - model.offset_)
    again = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert np.array_equal(again.score_samples(X), scores)


def test_a_frame_keeps_its_names() -> None:
    frame = pandas.DataFrame(np.random.default_rng(1).normal(size=(600, 2)), columns=["left", "right"])
    model = OutlierDetector().fit(frame)
    assert [field.display for field in model.detector_.config.event.fields] == ["left", "right"]
    alert = model.detector_.explain({"id": 1, "time": 0, "x0": 40.0, "x1": 0.0})
    assert alert is not None
    assert alert.reasons[0].name == "left"


@pytest.mark.parametrize("contamination", [0, 0.6, "some", True, None])
def test_wrong_parameters_are_refused(contamination: Any) -> None:
    with pytest.raises(UsageError, match="got contamination="):
        OutlierDetector(contamination=contamination).fit(np.zeros((3, 1)))


def test_too_many_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="got 129 columns, expected at most 128"):
        OutlierDetector().fit(np.zeros((3, 129)))


def test_a_missing_package_is_named() -> None:
    code = """
import sys
sys.modules["sklearn"] = None
try:
    import detector.api.outlier
except ValueError as error:
    assert "detector[sklearn]" in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

"""What the benchmarks of the embedding compute from their figures."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.embedding.runs import labels_at, labels_of, seeds_of, value_at
from benchmarks.embedding.sweep import VARIANTS, Variant, knee, rows_of


@pytest.mark.parametrize(
    ("found", "width"),
    [
        ({4: [0.5], 8: [0.7], 16: [0.7], 32: [0.6]}, 8),  # the best; of equal ones the smaller
        ({4: [0.5, 0.6], 8: [0.6, 0.7], 16: [0.6, 0.8]}, 8),  # .65 is within .1 of .7
        ({4: [0.6, 0.7], 8: [0.69, 0.71]}, 8),  # .65 is not within .01 of .7
        ({64: [0.1, 0.1]}, 64),
    ],
)
def test_the_knee_is_the_smallest_width_within_one_standard_error(found: dict, width: int) -> None:
    assert knee(found) == width


def test_a_row_has_means_the_spread_and_the_median_time() -> None:
    def figures(ap: float, us: float) -> dict[str, float]:
        return {
            "AP": ap,
            "AUC": 0.5,
            "AP alone": 0.1,
            "AUC alone": 0.6,
            "rank": 3.0,
            "us/event": us,
            "MB": 2.0,
        }

    found = {
        "8": [figures(0.4, 90.0), figures(0.6, 10.0), figures(0.5, 20.0)],
        "without": [figures(0.7, 5.0)],
    }
    assert rows_of(found) == [
        ["8 *", "0.500", "0.100", "0.500", "0.100", "0.600", "3.0", "20.0", "2.0"],
        ["without", "0.700", "", "0.500", "0.100", "0.600", "3.0", "5.0", "2.0"],
    ]


def test_variants_are_settings() -> None:
    assert Variant(width=4, contrastive=0.0).settings(3, 2.5) == [
        "model.seed=3",
        "model.encoder.dimension=4",
        "model.encoder.objectives.contrastive=0.0",
        "model.encoder.objectives.reconstructive=0.0",
        "model.labels.maturity_delay=2.5d",
    ]
    assert len(VARIANTS["16"].settings(0, None)) == 4


def test_labels_come_late() -> None:
    frauds = np.array([False, True, False, True])
    assert [at for at, _ in labels_of(frauds, 10)] == [11, 13]
    (_, record), (later, _) = labels_at(frauds, np.array([2, 3, 4, 4]))
    assert later == 4
    assert json.loads(record)["offset"] == 1


def test_names_are_read() -> None:
    assert list(seeds_of("3")) == [3]
    assert list(seeds_of("3-5")) == [3, 4, 5]
    assert value_at({"a": {"b": 1}}, "a.b") == 1
    assert value_at({"a": 1}, "a.b") is None

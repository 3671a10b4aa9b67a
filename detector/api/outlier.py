"""An outlier detector of scikit-learn, the extra `sklearn`: a matrix of numbers, learned in one pass."""

from __future__ import annotations

from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from detector.api.detector import Detector
from detector.api.fields import event_config
from detector.errors import UsageError

try:
    from sklearn.base import BaseEstimator, OutlierMixin
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError:
    raise UsageError("scikit-learn is not installed: pip install 'detector[sklearn]'") from None

FEATURES_MAX = 128  # fields of a configuration
OFFSET_AUTO = -2.0  # one in 100 normal rows is at least as far
CHUNK_ROWS = 4096


class OutlierDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc] - scikit-learn has no types
    """Outlier detection with the interface of scikit-learn.

    `fit` is one pass over the rows in their order. Rows have no time and no entities. NaN is a missing value.

    Parameters
    ----------
    contamination : "auto" or float in (0, 0.5]
        Share of the training rows that are outliers; it sets `offset_`. "auto": a row is an outlier if at
        most one in 100 normal rows is as far from normal.
    seed : int
        Seed of the model.

    Attributes
    ----------
    detector_ : Detector
    offset_ : float
        `decision_function` is `score_samples` less this.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from detector.api.outlier import OutlierDetector
    >>> X = np.random.default_rng(0).normal(size=(1000, 2))
    >>> OutlierDetector().fit(X).predict([[0.0, 0.0], [9.0, -9.0]])
    array([ 1, -1])
    """

    def __init__(self, contamination: str | float = "auto", seed: int = 0) -> None:
        self.contamination = contamination
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from rows.

        Parameters
        ----------
        X : (n, d) array of numbers
            At least two rows; at most 128 columns.
        y
            Not used.

        Raises
        ------
        ValueError
            X is no such array, or a parameter is out of range.
        """
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=2)
        if X.shape[1] > FEATURES_MAX:
            raise UsageError(f"got {X.shape[1]} columns, expected at most {FEATURES_MAX}: choose among them")
        share = self._share()
        names = getattr(self, "feature_names_in_", [f"column {j}" for j in range(X.shape[1])])
        shown = {f"x{j}": str(name) for j, name in enumerate(names)}
        self.detector_ = Detector.from_config(event_config(shown, seed=self.seed))
        for rows in _chunks(X):
            self.detector_.learn(rows)
        self.detector_.settle()
        self.offset_ = OFFSET_AUTO
        if share is not None:
            self.offset_ = float(np.percentile(self._scores(X), 100.0 * share))
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Minus the score of each row, (n,): 0 is normal, lower is more anomalous.

        Raises
        ------
        ValueError
            X has another number of columns, or is no array of numbers.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        return self._scores(X)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """`score_samples` less `offset_`, (n,): below 0 are outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """-1 for outliers, 1 for the others, (n,)."""
        return np.where(self.decision_function(X) < 0.0, -1, 1)

    def _share(self) -> float | None:
        share = self.contamination
        if isinstance(share, str) and share == "auto":
            return None
        if isinstance(share, bool) or not isinstance(share, Real) or not 0.0 < float(share) <= 0.5:
            raise UsageError(f"got contamination={share!r}, expected 'auto' or a number above 0, up to 0.5")
        return float(share)

    def _scores(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        scores = [-row["score"] for rows in _chunks(X) for row in self.detector_.score(rows)]
        return np.array(scores, dtype=np.float64)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _chunks(X: NDArray[np.float64]) -> Any:
    names = ["id", "time", *(f"x{j}" for j in range(X.shape[1]))]
    for start in range(0, len(X), CHUNK_ROWS):
        rows = X[start : start + CHUNK_ROWS].tolist()
        yield [dict(zip(names, [i, 0, *row], strict=True)) for i, row in enumerate(rows, start)]

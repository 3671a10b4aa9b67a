"""How points of an embedding are placed in a plane, other than by PCA: t-SNE, the extra `sklearn`."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from detector.config.extras import install
from detector.core.model.projection import Points
from detector.core.shard.embedding_map import Layout
from detector.errors import UsageError

Method = Literal["pca", "tsne"]
METHODS: tuple[Method, ...] = get_args(Method)
PERPLEXITY = 30.0  # neighbours that each point looks at, about
SEED = 0


def layout_of(method: Method) -> tuple[str, Layout | None]:
    """Name of a method, and how it places points; None: by PCA.

    Raises
    ------
    UsageError
        Its packages are missing.
    """
    if method == "pca":
        return "PCA", None
    try:
        import sklearn.manifold  # noqa: F401
    except ImportError:
        raise UsageError(f"t-SNE needs scikit-learn: {install('sklearn')}") from None
    return "t-SNE", _tsne


def _tsne(points: NDArray[np.float32]) -> Points:
    """Place points (n, D), (n, 2), the same for the same points (van der Maaten and Hinton 2008)."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, max((len(points) - 1) / 3.0, 1.0))
    with threadpool_limits(1):
        made = TSNE(init="pca", random_state=SEED, perplexity=perplexity, n_jobs=1).fit_transform(points)
    placed: Points = np.asarray(made, dtype=np.float64)
    placed -= placed.mean(axis=0)
    return placed

"""How points of an embedding are placed in a plane, other than by PCA: t-SNE and UMAP, each an extra."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from detector.config.extras import install
from detector.core.model.projection import Points
from detector.core.shard.embedding_map import Layout
from detector.errors import UsageError

Method = Literal["pca", "tsne", "umap"]
METHODS: tuple[Method, ...] = get_args(Method)
METHOD_NAMES = f"{', '.join(METHODS[:-1])} or {METHODS[-1]}"
PERPLEXITY = 30.0  # neighbours that each point looks at in t-SNE, about
NEIGHBOURS = 15  # the same in UMAP
POINTS_MIN = 3
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
    name, layout, module, extra = {
        "tsne": ("t-SNE", _tsne, "sklearn", "sklearn"),
        "umap": ("UMAP", _umap, "umap", "umap"),
    }[method]
    if find_spec(module) is None:
        raise UsageError(f"{name} needs the extra {extra}: {install(extra)}")
    return name, _steady(layout)


def _tsne(points: NDArray[np.float32]) -> Any:
    """By van der Maaten and Hinton 2008."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(points) - 1) / 3.0)
    return TSNE(init="pca", random_state=SEED, perplexity=perplexity, n_jobs=1).fit_transform(points)


def _umap(points: NDArray[np.float32]) -> Any:
    """By McInnes, Healy and Melville 2018."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # it says that Tensorflow is not installed
        from umap import UMAP

    near = min(NEIGHBOURS, len(points) - 1)
    return UMAP(init="pca", random_state=SEED, n_neighbors=near, n_jobs=1).fit_transform(points)


def _steady(layout: Layout) -> Layout:
    """Place points (n, D) around the origin, (n, 2), the same for the same points."""

    def placed(points: NDArray[np.float32]) -> Points:
        made: Any = points[:, :2]  # where there is nothing to place
        if len(points) >= POINTS_MIN and np.ptp(points, axis=0).any():
            with threadpool_limits(1):
                made = layout(points)
        found: Points = np.array(made, dtype=np.float64)
        found -= found.mean(axis=0)
        return found

    return placed

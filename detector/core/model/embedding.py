"""The learned embedding that serves: what it is made of, and how many events are placed in it."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.core.model.clusters import Clusters, Exemplars
from detector.core.model.encoder import Encoder, Hashes
from detector.core.model.index import NearestCentres

EMBEDDED_AT_ONCE = 8192


class Space(NamedTuple):
    """What the embedding is made of, to be looked at."""

    encoder: Encoder
    clusters: Clusters
    nearest: NearestCentres
    exemplars: Exemplars


class HashedRows(Hashes, Protocol):
    """Hashes of n events, of which some can be taken."""

    def take(self, index: Any) -> Hashes:
        """Select rows, as numpy's indexing does."""


def embed(encoder: Encoder, inputs: NDArray[np.float32], rows: HashedRows) -> NDArray[np.float32]:
    """Embed n events, (n, D), in pieces, because layers need far more memory than embeddings."""
    starts = range(0, max(len(inputs), 1), EMBEDDED_AT_ONCE)
    pieces = [slice(start, start + EMBEDDED_AT_ONCE) for start in starts]
    return np.concatenate([encoder.encode(inputs[piece], rows.take(piece)) for piece in pieces])

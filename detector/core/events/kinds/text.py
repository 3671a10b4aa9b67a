"""Free text."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from detector.config.tree import EventLimits, ValueField
from detector.core.events.kinds.categorical import Words
from detector.core.events.text_kernels import split_grams
from detector.core.events.values import Column

TEXT_GRAMS_MAX = 32


class Text(Words):
    """The model sees hashed character trigrams."""

    store = "texts"

    def __init__(self, field: ValueField, limits: EventLimits, key: bytes) -> None:
        super().__init__(field, limits, key)
        self._grams = TextGrams(key, field.name)

    def encode(self, value: str | None) -> Sequence[tuple[int, ...]]:
        return (self._grams(value),)

    def read_column(self, column: Column, doubtful: set[int], out: NDArray[Any]) -> None:
        texts = self.parse_column(column, doubtful)
        padded = ["" if text is None else self._grams.padded(text) for text in texts]
        split_grams(padded, self._grams.salt, out[:, 0])


class TextGrams:
    """Hashes of a text's character trigrams, whatever its case and spacing: the `TEXT_GRAMS_MAX` lowest."""

    def __init__(self, key: bytes, purpose: str) -> None:
        digest = hashlib.blake2b(purpose.encode(), key=key, digest_size=4).digest()
        self.salt = int.from_bytes(digest, "little")

    @staticmethod
    def padded(text: str) -> str:
        """Return what is split into trigrams."""
        return f" {' '.join(text.lower().split())} "

    def __call__(self, text: str | None) -> tuple[int, ...]:
        if text is None:
            return ()
        whole = self.padded(text)
        grams = (whole[i : i + 3].encode() for i in range(max(1, len(whole) - 2)))
        return tuple(sorted({zlib.crc32(gram, self.salt) or 1 for gram in grams})[:TEXT_GRAMS_MAX])

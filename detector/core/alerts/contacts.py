"""What an event met, as short codes beside the newest events: enough to say that another one met the same.

An event's contacts are its other entities and its categories, `CONTACTS_MAX` of them at most, entities first.
A code has `HASH_BITS` bits of the key's hash, and one bit that says whether it was new to the main entity
then. No value follows from it. 0: the event had none. Two codes are one whole number, which a double holds.

Of two things one code is the same by chance in 1 of 8 million comparisons.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.core.features import Layout, Rows

CONTACTS_MAX = 8
HASH_BITS = 23
PER_NUMBER = 2
_CODES = 1 << (HASH_BITS + 1)


class MetBefore(NamedTuple):
    """What an earlier event met, beside one that is told."""

    same: tuple[str, ...] = ()  # names of the contacts that are those of the other event, too
    other: tuple[str, ...] = ()  # names of those that both have, and that differ
    new: tuple[str, ...] = ()  # names of those that were new to the main entity when the earlier one came
    usual: tuple[str, ...] = ()  # those of `same` of which no word is needed: the main entity's usual ones


NOTHING_MET = MetBefore()


class Contacts:
    """Contacts of one schema."""

    def __init__(self, layout: Layout) -> None:
        entities, categories = len(layout.entities), [place.field for place in layout.categories]
        names = [*layout.entities[1:], *(field.name for field in categories)] if entities else []
        hidden = {field.name for field in categories if not field.echo}
        self._names = names[:CONTACTS_MAX]
        self._told = [name not in hidden for name in self._names]
        self._bits = 1 << np.arange(len(self._names), dtype=np.int64)
        self._by_mask: dict[int, tuple[str, ...]] = {}  # 256 at most
        columns = range(1, 1 + len(self._names))
        self._gaps = np.array([layout.kind_of(0, column).gap for column in columns], dtype=np.intp)

    @property
    def numbers(self) -> int:
        """Numbers of an event."""
        return numbers_of(len(self._names))

    def numbered(self, rows: Rows) -> NDArray[np.float64]:
        """Contacts of n events, (n, numbers)."""
        keys = np.concatenate((rows.entities[:, 1:], rows.categories), axis=1)[:, : len(self._names)]
        hashes = (keys >> np.uint64(7)) % np.uint64((1 << HASH_BITS) - 1) + np.uint64(1)
        codes = 2.0 * hashes + np.isnan(rows.context[:, self._gaps])
        codes[keys == 0] = 0.0
        found = np.zeros((len(keys), PER_NUMBER * self.numbers))
        found[:, : len(self._names)] = codes
        return found[:, ::PER_NUMBER] * _CODES + found[:, 1::PER_NUMBER]

    def beside(
        self, now: NDArray[np.float64], then: NDArray[np.float64], usual: Collection[str] = ()
    ) -> tuple[MetBefore, ...]:
        """What m earlier events met (m, numbers), beside an event (numbers,).

        `usual`: contacts of the event that are the main entity's usual ones.
        """
        own, others = self._codes(now[None])[0], self._codes(then)
        there = others > 0
        same = there & (others >> 1 == own >> 1)
        differs = there & (own > 0) & ~same
        new = there & (others % 2 == 1)
        plain = same & np.array([name in usual for name in self._names], dtype=np.bool_)
        masks = np.stack((same, differs, new, plain)) @ self._bits
        return tuple(MetBefore(*map(self._named, of)) for of in masks.T.tolist())

    def _codes(self, numbers: NDArray[np.float64]) -> NDArray[np.int64]:
        whole = numbers.astype(np.int64)
        codes = np.stack((whole // _CODES, whole % _CODES), axis=2)
        codes = codes.reshape(len(whole), PER_NUMBER * whole.shape[1])
        return codes[:, : len(self._names)]

    def _named(self, mask: int) -> tuple[str, ...]:
        """Names of the contacts with these bits, but hidden ones."""
        if mask not in self._by_mask:
            self._by_mask[mask] = tuple(
                n for bit, n in enumerate(self._names) if mask >> bit & 1 and self._told[bit]
            )
        return self._by_mask[mask]


def numbers_of(contacts: int) -> int:
    """Numbers of an event with so many contacts."""
    return -(-min(contacts, CONTACTS_MAX) // PER_NUMBER)

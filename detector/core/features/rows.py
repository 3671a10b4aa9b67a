"""Events as arrays: everything that inputs are computed from, on the scale on which the model works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.events import TEXT_GRAMS_MAX, Events
from detector.core.features import feature_kernels
from detector.core.features.layout import Layout

UNIT_QUANTILE = 0.95
# A value of more units than this counts as this many: the quotient of two doubles may overflow.
RATIO_MAX = 1e300
UNIT_MIN, UNIT_MAX = 1e-300, 1e300  # of a stream that changes its units again and again
ZEROS_MAX = 7
# Above this, doubles have no hundredths.
WHOLE_MAX = 2.0**46
VALUE_MAX = 1e308  # of what is told: rounded to any number of digits it is finite, unlike the largest float


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Events as arrays, n rows."""

    times: NDArray[np.float64]  # (n,) s since the epoch, bounded by `event_time`: for gaps and decay
    clocks: NDArray[np.float64]  # (n,) the events' own times, for the time of day
    entities: NDArray[np.uint64]  # (n, E) keyed hashes, 0: missing
    numerics: NDArray[np.float64]  # (n, J) scaled by `Units`, NaN: missing
    categories: NDArray[np.uint64]  # (n, C) hashes, 0: missing
    grams: NDArray[np.uint32]  # (n, T, TEXT_GRAMS_MAX) hashes, 0: none
    points: NDArray[np.float32]  # (n, P, 3) places as unit vectors, NaN: missing
    context: NDArray[np.float32]  # (n, width)
    fraud_rates: NDArray[np.float32]  # (n, fraud rate width) inputs of the encoder, then doubt
    zeros: NDArray[np.int8]  # (n,) zeros at the end of the exposure, see `zeros_at_end`

    def __len__(self) -> int:
        return len(self.times)

    def take(self, index: Any) -> Rows:
        """Select rows, as numpy's indexing does: a slice gives views, an array copies."""
        return Rows(
            self.times[index],
            self.clocks[index],
            self.entities[index],
            self.numerics[index],
            self.categories[index],
            self.grams[index],
            self.points[index],
            self.context[index],
            self.fraud_rates[index],
            self.zeros[index],
        )

    def put(self, index: Any, rows: Rows) -> None:
        """Overwrite rows."""
        for array, values in zip(self.arrays(), rows.arrays(), strict=True):
            array[index] = values

    def copy(self) -> Rows:
        return Rows(*(array.copy() for array in self.arrays()))

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """All arrays, in the order of the fields; written out, because `dataclasses.fields` is slow."""
        return (
            self.times,
            self.clocks,
            self.entities,
            self.numerics,
            self.categories,
            self.grams,
            self.points,
            self.context,
            self.fraud_rates,
            self.zeros,
        )

    def main(self) -> NDArray[np.uint64]:
        """Hash of each row's main entity (n,); 0: missing, or the schema has no entities."""
        return self.entities[:, 0] if self.entities.shape[1] else np.zeros(len(self), dtype=np.uint64)

    def keys(self) -> NDArray[np.uint64]:
        """Entities, then categories, (n, E + C)."""
        return np.concatenate([self.entities, self.categories], axis=1)

    def to_state(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name).copy() for field in fields(self)}

    @classmethod
    def joined(cls, pieces: Sequence[Rows]) -> Rows:
        """Stack rows; at least one piece."""
        return cls(*(np.concatenate(arrays) for arrays in zip(*(p.arrays() for p in pieces), strict=True)))

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Rows:
        return cls(*(state[field.name] for field in fields(cls)))


class Units:
    """Size of each numeric.

    scaled = asinh(value / unit): linear below the unit, where most values are, logarithmic above it, defined
    everywhere. A plain logarithm would make the smallest amounts the strangest.
    """

    def __init__(self, units: NDArray[np.float64]) -> None:
        self.units = units  # (J,) > 0

    @classmethod
    def read(cls, values: NDArray[np.float64]) -> Units:
        """Take the .95 quantile of the magnitudes of (n, J) values; NaN: missing."""
        units = np.ones(values.shape[1])
        for column in range(values.shape[1]):
            known = np.abs(values[:, column][~np.isnan(values[:, column])])
            size = float(np.quantile(known, UNIT_QUANTILE)) if len(known) else 0.0
            units[column] = size if size > 0.0 else 1.0
        return cls(units)

    def times(self, factors: NDArray[np.float64]) -> Units:
        """Units after a change by (J,) factors; within `UNIT_MIN` and `UNIT_MAX`."""
        with np.errstate(over="ignore", under="ignore"):
            return Units(np.clip(self.units * factors, UNIT_MIN, UNIT_MAX))

    def scale(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bring (n, J) values to the scale on which the model works; finite for all that is finite."""
        with np.errstate(over="ignore"):
            ratio = np.clip(values / self.units, -RATIO_MAX, RATIO_MAX)
        scaled: NDArray[np.float64] = np.arcsinh(ratio)
        return scaled

    def restore(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Undo `scale`."""
        with np.errstate(over="ignore"):
            values = np.sinh(scaled) * self.units
        bounded: NDArray[np.float64] = np.minimum(np.maximum(values, -VALUE_MAX), VALUE_MAX)
        return bounded


def to_rows(events: Events, layout: Layout, units: Units) -> Rows:
    """Make rows of events, sharing their arrays; the context is still empty."""
    n, values = len(events), events.numerics
    if not layout.entities:
        degrees = events.points.reshape(n, 2 * events.points.shape[1])
        values = np.concatenate([values, degrees], axis=1)
    return Rows(
        times=events.times,
        clocks=events.times,
        entities=events.entities,
        numerics=units.scale(values),
        categories=events.categories,
        grams=events.grams,
        points=to_vectors(events.points[:, : len(layout.points)]),
        context=np.zeros((n, layout.width), dtype=np.float32),
        fraud_rates=np.tile(layout.fraud_rates_unknown, (n, 1)),
        zeros=np.zeros(n, dtype=np.int8)
        if layout.exposure is None
        else zeros_at_end(events.numerics[:, layout.exposure]),
    )


def zeros_at_end(amounts: NDArray[np.float64]) -> NDArray[np.int8]:
    """Number of zeros at the end of amounts (n,) in hundredths, (n,): 0 for 12.34, 2 for 12, 4 for 1,200.

    At most `ZEROS_MAX`, which missing and zero amounts have, and those too large to have hundredths.
    """
    hundredths = np.rint(np.where(np.abs(amounts) < WHOLE_MAX, amounts, 0.0) * 100.0).astype(np.int64)
    zeros = np.zeros(len(amounts), dtype=np.int8)
    for power in range(1, ZEROS_MAX + 1):
        zeros += hundredths % 10**power == 0
    return zeros


def to_vectors(degrees: NDArray[np.float64]) -> NDArray[np.float32]:
    """Turn latitudes and longitudes (n, P, 2) into points on a sphere of radius 1, (n, P, 3).

    Near places have near vectors, also across 180 degrees and at the poles; a float32 holds 1 m.
    """
    north, east = np.moveaxis(np.radians(degrees), 2, 0)
    across = np.cos(north)
    vectors = [across * np.cos(east), across * np.sin(east), np.sin(north)]
    return np.stack(vectors, axis=2).astype(np.float32)


def empty_rows(count: int, layout: Layout) -> Rows:
    """Make rows in which everything is missing: padding of a block, places of a sample not yet used."""
    return Rows(
        times=np.zeros(count),
        clocks=np.zeros(count),
        entities=np.zeros((count, len(layout.entities)), dtype=np.uint64),
        numerics=np.full((count, len(layout.numerics)), np.nan),
        categories=np.zeros((count, len(layout.categories)), dtype=np.uint64),
        grams=np.zeros((count, len(layout.texts), TEXT_GRAMS_MAX), dtype=np.uint32),
        points=np.full((count, len(layout.points), 3), np.nan, dtype=np.float32),
        context=np.zeros((count, layout.width), dtype=np.float32),
        fraud_rates=np.tile(layout.fraud_rates_unknown, (count, 1)),
        zeros=np.zeros(count, dtype=np.int8),
    )


def swap(rows: Rows, donors: Rows, layout: Layout, chosen: NDArray[np.int64]) -> Rows:
    """Copy rows with one group of columns taken from the donor in the same place.

    Parameters
    ----------
    chosen : (n,) int64
        Which of the layout's groups is taken, per row.
    """
    swapped = rows.copy()
    feature_kernels.swap(
        layout.group_table,
        chosen,
        swapped.numerics,
        donors.numerics,
        swapped.categories,
        donors.categories,
        swapped.grams,
        donors.grams,
        swapped.entities,
        donors.entities,
        swapped.clocks,
        donors.clocks,
        swapped.context,
        donors.context,
        swapped.fraud_rates,
        donors.fraud_rates,
        swapped.points,
        donors.points,
    )
    return swapped

"""Fraud rates of all kinds of keys: what labels say of an event's entities and categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import Features as FeaturesConfig
from detector.core.erasure import Counts, Erased, Keys
from detector.core.features.fraud_rate_table import (
    IGNORED,
    MATURED,
    STARTED,
    Changes,
    FraudRateTable,
    unknown,
)
from detector.core.features.key_table import KeyTable, held_in
from detector.core.features.layout import Layout
from detector.core.features.rows import Rows

# Events of a key that nobody has judged below which it is not doubtful: as many frauds of one entity are
# counted at most (`labels.per_entity_max`).
DOUBTED_MIN = 64.0
# Part of the frauds to be expected among all events that nobody has judged: more are not of one key.
DOUBTED_PART = 0.25
# Times as many events as were judged, relative to those of all keys, from which on a key has changed.
GROWN = 4.0


class FraudRates:
    """One table for each kind of key; empty until there are labels."""

    def __init__(self, layout: Layout, config: FeaturesConfig) -> None:
        self._kinds = layout.fraud_rate_kinds
        self._tables = [
            FraudRateTable(layout.half_lives_of(rated.kind), config.entities_max) for rated in self._kinds
        ]
        main = 0 if layout.entities else None
        self.shared = [number for number, rated in enumerate(self._kinds) if rated.column != main]
        self.memories = max((rated.memories for rated in self._kinds), default=0)
        self._doubt = layout.doubt
        self._doubted_from, self._grown = np.inf, np.inf
        self._rates = np.zeros((len(self._kinds), self.memories))
        for rates, rated in zip(self._rates, self._kinds, strict=True):
            rates[: rated.memories] = np.log(2.0) / layout.half_lives_of(rated.kind)

    @property
    def tables(self) -> list[KeyTable]:
        """All tables."""
        return list(self._tables)

    def read(self, rows: Rows) -> None:
        """Fill `rows.fraud_rates`; the profiles' counts must be there."""
        keys, out = rows.keys(), rows.fraud_rates
        out[:, self._doubt] = 0.0
        for rated, table in zip(self._kinds, self._tables, strict=True):
            if not len(table):
                out[:, rated.columns] = unknown(rated.memories)
                continue
            table.read(keys[:, rated.column], rows.times, out[:, rated.columns])
            seen = rows.context[:, rated.kind.count(-1)]
            table.doubt(keys[:, rated.column], seen, self._doubted_from, self._grown, out[:, self._doubt])

    def expect(self, *, judged: float, unjudged: float, frauds: float) -> None:
        """Set which keys are doubtful, from the numbers of events judged and not judged, and of known frauds.

        Doubtful are keys with many times as many events as were judged, and with so many that they would be
        a large part of all frauds, if they were frauds and the share of frauds stays what it is. What labels
        said of such a key they said of other events.
        """
        usual = unjudged / max(judged, 1)
        self._doubted_from = max(DOUBTED_MIN, DOUBTED_PART * usual * frauds)
        self._grown = GROWN * max(1.0, usual)

    def count(
        self,
        keys: NDArray[np.uint64],
        times: NDArray[np.float64],
        statuses: NDArray[np.int8],
        before: Sequence[NDArray[np.float64]],
        weights: NDArray[np.float64],
    ) -> Changes:
        """Count n events of `keys` (n, E + C).

        `before` has (n, H) per kind; for it and for `weights` (n,) see `FraudRateTable.count`.

        Returns the changes to publish to peers: of all kinds but the main entity's, whose events are all
        here.
        """
        changes = [Changes.none(self.memories)]
        for number, (rated, table, counts) in enumerate(zip(self._kinds, self._tables, before, strict=True)):
            outcomes = table.count(keys[:, rated.column], times, statuses, counts, weights)
            if number not in self.shared:
                continue
            counted = np.flatnonzero(outcomes != IGNORED)
            added = np.where((statuses[counted] == MATURED)[:, None], weights[counted, None], counts[counted])
            added[(statuses[counted] != MATURED) & (outcomes[counted] != STARTED)] = 0.0
            of_kind = keys[counted, rated.column], times[counted], added, statuses[counted], weights[counted]
            changes.append(self.changes(number, *of_kind))
        return changes[0].joined(*changes[1:])

    def add(self, received: Changes, now: float) -> list[tuple[int, NDArray[np.uint64]]]:
        """Add changes of a peer; returns kinds with keys that are new here, see `FraudRateTable.add`."""
        started = []
        for number in self.shared:
            of_kind = received.take(received.kinds == number)
            outcomes = self._tables[number].add(of_kind, now)
            keys = np.unique(of_kind.keys[outcomes == STARTED])
            if len(keys):
                started.append((number, keys))
        return started

    def followed_from(self, kind: int, keys: NDArray[np.uint64]) -> NDArray[np.float64]:
        """See `FraudRateTable.followed_from`."""
        return self._tables[kind].followed_from(keys)

    def column(self, kind: int) -> int:
        """Column of a kind's key in (entities ++ categories)."""
        return self._kinds[kind].column

    def changes(
        self,
        kind: int,
        keys: NDArray[np.uint64],
        times: NDArray[np.float64],
        counts: NDArray[np.float64],
        statuses: NDArray[np.int8],
        events: NDArray[np.float64],
    ) -> Changes:
        """Make changes of one kind, see `Changes`; `counts` is (n, H of the kind)."""
        padded = np.zeros((len(keys), self.memories), dtype=np.float32)
        padded[:, : counts.shape[1]] = counts
        return Changes(
            kinds=np.full(len(keys), kind, dtype=np.uint8),
            keys=keys.astype(np.uint64),
            times=times.astype(np.float64),
            statuses=statuses.astype(np.int32),
            counts=padded,
            events=events.astype(np.float32),
        )

    def merged(self, changes: Changes) -> Changes:
        """Add up the matured events of each key to one change, as of the latest of them."""
        labels, matured = changes.take(changes.statuses != MATURED), changes.take(changes.statuses == MATURED)
        if not len(matured):
            return labels
        pairs = np.stack([matured.kinds.astype(np.uint64), matured.keys], axis=1)
        pairs, place = np.unique(pairs, axis=0, return_inverse=True)
        place = place.reshape(-1)
        times = np.full(len(pairs), -np.inf)
        np.maximum.at(times, place, matured.times)
        counts = np.zeros((len(pairs), self.memories))
        ages = (times[place] - matured.times)[:, None]
        np.add.at(counts, place, matured.counts * np.exp(-ages * self._rates[matured.kinds]))
        return Changes(
            kinds=pairs[:, 0].astype(np.uint8),
            keys=pairs[:, 1],
            times=times,
            statuses=np.full(len(pairs), MATURED, dtype=np.int32),
            counts=counts.astype(np.float32),
            events=np.bincount(place, weights=matured.events, minlength=len(pairs)).astype(np.float32),
        ).joined(labels)

    def held(self, entities: Keys) -> Counts:
        """Rows of the entities."""
        return {"profiles": held_in(self._of_main(), entities)}

    def erase(self, erased: Erased) -> None:
        """Drop these rows; what was counted of other keys stays."""
        for table in self._of_main():
            table.erase(erased.entities)

    def _of_main(self) -> list[KeyTable]:
        own = set(range(len(self._kinds))).difference(self.shared)
        return [self._tables[number] for number in sorted(own)]

    def __len__(self) -> int:
        """Keys that had a fraud, of all kinds."""
        return sum(len(table) for table in self._tables)

    def to_state(self) -> dict[str, Any]:
        tables = {f"{i:03d}": table.to_state() for i, table in enumerate(self._tables)}
        return {"doubted_from": self._doubted_from, "grown": self._grown, **tables}

    def load(self, state: Mapping[str, Any]) -> None:
        self._doubted_from, self._grown = state["doubted_from"], state["grown"]
        for i, table in enumerate(self._tables):
            table.load(state[f"{i:03d}"])
